//! ESMTP parameters that travel with a queued recipient, as one JSON object of this module's own making. Its values are those that
//! [`crate::smtp`] reads and prints, so nothing is translated between the wire and the row.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::identity::Address;
use crate::message::Class;
use crate::smtp::command::{Body, ForwardPath, MailFrom, Notify, Onward, OriginalRecipient, RcptTo, Ret, Xtext};

/// What the sender asked for at MAIL and RCPT. It holds the original recipient in clear, since the peer must get it; Debug output
/// shows only how long it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Parameters {
    /// `RET` (RFC 3461 §4.3).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ret: Option<Ret>,
    /// `ENVID` (§4.4).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub envid: Option<Xtext>,
    /// `NOTIFY` (§4.1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notify: Option<Notify>,
    /// `ORCPT` (§4.2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub orcpt: Option<OriginalRecipient>,
    /// `BODY` (RFC 6152).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<Body>,
    /// `SMTPUTF8` (RFC 6531): the peer must offer it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub smtputf8: bool,
    /// `REQUIRETLS` (RFC 8689): the peer must offer it.
    #[serde(skip_serializing_if = "Onward::is_unsaid")]
    pub onward: Onward,
    /// What kind of message it is. No parameter of the wire: it decides which reports about it may be written (invariant 6).
    #[serde(skip_serializing_if = "is_message")]
    pub class: Class,
}

