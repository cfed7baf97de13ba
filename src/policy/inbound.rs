//! What another operator may hand to us: recipients that exist and can take mail, messages that are sound and do not loop.
//!
//! Who the peer is, and whether its certificate is listed for the sender's domain, is decided in `trust` before any of this.

use super::{Reason, Refusal, shown};
use crate::identity::{Address, Domain};
use crate::message::fields::HeaderDefect;
use crate::message::received::RECEIVED_FIELDS_MAX;

/// Whose a recipient's domain is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DomainStanding {
    /// This operator holds its boxes.
    Ours,
    /// It has just moved to another operator, and peers may still have the old route.
    Leaving,
    /// It belongs to another operator, or to nobody.
    Elsewhere,
}

/// Whether a box takes mail now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BoxStanding {
    /// It does.
    Active,
    /// Not for now.
    Suspended,
    /// Never again.
    Closed,
    /// Its quota is used up.
    Full,
}

/// What is known about a recipient.
#[derive(Clone, Copy, Debug)]
pub struct RecipientFacts<'a> {
    /// Forward-path.
    pub address: &'a Address,
    /// Whose its domain is.
    pub domain: DomainStanding,
    /// Its box; `None` if there is none.
    pub standing: Option<BoxStanding>,
}

/// What is known about a message once its header, or all of it, is here.
#[derive(Clone, Copy, Debug)]
pub struct MessageFacts {
    /// Size in bytes so far, or announced with `SIZE=`.
    pub size_bytes: u64,
    /// Its `Received` fields before ours.
    pub received_count: usize,
    /// What the scanner found wrong with its header.
    pub defect: Option<HeaderDefect>,
}

/// Limits of one operator for one transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest message in bytes, as EHLO announces it. Default 25 MiB and base64 room: what the patient space takes must pass.
    pub message_bytes_max: u64,
    /// Most `Received` fields. Default 30; see [`RECEIVED_FIELDS_MAX`].
    pub received_fields_max: usize,
    /// Most recipients of one transaction. Default 1,000; never below 100 (RFC 5321 §4.5.3.1.8).
    pub recipients_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes_max: MESSAGE_BYTES_MAX,
            received_fields_max: RECEIVED_FIELDS_MAX,
            recipients_max: RECIPIENTS_MAX,
        }
    }
}

/// Decides on RCPT TO from a peer: the domain is ours and the box takes mail (spec §4.6).
pub fn recipient(facts: &RecipientFacts<'_>) -> Result<(), Refusal> {
    match facts.domain {
        DomainStanding::Ours => takes_mail(facts.address, facts.standing),
        DomainStanding::Leaving => Err(leaving(facts.address.domain())),
        DomainStanding::Elsewhere => Err(Refusal::new(
            Reason::RelayDenied,
            format!(
                "relay denied: this operator does not hold {}; send to the MX of that domain",
                facts.address.domain()
            ),
        )),
    }
}

/// The answer for a domain that has just moved away: whoever tries again finds its new operator.
pub fn leaving(domain: &Domain) -> Refusal {
    let text = format!("{domain} has just moved to another operator; look up its MX again and try there");
    Refusal::new(Reason::DomainLeaving, text)
}

/// Decides whether a box of ours takes mail.
pub fn takes_mail(address: &Address, standing: Option<BoxStanding>) -> Result<(), Refusal> {
    let shown = shown(address);
    let (reason, text) = match standing {
        Some(BoxStanding::Active) => return Ok(()),
        Some(BoxStanding::Suspended) => (
            Reason::BoxSuspended,
            format!("box {shown} is suspended for now; try again later"),
        ),
        Some(BoxStanding::Closed) => (
            Reason::BoxClosed,
            format!("box {shown} is closed for good; ask the directory for the holder's new address"),
        ),
        Some(BoxStanding::Full) => (
            Reason::OverQuota,
            format!("box {shown} is full; try again later, its holder has to make room"),
        ),
        // RFC 5321 §4.5.1: it should be there; whoever reads this is the one to tell.
        None if address.is_postmaster() => (
            Reason::BoxUnknown,
            format!(
                "nobody reads {shown}: this operator has no such box, and names none under `postmaster` in its configuration"
            ),
        ),
        None => (
            Reason::BoxUnknown,
            format!("no box {shown} here; check the address in the directory"),
        ),
    };
    Err(Refusal::new(reason, text))
}

/// Decides whether one more recipient is allowed, `accepted` being those taken so far. The peer sends the rest in another
/// transaction (RFC 5321 §4.5.3.1.10).
pub fn one_more_recipient(accepted: usize, limits: &Limits) -> Result<(), Refusal> {
    if accepted < limits.recipients_max {
        return Ok(());
    }
    Err(Refusal::new(
        Reason::TooManyRecipients,
        format!(
            "more than {} recipients in one transaction; send the others in another one",
            limits.recipients_max
        ),
    ))
}

/// Decides on a size: that of `SIZE=` at MAIL (RFC 1870 §6.1), or what has come in so far.
pub fn size(size_bytes: u64, limits: &Limits) -> Result<(), Refusal> {
    if size_bytes <= limits.message_bytes_max {
        return Ok(());
    }
    Err(Refusal::new(
        Reason::MessageTooLarge,
        format!(
            "the message is larger than the {} bytes taken here",
            limits.message_bytes_max
        ),
    ))
}

