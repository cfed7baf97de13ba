//! `vaguemestre list` as its user types it: on a sandbox, on files, over HTTP; and a gateway that lives by a list it fetches.

#![cfg(test)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::{Program, Sandbox, free_port, wait_until};

const LIMIT: Duration = Duration::from_mins(1);

fn web(sandbox: &Sandbox) -> String {
    sandbox.space().printed()["web"].as_str().unwrap().to_owned()
}

fn program() -> Program {
    Program::new(env!("CARGO_BIN_EXE_vaguemestre"))
}

#[track_caller]
fn list(args: &[&str], expected_code: i32) -> String {
    let finished = program().arg("list").args(args).run();
    let said = format!("{}{}", finished.stdout, finished.stderr);
    assert_eq!(finished.code, Some(expected_code), "list {args:?}: {said}");
    said
}

#[test]
fn the_sandbox_list_is_shown_verified_changed_signed_and_published() {
    let sandbox = Sandbox::up();
    let data = sandbox.data().display().to_string();
    let work = tempfile::tempdir().unwrap();
    let at = |name: &str| work.path().join(name).display().to_string();
    let own = format!("{data}/listeblanchemssante.xml");

    let shown = list(&["show", "--data", &data, "--domain", "ehpad-lilas"], 0);
    assert!(shown.contains("ehpad-lilas.mssante.fr\n    CN="), "{shown}");
    let json: serde_json::Value = serde_json::from_str(&list(&["show", "--data", &data, "--json"], 0)).unwrap();
    assert!(json["entries"].as_array().unwrap().len() > 5 && json["skipped"].as_array().unwrap().is_empty());

    // As published over HTTP, and as kept on disk.
    let url = format!("{}/listeblanchemssante.xml", web(&sandbox));
    for from in [&own, &url] {
        let verified = list(&["verify", from, "--data", &data], 0);
        assert_eq!(verified.matches("passed ").count(), 10, "{verified}");
        assert!(
            verified.contains("the list verifies") && !verified.contains("not looked at"),
            "{verified}"
        );
    }
    let altered = fs::read_to_string(&own)
        .unwrap()
        .replacen("ehpad-lilas", "ehpad-rose", 1);
    fs::write(at("altered.xml"), &altered).unwrap();
    let refused = list(&["verify", &at("altered.xml"), "--data", &data], 1);
    assert!(
        refused.contains("failed       the list is unaltered") && refused.contains("not reached"),
        "{refused}"
    );
    let other = list(&["verify", &own, "--data", &data, "--signer-cn", "Another"], 1);
    assert!(other.contains("expected CN=Another"), "{other}");

    // Published only once the authority's certificate has signed it.
    let refused = list(&["publish", &at("altered.xml"), "--data", &data], 1);
    assert!(refused.contains("was altered after it was signed"), "{refused}");
    list(
        &[
            "sign",
            &at("altered.xml"),
            "--data",
            &data,
            "--output",
            &at("signed.xml"),
        ],
        0,
    );
    let published = list(&["publish", &at("signed.xml"), "--data", &data], 0);
    assert!(published.contains("is in force"), "{published}");
    let shown = list(&["show", &url, "--domain", "ehpad-rose"], 0);
    assert!(shown.contains("ehpad-rose.mssante.fr"), "{shown}");
    let difference = list(&["diff", &own, &url], 0);
    assert!(difference.contains("no difference"), "{difference}");
}

#[test]
fn a_list_is_published_in_a_folder_with_its_checksum_and_only_signed() {
    let sandbox = Sandbox::up();
    let own = sandbox.data().join("listeblanchemssante.xml");
    let work = tempfile::tempdir().unwrap();
    let to = work.path().join("site");
    list(
        &["publish", &own.display().to_string(), "--to", &to.display().to_string()],
        0,
    );
    let bytes = fs::read(to.join("listeblanchemssante.xml")).unwrap();
    assert_eq!(bytes, fs::read(&own).unwrap());
    let sum = Program::new("sha256sum")
        .arg(to.join("listeblanchemssante.xml"))
        .run()
        .assert_success();
    let checksum = fs::read_to_string(to.join("checksum")).unwrap();
    assert_eq!(sum.stdout.split_whitespace().next(), Some(checksum.trim()));
    let text = String::from_utf8(bytes).unwrap();
    let (unsigned, _) = text.split_once("<ds:Signature").unwrap();
    let bare = work.path().join("bare.xml");
    fs::write(&bare, format!("{unsigned}</ListeBlancheMSSante>")).unwrap();
    let refused = list(
        &[
            "publish",
            &bare.display().to_string(),
            "--to",
            &to.display().to_string(),
        ],
        1,
    );
    assert!(refused.contains("is not signed"), "{refused}");
}

