//! House rules that no linter knows, each with its reason and each tried on bad samples. `CONTRIBUTING.md` lists them for people.

#![cfg(test)]

mod source;

use std::collections::BTreeSet;

use source::{Part, SourceFile, block_end, project_files, words};
use vaguemestre::policy::Reason;

/// A rule: findings of one file, as `path:line: what`.
type Rule = fn(&SourceFile) -> Vec<String>;

const RULES: &[Rule] = &[
    opens_with_its_purpose,
    functions_stay_short,
    files_stay_short,
    nothing_is_left_unfinished,
    lint_exceptions_have_a_reason,
    rfc_citations_have_one_form,
    requirement_ids_exist,
    nothing_of_one_machine,
    no_committed_keys,
    only_the_laboratory_has_the_authoritys_keys,
];

/// A function longer than this hides a decision that wants a name.
const FUNCTION_LINES_MAX: usize = 70;
/// A file longer than this holds two subjects.
const FILE_LINES_MAX: usize = 500;

#[test]
fn the_project_keeps_its_own_rules() {
    let findings: Vec<String> = project_files()
        .iter()
        .flat_map(|file| RULES.iter().flat_map(|rule| rule(file)).collect::<Vec<_>>())
        .collect();
    assert!(findings.is_empty(), "house rules are broken:\n{}", findings.join("\n"));
}

#[test]
fn the_documented_reasons_are_those_of_the_code() {
    let page = include_str!("../docs/reasons.md");
    let documented: Vec<(String, String)> = page.lines().filter_map(reason_row).collect();
    let coded: Vec<(String, String)> = Reason::ALL
        .iter()
        .map(|reason| {
            let (code, status) = reason.code();
            (reason.id().to_owned(), format!("{code} {status}"))
        })
        .collect();
    assert_eq!(
        documented, coded,
        "docs/reasons.md lists the reasons of src/policy/refusal.rs, in its order"
    );
}

/// Id and codes of a row "| `id` | 550 5.7.1 | meaning | remedy |".
fn reason_row(line: &str) -> Option<(String, String)> {
    let cells: Vec<&str> = line.split('|').map(str::trim).collect();
    match cells.as_slice() {
        ["", id, codes, meaning, remedy, ""] if id.starts_with('`') => {
            assert!(
                !meaning.is_empty() && !remedy.is_empty(),
                "{id} has no meaning or no remedy"
            );
            Some((id.trim_matches('`').to_owned(), (*codes).to_owned()))
        }
        _ => None,
    }
}

#[test]
fn the_french_readme_shows_the_same_commands() {
    let english = commands_shown(include_str!("../README.md"));
    assert!(english.len() > 10, "no commands found: {english:?}");
    assert_eq!(english, commands_shown(include_str!("../README.fr.md")));
}

/// Shell lines without their comments, and the first cell of each row of the commands' table.
fn commands_shown(page: &str) -> Vec<&str> {
    let mut in_block = false;
    let mut found = Vec::new();
    for line in page.lines() {
        if line.starts_with("```") {
            in_block = !in_block;
        } else if in_block && !line.starts_with('#') {
            found.push(line.split(" #").next().unwrap_or(line).trim_end());
        } else if line.starts_with("| `") {
            found.extend(line.split('|').nth(1).map(str::trim));
        }
    }
    found
}

/// Every Rust file says first what it is for.
fn opens_with_its_purpose(file: &SourceFile) -> Vec<String> {
    let first = file.text.lines().next().unwrap_or("");
    if file.is_rust() && !first.starts_with("//! ") {
        return vec![format!(
            "{}:1: begin with a `//!` line that says what this file is for",
            file.path
        )];
    }
    Vec::new()
}

fn functions_stay_short(file: &SourceFile) -> Vec<String> {
    if !file.is_rust() {
        return Vec::new();
    }
    let code = file.only(&[Part::Code]);
    let lines: Vec<&str> = code.lines().collect();
    let long = |start: usize| {
        let length = block_end(&lines, start)? + 1 - start;
        (length > FUNCTION_LINES_MAX).then(|| {
            let name = words(lines[start])
                .into_iter()
                .skip_while(|word| *word != "fn")
                .nth(1)
                .unwrap_or("?");
            format!(
                "{}:{}: `{name}` has {length} lines, {FUNCTION_LINES_MAX} at most",
                file.path,
                start + 1
            )
        })
    };
    (0..lines.len())
        .filter(|index| begins_function(lines[*index]))
        .filter_map(long)
        .collect()
}

