//! What a TOML value can become: numbers, durations and sizes with their unit, and the identity values of the field.
//!
//! In our own declarations a wrong key of a FINESS, RPPS or SIRET number is an error: we would be creating it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use toml::de::DeValue;

use super::reader::{Bounded, FromToml, Wrong, kind};
use super::suggest::nearest;
use crate::directory::{BoxState, BoxType, Secret};
use crate::identity::{Address, Domain, Finess, Ins, Rpps, Siret, SubjectDn};

/// A number of bytes, written with its unit: `"25 MiB"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Size(pub(super) u64);

/// A host and a port: `"mx1.chu.example:25"`, `"192.0.2.7:25"`, `"[2001:db8::7]:25"`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// A host name or an IP address.
    pub host: Host,
    /// Its TCP port.
    pub port: u16,
}

/// A host, by name or by address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// To be looked up.
    Name(Domain),
    /// As it is.
    Address(IpAddr),
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Name(name) => write!(f, "{name}:{}", self.port),
            Host::Address(IpAddr::V4(address)) => write!(f, "{address}:{}", self.port),
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]:{}", self.port),
        }
    }
}

/// National identifier of a structure.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Structure {
    /// A FINESS number, EJ or EG.
    Finess(Finess),
    /// A SIRET number.
    Siret(Siret),
}

impl Structure {
    /// As in a certificate's OU: `1` + FINESS or `3` + SIRET.
    pub fn structure_id(&self) -> String {
        match self {
            Self::Finess(finess) => finess.structure_id(),
            Self::Siret(siret) => siret.structure_id(),
        }
    }
}

/// A short name for files and commands: lower-case letters, digits and inner hyphens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Slug(pub(super) String);

/// A civil month, `2026-11`.
pub(super) fn is_month(text: &str) -> bool {
    match text.as_bytes() {
        [b'2', b'0', y1, y2, b'-', m1, m2] => {
            let month = u32::from(m1.wrapping_sub(b'0')) * 10 + u32::from(m2.wrapping_sub(b'0'));
            [y1, y2, m1, m2].into_iter().all(u8::is_ascii_digit) && (1..=12).contains(&month)
        }
        _ => false,
    }
}

/// Turns a word into one of a few values, or says which there are.
pub(super) fn choose<T: Copy>(value: &DeValue<'_>, choices: &[(&'static str, T)]) -> Result<T, Wrong> {
    let words = || choices.iter().map(|(word, _)| *word);
    let text = text_of(value, "one of the words it knows")?;
    if let Some((_, choice)) = choices.iter().find(|(word, _)| *word == text) {
        return Ok(*choice);
    }
    let listed = words().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
    let remedy = match nearest(text, words()) {
        Some(word) => format!("did you mean \"{word}\"? Known: {listed}"),
        None => format!("write one of {listed}"),
    };
    Err(Wrong::new(format!("{:?} is not known", shorten(text)), remedy))
}

/// The text of a value.
pub(super) fn text_of<'v>(value: &'v DeValue<'_>, expected: &str) -> Result<&'v str, Wrong> {
    value.as_str().ok_or_else(|| {
        Wrong::new(
            format!("is {}", kind(value)),
            format!("write {expected} between quotes"),
        )
    })
}

fn integer(value: &DeValue<'_>) -> Result<i128, Wrong> {
    let DeValue::Integer(digits) = value else {
        return Err(Wrong::new(
            format!("is {}", kind(value)),
            "write a whole number, without quotes",
        ));
    };
    i128::from_str_radix(digits.as_str(), digits.radix())
        .map_err(|_| Wrong::new("is too large a number", "write a smaller one"))
}

fn unsigned<T: TryFrom<i128>>(value: &DeValue<'_>, largest: impl fmt::Display) -> Result<T, Wrong> {
    let number = integer(value)?;
    T::try_from(number).map_err(|_| {
        Wrong::new(
            format!("{number} is out of range"),
            format!("write a whole number from 0 to {largest}"),
        )
    })
}

/// Reads a text through its `FromStr`, whose error names the input.
fn parsed<T: FromStr<Err: fmt::Display>>(value: &DeValue<'_>, example: &str) -> Result<T, Wrong> {
    let text = text_of(value, &format!("a text such as {example:?}"))?;
    text.parse()
        .map_err(|error: T::Err| Wrong::new(error.to_string(), format!("write something like {example:?}")))
}

