//! Who opens a box over IMAP, as whom, how often, and what they are told when the box changes its state under them.

#![cfg(test)]

mod common;

use common::{Clinic, Sandbox};
use serde_json::{Value, json};

const DELEGATE: &str = "delegue@clinique.mssante.fr";

/// The clinic with a second box, and a login that opens both; in `state`, and with or without its delegate.
fn configuration(clinic: &Clinic, state: &str, delegated: bool) -> String {
    let with_state = clinic.configuration().replace(
        "label = \"Accueil\"\n",
        &format!("label = \"Accueil\"\nstate = \"{state}\"\n"),
    );
    let shared = if delegated {
        format!(", \"{}\"", Clinic::BOX)
    } else {
        String::new()
    };
    format!(
        "{with_state}[[box]]\naddress = \"{DELEGATE}\"\ntype = \"ORG\"\nlabel = \"Direction\"\nestablishment = \"990000028\"\n\
         [[login]]\nname = \"delegue\"\nkind = \"password\"\npassword = \"delegue-secret\"\nboxes = [\"{DELEGATE}\"{shared}]\n"
    )
}

fn text<'a>(told: &'a Value, point: &str) -> &'a str {
    told[point].as_str().unwrap_or_else(|| panic!("{point}: {told}"))
}

#[test]
fn a_delegate_opens_the_shared_box_and_is_named() {
    let clinic = Clinic::new("connections_per_login_max = 2");
    clinic.write("gateway.toml", &configuration(&clinic, "active", true));
    let gateway = clinic.serve();
    let texts = json!({
        "active": configuration(&clinic, "active", true),
        "suspended": configuration(&clinic, "suspended", true),
        "without": configuration(&clinic, "active", false),
        "closed": configuration(&clinic, "closed", false),
    });
    let task = json!({
        "port": clinic.imaps, "ca": clinic.at("root.pem"), "pid": gateway.pid(), "box": Clinic::BOX,
        "configuration": clinic.at("gateway.toml"), "texts": texts,
        "holder": [Clinic::BOX, Clinic::PASSWORD], "delegate": [DELEGATE, "delegue-secret"],
    });
    let ran = Sandbox::python("imap_access.py", &task).assert_success();
    let told: Value = serde_json::from_str(&ran.stdout).unwrap();
    let told = |point: &str| text(&told, point).to_owned();
    let all: Value = serde_json::from_str(&ran.stdout).unwrap();

    assert_eq!(all["rights"], json!(["INBOX lrswipkxtea", "INBOX lrswipkxte"]));
    let holder = Clinic::BOX;
    assert_eq!(told("acl"), format!("INBOX {holder} lrswipkxtea {DELEGATE} lrswipkxte"));
    assert_eq!(told("acl for a delegate"), "NO");
    assert!(told("setacl").contains("[NOPERM]"), "{all}");
    assert_eq!(
        all["private"],
        json!(["INBOX (/private/comment NIL)"]),
        "each has its own"
    );
    assert_eq!(told("own"), "INBOX lrswipkxtea");
    assert!(told("foreign").contains("AUTHORIZATIONFAILED"), "{all}");
    let third = told("third");
    assert!(
        third.contains("[LIMIT]") && third.contains("too-many-connections"),
        "{third}"
    );

    for point in ["idle", "resting"] {
        let farewell = told(point);
        assert!(farewell.contains("[UNAVAILABLE] the box was suspended"), "{farewell}");
    }
    assert_eq!(all["read only"], json!(true));
    for point in ["append", "create"] {
        let refused = told(point);
        assert!(refused.contains("[UNAVAILABLE] the box is suspended"), "{refused}");
    }
    assert_eq!(told("rights when suspended"), "INBOX lr");
    assert!(
        told("resumed").contains("[UNAVAILABLE] the box is in use again"),
        "{all}"
    );
    assert!(
        told("withdrawn").contains("[UNAVAILABLE] what this login may open has changed"),
        "{all}"
    );
    assert!(told("refused").contains("AUTHORIZATIONFAILED"), "{all}");
    assert!(told("closed").contains("[UNAVAILABLE] the box was closed"), "{all}");
    assert!(told("gone").contains("box-closed"), "{all}");

    // Every access names who is behind it.
    let opened = clinic.records("opened");
    let by = |name: &str| {
        opened
            .iter()
            .filter(|record| record.to_string().contains(&format!("\"by\":\"{name}\"")))
            .count()
    };
    assert!(by(DELEGATE) >= 3 && by(holder) >= 5, "{opened:?}");
}