fn begins_function(line: &str) -> bool {
    const BEFORE_FN: [&str; 9] = [
        "pub", "crate", "super", "in", "const", "async", "unsafe", "extern", "default",
    ];
    let found = words(line);
    found.iter().find(|word| !BEFORE_FN.contains(word)) == Some(&"fn")
}

fn files_stay_short(file: &SourceFile) -> Vec<String> {
    let product = file.test_lines().into_iter().filter(|is_test| !is_test).count();
    if product > FILE_LINES_MAX {
        return vec![format!(
            "{}:1: {product} lines without tests, {FILE_LINES_MAX} at most: split by subject",
            file.path
        )];
    }
    Vec::new()
}

/// Markers of unfinished work anywhere; in tests also what hides a failure or guesses how long something takes.
fn nothing_is_left_unfinished(file: &SourceFile) -> Vec<String> {
    // Written in two halves, so that this file passes its own rule.
    const MARKERS: [&str; 2] = [concat!("FIX", "ME"), concat!("XX", "X")];
    const EVERYWHERE: [&str; 4] = ["todo!", "unimplemented!", "dbg!", "thread::sleep"];
    const IN_PRODUCT: [&str; 1] = [".unwrap()"];
    const IN_TESTS: [&str; 3] = ["#[ignore", "time::sleep", "sleep("];
    let mut findings = Vec::new();
    let mut report = |index: usize, word: &str| {
        findings.push(format!("{}:{}: `{word}` must not be committed", file.path, index + 1));
    };
    for (index, line) in file.text.lines().enumerate() {
        MARKERS
            .iter()
            .filter(|word| words(line).contains(word))
            .for_each(|word| report(index, word));
    }
    if !file.is_rust() {
        return findings;
    }
    let code = file.only(&[Part::Code]);
    for ((index, line), is_test) in code.lines().enumerate().zip(file.test_lines()) {
        let by_place: &[&str] = if is_test { &IN_TESTS } else { &IN_PRODUCT };
        let found = EVERYWHERE.iter().chain(by_place).find(|word| line.contains(*word));
        findings.extend(found.map(|word| format!("{}:{}: `{word}` must not be committed", file.path, index + 1)));
    }
    findings
}

fn lint_exceptions_have_a_reason(file: &SourceFile) -> Vec<String> {
    if !file.is_rust() {
        return Vec::new();
    }
    let code = file.only(&[Part::Code]);
    let mut findings = Vec::new();
    for attribute in ["#[allow(", "#![allow(", "#[expect(", "#![expect("] {
        for (at, _) in code.match_indices(attribute) {
            let body = code[at..].split_once(")]").map_or(&code[at..], |(body, _)| body);
            if !words(body).contains(&"reason") {
                let line = code[..at].matches('\n').count() + 1;
                findings.push(format!("{}:{line}: `{attribute}…)]` without a reason", file.path));
            }
        }
    }
    findings
}

/// `RFC 5321 §4.5.3.1.10`: one form, so that every citation of a document can be found. In a plain comment, which stands above the
/// code that satisfies the clause, the section is required; prose may name a whole document.
fn rfc_citations_have_one_form(file: &SourceFile) -> Vec<String> {
    if !file.is_rust() {
        return Vec::new();
    }
    let comments = file.only(&[Part::Comment]);
    let docs = file.only(&[Part::Doc]);
    let mut findings = Vec::new();
    for (text, section_required) in [(comments, true), (docs, false)] {
        for (index, line) in text.lines().enumerate() {
            for (at, _) in line.match_indices("RFC") {
                if let Some(what) = wrong_citation(&line[at + 3..], section_required) {
                    findings.push(format!("{}:{}: {what}: write `RFC 5321 §4.2`", file.path, index + 1));
                }
            }
        }
    }
    findings
}

/// What is wrong with a citation, given what follows the letters.
fn wrong_citation(rest: &str, section_required: bool) -> Option<&'static str> {
    if rest.starts_with("822") && !rest[3..].starts_with(|c: char| c.is_ascii_digit()) {
        return None; // the IMAP items RFC822, RFC822.SIZE, …
    }
    if rest.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '_')) {
        return Some("no space before the number");
    }
    let number = rest.strip_prefix(' ')?;
    let digits = number.chars().take_while(char::is_ascii_digit).count();
    if digits == 0 {
        return None;
    }
    let after = number[digits..].trim_start_matches([',', ' ']);
    let cited = after.strip_prefix('§');
    match cited {
        Some(section) if number[digits..].starts_with(" §") => (!section
            .starts_with(|c: char| c.is_ascii_digit() || c.is_ascii_uppercase()))
        .then_some("no section after §"),
        Some(_) => Some("one space before §"),
        None if ["section", "Section", "sec."]
            .iter()
            .any(|word| after.starts_with(word)) =>
        {
            Some("section not written with §")
        }
        None if section_required => Some("no section"),
        None => None,
    }
}

