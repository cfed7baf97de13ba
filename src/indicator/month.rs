//! A civil month, as counters name it.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;

use crate::clock::month_of;

/// A civil month in Europe/Paris, `2026-11`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Month {
    year: u16,
    month: u8,
}

/// The text is not a month.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a month: expected YYYY-MM, such as 2026-11")]
pub struct MonthError(String);

impl Month {
    /// The month before.
    #[must_use]
    pub fn previous(self) -> Self {
        match self.month {
            1 => Self {
                year: self.year.saturating_sub(1),
                month: 12,
            },
            month => Self {
                month: month - 1,
                ..self
            },
        }
    }

    /// The month of a moment. Fails only outside the years 0 to 9999.
    pub fn of(at: Timestamp) -> Result<Self, MonthError> {
        month_of(at).parse()
    }

    /// `count` months that end with this one, oldest first.
    pub fn ending(self, count: usize) -> Vec<Self> {
        let mut months: Vec<Self> = std::iter::successors(Some(self), |month| Some(month.previous()))
            .take(count)
            .collect();
        months.reverse();
        months
    }
}

impl FromStr for Month {
    type Err = MonthError;

    fn from_str(text: &str) -> Result<Self, MonthError> {
        let refused = || MonthError(text.chars().take(TEXT_CHARS_MAX).collect());
        let (year, month) = text.split_once('-').ok_or_else(refused)?;
        let digits = |part: &str, len: usize| part.len() == len && part.bytes().all(|b| b.is_ascii_digit());
        if !digits(year, 4) || !digits(month, 2) {
            return Err(refused());
        }
        let (year, month) = (
            year.parse().map_err(|_| refused())?,
            month.parse().map_err(|_| refused())?,
        );
        if !(1..=12).contains(&month) {
            return Err(refused());
        }
        Ok(Self { year, month })
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.year, self.month)
    }
}

/// How much of a wrong text the error repeats.
const TEXT_CHARS_MAX: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_is_read_written_and_stepped_back() {
        let january: Month = "2027-01".parse().unwrap();
        assert_eq!(january.to_string(), "2027-01");
        let names: Vec<String> = january.ending(3).iter().map(Month::to_string).collect();
        assert_eq!(names, ["2026-11", "2026-12", "2027-01"]);
        assert_eq!(Month::of("2026-12-31T23:00:00Z".parse().unwrap()).unwrap(), january);
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "2026",
            "2026-13",
            "2026-00",
            "26-11",
            "2026-1",
            "2026-11-01",
            "+026-11",
            "2026/11",
        ] {
            assert!(text.parse::<Month>().unwrap_err().to_string().contains(text), "{text}");
        }
    }
}
