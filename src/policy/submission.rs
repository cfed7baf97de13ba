//! What a login may submit: as which box, from whom, to whom (invariant 3: no open relay, no impersonation).

use super::form::Mode;
use super::inbound::{BoxStanding, malformed, takes_mail};
use super::{Reason, Refusal, shown};
use crate::identity::{Address, Domain};
use crate::message::addresses;
use crate::message::addresses::Authors;
use crate::message::addresses::FieldError;
use crate::message::class::Class;
use crate::message::fields::Header;

/// Where a recipient's box is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// One of our domains, with what is known about the box.
    Local(Option<BoxStanding>),
    /// Its domain is on the allow list, for another operator.
    Listed,
    /// Its domain is on no list: outside the trust space.
    Unlisted,
}

/// Which address the `Sender` field may name.
#[derive(Clone, Copy, Debug)]
pub enum SenderRule<'a> {
    /// Only a box of the login.
    OwnBox,
    /// Also any address of these domains: with a BAL APP, `Sender` is the person who asked for the send (CI-SIS).
    Domains(&'a [Domain]),
}

/// What an operator asks of its users' messages beside the identity rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// What findings about the form of a message lead to.
    pub checks: Mode,
    /// What becomes of the old receipt field.
    pub old_receipt: OldReceipt,
    /// Largest message to a patient, in bytes of the encoded message.
    pub patient_bytes_max: u64,
}

/// Whether `Return-Receipt-To` asks for a delivery report (MSS/va1.15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OldReceipt {
    /// It does, as `NOTIFY=SUCCESS` would.
    Heard,
    /// It is a field like any other.
    Ignored,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            checks: Mode::Report,
            old_receipt: OldReceipt::Heard,
            patient_bytes_max: PATIENT_BYTES_MAX,
        }
    }
}

/// Decides on the size of a message to `recipient`, as MAIL announced it or as it came: Mon espace santé takes 25 MB in all, and would send
/// back what is larger.
pub fn patient_size(recipient: &Address, size_bytes: u64, rules: &Rules) -> Result<(), Refusal> {
    if !recipient.domain().is_patient() || size_bytes <= rules.patient_bytes_max {
        return Ok(());
    }
    Err(Refusal::new(
        Reason::PatientMessageTooLarge,
        format!(
            "the message has {size_bytes} bytes and {} takes {} at most; send fewer attachments",
            recipient.domain(),
            rules.patient_bytes_max
        ),
    ))
}

/// Whether the old receipt field of this header asks for a delivery report: it names the sender's own box, and nobody else
/// (ECO.2.3.1; a report goes to the reverse-path alone, so one for another box would surprise both).
pub fn asks_old_receipt(header: &Header<'_>, reverse_path: Option<&Address>, rules: &Rules) -> bool {
    if rules.old_receipt == OldReceipt::Ignored {
        return false;
    }
    let (Some(own), Some(value)) = (reverse_path, header.value("Return-Receipt-To")) else {
        return false;
    };
    addresses::list(&value).is_ok_and(|named| matches!(named.as_slice(), [only] if only.address == *own))
}

/// What Mon espace santé takes, attachments included.
const PATIENT_BYTES_MAX: u64 = 25_000_000;

/// Chooses the box of a SASL EXTERNAL login (RFC 4422 Appendix A): `bound` are the boxes bound to the certificate, `authzid`
/// the one asked for. Empty, it is enough when only one box fits.
pub fn login(bound: &[Address], authzid: &str) -> Result<Address, Refusal> {
    if authzid.is_empty() {
        return match bound {
            [] => Err(Refusal::new(
                Reason::CertificateNotBound,
                "this certificate is bound to no box; ask the operator to bind it",
            )),
            [only] => Ok(only.clone()),
            several => Err(Refusal::new(
                Reason::BoxAmbiguous,
                format!(
                    "this certificate is bound to {} boxes; name one as authorization identity",
                    several.len()
                ),
            )),
        };
    }
    let asked: Address = authzid.parse().map_err(|_| {
        Refusal::new(
            Reason::CertificateNotBound,
            "the authorization identity is not a box address; expected local@domain",
        )
    })?;
    bound.iter().find(|one| **one == asked).cloned().ok_or_else(|| {
        Refusal::new(
            Reason::CertificateNotBound,
            format!(
                "this certificate is not bound to box {}; ask the operator to bind it",
                shown(&asked)
            ),
        )
    })
}

