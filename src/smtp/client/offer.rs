//! What a server offers in its answer to EHLO (RFC 5321 §4.1.1.1).

use crate::smtp::extension::Extension;
use crate::smtp::extension::Extensions;
use crate::smtp::reply::Reply;
use crate::smtp::sasl::Mechanism;

/// The extensions of a peer, with their parameters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// Those this program knows.
    pub extensions: Extensions,
    /// Largest message, in bytes; `None`: not said, or 0, which means no fixed limit (RFC 1870 §4).
    pub size_bytes_max: Option<u64>,
    /// Ways to log in.
    pub mechanisms: Vec<Mechanism>,
    /// RFC 3207.
    pub starttls: bool,
    /// RFC 9422.
    pub limits: Limits,
}

/// What a server takes at most in one session (RFC 9422 §4); `None`: not said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Transactions of one connection: `MAILMAX`.
    pub mails_max: Option<usize>,
    /// Recipients of one transaction: `RCPTMAX`.
    pub recipients_max: Option<usize>,
    /// Domains among the recipients of one connection: `RCPTDOMAINMAX`.
    pub recipient_domains_max: Option<usize>,
}

impl Limits {
    /// RFC 9422 §3: names that are not known, and values that cannot be read, say nothing; 0 would make the server useless.
    fn add(&mut self, word: &str) {
        let Some((name, value)) = word.split_once('=') else {
            return;
        };
        let limit = value.parse().ok().filter(|limit| *limit > 0);
        match name.to_ascii_uppercase().as_str() {
            "MAILMAX" => self.mails_max = limit,
            "RCPTMAX" => self.recipients_max = limit,
            "RCPTDOMAINMAX" => self.recipient_domains_max = limit,
            _ => {}
        }
    }
}

impl Offer {
    /// Reads the answer to EHLO; unknown keywords are skipped.
    pub(super) fn read(reply: &Reply) -> Self {
        let mut offer = Self::default();
        for line in reply.text.split('\n').skip(1) {
            let mut words = line.split(' ').filter(|word| !word.is_empty());
            let keyword = words.next().unwrap_or_default().to_ascii_uppercase();
            match keyword.as_str() {
                "STARTTLS" => offer.starttls = true,
                "LIMITS" => words.for_each(|word| offer.limits.add(word)),
                "AUTH" => offer.mechanisms = words.filter_map(mechanism).collect(),
                _ => offer.add(&keyword, words.next()),
            }
        }
        offer
    }

    fn add(&mut self, keyword: &str, parameter: Option<&str>) {
        let Some(extension) = Extension::ALL.into_iter().find(|known| known.keyword() == keyword) else {
            return;
        };
        self.extensions = self.extensions.with(extension);
        if extension == Extension::Size {
            let limit = parameter.and_then(|digits| digits.parse().ok());
            self.size_bytes_max = limit.filter(|limit| *limit > 0);
        }
    }
}

fn mechanism(name: &str) -> Option<Mechanism> {
    Mechanism::ALL
        .into_iter()
        .find(|known| known.name().eq_ignore_ascii_case(name))
}