/// A cited national requirement stands in the list: a wrong number is worse than none.
fn requirement_ids_exist(file: &SourceFile) -> Vec<String> {
    if file.path == "tests/style.rs" {
        return Vec::new(); // its samples are wrong on purpose
    }
    let known = known_requirements();
    let mut findings = Vec::new();
    for (index, line) in file.prose().lines().enumerate() {
        for id in cited_requirements(line) {
            if !known.contains(id) {
                findings.push(format!(
                    "{}:{}: `{id}` is not in testdata/requirements.tsv",
                    file.path,
                    index + 1
                ));
            }
        }
    }
    findings
}

fn known_requirements() -> BTreeSet<&'static str> {
    include_str!("../testdata/requirements.tsv")
        .lines()
        .skip(1)
        .flat_map(|row| row.split('\t').take(2))
        .flat_map(|cell| cell.split([' ', ',']))
        .filter(|id| !id.is_empty())
        .collect()
}

/// Words that have the shape of a requirement number.
fn cited_requirements(line: &str) -> Vec<&str> {
    const FAMILIES: [&str; 12] = [
        "ECO.",
        "OP-",
        "HOP-",
        "SENTINELLE.",
        "SC.MSS/",
        "SC.CDA/",
        "SC.PSC.",
        "LGC.",
        "MSS/va",
        "INS/va",
        "ANN/va",
        "ERGO/va",
    ];
    line.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '/' | '-')))
        .map(|word| word.trim_matches(['.', '/', '-']))
        .filter(|word| {
            FAMILIES.iter().chain(&["AMBU.MSS/va"]).any(|family| {
                word.strip_prefix(family)
                    .is_some_and(|rest| rest.contains(|c: char| c.is_ascii_digit()) && !rest.contains("mssante"))
            })
        })
        .collect()
}

/// A path of somebody's machine, or the host name of a package registry, is of no use to anybody else.
fn nothing_of_one_machine(file: &SourceFile) -> Vec<String> {
    const FORBIDDEN: [&str; 11] = [
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("static.", "crates.io"),
        concat!("index.", "crates.io"),
        concat!("registry.", "npmjs.org"),
        concat!("python", "hosted.org"),
        concat!("py", "pi.org"),
        concat!("proxy.", "golang.org"),
        concat!("docker", ".io"),
        concat!("gc", "r.io"),
        concat!("ghc", "r.io"),
    ];
    if file.path == "Cargo.lock" {
        return Vec::new(); // names where each crate came from: that is its job
    }
    let mut findings = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        for word in FORBIDDEN.iter().filter(|word| names(line, word)) {
            findings.push(format!("{}:{}: `{word}` must not be committed", file.path, index + 1));
        }
    }
    findings
}

/// Whether `line` has `word`, and not as the end of a longer word: `target/a/` is not `/a/`.
fn names(line: &str, word: &str) -> bool {
    line.match_indices(word)
        .any(|(at, _)| !line[..at].ends_with(char::is_alphanumeric))
}

/// Keys are generated into the data folder; one in the repository would end up trusted somewhere.
fn no_committed_keys(file: &SourceFile) -> Vec<String> {
    const ENDING: &str = concat!("PRIVATE KEY", "-----");
    let text = if file.is_rust() {
        file.only(&[Part::Literal])
    } else {
        file.text.clone()
    };
    let begins = |line: &str| line.contains("-----BEGIN") && line.contains(ENDING);
    // A line of code or prose that names the header is not a key: a key has base64 on the next line.
    let lines: Vec<&str> = text.lines().collect();
    (0..lines.len())
        .filter(|index| begins(lines[*index]) && lines.get(index + 1).is_some_and(|next| next.trim().len() > 40))
        .map(|index| format!("{}:{}: a private key must not be committed", file.path, index + 1))
        .collect()
}

/// Whoever holds the authority's keys can be the authority: only what forges bad certificates on purpose may ask for them.
fn only_the_laboratory_has_the_authoritys_keys(file: &SourceFile) -> Vec<String> {
    let allowed = file.path.starts_with("src/lab/") || file.path == "src/pki/lab.rs";
    if allowed || !file.is_rust() {
        return Vec::new();
    }
    let code = file.only(&[Part::Code]);
    let named = |line: &str| {
        words(line)
            .iter()
            .any(|word| ["lab_signer", "LabSigner"].contains(word))
    };
    let lines = code
        .lines()
        .enumerate()
        .filter(|(_, line)| named(line) && !line.trim_start().starts_with("pub use"));
    lines
        .map(|(index, _)| {
            format!(
                "{}:{}: only src/lab may hold the authority's keys",
                file.path,
                index + 1
            )
        })
        .collect()
}

