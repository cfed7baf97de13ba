//! What is offered, and when: one table. A row comes with the commit that makes its extension complete, never before.

use super::session::{Certificate, Options, Security, Tokens};
use super::wire;

/// One capability.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Capability {
    /// As written; one that ends with `=` is followed by a figure of this server.
    pub(crate) name: &'static str,
    /// Where it is defined; docs/imap.md says more.
    #[cfg_attr(not(test), expect(dead_code, reason = "docs/imap.md is checked against it"))]
    pub(crate) rfc: u16,
    pub(crate) offered: Offered,
}

/// In which states a capability is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offered {
    /// Always.
    Always,
    /// Before TLS.
    InClear,
    /// Between TLS and login.
    BeforeLogin,
    /// The same, when the client showed a certificate.
    WithCertificate,
    /// The same, where bearer tokens are taken.
    WithTokens,
    /// After login.
    LoggedIn,
}

impl Offered {
    fn holds(self, logged_in: bool, options: &Options) -> bool {
        let security = options.security;
        match self {
            Self::Always => true,
            Self::LoggedIn => logged_in,
            Self::InClear => !logged_in && security == Security::Clear,
            Self::BeforeLogin => !logged_in && security != Security::Clear,
            Self::WithTokens => Self::BeforeLogin.holds(logged_in, options) && options.tokens == Tokens::Taken,
            Self::WithCertificate => !logged_in && security == Security::Tls(Certificate::Shown),
        }
    }
}

/// Writes the capabilities of a state, a space between them.
pub(crate) fn write(out: &mut Vec<u8>, logged_in: bool, options: &Options) {
    let mut first = true;
    for capability in CAPABILITIES {
        if !capability.offered.holds(logged_in, options) {
            continue;
        }
        if !first {
            out.push(b' ');
        }
        first = false;
        out.extend_from_slice(capability.name.as_bytes());
        if capability.name == APPEND_LIMIT {
            wire::number(out, options.append_bytes_max as u64);
        }
    }
}

/// Whether somebody logged in is offered it.
pub(crate) fn is_offered(name: &str, options: &Options) -> bool {
    CAPABILITIES
        .iter()
        .any(|c| c.name == name && c.offered.holds(true, options))
}

const fn row(name: &'static str, rfc: u16, offered: Offered) -> Capability {
    Capability { name, rfc, offered }
}

/// All of them, in the order they are written.
pub(crate) const CAPABILITIES: &[Capability] = &[
    row("IMAP4rev1", 3501, Offered::Always),
    row("IMAP4rev2", 9051, Offered::Always),
    row("LITERAL+", 7888, Offered::Always),
    row("SASL-IR", 4959, Offered::Always),
    row("ID", 2971, Offered::Always),
    // Of use after the login only, and named before it too: Python's imaplib asks once, in the greeting.
    row("ENABLE", 5161, Offered::Always),
    row("IDLE", 2177, Offered::Always),
    row("STARTTLS", 3501, Offered::InClear),
    row("LOGINDISABLED", 3501, Offered::InClear),
    row("AUTH=PLAIN", 4616, Offered::BeforeLogin),
    row("AUTH=EXTERNAL", 4422, Offered::WithCertificate),
    row(APPEND_LIMIT, 7889, Offered::LoggedIn),
    row("MULTIAPPEND", 3502, Offered::LoggedIn),
    row("REPLACE", 8508, Offered::LoggedIn),
    row("COMPRESS=DEFLATE", 4978, Offered::LoggedIn),
    row("UNAUTHENTICATE", 8437, Offered::LoggedIn),
    row("AUTH=XOAUTH2", 7628, Offered::WithTokens),
    row("AUTH=OAUTHBEARER", 7628, Offered::WithTokens),
    row("UTF8=ACCEPT", 6855, Offered::LoggedIn),
    row("NAMESPACE", 2342, Offered::LoggedIn),
    row("UIDPLUS", 4315, Offered::LoggedIn),
    row("MOVE", 6851, Offered::LoggedIn),
    row("UNSELECT", 3691, Offered::LoggedIn),
    row("CHILDREN", 3348, Offered::LoggedIn),
    row("SPECIAL-USE", 6154, Offered::LoggedIn),
    row("ESEARCH", 4731, Offered::LoggedIn),
    row("SEARCHRES", 5182, Offered::LoggedIn),
    row("WITHIN", 5032, Offered::LoggedIn),
    row("SORT", 5256, Offered::LoggedIn),
    row("SORT=DISPLAY", 5957, Offered::LoggedIn),
    row("ESORT", 5267, Offered::LoggedIn),
    row("THREAD=ORDEREDSUBJECT", 5256, Offered::LoggedIn),
    row("THREAD=REFERENCES", 5256, Offered::LoggedIn),
    row("CREATE-SPECIAL-USE", 6154, Offered::LoggedIn),
    row("LIST-EXTENDED", 5258, Offered::LoggedIn),
    row("LIST-STATUS", 5819, Offered::LoggedIn),
    row("LIST-MYRIGHTS", 8440, Offered::LoggedIn),
    row("LIST-METADATA", 9590, Offered::LoggedIn),
    row("STATUS=SIZE", 8438, Offered::LoggedIn),
    row("QUOTA", 9208, Offered::LoggedIn),
    row("QUOTA=RES-STORAGE", 9208, Offered::LoggedIn),
    row("ACL", 4314, Offered::LoggedIn),
    row("RIGHTS=texk", 4314, Offered::LoggedIn),
    row("METADATA", 5464, Offered::LoggedIn),
    row("CONDSTORE", 7162, Offered::LoggedIn),
    row("QRESYNC", 7162, Offered::LoggedIn),
    row("NOTIFY", 5465, Offered::LoggedIn),
    row("BINARY", 3516, Offered::LoggedIn),
    row("PREVIEW", 8970, Offered::LoggedIn),
    row("SAVEDATE", 8514, Offered::LoggedIn),
    row("OBJECTID", 8474, Offered::LoggedIn),
    row("PARTIAL", 9394, Offered::LoggedIn),
];