/// Like [`parsed`], for numbers with a key that has to be right.
fn keyed<T>(value: &DeValue<'_>, example: &str, key_matches: impl Fn(&T) -> bool) -> Result<T, Wrong>
where
    T: FromStr<Err: fmt::Display> + fmt::Display,
{
    let number: T = parsed(value, example)?;
    if key_matches(&number) {
        return Ok(number);
    }
    Err(Wrong::new(
        format!("{number} has a wrong key: its last digit does not follow from the others"),
        with_right_key(&number, key_matches),
    ))
}

/// Names the number with the last digit that passes.
fn with_right_key<T>(number: &T, key_matches: impl Fn(&T) -> bool) -> String
where
    T: FromStr + fmt::Display,
{
    let text = number.to_string();
    let stem = text.get(..text.len().saturating_sub(1)).unwrap_or_default();
    (0..10)
        .map(|digit| format!("{stem}{digit}"))
        .find(|candidate| candidate.parse().is_ok_and(|number| key_matches(&number)))
        .map_or_else(
            || "check it".to_owned(),
            |candidate| format!("check it; {candidate} would be right"),
        )
}

impl FromToml for String {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let text = text_of(value, "a text")?;
        if text.trim().is_empty() {
            return Err(Wrong::new("is empty", "write something"));
        }
        if text.len() > TEXT_BYTES_MAX || text.chars().any(char::is_control) {
            return Err(Wrong::new(
                format!("has control characters or more than {TEXT_BYTES_MAX} bytes"),
                "write one short line",
            ));
        }
        Ok(text.to_owned())
    }
}

impl FromToml for bool {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        value
            .as_bool()
            .ok_or_else(|| Wrong::new(format!("is {}", kind(value)), "write true or false, without quotes"))
    }
}

impl FromToml for u16 {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        unsigned(value, Self::MAX)
    }
}

impl Bounded for u16 {
    fn show(&self) -> String {
        self.to_string()
    }
}

impl FromToml for u32 {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        unsigned(value, Self::MAX)
    }
}

impl Bounded for u32 {
    fn show(&self) -> String {
        self.to_string()
    }
}

impl FromToml for Duration {
    /// `"30s"`, `"5m"`, `"1h30m"`, `"2d"`, `"250ms"`.
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let text = text_of(value, "a duration with its unit, such as \"5m\",")?;
        duration(text).ok_or_else(|| {
            Wrong::new(
                format!("{:?} is not a duration", shorten(text)),
                "write numbers with a unit (ms, s, m, h, d): \"30s\", \"5m\", \"1h30m\", \"2d\"",
            )
        })
    }
}

impl Bounded for Duration {
    fn show(&self) -> String {
        let millis = self.as_millis();
        let (unit, size) = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)]
            .into_iter()
            .find(|(_, size)| millis > 0 && millis.is_multiple_of(*size))
            .unwrap_or(("ms", 1));
        format!("\"{}{unit}\"", millis / size)
    }
}

impl FromToml for Size {
    /// `"25 MiB"`, `"25 MB"`, `"512 B"`; the blank is optional.
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let text = text_of(value, "a size with its unit, such as \"25 MiB\",")?;
        size(text).map(Self).ok_or_else(|| {
            Wrong::new(
                format!("{:?} is not a size", shorten(text)),
                "write a whole number with a unit (B, kB, MB, GB of 1000, KiB, MiB, GiB of 1024): \"25 MiB\"",
            )
        })
    }
}

impl Bounded for Size {
    fn show(&self) -> String {
        let (unit, size) = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)]
            .into_iter()
            .find(|(_, size)| self.0 > 0 && self.0.is_multiple_of(*size))
            .unwrap_or(("B", 1));
        format!("\"{} {unit}\"", self.0 / size)
    }
}

impl FromToml for SocketAddr {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let text = text_of(value, "an address and port, such as \"0.0.0.0:25\",")?;
        text.parse().map_err(|_| {
            Wrong::new(
                format!("{:?} is not an IP address with a port", shorten(text)),
                "write something like \"0.0.0.0:25\" or \"[::]:25\"",
            )
        })
    }
}

impl FromToml for IpAddr {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let text = text_of(value, "an IP address")?;
        let wrong = |_| {
            Wrong::new(
                format!("{:?} is not an IP address", shorten(text)),
                "write something like \"127.0.0.1\"",
            )
        };
        text.parse().map_err(wrong)
    }
}

