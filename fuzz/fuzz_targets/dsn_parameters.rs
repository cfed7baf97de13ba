//! Values of NOTIFY, RET, ENVID and ORCPT: what is read prints as seven printable bits without spaces, and is read from that as the same.

#![no_main]

use std::fmt::Display;
use std::str::FromStr;

use libfuzzer_sys::fuzz_target;
use vaguemestre::smtp::command::{Notify, OriginalRecipient, Ret, Xtext};

fuzz_target!(|text: &str| {
    again::<Notify>(text);
    again::<Ret>(text);
    if let Some(envid) = again::<Xtext>(text) {
        assert!(envid.decoded().bytes().all(|byte| (b' '..=b'~').contains(&byte)));
        assert_eq!(Xtext::of(envid.decoded()), Some(envid));
    }
    if let Some(orcpt) = again::<OriginalRecipient>(text) {
        assert!(!orcpt.address().contains(|c: char| c.is_control()), "a report stays one line");
        assert!(!orcpt.kind().is_empty() && !orcpt.address().is_empty());
        assert!(orcpt.address().is_ascii() || orcpt.kind() == "utf-8");
        assert!(orcpt.to_string().len() <= 500);
    }
});

fn again<T: FromStr + Display + PartialEq>(text: &str) -> Option<T> {
    let value = text.parse::<T>().ok()?;
    let wire = value.to_string();
    assert!(wire.bytes().all(|byte| byte.is_ascii_graphic()), "{wire:?}");
    assert!(wire.parse::<T>().ok().as_ref() == Some(&value), "{text:?} leaves as {wire:?}");
    Some(value)
}