/// Decides on MAIL FROM: one of `boxes`, which this login may use. The null reverse-path (`None`) is taken, since clients answer
/// with disposition notifications (RFC 8098 §2.1); [`authors`] then checks that it is one.
pub fn sender(boxes: &[Address], reverse_path: Option<&Address>) -> Result<(), Refusal> {
    match reverse_path {
        Some(address) if !boxes.contains(address) => Err(Refusal::new(
            Reason::SenderNotAllowed,
            format!(
                "this login may not send as {}; {}",
                shown(address),
                allowed("MAIL FROM", boxes)
            ),
        )),
        _ => Ok(()),
    }
}

/// What is known about who wrote a submitted message.
#[derive(Clone, Copy, Debug)]
pub struct AuthorFacts<'a> {
    /// Boxes this login may use.
    pub boxes: &'a [Address],
    /// MAIL FROM; `None` is `<>`.
    pub reverse_path: Option<&'a Address>,
    /// The author fields, as far as they could be read.
    pub authors: &'a Result<Authors, FieldError>,
    /// Class of the message by its header alone: [`Class::of_header`].
    pub class: Class,
    /// Rule for `Sender`.
    pub sender_rule: SenderRule<'a>,
}

/// Decides on `From` and `Sender` of a submitted message: every `From` is a box of the login, `Sender` obeys its rule, and an
/// ordinary message has a sender to answer to. `Reply-To` is free (ECO.2.2.5).
pub fn authors(facts: &AuthorFacts<'_>) -> Result<(), Refusal> {
    let authors = facts.authors.as_ref().map_err(|error| malformed(error))?;
    if authors.from.is_empty() {
        return Err(Refusal::new(
            Reason::FromNotAllowed,
            format!("the message has no From address; {}", allowed("From", facts.boxes)),
        ));
    }
    if let Some(foreign) = authors.from.iter().find(|one| !facts.boxes.contains(&one.address)) {
        return Err(Refusal::new(
            Reason::FromNotAllowed,
            format!(
                "this login may not write From {}; {}",
                shown(&foreign.address),
                allowed("From", facts.boxes)
            ),
        ));
    }
    if let Some(named) = &authors.sender {
        sender_field(&named.address, facts)?;
    }
    if facts.reverse_path.is_none() && facts.class == Class::Message {
        return Err(Refusal::new(
            Reason::SenderNotAllowed,
            format!(
                "only notifications and automatic answers may have a null sender; {}",
                allowed("MAIL FROM", facts.boxes)
            ),
        ));
    }
    Ok(())
}

/// Decides on RCPT TO of a submission: a box of ours that takes mail, or a domain of the trust space. Refusing here is better
/// than a bounce later (spec §4.6).
pub fn recipient(address: &Address, destination: Destination) -> Result<(), Refusal> {
    match destination {
        Destination::Listed => Ok(()),
        Destination::Local(standing) => takes_mail(address, standing),
        Destination::Unlisted => Err(Refusal::new(
            Reason::RecipientDomainUnlisted,
            format!(
                "domain {} is not on the allow list of the trust space; check the address in the directory",
                address.domain()
            ),
        )),
    }
}

fn sender_field(address: &Address, facts: &AuthorFacts<'_>) -> Result<(), Refusal> {
    let is_allowed = facts.boxes.contains(address)
        || match facts.sender_rule {
            SenderRule::OwnBox => false,
            SenderRule::Domains(domains) => domains.contains(address.domain()),
        };
    if is_allowed {
        return Ok(());
    }
    Err(Refusal::new(
        Reason::FromNotAllowed,
        format!(
            "this login may not name {} in the Sender field; remove the field, or {}",
            shown(address),
            allowed("Sender", facts.boxes)
        ),
    ))
}