impl FromToml for HostPort {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let text = text_of(value, "a host and port, such as \"mx.example.fr:25\",")?;
        host_port(text).ok_or_else(|| {
            Wrong::new(
                format!("{:?} is not a host with a port", shorten(text)),
                "write something like \"mx.example.fr:25\", \"192.0.2.7:25\" or \"[2001:db8::7]:25\"",
            )
        })
    }
}

impl FromToml for PathBuf {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let text = text_of(value, "a path")?;
        if text.is_empty() || text.contains('\0') {
            return Err(Wrong::new("is not a path", "write the path of a file"));
        }
        Ok(Self::from(text))
    }
}

impl FromToml for Slug {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let text = text_of(value, "a short name")?;
        let shape = (1..=SLUG_BYTES_MAX).contains(&text.len())
            && !text.starts_with('-')
            && !text.ends_with('-')
            && text
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if shape {
            return Ok(Self(text.to_owned()));
        }
        Err(Wrong::new(
            format!("{:?} cannot name files and commands", shorten(text)),
            format!("write at most {SLUG_BYTES_MAX} lower-case letters, digits and inner hyphens"),
        ))
    }
}

impl FromToml for Secret {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        match value.as_str() {
            Some(text) if (1..=TEXT_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control) => {
                Ok(Self::new(text))
            }
            // The value is not repeated: it may be a secret.
            _ => Err(Wrong::new("is not usable", "write a text between quotes, on one line")),
        }
    }
}

impl FromToml for Address {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        parsed(value, "foyer@foyer-lilas.mssante.fr")
    }
}

impl FromToml for Domain {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        parsed(value, "ehpad-lilas.mssante.fr")
    }
}

impl FromToml for Finess {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        keyed(value, "990000010", Self::key_matches)
    }
}

impl FromToml for Rpps {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        keyed(value, "01990000018", Self::key_matches)
    }
}

impl FromToml for Structure {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let text = text_of(value, "a FINESS or SIRET number")?;
        if text.len() == SIRET_DIGITS {
            return keyed(value, "99999999900017", Siret::key_matches).map(Self::Siret);
        }
        Finess::from_toml(value).map(Self::Finess).map_err(|wrong| {
            let remedy = format!("{}; a SIRET number has {SIRET_DIGITS} digits", wrong.remedy);
            Wrong::new(wrong.problem, remedy)
        })
    }
}

impl FromToml for Ins {
    /// The shape only: published test patients have wrong keys, which are warned about and not refused.
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        parsed(value, "279035121518989")
    }
}

impl FromToml for SubjectDn {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let text = String::from_toml(value)?;
        let example = "CN=dui.lilas.example,OU=1990000010,O=ASSOCIATION LES LILAS,ST=Rhône (69),C=FR";
        text.parse::<Self>()
            .map_err(|error| Wrong::new(error.to_string(), format!("write a subject such as {example:?}")))
    }
}

impl FromToml for BoxType {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        choose(
            value,
            &[
                ("PER", Self::Personal),
                ("ORG", Self::Organisational),
                ("APP", Self::Applicative),
            ],
        )
    }
}

impl FromToml for BoxState {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        choose(
            value,
            &[
                ("active", Self::Active),
                ("suspended", Self::Suspended),
                ("closed", Self::Closed),
            ],
        )
    }
}

/// One or several numbers with units, each unit after its number: `1h30m`.
fn duration(text: &str) -> Option<Duration> {
    let mut total: u64 = 0;
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (number, tail) = leading_number(rest)?;
        let unit_end = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let millis: u64 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        total = total.checked_add(number.checked_mul(millis)?)?;
        rest = tail.trim_start();
    }
    (!text.trim().is_empty()).then(|| Duration::from_millis(total))
}

fn size(text: &str) -> Option<u64> {
    let (number, unit) = leading_number(text.trim())?;
    let bytes: u64 = match unit {
        "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(bytes)
}

/// Splits `25 MiB` into 25 and `MiB`.
fn leading_number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    Some((digits.parse().ok()?, rest.trim_start()))
}

fn host_port(text: &str) -> Option<HostPort> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return (address.port() > 0).then(|| HostPort {
            host: Host::Address(address.ip()),
            port: address.port(),
        });
    }
    let (name, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port > 0)?;
    // Four numbers that are no address, such as 300.0.0.1, are not a name either.
    let name = name.parse::<Domain>().ok().filter(|name| !all_numeric(name))?;
    Some(HostPort {
        host: Host::Name(name),
        port,
    })
}