/// Decides on a message from a peer or a client: size, soundness of the header, loop.
pub fn message(facts: &MessageFacts, limits: &Limits) -> Result<(), Refusal> {
    size(facts.size_bytes, limits)?;
    if let Some(defect) = facts.defect {
        return Err(malformed(&defect));
    }
    // RFC 5321 §6.3
    if facts.received_count > limits.received_fields_max {
        return Err(Refusal::new(
            Reason::MailLoop,
            format!(
                "mail loop: the message has {} Received fields, more than {}; look for servers that send to each other",
                facts.received_count, limits.received_fields_max
            ),
        ));
    }
    Ok(())
}

/// A defect of the message's format as a refusal.
pub fn malformed(defect: &dyn std::error::Error) -> Refusal {
    Refusal::new(Reason::MessageMalformed, format!("malformed message: {defect}"))
}

/// The refusal of a message whose parts lie too deep in each other.
pub fn too_deep(depth_max: usize) -> Refusal {
    Refusal::new(
        Reason::MessageMalformed,
        format!("the message has more than {depth_max} multiparts or messages inside each other"),
    )
}

/// 25 MiB of files in base64 with line ends, and 1 MiB for the rest.
const MESSAGE_BYTES_MAX: u64 = 36 * 1024 * 1024;
const RECIPIENTS_MAX: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        text.parse().unwrap()
    }

    fn verdict(text: &str, domain: DomainStanding, standing: Option<BoxStanding>) -> Result<(), Refusal> {
        let address = address(text);
        recipient(&RecipientFacts {
            address: &address,
            domain,
            standing,
        })
    }

    fn facts() -> MessageFacts {
        MessageFacts {
            size_bytes: 100,
            received_count: 2,
            defect: None,
        }
    }

    fn limits() -> Limits {
        Limits {
            message_bytes_max: 1_000,
            received_fields_max: 30,
            recipients_max: 2,
        }
    }

    #[test]
    fn only_an_active_box_of_ours_takes_mail() {
        use BoxStanding::{Active, Closed, Full, Suspended};
        use DomainStanding::{Elsewhere, Leaving, Ours};
        let foyer = "foyer@ehpad-lilas.mssante.fr";
        assert_eq!(verdict(foyer, Ours, Some(Active)), Ok(()));
        for (domain, standing, reason) in [
            (Ours, Some(Suspended), Reason::BoxSuspended),
            (Ours, Some(Closed), Reason::BoxClosed),
            (Ours, Some(Full), Reason::OverQuota),
            (Ours, None, Reason::BoxUnknown),
            (Leaving, None, Reason::DomainLeaving),
            (Leaving, Some(Active), Reason::DomainLeaving),
            (Elsewhere, None, Reason::RelayDenied),
            (Elsewhere, Some(Active), Reason::RelayDenied),
        ] {
            let refusal = verdict(foyer, domain, standing).unwrap_err();
            assert_eq!(refusal.reason, reason);
            assert!(refusal.text.contains("ehpad-lilas.mssante.fr"), "{}", refusal.text);
        }
    }

    #[test]
    fn postmaster_without_a_box_says_what_to_configure() {
        let refusal = verdict("PostMaster@lilas.mssante.fr", DomainStanding::Ours, None).unwrap_err();
        assert_eq!(refusal.reason, Reason::BoxUnknown);
        assert!(
            refusal
                .text
                .contains("names none under `postmaster` in its configuration"),
            "{refusal}"
        );
        let elsewhere = verdict("postmaster@ailleurs.mssante.fr", DomainStanding::Elsewhere, None).unwrap_err();
        assert_eq!(elsewhere.reason, Reason::RelayDenied);
    }

    #[test]
    fn a_refusal_masks_the_ins_in_ascii() {
        let refusal = verdict("279035121518989@patient.mssante.fr", DomainStanding::Ours, None).unwrap_err();
        assert_eq!(
            refusal.text,
            "no box 2790...989@patient.mssante.fr here; check the address in the directory"
        );
    }

    #[test]
    fn a_transaction_takes_its_limit_of_recipients_and_not_one_more() {
        assert_eq!(one_more_recipient(1, &limits()), Ok(()));
        assert_eq!(
            one_more_recipient(2, &limits()).unwrap_err().reason,
            Reason::TooManyRecipients
        );
    }

    #[test]
    fn a_message_up_to_the_limits_passes() {
        assert_eq!(message(&facts(), &limits()), Ok(()));
        let largest = MessageFacts {
            size_bytes: 1_000,
            received_count: 30,
            ..facts()
        };
        assert_eq!(message(&largest, &limits()), Ok(()));
    }

    #[test]
    fn a_message_beyond_a_limit_is_refused_with_its_reason() {
        let defect = HeaderDefect::EightBit { line: 3 };
        let cases = [
            (
                MessageFacts {
                    size_bytes: 1_001,
                    ..facts()
                },
                Reason::MessageTooLarge,
            ),
            (
                MessageFacts {
                    received_count: 31,
                    ..facts()
                },
                Reason::MailLoop,
            ),
            (
                MessageFacts {
                    defect: Some(defect),
                    ..facts()
                },
                Reason::MessageMalformed,
            ),
        ];
        for (facts, reason) in cases {
            assert_eq!(message(&facts, &limits()).unwrap_err().reason, reason);
        }
        assert_eq!(
            malformed(&defect).text,
            "malformed message: header line 3 has 8-bit characters: encode them (RFC 2047) or send with SMTPUTF8"
        );
    }
}
