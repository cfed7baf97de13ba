//! The keys of `[trust]` about revocation and usage: how the certificates of peers and clients are judged.

use std::time::Duration;

use toml::de::DeValue;

use super::reader::{At, FromToml, Section, Wrong};
use super::value::choose;
use crate::pki::{MissingRevocation, RevocationMethod, RevocationPolicy, UsageCheck};

/// How certificates are judged beyond their chain and dates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// Who is asked, and what to make of silence.
    pub policy: RevocationPolicy,
    /// How extended key usage is read.
    pub usage: UsageCheck,
    /// Where CRLs are fetched, complete and delta.
    pub crl_urls: Vec<String>,
    /// How often.
    pub crl_period: Duration,
    /// OCSP responders, instead of those that certificates name.
    pub ocsp_urls: Vec<String>,
    /// Hosts that certificates may name; empty for any.
    pub ocsp_hosts: Vec<String>,
    /// How long a session waits for responders.
    pub ocsp_wait: Duration,
}

/// An address that CRLs and OCSP answers may be asked of.
struct WebUrl(String);

impl FromToml for RevocationMethod {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let choices = [
            ("crl", Self::Crl),
            ("ocsp", Self::Ocsp),
            ("crl-then-ocsp", Self::CrlThenOcsp),
            ("ocsp-then-crl", Self::OcspThenCrl),
        ];
        choose(value, &choices)
    }
}

impl FromToml for UsageCheck {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        choose(value, &[("either-side", Self::EitherSide), ("strict", Self::Strict)])
    }
}

impl FromToml for WebUrl {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let url = String::from_toml(value)?;
        let has_scheme = ["http://", "https://"].iter().any(|scheme| url.starts_with(scheme));
        if has_scheme && reqwest::Url::parse(&url).is_ok_and(|url| url.host_str().is_some()) {
            return Ok(Self(url));
        }
        Err(Wrong::new(
            format!("{url:?} is not a URL that can be asked"),
            "write something like \"http://crl.example/aci.crl\": http or https",
        ))
    }
}

impl Revocation {
    pub(super) fn read(section: &Section<'_>, missing: MissingRevocation) -> Self {
        let method = section.or("revocation", RevocationMethod::CrlThenOcsp);
        let seconds = |duration: Duration| u32::try_from(duration.as_secs()).unwrap_or(u32::MAX);
        let expired_max = section.within("revocation_expired_max", FOUR_HOURS, Duration::ZERO..=EXPIRED_LONGEST);
        let age_max = section.within("ocsp_age_max", FOUR_HOURS, SECOND..=EXPIRED_LONGEST);
        let tolerance = section.within("clock_tolerance", TOLERANCE, Duration::ZERO..=HOUR);
        let crl_urls = urls(section.list("crl_url"));
        let crl_period = section.within("crl_period", HOUR, SECOND..=DAY);
        let ocsp_urls = section.list::<WebUrl>("ocsp_url");
        if method == RevocationMethod::Crl
            && let Some(url) = ocsp_urls.first()
        {
            section.wrong(
                url,
                "`trust.ocsp_url` is given, but OCSP is never asked".into(),
                "remove it, or write revocation = \"crl-then-ocsp\"",
            );
        }
        Self {
            policy: RevocationPolicy {
                missing,
                method,
                expired_crl_seconds_max: seconds(expired_max),
                status_age_seconds_max: seconds(age_max),
                clock_tolerance_seconds: seconds(tolerance),
            },
            usage: section.or("extended_key_usage", UsageCheck::EitherSide),
            crl_urls,
            crl_period,
            ocsp_urls: urls(ocsp_urls),
            ocsp_hosts: section
                .list::<String>("ocsp_hosts")
                .into_iter()
                .map(|at| at.value)
                .collect(),
            ocsp_wait: section.within("ocsp_wait", WAIT, SECOND..=WAIT_LONGEST),
        }
    }
}

fn urls(found: Vec<At<WebUrl>>) -> Vec<String> {
    found.into_iter().map(|at| at.value.0).collect()
}

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
const FOUR_HOURS: Duration = Duration::from_hours(4);
const EXPIRED_LONGEST: Duration = Duration::from_hours(30 * 24);
const TOLERANCE: Duration = Duration::from_mins(5);
const WAIT: Duration = Duration::from_secs(5);
const WAIT_LONGEST: Duration = Duration::from_mins(1);