#[test]
fn two_lists_are_compared_in_words_and_the_exit_code_says_whether_they_differ() {
    let work = tempfile::tempdir().unwrap();
    let oddities = include_str!("../testdata/trust/oddities.xml");
    let (old, new) = (work.path().join("old.xml"), work.path().join("new.xml"));
    fs::write(&old, oddities).unwrap();
    fs::write(
        &new,
        oddities.replace(
            "CN=mss.clinique.exemple.fr,OU=399999999900017",
            "CN=mss.autre.fr,OU=1990000028",
        ),
    )
    .unwrap();
    let (old, new) = (old.display().to_string(), new.display().to_string());
    let said = list(&["diff", &old, &new], 1);
    assert!(
        said.contains("1 domain moved from CLINIQUE \"LES LILAS\" (399999999900017) to"),
        "{said}"
    );
    let json: serde_json::Value = serde_json::from_str(&list(&["diff", &old, &new, "--json"], 1)).unwrap();
    assert_eq!(json["moves"][0]["domains"][0], "clinique.exemple.mssante.fr");
    assert!(list(&["diff", &old, &old], 0).contains("no difference"));
    assert!(list(&["diff", &old, "/nonexistent"], 1).contains("cannot read"));
    let shown = list(&["show", &old, "--operator", "10B0078671"], 0);
    assert!(
        shown.contains("not used: line 28: Domaine \"sessad@exemple.mssante.fr\""),
        "{shown}"
    );
    assert!(
        shown.contains("cert-expire-audit") && !shown.contains("clinique"),
        "{shown}"
    );
}

/// A gateway whose authority is a sandbox: it fetches the list, keeps it, starts again from what it kept, and refuses what is older.
#[test]
fn a_gateway_lives_by_the_list_it_fetched_and_starts_again_without_network() {
    let sandbox = Sandbox::up();
    let work = tempfile::tempdir().unwrap();
    // Its own copies: the sandbox's go with it.
    let (certificate, key) = first_certificate(sandbox.data());
    for (from, name) in [
        (certificate, "tls.pem"),
        (key, "tls.key"),
        (sandbox.data().join("ca.pem"), "ca.pem"),
    ] {
        fs::copy(from, work.path().join(name)).unwrap();
    }
    let port = free_port();
    let config = |web: &str| {
        format!(
            "[operator]\nhost = \"mx.lilas.example\"\ndomains = [\"ehpad-lilas.mssante.fr\"]\n\
             [data]\nfolder = \"data\"\n[listen]\nsmtp = \"127.0.0.1:{port}\"\n\
             [tls]\ncertificate = \"tls.pem\"\nkey = \"tls.key\"\n\
             [trust]\nca = [\"ca.pem\"]\nmissing_revocation = \"accept\"\nreload = \"1s\"\n\
             allow_list_url = \"{web}/listeblanchemssante.xml\"\nallow_list_period = \"1s\"\n\
             allow_list_signer_cn = \"Liste Blanche MSSante TEST\"\nallow_list_signer_ou = \"399999999900017\"\n",
        )
    };
    let file = work.path().join("gateway.toml");
    fs::write(&file, config(&web(&sandbox))).unwrap();
    let serve = || {
        program()
            .arg("--log=info")
            .arg("serve")
            .arg("--config")
            .arg(&file)
            .start()
    };

    let running = serve();
    wait_until("it serves", LIMIT, || {
        running.stderr().contains("is serving").then_some(())
    });
    let kept = work.path().join("data/allow-list/list.xml");
    assert_eq!(
        fs::read(&kept).unwrap(),
        fs::read(sandbox.data().join("listeblanchemssante.xml")).unwrap()
    );
    running.stop("TERM", LIMIT).assert_success();

    drop(sandbox);
    let running = serve();
    wait_until("it serves from what it kept", LIMIT, || {
        running.stderr().contains("is serving").then_some(())
    });
    let said = running.stderr();
    assert!(said.contains("starting with the last good one"), "{said}");
    running.stop("TERM", LIMIT).assert_success();

    // Without network and without anything kept there is no trust, hence no service.
    fs::remove_dir_all(work.path().join("data/allow-list")).unwrap();
    let refused = program().arg("serve").arg("--config").arg(&file).run();
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(
        refused.stderr.contains("/listeblanchemssante.xml"),
        "{}",
        refused.stderr
    );
}

/// Certificate and key of one of the sandbox's hosts.
fn first_certificate(data: &Path) -> (PathBuf, PathBuf) {
    let mut folders: Vec<_> = fs::read_dir(data.join("operators"))
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    folders.sort();
    let hosts = folders
        .iter()
        .flat_map(|folder| fs::read_dir(folder).unwrap().flatten());
    let host = hosts
        .map(|entry| entry.path())
        .find(|path| path.join("cert.pem").exists())
        .unwrap();
    (host.join("cert.pem"), host.join("key.pem"))
}