fn all_numeric(name: &Domain) -> bool {
    name.as_str().bytes().all(|b| b.is_ascii_digit() || b == b'.')
}

fn shorten(text: &str) -> String {
    text.chars().take(SHOWN_CHARS_MAX).collect()
}

/// Of a name or label in a configuration file.
const TEXT_BYTES_MAX: usize = 1_000;
const SLUG_BYTES_MAX: usize = 40;
const SIRET_DIGITS: usize = 14;
/// Of a value that we repeat in a message.
const SHOWN_CHARS_MAX: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> DeValue<'_> {
        DeValue::String(text.into())
    }

    #[test]
    fn durations_carry_their_unit() {
        for (written, seconds) in [
            ("30s", 30),
            ("5m", 300),
            ("5 min", 300),
            ("1h30m", 5_400),
            ("1h 30m", 5_400),
            ("2d", 172_800),
            ("0s", 0),
        ] {
            assert_eq!(
                Duration::from_toml(&text(written)),
                Ok(Duration::from_secs(seconds)),
                "{written}"
            );
        }
        assert_eq!(Duration::from_toml(&text("250ms")), Ok(Duration::from_millis(250)));
        for wrong in [
            "",
            " ",
            "5",
            "m",
            "5 minutes",
            "-5m",
            "1.5h",
            "5m3",
            "99999999999999999999d",
        ] {
            assert!(Duration::from_toml(&text(wrong)).is_err(), "{wrong}");
        }
        assert!(Duration::from_toml(&DeValue::Boolean(true)).is_err());
    }

    #[test]
    fn sizes_carry_their_unit() {
        for (written, bytes) in [
            ("25 MiB", 25 << 20),
            ("25MiB", 25 << 20),
            ("25 MB", 25_000_000),
            ("512 B", 512),
            ("2 KiB", 2_048),
            ("1 GiB", 1 << 30),
        ] {
            assert_eq!(Size::from_toml(&text(written)), Ok(Size(bytes)), "{written}");
        }
        for wrong in ["", "25", "MiB", "25 Mo", "-1 B", "1.5 MiB", "99999999999 GiB"] {
            assert!(Size::from_toml(&text(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_shown_reads_back() {
        for written in ["\"90s\"", "\"2d\"", "\"250ms\"", "\"1h\""] {
            let value = Duration::from_toml(&text(written.trim_matches('"'))).unwrap();
            assert_eq!(value.show(), written);
        }
        assert_eq!(Size(25 << 20).show(), "\"25 MiB\"");
        assert_eq!(Size(25_000_000).show(), "\"25000000 B\"");
    }

    #[test]
    fn hosts_come_by_name_or_address() {
        for written in ["mx.chu.example:25", "192.0.2.7:25", "[2001:db8::7]:25"] {
            assert_eq!(HostPort::from_toml(&text(written)).unwrap().to_string(), written);
        }
        for wrong in [
            "",
            "mx.chu.example",
            "mx.chu.example:",
            ":25",
            "mx:0",
            "300.0.0.1:25",
            "2001:db8::7:25",
        ] {
            assert!(HostPort::from_toml(&text(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_wrong_key_is_refused_and_the_right_number_is_named() {
        let wrong = Finess::from_toml(&text("990000011")).unwrap_err();
        assert!(wrong.remedy.contains("990000010"), "{wrong:?}");
        assert!(Finess::from_toml(&text("990000010")).is_ok());
        assert!(Rpps::from_toml(&text("01990000018")).is_ok());
        assert!(Rpps::from_toml(&text("01990000019")).is_err());
        let structure = Structure::from_toml(&text("99999999900017")).unwrap();
        assert_eq!(structure.structure_id(), "399999999900017");
        let structure = Structure::from_toml(&text("990000010")).unwrap();
        assert_eq!(structure.structure_id(), "1990000010");
        assert!(Structure::from_toml(&text("99999999900018")).is_err());
    }

    #[test]
    fn a_month_is_a_month() {
        for good in ["2026-11", "2026-01", "2026-12"] {
            assert!(is_month(good), "{good}");
        }
        for bad in ["2026-13", "2026-00", "2026-1", "26-11", "2026/11", "2026-1a", ""] {
            assert!(!is_month(bad), "{bad}");
        }
    }

    #[test]
    fn a_secret_is_never_repeated() {
        let wrong = Secret::from_toml(&text("top\nsecret")).unwrap_err();
        assert!(!wrong.problem.contains("top") && !wrong.remedy.contains("top"));
    }
}