/// RFC 7889 §2: the same for every folder.
const APPEND_LIMIT: &str = "APPENDLIMIT=";

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;

    /// A row of the table in docs/imap.md: name, RFC, state, tests.
    fn documented() -> Vec<(String, u16, String, Vec<String>)> {
        let page = include_str!("../../docs/imap.md");
        let rows = page.lines().filter(|line| line.starts_with("| `"));
        rows.map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            let [name, rfc, state, _, tests] = cells.as_slice() else {
                panic!("not five cells: {line}");
            };
            let rfc = rfc.strip_prefix("RFC ").unwrap();
            let (rfc, section) = rfc.split_once(' ').map_or((rfc, "§"), |(rfc, section)| (rfc, section));
            assert!(section.starts_with('§'), "{line}");
            let tests = tests.trim_matches(['`', '|', ' ']).split("` `").map(str::to_owned);
            (
                name.trim_matches('`').to_owned(),
                rfc.parse().unwrap(),
                (*state).to_owned(),
                tests.collect(),
            )
        })
        .collect()
    }

    fn words(offered: Offered) -> &'static str {
        match offered {
            Offered::Always => "always",
            Offered::InClear => "before TLS",
            Offered::BeforeLogin => "before login",
            Offered::WithCertificate => "with a certificate",
            Offered::WithTokens => "with tokens",
            Offered::LoggedIn => "after login",
        }
    }

    fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }

    #[test]
    fn the_page_and_the_table_say_the_same() {
        let mut page: Vec<_> = documented().into_iter().map(|(n, r, s, _)| (n, r, s)).collect();
        let mut table: Vec<_> = CAPABILITIES
            .iter()
            .map(|c| (c.name.to_owned(), c.rfc, words(c.offered).to_owned()))
            .collect();
        page.sort();
        table.sort();
        assert_eq!(page, table);
    }

    #[test]
    fn every_capability_has_tests_that_exist() {
        let mut files = Vec::new();
        for folder in ["src/imap", "src/mailbox", "src/listener", "tests"] {
            sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut files);
        }
        let code: Vec<String> = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
        for (name, _, _, tests) in documented() {
            for test in tests {
                let header = format!("fn {test}(");
                assert!(
                    code.iter().any(|text| text.contains(&header)),
                    "{name}: no test {test:?}"
                );
            }
        }
    }

    #[test]
    fn each_capability_stands_once() {
        for (at, capability) in CAPABILITIES.iter().enumerate() {
            let before = &CAPABILITIES[..at];
            assert!(
                !before.iter().any(|c| c.name == capability.name),
                "{} twice",
                capability.name
            );
        }
    }
}
