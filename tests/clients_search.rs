//! SEARCH, SORT and THREAD judged by software nobody here wrote: the same mail in Dovecot gives the same answers.

#![cfg(test)]

mod common;

use common::{Imapc, Sandbox, corpus, hex};
use serde_json::json;

const READER: &str = "geriatrie@chu-demo.mssante.fr";

#[test]
fn searches_sorts_and_threads_are_those_of_dovecot() {
    let sandbox = Sandbox::shared();
    let dovecot = Imapc::with_own_mail("sandbox");
    let messages: Vec<String> = corpus(24).iter().map(|message| hex(message)).collect();
    let task = json!({
        "ours": { "port": sandbox.port("chu", "imaps"), "ca": sandbox.authority(), "user": READER, "password": "sandbox" },
        "dovecot": { "port": dovecot.port(), "user": "reader", "password": "sandbox" },
        "messages": messages,
    });
    Sandbox::python("imap_search.py", &task).assert_success();
}
