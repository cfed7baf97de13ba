//! The usage rate: messages sent over people accompanied, and the target of the ESMS Numérique programme.

use std::fmt;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

/// Which months are counted and over what. Documents of the programme differ, so all are computed and labelled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Window {
    /// The month itself, over people who may have a "projet d'accueil et d'accompagnement" that month.
    #[default]
    Month,
    /// The three months before the first measure, the last of which is named; over the same people as of that last month.
    First,
    /// The last three months of the project; over active DUI files that have a personalised project.
    Last3,
    /// The last three months as a plain count: no rate.
    Volume,
}

impl Window {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Month, Self::First, Self::Last3, Self::Volume];

    /// The stable id: `month`, `first`, `last3`, `volume`.
    pub fn id(self) -> &'static str {
        match self {
            Self::Month => "month",
            Self::First => "first",
            Self::Last3 => "last3",
            Self::Volume => "volume",
        }
    }

    /// How many months it spans.
    pub fn months(self) -> usize {
        match self {
            Self::Month => 1,
            Self::First | Self::Last3 | Self::Volume => 3,
        }
    }

    /// What it is, in words.
    pub fn label(self) -> &'static str {
        match self {
            Self::Month => "messages sent in the month / people accompanied",
            Self::First => "messages sent in the three months before the first measure / people accompanied",
            Self::Last3 => "messages sent in the last three months / active files with a personalised project",
            Self::Volume => "messages sent in the last three months, no denominator",
        }
    }
}

/// The rate, or why there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// Messages sent over people. It may exceed 100 %: a person is written about more than once.
    Rate {
        /// In tenths of a percent, rounded half up.
        tenths: u64,
        /// Whether the exact, unrounded rate reaches [`TARGET_PERCENT`].
        target_reached: bool,
    },
    /// No rate; never shown as 0 %.
    NotComputable(NotComputable),
}

/// Why a rate cannot be computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NotComputable {
    /// The establishment declared no denominator for the month.
    DenominatorMissing,
    /// It declared zero.
    DenominatorZero,
    /// The window has none.
    NoDenominator,
}

impl Usage {
    /// The rate of `sent` messages over a declared denominator.
    pub fn of(sent: u64, people: Option<u64>) -> Self {
        match people {
            None => Self::NotComputable(NotComputable::DenominatorMissing),
            Some(0) => Self::NotComputable(NotComputable::DenominatorZero),
            Some(people) => {
                let (sent, people) = (u128::from(sent), u128::from(people));
                let tenths = (sent * 2000 + people) / (people * 2);
                Self::Rate {
                    tenths: u64::try_from(tenths).unwrap_or(u64::MAX),
                    target_reached: sent * 100 >= people * u128::from(TARGET_PERCENT),
                }
            }
        }
    }

    /// Whether the target is known to be reached.
    pub fn reaches_target(self) -> bool {
        matches!(
            self,
            Self::Rate {
                target_reached: true,
                ..
            }
        )
    }
}

/// `123.4 %`, or `not computable`.
impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rate { tenths, .. } => write!(f, "{}.{} %", tenths / 10, tenths % 10),
            Self::NotComputable(NotComputable::NoDenominator) => f.write_str("-"),
            Self::NotComputable(_) => f.write_str("not computable"),
        }
    }
}

/// Always the same three fields: `rate_percent`, `target_reached`, `not_computable`.
impl Serialize for Usage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (rate, reached, why) = match *self {
            Self::Rate { tenths, target_reached } => (Some(percent(tenths)), Some(target_reached), None),
            Self::NotComputable(why) => (None, None, Some(why)),
        };
        let mut fields = serializer.serialize_struct("Usage", 3)?;
        fields.serialize_field("rate_percent", &rate)?;
        fields.serialize_field("target_reached", &reached)?;
        fields.serialize_field("not_computable", &why)?;
        fields.end()
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a rate above 2^53 tenths of a percent does not occur"
)]
fn percent(tenths: u64) -> f64 {
    tenths as f64 / 10.0
}

/// The programme's target for messages sent through MSSanté (Kit, table of targets).
pub const TARGET_PERCENT: u32 = 70;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_has_one_decimal_and_may_exceed_a_hundred() {
        for (sent, people, shown, reached) in [
            (0, 40, "0.0 %", false),
            (27, 40, "67.5 %", false),
            (28, 40, "70.0 %", true),
            (2, 3, "66.7 %", false),
            (50, 40, "125.0 %", true),
            (6996, 10_000, "70.0 %", false),
            (1, 16, "6.3 %", false),
        ] {
            let usage = Usage::of(sent, Some(people));
            assert_eq!((usage.to_string().as_str(), usage.reaches_target()), (shown, reached));
        }
    }

    #[test]
    fn no_denominator_is_never_a_zero_rate() {
        for people in [None, Some(0)] {
            let usage = Usage::of(5, people);
            assert_eq!(usage.to_string(), "not computable");
            assert!(!usage.reaches_target());
        }
    }

    #[test]
    fn the_largest_numbers_do_not_overflow() {
        assert!(Usage::of(u64::MAX, Some(1)).reaches_target());
        assert!(!Usage::of(1, Some(u64::MAX)).reaches_target());
    }
}