mod tests {
    use super::*;

    #[track_caller]
    fn refuses(rule: Rule, path: &str, text: &str) {
        assert!(
            !rule(&SourceFile::sample(path, text)).is_empty(),
            "{path} should be refused: {text:?}"
        );
    }

    #[track_caller]
    fn accepts(rule: Rule, path: &str, text: &str) {
        assert_eq!(
            rule(&SourceFile::sample(path, text)),
            Vec::<String>::new(),
            "{path}: {text:?}"
        );
    }

    #[test]
    fn a_file_without_a_purpose_is_refused() {
        refuses(opens_with_its_purpose, "src/a.rs", "use std::fmt;\n");
        refuses(opens_with_its_purpose, "tests/a.rs", "");
        accepts(opens_with_its_purpose, "src/a.rs", "//! What and why.\n");
        accepts(opens_with_its_purpose, "README.md", "# Title\n");
    }

    #[test]
    fn a_function_of_71_lines_is_refused() {
        let function = |inner: usize| {
            format!(
                "pub(crate) async fn long(x: [u8; 4]) {{\n{}}}\n",
                "    a();\n".repeat(inner)
            )
        };
        refuses(functions_stay_short, "src/a.rs", &function(69));
        accepts(functions_stay_short, "src/a.rs", &function(68));
        let shorts = "    fn a(&self) {}\n".repeat(100);
        accepts(
            functions_stay_short,
            "src/a.rs",
            &format!("trait A {{\n    fn b(&self);\n{shorts}}}\n"),
        );
        let braces_in_text = format!("fn a() {{\n    b(\"{{\", '{{'); // {{\n}}\n{}", "\n".repeat(80));
        accepts(functions_stay_short, "src/a.rs", &format!("{braces_in_text}}}"));
    }

    #[test]
    fn a_file_of_501_lines_is_refused_but_its_tests_are_free() {
        refuses(files_stay_short, "src/a.rs", &"a();\n".repeat(501));
        accepts(files_stay_short, "src/a.rs", &"a();\n".repeat(500));
        let tests = format!(
            "{}#[cfg(test)]\nmod tests {{\n{}}}\n",
            "a();\n".repeat(500),
            "    b();\n".repeat(500)
        );
        accepts(files_stay_short, "src/a.rs", &tests);
        refuses(files_stay_short, "src/a.rs", &format!("{tests}a();\n"));
    }

    #[test]
    fn unfinished_work_and_blind_waits_are_refused() {
        let marker = concat!("// FIX", "ME later\n");
        refuses(nothing_is_left_unfinished, "src/a.rs", marker);
        refuses(nothing_is_left_unfinished, "docs/a.md", marker);
        refuses(nothing_is_left_unfinished, "src/a.rs", concat!("// XX", "X\n"));
        for (path, text) in [
            ("src/a.rs", "fn a() { todo!() }"),
            ("src/a.rs", "fn a() { b.unwrap(); }"),
            ("src/a.rs", "fn a() { std::thread::sleep(b); }"),
            ("tests/a.rs", "fn a() { tokio::time::sleep(b).await; }"),
            ("tests/a.rs", "#[test]\n#[ignore = \"slow\"]\nfn a() {}"),
            ("src/a.rs", "#[cfg(test)]\nmod tests {\n    #[ignore]\n    fn a() {}\n}"),
        ] {
            refuses(nothing_is_left_unfinished, path, text);
        }
        for (path, text) in [
            ("src/a.rs", "fn a() { tokio::time::sleep(until).await; }"),
            (
                "src/a.rs",
                "const A: &str = \"todo!() .unwrap()\"; // .unwrap() is refused",
            ),
            ("src/a.rs", "#[cfg(test)]\nmod tests {\n    fn a() { b.unwrap(); }\n}"),
            ("tests/a.rs", "fn a() { b.unwrap(); }"),
        ] {
            accepts(nothing_is_left_unfinished, path, text);
        }
    }

    #[test]
    fn a_lint_is_not_silenced_without_a_reason() {
        refuses(
            lint_exceptions_have_a_reason,
            "src/a.rs",
            "#[allow(dead_code)]\nfn reason() {}",
        );
        refuses(
            lint_exceptions_have_a_reason,
            "src/a.rs",
            "#![expect(\n    dead_code\n)]",
        );
        accepts(
            lint_exceptions_have_a_reason,
            "src/a.rs",
            "#[expect(\n    dead_code,\n    reason = \"because\"\n)]",
        );
    }

