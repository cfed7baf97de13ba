//! Module walls: a single crate gives none, so this test is the wall. A module names only lower layers and its listed friends;
//! the protocol and policy layers stay free of sockets, clocks and files, which is what makes them testable with bytes alone.

#![cfg(test)]

mod source;

use source::{Part, SourceFile, project_files, words};

/// One top-level module: its layer, and the modules of the same layer that it may name. `docs/architecture.md` gives the reasons.
struct Module {
    name: &'static str,
    layer: u8,
    friends: &'static [&'static str],
}

const fn module(layer: u8, name: &'static str, friends: &'static [&'static str]) -> Module {
    Module { name, layer, friends }
}

/// The one table of layers. A new top-level module gets a line here, or the test fails.
const MODULES: &[Module] = &[
    // 0: values and time
    module(0, "identity", &[]),
    module(0, "clock", &[]),
    // Counting is for everybody.
    module(0, "metrics", &[]),
    // 1: protocols and decisions, pure
    module(1, "message", &[]),
    module(1, "xdm", &[]),
    // Refusals and their reasons are the one vocabulary that protocols and trust share.
    module(1, "policy", &["message"]),
    // How a client logs in is the same in both protocols.
    module(1, "sasl", &[]),
    module(1, "smtp", &["policy", "sasl"]),
    module(1, "imap", &["message", "sasl"]),
    module(1, "trust", &["policy"]),
    // 2: durable bytes and rows; keys and certificates
    module(2, "store", &[]),
    module(2, "pki", &[]),
    // 3: rules over stored state
    module(3, "journal", &[]),
    module(3, "directory", &["journal"]),
    module(3, "indicator", &["journal", "directory"]),
    module(3, "mailbox", &["journal", "directory", "indicator"]),
    module(3, "queue", &["journal", "directory", "indicator", "mailbox"]),
    // 4: sockets, TLS, HTTP; no decisions
    module(4, "dns", &[]),
    module(4, "sync", &[]),
    // A certificate whose revocation nobody can tell yet is asked about before it is judged.
    module(4, "listener", &["sync"]),
    // What one operator's sessions and its relay share is `listener::Parts`.
    module(4, "relay", &["dns", "listener", "sync"]),
    // What clients are told to connect to is what DNS tells them.
    module(4, "web", &["dns"]),
    // 5: composition, and the outermost tools
    module(5, "config", &[]),
    module(5, "app", &["config"]),
    // The certificate laboratory plays peers of its own and composes no operator.
    module(5, "lab", &["config"]),
    module(5, "space", &["app", "config", "lab"]),
    // Proof of durability: raises operators as processes, and stores on a disk that fails.
    module(5, "selftest", &["config"]),
    module(5, "scenario", &["app", "config", "space"]),
    module(5, "conformance", &["app", "config", "space", "scenario"]),
    module(
        5,
        "cli",
        &["app", "config", "lab", "space", "selftest", "scenario", "conformance"],
    ),
    module(5, "main", &["cli"]),
];

/// Up to this layer a module is pure: bytes and `now` come in, bytes and verdicts go out.
const PURE_LAYER_MAX: u8 = 1;
/// What a pure module never names.
const IMPURE_WORDS: &[&str] = &["tokio", "async", "await"];
const IMPURE_PATHS: &[&str] = &["std::fs", "std::process", "std::env", "std::thread"];
/// Up to this layer no module opens a socket.
const SOCKETLESS_LAYER_MAX: u8 = 3;
const SOCKET_WORDS: &[&str] = &[
    "TcpListener",
    "TcpStream",
    "UdpSocket",
    "UnixStream",
    "UnixListener",
    "axum",
    "tokio_rustls",
    "hickory_resolver",
    "hyper",
];

#[test]
fn every_module_names_only_what_lies_below_it() {
    let findings: Vec<String> = project_files()
        .iter()
        .filter(|file| file.is_product())
        .flat_map(check)
        .collect();
    assert!(findings.is_empty(), "module walls are broken:\n{}", findings.join("\n"));
}

/// All findings of one file, as `path:line: what`.
fn check(file: &SourceFile) -> Vec<String> {
    let Some(own) = own_module(&file.path) else {
        return Vec::new(); // lib.rs declares the modules and holds nothing else
    };
    let Some(own) = MODULES.iter().find(|module| module.name == own) else {
        return vec![format!(
            "{}:1: top-level module `{own}` has no layer in tests/layers.rs",
            file.path
        )];
    };
    let code = file.only(&[Part::Code]);
    let mut findings = wrong_uses(file, own, &code);
    for ((index, line), is_test) in code.lines().enumerate().zip(file.test_lines()) {
        findings.extend(
            forbidden_words(own, line, is_test)
                .into_iter()
                .map(|what| format!("{}:{}: {what}", file.path, index + 1)),
        );
    }
    findings
}

/// The top-level module a file belongs to; `None` for the crate root.
fn own_module(path: &str) -> Option<&str> {
    let below = path.strip_prefix("src/")?;
    let first = below.split('/').next()?;
    (below != "lib.rs").then(|| first.strip_suffix(".rs").unwrap_or(first))
}

fn wrong_uses(file: &SourceFile, own: &Module, code: &str) -> Vec<String> {
    let depth = module_depth(&file.path);
    let tests = file.test_modules();
    let mut findings = Vec::new();
    for (at, name) in named_modules(code) {
        let line = code[..at].matches('\n').count();
        if let Some(what) = wrong_use(own, &name) {
            findings.push(format!("{}:{}: {what}", file.path, line + 1));
        }
    }
    for (at, length) in super_chains(code) {
        let line = code[..at].matches('\n').count();
        let inner = usize::from(tests.iter().any(|range| range.contains(&line)));
        if length >= depth + inner {
            findings.push(format!(
                "{}:{}: `super` leaves the module: write `crate::…`",
                file.path,
                line + 1
            ));
        }
    }
    findings
}

fn wrong_use(own: &Module, name: &str) -> Option<String> {
    if name == own.name {
        return None;
    }
    match MODULES.iter().find(|module| module.name == name) {
        None => Some(format!("`{name}` has no layer in tests/layers.rs")),
        Some(other) if other.layer < own.layer || own.friends.contains(&other.name) => None,
        Some(other) => Some(format!(
            "`{}` (layer {}) may not name `{name}` (layer {})",
            own.name, own.layer, other.layer
        )),
    }
}

/// How many modules deep a file's own items are: `src/a.rs` and `src/a/mod.rs` are 1, `src/a/b.rs` is 2.
fn module_depth(path: &str) -> usize {
    let steps = path.split('/').count() - 1;
    if path.ends_with("/mod.rs") { steps - 1 } else { steps }
}

/// Every top-level module named as `crate::name`, `crate::{name, …}` or, from the binary, `vaguemestre::name`.
fn named_modules(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for root in ["crate::", "vaguemestre::"] {
        for (at, _) in code.match_indices(root) {
            if code[..at].ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | ':' | '$')) {
                continue;
            }
            let rest = &code[at + root.len()..];
            let names = if rest.starts_with('{') {
                group_heads(rest)
            } else {
                words(rest.lines().next().unwrap_or(""))
            };
            let take = if rest.starts_with('{') { names.len() } else { 1 };
            // `crate::Item` and `crate::macro_name!` are not modules: the crate root holds nothing but modules.
            found.extend(names.into_iter().take(take).map(|name| (at, name.to_owned())));
        }
    }
    found
}

