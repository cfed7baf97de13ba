//! ESMTP parameters that travel with a queued recipient, as one JSON object of this module's own making.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::journal::Excerpt;

/// What the sender asked for at MAIL and RCPT. It holds the original recipient in clear, since the peer must get it; Debug output
/// masks it.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Parameters {
    /// `RET` (RFC 3461 §4.3).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ret: Option<Ret>,
    /// `ENVID`, still in xtext (§4.4).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub envid: Option<String>,
    /// `NOTIFY` (§4.1): `None` when absent, empty for `NEVER`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notify: Option<BTreeSet<Condition>>,
    /// `ORCPT`, still in xtext (§4.2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub orcpt: Option<String>,
    /// `BODY` (RFC 6152).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<Body>,
    /// `SMTPUTF8` (RFC 6531): the peer must offer it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub smtputf8: bool,
}

/// What a failure report returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Ret {
    /// The whole message.
    Full,
    /// Its header.
    Hdrs,
}

/// When a report is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Condition {
    /// When it arrived.
    Success,
    /// When it never will.
    Failure,
    /// When it is late.
    Delay,
}

/// What the content holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Body {
    /// `7BIT`
    #[serde(rename = "7BIT")]
    SevenBit,
    /// `8BITMIME`
    #[serde(rename = "8BITMIME")]
    EightBitMime,
}

/// The stored text is none of this module's.
#[derive(Debug, thiserror::Error)]
#[error("queue parameters cannot be read")]
pub struct ParametersError(#[source] serde_json::Error);

impl Parameters {
    /// Reads what [`Self::to_json`] wrote; an empty text is no parameters at all.
    pub fn from_json(text: &str) -> Result<Self, ParametersError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        serde_json::from_str(text).map_err(ParametersError)
    }

    /// The text a queue row keeps.
    pub fn to_json(&self) -> Result<String, ParametersError> {
        serde_json::to_string(self).map_err(ParametersError)
    }

    /// Whether the sender may be told of a failure. RFC 3461 §4.1: without `NOTIFY`, as in plain SMTP, yes.
    pub fn tell_failure(&self) -> bool {
        self.notify.as_ref().is_none_or(|on| on.contains(&Condition::Failure))
    }

    /// Whether the sender asked to be told of success.
    pub fn tell_success(&self) -> bool {
        self.notify.as_ref().is_some_and(|on| on.contains(&Condition::Success))
    }
}

impl fmt::Debug for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parameters")
            .field("ret", &self.ret)
            .field("notify", &self.notify)
            .field("orcpt", &self.orcpt.as_ref().map(Excerpt::from))
            .field("body", &self.body)
            .field("smtputf8", &self.smtputf8)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Parameters {
        Parameters {
            ret: Some(Ret::Hdrs),
            envid: Some("QQ+3D1".into()),
            notify: Some([Condition::Success, Condition::Failure].into()),
            orcpt: Some("rfc822;279035121518989@patient.mssante.fr".into()),
            body: Some(Body::EightBitMime),
            smtputf8: true,
        }
    }

    #[test]
    fn parameters_survive_the_queue() {
        let never = Parameters {
            notify: Some(BTreeSet::new()),
            ..Parameters::default()
        };
        for parameters in [full(), never, Parameters::default()] {
            let text = parameters.to_json().unwrap();
            assert_eq!(Parameters::from_json(&text).unwrap(), parameters, "{text}");
        }
        assert_eq!(Parameters::from_json("").unwrap(), Parameters::default());
        assert_eq!(Parameters::default().to_json().unwrap(), "{}");
        assert!(Parameters::from_json("{").is_err());
    }

    #[test]
    fn notify_decides_who_is_told() {
        let with = |notify: Option<&[Condition]>| Parameters {
            notify: notify.map(|on| on.iter().copied().collect()),
            ..Parameters::default()
        };
        for (notify, failure, success) in [
            (None, true, false),
            (Some(&[][..]), false, false),
            (Some(&[Condition::Success]), false, true),
            (Some(&[Condition::Failure, Condition::Delay]), true, false),
        ] {
            let parameters = with(notify);
            assert_eq!(
                (parameters.tell_failure(), parameters.tell_success()),
                (failure, success)
            );
        }
    }

    #[test]
    fn debug_output_masks_the_original_recipient() {
        assert!(!format!("{:?}", full()).contains("279035121518989"));
    }
}