    #[test]
    fn citations_have_one_form() {
        for text in [
            "// RFC5321 §4.2",
            "/// RFC-5321",
            "// RFC 5321, §4.2",
            "// RFC 5321 section 4.2",
            "//! RFC 5321 Section 4.2",
            "// RFC 5321",
            "/// RFC 5321 §",
            "// see RFC 5321§4.2",
        ] {
            refuses(rfc_citations_have_one_form, "src/a.rs", text);
        }
        for text in [
            "// RFC 5321 §4.5.3.1.10",
            "// RFC 5321 §4.2, RFC 5322 §A.1",
            "/// Statuses of RFC 3463.",
            "//! RFC 9051, the protocol.",
            "// FETCH RFC822.SIZE",
            "const A: &str = \"RFC5321\";",
        ] {
            accepts(rfc_citations_have_one_form, "src/a.rs", text);
        }
    }

    #[test]
    fn a_requirement_that_does_not_exist_is_refused() {
        for text in [
            "// ECO.1.1.55",
            "/// OP-99.",
            "// (SC.MSS/CONF.99)",
            "// ECO.1.1",
            "const A: &str = \"MSS/va1.99\";",
        ] {
            refuses(requirement_ids_exist, "src/a.rs", text);
        }
        refuses(requirement_ids_exist, "docs/a.md", "satisfies OP-0");
        for text in [
            "// ECO.1.1.5, OP-4",
            "/// SC.MSS/CONF.22: kept",
            "// MSS/va1.08.",
            "let a = OP-99;",
            "// STOP-1 CO-OP-2",
        ] {
            accepts(requirement_ids_exist, "src/a.rs", text);
        }
    }

    #[test]
    fn paths_of_a_machine_and_registries_are_refused() {
        refuses(nothing_of_one_machine, "docs/a.md", concat!("see /wo", "rk/spec"));
        refuses(nothing_of_one_machine, "src/a.rs", concat!("// /ro", "ot/x"));
        refuses(
            nothing_of_one_machine,
            "Dockerfile",
            concat!("FROM gc", "r.io/distroless/cc"),
        );
        accepts(nothing_of_one_machine, "docs/a.md", "target/work/a");
        accepts(
            nothing_of_one_machine,
            "Cargo.lock",
            concat!("https://index.", "crates.io"),
        );
    }

    #[test]
    fn a_private_key_is_refused() {
        let key = format!("-----BEGIN {}\n{}\n", concat!("PRIVATE KEY", "-----"), "A".repeat(64));
        refuses(no_committed_keys, "certs/a.key", &key);
        refuses(
            no_committed_keys,
            "tests/a.rs",
            &format!("const KEY: &str = \"{key}\";"),
        );
        accepts(
            no_committed_keys,
            "docs/a.md",
            "a file that begins with -----BEGIN PRIVATE KEY----- is a key\nand so on",
        );
    }

    #[test]
    fn the_authoritys_keys_stay_in_the_laboratory() {
        let rule = only_the_laboratory_has_the_authoritys_keys;
        let text = "fn f(a: &Authority) { a.lab_signer(Issuer::Root); }\n";
        refuses(rule, "src/app/mod.rs", text);
        refuses(rule, "tests/gateway.rs", text);
        accepts(rule, "src/lab/forge/mod.rs", text);
        accepts(rule, "src/pki/mod.rs", "pub use lab::LabSigner;\n");
    }

    #[test]
    fn rows_of_the_reasons_page_are_read() {
        assert_eq!(
            reason_row("| `box-unknown` | 550 5.1.1 | No such box. | Check the address. |"),
            Some(("box-unknown".to_owned(), "550 5.1.1".to_owned()))
        );
        assert_eq!(reason_row("| id | code | meaning | what to do |"), None);
    }

    #[test]
    fn masks_tell_code_from_text() {
        let file = SourceFile::sample(
            "src/a.rs",
            "let a = \"x // y\"; /* m /* c */ d */ 'e'; '\\''; r#\"f \" g\"#; fn h<'i>() {} // j\nlet br#\"k\"#;",
        );
        let code = file.only(&[Part::Code]);
        for hidden in ["x", "y", "m", "c", "d", "'e'", "f", "g", "j", "k"] {
            let in_code = words(&code).contains(&hidden);
            assert!(!in_code, "{hidden} in {code:?}");
        }
        for kept in ["let", "a", "fn", "h", "i"] {
            assert!(words(&code).contains(&kept), "{kept} not in {code:?}");
        }
    }
}
