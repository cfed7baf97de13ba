//! Subject DNs as lists and configurations write them: any text is refused or read, and what was read compares equal once written and
//! read again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use vaguemestre::identity::SubjectDn;

fuzz_target!(|text: &str| {
    let Ok(subject) = text.parse::<SubjectDn>() else { return };
    let written = subject.to_string();
    let again = written.parse::<SubjectDn>().expect("a subject is written as it can be read");
    assert_eq!(again, subject, "{written:?}");
    assert!(!written.contains(['\r', '\n']), "a log line stays one line");
});