/// The stored text is none of this module's.
#[derive(Debug, thiserror::Error)]
#[error("queue parameters cannot be read")]
pub struct ParametersError(#[source] serde_json::Error);

impl Parameters {
    /// What the client said of this recipient, and of the transaction it is in.
    pub fn of(mail: &MailFrom, recipient: &RcptTo) -> Self {
        Self {
            notify: recipient.notify,
            orcpt: recipient.orcpt.clone(),
            ..Self::of_mail(mail)
        }
    }

    /// What the client said of the transaction.
    pub fn of_mail(mail: &MailFrom) -> Self {
        Self {
            ret: mail.ret,
            envid: mail.envid.clone(),
            body: mail.body,
            smtputf8: mail.utf8,
            onward: mail.onward,
            ..Self::default()
        }
    }

    /// MAIL as the next operator shall read it. What the client claimed of its login stays here (RFC 4954 §5).
    pub fn mail_from(&self, path: Option<Address>, size_bytes: u64) -> MailFrom {
        MailFrom {
            path,
            size_bytes: Some(size_bytes),
            body: self.body,
            utf8: self.smtputf8,
            ret: self.ret,
            envid: self.envid.clone(),
            auth: None,
            onward: self.onward,
        }
    }

    /// RCPT as the next operator shall read it.
    pub fn rcpt_to(&self, recipient: Address) -> RcptTo {
        RcptTo {
            path: ForwardPath::Address(recipient),
            notify: self.notify,
            orcpt: self.orcpt.clone(),
        }
    }

    /// Whether both may travel in one transaction: all that stands at MAIL is equal.
    pub fn shares_mail(&self, other: &Self) -> bool {
        let mail = |one: &Self| one.mail_from(None, 0);
        mail(self) == mail(other)
    }

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

    /// Whether this sender (`None`: `<>`) is told of a failure. RFC 3461 §4.1: without `NOTIFY`, as in plain SMTP, yes.
    pub fn tell_failure(&self, sender: Option<&Address>) -> bool {
        let wanted = self.notify.is_none_or(|notify| notify.wants(Notify::FAILURE));
        wanted && self.class.may_be_reported(sender)
    }

    /// Whether this sender is told of success: only if it asked.
    pub fn tell_success(&self, sender: Option<&Address>) -> bool {
        let wanted = self.notify.is_some_and(|notify| notify.wants(Notify::SUCCESS));
        wanted && self.class.may_be_reported(sender)
    }

    /// Whether this sender is told that it is late. RFC 3461 §4.1 leaves it to the server when there is no `NOTIFY`: a person is told, a
    /// software that did not ask is not.
    pub fn tell_delay(&self, sender: Option<&Address>) -> bool {
        let wanted = match self.notify {
            Some(notify) => notify.wants(Notify::DELAY),
            None => is_message(&self.class),
        };
        wanted && self.class.may_be_reported(sender)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_message(class: &Class) -> bool {
    *class == Class::Message
}

/// For logs: the wire form of what is not a name of anybody.
impl fmt::Display for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = [
            self.ret.map(|ret| format!("RET={ret}")),
            self.notify.map(|notify| format!("NOTIFY={notify}")),
            self.body.map(|body| format!("BODY={body}")),
            self.smtputf8.then(|| "SMTPUTF8".to_owned()),
            (!self.onward.is_unsaid()).then(|| "REQUIRETLS".to_owned()),
        ];
        let words: Vec<String> = words.into_iter().flatten().collect();
        f.write_str(&words.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::Command;

    fn full() -> Parameters {
        Parameters {
            ret: Some(Ret::Headers),
            envid: Xtext::of("QQ=1"),
            notify: Some(Notify::SUCCESS.with(Notify::FAILURE)),
            orcpt: Some("rfc822;279035121518989@patient.mssante.fr".parse().unwrap()),
            body: Some(Body::EightBitMime),
            smtputf8: true,
            onward: Onward::TlsRequired,
            class: Class::Auto,
        }
    }

    fn never() -> Parameters {
        Parameters {
            notify: Some(Notify::NEVER),
            ..Parameters::default()
        }
    }

    #[test]
    fn parameters_survive_the_queue() {
        for parameters in [full(), never(), Parameters::default()] {
            let text = parameters.to_json().unwrap();
            assert_eq!(Parameters::from_json(&text).unwrap(), parameters, "{text}");
        }
        assert_eq!(Parameters::from_json("").unwrap(), Parameters::default());
        assert_eq!(Parameters::default().to_json().unwrap(), "{}");
        assert!(Parameters::from_json("{").is_err());
        assert!(Parameters::from_json("{\"orcpt\":\"no kind\"}").is_err());
    }

    #[test]
    fn a_row_written_by_an_earlier_version_is_read() {
        let row = r#"{"ret":"HDRS","envid":"QQ+3D1","notify":["SUCCESS","FAILURE"],
            "orcpt":"rfc822;279035121518989@patient.mssante.fr","body":"8BITMIME","smtputf8":true}"#;
        let expected = Parameters {
            onward: Onward::Unsaid,
            class: Class::Message,
            ..full()
        };
        assert_eq!(Parameters::from_json(row).unwrap(), expected);
        assert_eq!(Parameters::from_json("{\"notify\":[]}").unwrap(), never());
    }

    #[test]
    fn what_a_client_said_is_what_the_next_operator_reads() {
        let mail = "MAIL FROM:<a@b.fr> SIZE=9 BODY=8BITMIME SMTPUTF8 RET=FULL ENVID=QQ+3D1 AUTH=x REQUIRETLS";
        let rcpt = "RCPT TO:<c@d.fr> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;c+2Bx@d.fr";
        let (Ok(Command::Mail(mail)), Ok(Command::Rcpt(rcpt))) =
            (Command::parse(mail.as_bytes()), Command::parse(rcpt.as_bytes()))
        else {
            panic!("both lines are commands");
        };
        let parameters = Parameters::of(&mail, &rcpt);
        let parameters = Parameters::from_json(&parameters.to_json().unwrap()).unwrap();
        assert_eq!(parameters.rcpt_to("c@d.fr".parse().unwrap()), rcpt);
        let onward = parameters.mail_from(mail.path.clone(), 12);
        let expected = MailFrom {
            size_bytes: Some(12),
            auth: None,
            ..mail
        };
        assert_eq!(onward, expected);
        let other = Parameters {
            notify: None,
            orcpt: None,
            ..parameters.clone()
        };
        assert!(parameters.shares_mail(&other));
        assert!(!parameters.shares_mail(&Parameters { ret: None, ..other }));
    }

    #[test]
    fn notify_and_the_class_decide_who_is_told() {
        let sender: Address = "dui@lilas.mssante.fr".parse().unwrap();
        let late = Notify::FAILURE.with(Notify::DELAY);
        for (notify, class, failure, success, delay) in [
            (None, Class::Message, true, false, true),
            (None, Class::Auto, true, false, false),
            (None, Class::Mdn, false, false, false),
            (Some(Notify::NEVER), Class::Message, false, false, false),
            (Some(Notify::SUCCESS), Class::Message, false, true, false),
            (Some(Notify::SUCCESS), Class::Auto, false, true, false),
            (Some(Notify::SUCCESS), Class::Dsn, false, false, false),
            (Some(late), Class::Message, true, false, true),
            (Some(late), Class::Auto, true, false, true),
        ] {
            let parameters = Parameters {
                notify,
                class,
                ..Parameters::default()
            };
            let told = |sender: Option<&Address>| {
                (
                    parameters.tell_failure(sender),
                    parameters.tell_success(sender),
                    parameters.tell_delay(sender),
                )
            };
            assert_eq!(told(Some(&sender)), (failure, success, delay), "{notify:?} {class}");
            assert_eq!(told(None), (false, false, false), "a null reverse-path is told nothing");
        }
    }

    #[test]
    fn debug_output_and_logs_mask_the_original_recipient() {
        assert!(!format!("{:?}", full()).contains("279035121518989"));
        assert_eq!(
            full().to_string(),
            "RET=HDRS NOTIFY=SUCCESS,FAILURE BODY=8BITMIME SMTPUTF8 REQUIRETLS"
        );
    }
}