/// The first word of each member of `{a::b, c::{d, e}}`.
fn group_heads(group: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    let mut heads = Vec::new();
    let mut member_start = 0;
    for (at, c) in group.char_indices() {
        let ends_member = match c {
            '{' => {
                depth += 1;
                if depth == 1 {
                    member_start = at + 1;
                }
                false
            }
            '}' => {
                depth -= 1;
                depth == 0
            }
            ',' => depth == 1,
            _ => false,
        };
        if ends_member {
            heads.extend(words(&group[member_start..at]).into_iter().next());
            member_start = at + 1;
        }
        if depth == 0 {
            break;
        }
    }
    heads
}

/// Where a chain of `super::` begins, and how long it is.
fn super_chains(code: &str) -> Vec<(usize, usize)> {
    const STEP: &str = "super::";
    let mut chains: Vec<(usize, usize)> = Vec::new();
    let mut chain_end = usize::MAX;
    for (at, _) in code.match_indices(STEP) {
        match chains.last_mut() {
            Some(last) if chain_end == at => last.1 += 1,
            _ => chains.push((at, 1)),
        }
        chain_end = at + STEP.len();
    }
    chains
}

/// Tests may start the programs they compare with; they still neither wait nor read the clock.
fn forbidden_words(own: &Module, line: &str, is_test: bool) -> Vec<String> {
    let found = words(line);
    let mut findings = Vec::new();
    if own.layer <= PURE_LAYER_MAX && own.name != "clock" {
        findings.extend(
            IMPURE_WORDS
                .iter()
                .filter(|word| found.contains(word))
                .map(|word| format!("`{word}` in the pure module `{}`", own.name)),
        );
        findings.extend(
            IMPURE_PATHS
                .iter()
                .filter(|path| !is_test && line.contains(*path))
                .map(|path| format!("`{path}` in the pure module `{}`", own.name)),
        );
        if reads_clock(line) {
            findings.push(format!("`{}` reads the time: it must be an argument", own.name));
        }
    }
    if own.layer <= SOCKETLESS_LAYER_MAX {
        findings.extend(
            SOCKET_WORDS
                .iter()
                .filter(|word| found.contains(word))
                .map(|word| format!("`{word}`: sockets belong to layer 4, not to `{}`", own.name)),
        );
    }
    findings
}

