//! The part of `[trust]` about the allow list: where it comes from, whether it must be signed, and by whom.

use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeValue;

use super::reader::{At, FromToml, Section, Wrong};
use super::value::choose;
use crate::pki::ExpectedSigner;
use crate::trust::SignaturePolicy;

/// Where the allow list comes from and what it must be to be used. At least one of `file` and `url` is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowListSource {
    /// A file that somebody else keeps up to date; with a URL, the list to begin with until one was fetched.
    pub file: Option<PathBuf>,
    /// Where the authority publishes it.
    pub url: Option<String>,
    /// Whether it must be signed.
    pub signature: SignaturePolicy,
    /// By whom.
    pub signer: ExpectedSigner,
    /// How often the URL is asked.
    pub period: Duration,
    /// Without a fresh list for so long: a warning.
    pub warn_age: Duration,
    /// Without a fresh list for so long: an alarm.
    pub alarm_age: Duration,
}

impl FromToml for SignaturePolicy {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        choose(
            value,
            &[("require", Self::Require), ("accept-unsigned", Self::AcceptUnsigned)],
        )
    }
}

impl AllowListSource {
    /// Reads its keys; the section is closed by the caller.
    pub(super) fn read(section: &Section<'_>) -> Option<Self> {
        let file = section.file("allow_list");
        let url = section.optional::<String>("allow_list_url");
        let signature = section.optional::<SignaturePolicy>("allow_list_signature");
        let signer = ExpectedSigner {
            common_name: section.optional("allow_list_signer_cn").map(|at| at.value),
            structure: section.optional("allow_list_signer_ou").map(|at| at.value),
        };
        let period = section.within("allow_list_period", PERIOD, PERIOD_SHORTEST..=PERIOD_LONGEST);
        let warn_age = section.within("allow_list_warn_age", WARN_AGE, AGE_SHORTEST..=AGE_LONGEST);
        let alarm_age = section.within("allow_list_alarm_age", ALARM_AGE, AGE_SHORTEST..=AGE_LONGEST);
        if file.is_none() && url.is_none() {
            section.wrong_here(
                "neither `trust.allow_list` nor `trust.allow_list_url` is given".into(),
                "name the file of the allow list, or where the authority publishes it",
            );
            return None;
        }
        check_url(section, url.as_ref());
        let by_default = match url {
            Some(_) => SignaturePolicy::Require,
            None => SignaturePolicy::AcceptUnsigned,
        };
        let source = Self {
            file,
            url: url.map(|at| at.value),
            signature: signature.as_ref().map_or(by_default, |at| at.value),
            signer,
            period,
            warn_age,
            alarm_age,
        };
        source.check(section, signature.as_ref());
        Some(source)
    }

    fn check(&self, section: &Section<'_>, signature: Option<&At<SignaturePolicy>>) {
        let named = self.signer.common_name.is_some() && self.signer.structure.is_some();
        if self.signature == SignaturePolicy::Require && !named {
            section.wrong_here(
                "a signed allow list needs `trust.allow_list_signer_cn` and `trust.allow_list_signer_ou`".into(),
                "give both: the authority of the space certifies many signers, and only one may sign the list",
            );
        }
        if self.alarm_age < self.warn_age {
            section.wrong_here(
                "`trust.allow_list_alarm_age` is shorter than `trust.allow_list_warn_age`".into(),
                "warn before the alarm",
            );
        }
        if let (Some(url), Some(signature)) = (&self.url, signature)
            && self.signature == SignaturePolicy::AcceptUnsigned
        {
            section.warn(
                signature,
                format!("whoever answers for {url} decides who may send and receive mail"),
            );
        }
    }
}

fn check_url(section: &Section<'_>, url: Option<&At<String>>) {
    let Some(url) = url else { return };
    let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    if host.is_none_or(|rest| rest.is_empty() || rest.starts_with('/') || rest.contains(char::is_whitespace)) {
        section.wrong(
            url,
            format!(
                "`trust.allow_list_url` is {:?}, not a URL that can be fetched",
                url.value
            ),
            "write https://HOST/PATH",
        );
    }
}

/// What operators of the field are said to do.
const PERIOD: Duration = Duration::from_hours(1);
const PERIOD_SHORTEST: Duration = Duration::from_secs(1);
const PERIOD_LONGEST: Duration = Duration::from_hours(24);
const WARN_AGE: Duration = Duration::from_hours(24);
const ALARM_AGE: Duration = Duration::from_hours(72);
const AGE_SHORTEST: Duration = Duration::from_secs(1);
const AGE_LONGEST: Duration = Duration::from_hours(24 * 30);