/// What would have been right.
fn allowed(field: &str, boxes: &[Address]) -> String {
    match boxes {
        [] => "this login may use no box: ask the operator".to_owned(),
        [only] => format!("use {} in {field}", shown(only)),
        [first, ..] => format!(
            "use one of its {} boxes in {field}, {} for instance",
            boxes.len(),
            shown(first)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        text.parse().unwrap()
    }

    fn boxes() -> Vec<Address> {
        vec![
            address("dui@ehpad-lilas.mssante.fr"),
            address("foyer@ehpad-lilas.mssante.fr"),
        ]
    }

    /// The verdict about a header sent with that MAIL FROM by a login that may use [`boxes`].
    fn verdict(fields: &str, reverse_path: Option<&str>, sender_rule: SenderRule<'_>) -> Result<(), Refusal> {
        let message = format!("{fields}\r\n\r\n");
        let header = Header::scan(message.as_bytes());
        let reverse_path = reverse_path.map(address);
        authors(&AuthorFacts {
            boxes: &boxes(),
            reverse_path: reverse_path.as_ref(),
            authors: &Authors::read(&header),
            class: Class::of_header(&header),
            sender_rule,
        })
    }

    fn from_dui(fields: &str) -> Result<(), Refusal> {
        verdict(fields, Some("dui@ehpad-lilas.mssante.fr"), SenderRule::OwnBox)
    }

    #[test]
    fn a_certificate_opens_the_box_it_is_bound_to() {
        let several = boxes();
        assert_eq!(login(&several, "FOYER@ehpad-lilas.mssante.fr"), Ok(several[1].clone()));
        assert_eq!(login(&several[..1], ""), Ok(several[0].clone()));
        let refused = |bound: &[Address], authzid: &str| login(bound, authzid).unwrap_err().reason;
        assert_eq!(refused(&several, ""), Reason::BoxAmbiguous);
        assert_eq!(refused(&[], ""), Reason::CertificateNotBound);
        assert_eq!(
            refused(&several, "other@ehpad-lilas.mssante.fr"),
            Reason::CertificateNotBound
        );
        assert_eq!(refused(&several, "not an address"), Reason::CertificateNotBound);
        assert_eq!(
            refused(&[], "foyer@ehpad-lilas.mssante.fr"),
            Reason::CertificateNotBound
        );
    }

    #[test]
    fn the_envelope_sender_is_a_box_of_the_login() {
        assert_eq!(sender(&boxes(), Some(&address("Foyer@ehpad-lilas.mssante.fr"))), Ok(()));
        assert_eq!(sender(&boxes(), None), Ok(()));
        let refusal = sender(&boxes()[..1], Some(&address("directeur@chu.mssante.fr"))).unwrap_err();
        assert_eq!(refusal.reason, Reason::SenderNotAllowed);
        assert_eq!(
            refusal.text,
            "this login may not send as directeur@chu.mssante.fr; use dui@ehpad-lilas.mssante.fr in MAIL FROM"
        );
        assert_eq!(
            sender(&[], Some(&boxes()[0])).unwrap_err().reason,
            Reason::SenderNotAllowed
        );
    }

    #[test]
    fn from_may_be_any_box_of_the_login() {
        assert_eq!(from_dui("From: DUI <dui@ehpad-lilas.mssante.fr>"), Ok(()));
        assert_eq!(from_dui("From: foyer@EHPAD-LILAS.mssante.fr"), Ok(()));
        assert_eq!(
            from_dui("From: dui@ehpad-lilas.mssante.fr, foyer@ehpad-lilas.mssante.fr"),
            Ok(())
        );
        assert_eq!(
            from_dui(
                "From: dui@ehpad-lilas.mssante.fr\r\nReply-To: a@chu.mssante.fr\r\nSender: foyer@ehpad-lilas.mssante.fr"
            ),
            Ok(())
        );
    }

    #[test]
    fn from_of_somebody_else_or_of_nobody_is_refused() {
        for fields in [
            "Subject: no from",
            "From: nobody:;",
            "From: directeur@chu.mssante.fr",
            "From: dui@ehpad-lilas.mssante.fr, directeur@chu.mssante.fr",
            "From: \"dui@ehpad-lilas.mssante.fr\" <directeur@chu.mssante.fr>",
            "From: dui@ehpad-lilas.mssante.fr\r\nSender: directeur@chu.mssante.fr",
        ] {
            assert_eq!(from_dui(fields).unwrap_err().reason, Reason::FromNotAllowed, "{fields}");
        }
    }

    #[test]
    fn author_fields_that_cannot_be_read_make_the_message_malformed() {
        for fields in [
            "From: dui@ehpad-lilas.mssante.fr\r\nFrom: foyer@ehpad-lilas.mssante.fr",
            "From: dui@ehpad-lilas.mssante.fr <directeur@chu.mssante.fr>",
            "From: jeanne",
            "From: dui@ehpad-lilas.mssante.fr\r\nSender: a@b.fr, c@d.fr",
        ] {
            assert_eq!(
                from_dui(fields).unwrap_err().reason,
                Reason::MessageMalformed,
                "{fields}"
            );
        }
    }

    #[test]
    fn sender_may_be_a_person_of_our_domains_when_the_rule_says_so() {
        let fields = "From: dui@ehpad-lilas.mssante.fr\r\nSender: jeanne.briard@ssiad-lilas.mssante.fr";
        let ours: Domain = "ssiad-lilas.mssante.fr".parse().unwrap();
        let dui = Some("dui@ehpad-lilas.mssante.fr");
        assert_eq!(verdict(fields, dui, SenderRule::Domains(&[ours])), Ok(()));
        let other: Domain = "chu.mssante.fr".parse().unwrap();
        for rule in [SenderRule::OwnBox, SenderRule::Domains(&[other])] {
            assert_eq!(verdict(fields, dui, rule).unwrap_err().reason, Reason::FromNotAllowed);
        }
    }

    #[test]
    fn only_notifications_and_automatic_answers_go_without_a_sender() {
        let from = "From: dui@ehpad-lilas.mssante.fr\r\n";
        let mdn = format!("{from}Content-Type: multipart/report; report-type=disposition-notification; boundary=b");
        let answer = format!("{from}Auto-Submitted: auto-replied");
        let letter = format!("{from}Subject: x");
        let foreign = mdn.replace("dui@", "directeur@");
        assert_eq!(verdict(&mdn, None, SenderRule::OwnBox), Ok(()));
        assert_eq!(verdict(&answer, None, SenderRule::OwnBox), Ok(()));
        assert_eq!(
            verdict(&letter, None, SenderRule::OwnBox).unwrap_err().reason,
            Reason::SenderNotAllowed
        );
        assert_eq!(
            verdict(&foreign, None, SenderRule::OwnBox).unwrap_err().reason,
            Reason::FromNotAllowed
        );
    }

    #[test]
    fn a_recipient_is_a_box_of_ours_or_in_a_listed_domain() {
        let there = address("urgences@chu.mssante.fr");
        assert_eq!(recipient(&there, Destination::Listed), Ok(()));
        assert_eq!(recipient(&there, Destination::Local(Some(BoxStanding::Active))), Ok(()));
        let refused = |destination| recipient(&there, destination).unwrap_err().reason;
        assert_eq!(refused(Destination::Local(None)), Reason::BoxUnknown);
        assert_eq!(
            refused(Destination::Local(Some(BoxStanding::Closed))),
            Reason::BoxClosed
        );
        assert_eq!(refused(Destination::Unlisted), Reason::RecipientDomainUnlisted);
    }

    #[test]
    fn refusals_mask_the_ins_of_a_patient() {
        let patient = address("279035121518989@patient.mssante.fr");
        let refusal = sender(&[patient], Some(&address("380127598762345@patient.mssante.fr"))).unwrap_err();
        assert_eq!(
            refusal.text,
            "this login may not send as 3801...345@patient.mssante.fr; use 2790...989@patient.mssante.fr in MAIL FROM"
        );
    }
}