/// `now()` as a whole word.
fn reads_clock(line: &str) -> bool {
    line.match_indices("now()")
        .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
}

mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> Vec<String> {
        check(&SourceFile::sample(path, text))
    }

    fn assert_refused(path: &str, text: &str, what: &str) {
        let found = findings(path, text);
        assert!(
            found.iter().any(|line| line.contains(what)),
            "{path}: {text:?} gave {found:?}, expected {what:?}"
        );
    }

    #[test]
    fn the_table_is_sound() {
        for (index, module) in MODULES.iter().enumerate() {
            assert!(
                MODULES[..index].iter().all(|earlier| earlier.name != module.name),
                "{} stands twice",
                module.name
            );
            for friend in module.friends {
                // A friend stands above in the table: so no two modules can be each other's friends, however indirectly.
                let earlier = MODULES[..index].iter().find(|other| other.name == *friend);
                assert!(
                    earlier.is_some_and(|other| other.layer == module.layer),
                    "{}: friend {friend} must stand before it, in the same layer",
                    module.name
                );
            }
        }
    }

    #[test]
    fn what_lies_below_may_be_named() {
        for (path, text) in [
            (
                "src/smtp/session.rs",
                "use crate::identity::Address;\nuse super::Reply;\n",
            ),
            (
                "src/policy/inbound.rs",
                "use crate::{message::Class, identity::{Address, Domain}};",
            ),
            (
                "src/queue/item.rs",
                "use crate::store::Store;\nuse tokio::sync::Notify;",
            ),
            ("src/main.rs", "fn main() { vaguemestre::cli::run(); }"),
            (
                "src/imap/mod.rs",
                "// crate::store is not for us, and neither is now()\nconst A: &str = \"tokio crate::store\";",
            ),
            (
                "src/smtp/session.rs",
                "mod a;\n#[cfg(test)]\nmod tests {\n    use super::super::Reply;\n}\n",
            ),
            ("src/clock.rs", "fn a() { Timestamp::now(); }"),
            ("src/lib.rs", "pub mod anything;"),
        ] {
            assert_eq!(findings(path, text), Vec::<String>::new(), "{path}: {text}");
        }
    }

    #[test]
    fn a_use_of_a_higher_or_foreign_module_is_refused() {
        for (path, text) in [
            ("src/smtp/mod.rs", "use crate::store::Store;"),
            ("src/smtp/mod.rs", "use crate::imap::Session;"),
            ("src/imap/mod.rs", "use crate::smtp::Session;"),
            (
                "src/smtp/mod.rs",
                "use crate::{\n    identity::Address,\n    queue,\n};",
            ),
            ("src/identity/ins.rs", "fn a(c: &crate::clock::Clock) {}"),
            ("src/store/sqlite/mod.rs", "pub(crate) use crate::journal::Record;"),
            ("src/cli/up.rs", "use vaguemestre::main;"),
            (
                "src/journal/mod.rs",
                "#[cfg(test)]\nmod tests {\n    use crate::app::App;\n}",
            ),
        ] {
            assert_refused(path, text, "may not name");
        }
        assert_refused("src/app.rs", "use crate::nowhere::A;", "`nowhere` has no layer");
    }

    #[test]
    fn super_cannot_climb_over_the_wall() {
        assert_refused("src/clock.rs", "use super::store::Store;", "leaves the module");
        assert_refused("src/smtp/mod.rs", "use super::store::Store;", "leaves the module");
        assert_refused(
            "src/smtp/session.rs",
            "use super::super::store::Store;",
            "leaves the module",
        );
        assert_refused(
            "src/clock.rs",
            "#[cfg(test)]\nmod tests {\n    use super::super::store::A;\n}",
            "leaves the module",
        );
    }

    #[test]
    fn a_module_without_a_layer_is_refused() {
        assert_refused("src/util.rs", "", "no layer");
        assert_refused("src/helpers/mod.rs", "", "no layer");
    }

    #[test]
    fn pure_modules_wait_for_nothing_and_read_no_clock() {
        for text in [
            "use tokio::sync::Notify;",
            "async fn a() {}",
            "fn a() { std::fs::read(\"x\"); }",
            "fn a() { let at = Timestamp::now(); }",
            "fn a(c: Clock) { c.now(); }",
        ] {
            assert!(!findings("src/policy/inbound.rs", text).is_empty(), "{text}");
        }
        assert_eq!(
            findings("src/policy/inbound.rs", "fn a(now: Timestamp) { known(); }"),
            Vec::<String>::new()
        );
    }

    #[test]
    fn rules_over_stored_state_open_no_socket() {
        assert_refused("src/queue/mod.rs", "use tokio::net::TcpStream;", "layer 4");
        assert_eq!(
            findings("src/relay/mod.rs", "use tokio::net::TcpStream;"),
            Vec::<String>::new()
        );
    }
}
