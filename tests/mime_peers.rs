//! What is read of messages of every shape, hostile ones included, compared with software nobody here wrote: Dovecot, and Python's email
//! package. Each difference is named, with its reason, in `tests/python/mime_peers.json`.

#![cfg(test)]

mod common;

use common::{Imapc, Sandbox};
use serde_json::json;

#[test]
fn messages_of_every_shape_are_read_as_dovecot_and_python_read_them() {
    let sandbox = Sandbox::shared();
    let dovecot = Imapc::with_own_mail("sandbox");
    let task = json!({
        "ours": {
            "port": sandbox.port("chu", "imaps"), "ca": sandbox.authority(),
            "user": "cardiologie@chu-demo.mssante.fr", "password": "sandbox",
        },
        "dovecot": { "port": dovecot.port(), "user": "peer", "password": "sandbox" },
    });
    Sandbox::python("mime_peers.py", &task).assert_success();
}
