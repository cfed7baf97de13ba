//! What is kept, how much and how long: the quota of a box and the section `retention`.

use std::time::Duration;

use toml::de::DeValue;

use super::reader::{Bounded, FromToml, Section, Wrong};
use super::value::{Size, text_of};

/// How long things are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Journal rows; the counters stay.
    pub journal: Duration,
    /// Mail in Trash folders; `None`: until its user removes it.
    pub trash: Option<Duration>,
    /// Mail in Junk folders; `None`: until its user removes it.
    pub junk: Option<Duration>,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            journal: JOURNAL_DEFAULT,
            trash: None,
            junk: None,
        }
    }
}

impl Retention {
    pub(super) fn read(section: Section<'_>) -> Self {
        let default = Self::default();
        let age = |key| {
            let never = Age(None);
            section.within(key, never, Age(Some(DAY))..=never).0
        };
        let retention = Self {
            journal: section.within("journal", default.journal, DAY..=LONGEST),
            trash: age("trash"),
            junk: age("junk"),
        };
        section.close();
        retention
    }
}

/// The most a box may hold, or no limit: `"2 GiB"`, `"none"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota(
    /// Bytes; `None`: no limit.
    pub Option<u64>,
);

impl Quota {
    /// The key `quota`, if it is there.
    pub(super) fn read(section: &Section<'_>) -> Option<Self> {
        let set = section.optional::<Self>("quota").is_some();
        let none = Self(None);
        set.then(|| section.within("quota", none, Self(Some(QUOTA_SMALLEST))..=none))
    }
}

impl FromToml for Quota {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        if value.as_str() == Some(NONE) {
            return Ok(Self(None));
        }
        let size = Size::from_toml(value);
        size.map(|size| Self(Some(size.0))).map_err(|mut wrong| {
            wrong.remedy.push_str(", or \"none\"");
            wrong
        })
    }
}

impl PartialOrd for Quota {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        // No limit is the largest one.
        self.0.unwrap_or(u64::MAX).partial_cmp(&other.0.unwrap_or(u64::MAX))
    }
}

impl Bounded for Quota {
    fn show(&self) -> String {
        self.0.map_or_else(|| format!("\"{NONE}\""), |bytes| Size(bytes).show())
    }
}

/// An age limit, or none: `"30d"`, `"never"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Age(Option<Duration>);

impl FromToml for Age {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong> {
        if text_of(value, "an age such as \"30d\", or \"never\",")? == NEVER {
            return Ok(Self(None));
        }
        let age = Duration::from_toml(value);
        age.map(|age| Self(Some(age))).map_err(|mut wrong| {
            wrong.remedy.push_str(", or \"never\"");
            wrong
        })
    }
}

impl PartialOrd for Age {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        self.0
            .unwrap_or(Duration::MAX)
            .partial_cmp(&other.0.unwrap_or(Duration::MAX))
    }
}

impl Bounded for Age {
    fn show(&self) -> String {
        self.0.map_or_else(|| format!("\"{NEVER}\""), |age| age.show())
    }
}

const NONE: &str = "none";
const NEVER: &str = "never";
const DAY: Duration = Duration::from_hours(24);
const JOURNAL_DEFAULT: Duration = Duration::from_hours(24 * 365);
const LONGEST: Duration = Duration::from_hours(24 * 3_650);
/// Less would not hold one message.
const QUOTA_SMALLEST: u64 = 1 << 20;
