//! Mail addresses and their domains: any text is refused or read, and what was read can be written and read again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use vaguemestre::identity::{Address, Domain};

fuzz_target!(|text: &str| {
    if let Ok(domain) = text.parse::<Domain>() {
        assert_eq!(domain.as_str().parse::<Domain>().as_ref(), Ok(&domain));
    }
    let Ok(address) = text.parse::<Address>() else { return };
    let again = address.as_str().parse::<Address>().expect("an address is written as it can be read");
    assert_eq!(again, address);
    assert_eq!(again.as_str(), address.as_str());
    assert_eq!(format!("{}@{}", address.local(), address.domain()), address.as_str());
    assert!(!address.masked().contains(['\r', '\n']), "a log line stays one line");
});
