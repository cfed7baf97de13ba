//! Mail of the simulator: what a DUI sends from its BAL APP, with synthetic content only.

use std::io;

use jiff::Timestamp;
use mail_builder::MessageBuilder;
use mail_builder::headers::address::Address as BuilderAddress;
use mail_builder::headers::content_type::ContentType;
use mail_builder::headers::date::Date;
use mail_builder::headers::text::Text;
use mail_builder::mime::MimePart;

use crate::identity::Address;

/// A mail to be written.
#[derive(Clone)]
pub struct SyntheticMail<'a> {
    /// Box it is from.
    pub from: &'a Address,
    /// Name shown beside it (ECO.2.2.7): `Foyer Lilas - DUI`.
    pub label: Option<&'a str>,
    /// Recipients, as the `To` field shows them.
    pub to: &'a [Address],
    /// Where answers go when not to `from` (ECO.2.2.5).
    pub reply_to: Option<&'a Address>,
    /// Subject, any Unicode.
    pub subject: &'a str,
    /// `Date`.
    pub date: Timestamp,
    /// `Message-ID` without its brackets (ECO.2.2.1).
    pub message_id: &'a str,
    /// Further fields, names and values: `X-MSS-NIL` (ECO.2.4.3), `X-MSS-INS`, `X-MSS-CODECDA`, `X-MSS-MES`, …
    pub fields: &'a [(&'a str, &'a str)],
    /// Body, any Unicode (ECO.2.2.3).
    pub text: &'a str,
    /// Attachments, in order.
    pub attachments: &'a [Attachment<'a>],
}

/// A file attached to a synthetic mail.
#[derive(Clone, Copy)]
pub struct Attachment<'a> {
    /// File name, any Unicode.
    pub name: &'a str,
    /// Media type: `application/pdf`.
    pub media_type: &'a str,
    /// Content.
    pub bytes: &'a [u8],
}

/// Why a synthetic mail cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum SyntheticError {
    /// A field's name is not one of RFC 5322 §2.2.
    #[error("{0:?} is not a field name: letters, digits and hyphens")]
    FieldName(String),
    /// A field's value holds a control character, a line end for instance.
    #[error("the value of {0} holds a control character")]
    FieldValue(String),
    /// The attachment's media type is not `type/subtype`.
    #[error("{0:?} is not a media type: expected type/subtype")]
    MediaType(String),
    /// The Message-ID is not `left@right` in ASCII.
    #[error("{0:?} is not a message id: expected left@right, without brackets")]
    MessageId(String),
    /// The builder failed.
    #[error("cannot write the mail")]
    Write(#[source] io::Error),
}

impl SyntheticMail<'_> {
    /// Writes it: `text/plain` in UTF-8, in a `multipart/mixed` when there are attachments; CRLF line ends, ASCII only
    /// unless an address is not.
    pub fn build(&self) -> Result<Vec<u8>, SyntheticError> {
        self.check()?;
        let to = self.to.iter().map(|address| plain(address)).collect();
        let mut builder = MessageBuilder::new()
            .from(BuilderAddress::new_address(self.label, self.from.as_str()))
            .to(BuilderAddress::new_list(to))
            .subject(self.subject)
            .date(Date::new(self.date.as_second()))
            .message_id(self.message_id);
        if let Some(address) = self.reply_to {
            builder = builder.reply_to(plain(address));
        }
        for (name, value) in self.fields {
            builder = builder.header(*name, Text::new(*value));
        }
        let text = MimePart::new("text/plain", self.text);
        let body = if self.attachments.is_empty() {
            text
        } else {
            self.mixed(text)
        };
        builder.body(body).write_to_vec().map_err(SyntheticError::Write)
    }

    fn mixed<'x>(&'x self, text: MimePart<'x>) -> MimePart<'x> {
        let mut parts = vec![text];
        for attachment in self.attachments {
            // The name stands in Content-Type too: older software looks only there.
            let media_type = ContentType::new(attachment.media_type).attribute("name", attachment.name);
            parts.push(MimePart::new(media_type, attachment.bytes).attachment(attachment.name));
        }
        let mixed = ContentType::new("multipart/mixed").attribute("boundary", self.boundary());
        MimePart::new(mixed, parts)
    }

    /// Derived from the Message-ID, so that the same mail gives the same bytes. Attachments are base64 and cannot hold it.
    fn boundary(&self) -> String {
        let id = self.message_id.bytes().fold(HASH_SEED, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(HASH_PRIME)
        });
        // The text has finitely many places for a boundary, so the search ends.
        let mut attempt = id;
        loop {
            let name = format!("=_{attempt:016x}");
            if !self.text.contains(&name) {
                return name;
            }
            attempt = attempt.wrapping_add(1);
        }
    }

    fn check(&self) -> Result<(), SyntheticError> {
        for (name, value) in self.fields {
            let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
            if !is_name {
                return Err(SyntheticError::FieldName((*name).to_owned()));
            }
            if value.chars().any(char::is_control) {
                return Err(SyntheticError::FieldValue((*name).to_owned()));
            }
        }
        if self.subject.chars().any(char::is_control) {
            return Err(SyntheticError::FieldValue("Subject".to_owned()));
        }
        if self.label.is_some_and(|label| label.chars().any(char::is_control)) {
            return Err(SyntheticError::FieldValue("From".to_owned()));
        }
        let id_is_sound = self.message_id.split('@').count() == 2
            && self
                .message_id
                .bytes()
                .all(|b| b.is_ascii_graphic() && !b"<>()\"\\".contains(&b));
        if !id_is_sound {
            return Err(SyntheticError::MessageId(self.message_id.to_owned()));
        }
        self.attachments.iter().try_for_each(Attachment::check)
    }
}

impl Attachment<'_> {
    fn check(&self) -> Result<(), SyntheticError> {
        let is_token = |text: &str| {
            !text.is_empty()
                && text
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
        };
        let is_sound = self
            .media_type
            .split_once('/')
            .is_some_and(|(main, sub)| is_token(main) && is_token(sub));
        if !is_sound {
            return Err(SyntheticError::MediaType(self.media_type.to_owned()));
        }
        if self.name.chars().any(char::is_control) {
            return Err(SyntheticError::FieldValue("Content-Disposition".to_owned()));
        }
        Ok(())
    }
}

fn plain(address: &Address) -> BuilderAddress<'_> {
    BuilderAddress::new_address(None::<&str>, address.as_str())
}

/// FNV-1a, 64 bits.
const HASH_SEED: u64 = 0xcbf2_9ce4_8422_2325;
const HASH_PRIME: u64 = 0x0100_0000_01b3;

#[cfg(test)]
mod tests {
    use mail_parser::{MessageParser, MimeHeaders};

    use super::*;
    use crate::message::addresses::Authors;
    use crate::message::fields::{Header, HeaderLimits};

    fn addresses() -> Vec<Address> {
        [
            "dui@ehpad-lilas.mssante.fr",
            "urgences@chu.mssante.fr",
            "foyer@ehpad-lilas.mssante.fr",
        ]
        .map(|text| text.parse().unwrap())
        .to_vec()
    }

    fn mail<'a>(all: &'a [Address], attachments: &'a [Attachment<'a>]) -> SyntheticMail<'a> {
        SyntheticMail {
            from: &all[0],
            label: Some("Foyer Lilas – DUI"),
            to: &all[1..2],
            reply_to: Some(&all[2]),
            subject: "Synthèse d'essai, sans patient réel",
            date: "2026-11-21T10:00:00Z".parse().unwrap(),
            message_id: "m1@ehpad-lilas.mssante.fr",
            fields: &[("X-MSS-NIL", "DEV000001")],
            text: "Bonjour,\nceci est un essai à ignorer.\n",
            attachments,
        }
    }

    #[test]
    fn a_synthetic_mail_reads_back_as_it_was_asked() {
        let all = addresses();
        let files = [Attachment {
            name: "20261121_Synthèse_TEST_Alix.pdf",
            media_type: "application/pdf",
            bytes: b"%PDF-1.4\r\n\0\xff",
        }];
        let bytes = mail(&all, &files).build().unwrap();
        assert!(bytes.is_ascii());
        let header = Header::parse(&bytes, &HeaderLimits::default()).unwrap();
        let authors = Authors::read(&header).unwrap();
        assert_eq!(authors.from[0].label.as_deref(), Some("Foyer Lilas – DUI"));
        assert_eq!(authors.from[0].address, all[0]);
        assert_eq!(authors.reply_to[0].address, all[2]);
        assert_eq!(header.value("x-mss-nil").unwrap(), "DEV000001");
        assert_eq!(header.value("message-id").unwrap(), "<m1@ehpad-lilas.mssante.fr>");

        let parsed = MessageParser::default().parse(&bytes).unwrap();
        assert_eq!(parsed.subject(), Some("Synthèse d'essai, sans patient réel"));
        assert!(parsed.body_text(0).unwrap().contains("un essai à ignorer"));
        let file = parsed.attachment(0).unwrap();
        assert_eq!(file.attachment_name(), Some("20261121_Synthèse_TEST_Alix.pdf"));
        assert_eq!(file.contents(), files[0].bytes);
        assert_eq!(bytes, mail(&all, &files).build().unwrap());
    }

    #[test]
    fn without_attachment_the_mail_is_plain_text() {
        let all = addresses();
        let bytes = mail(&all, &[]).build().unwrap();
        let header = Header::scan(&bytes);
        assert!(header.value("content-type").unwrap().starts_with("text/plain"));
    }

    #[test]
    fn every_line_ends_with_crlf() {
        let all = addresses();
        let bytes = mail(&all, &[]).build().unwrap();
        assert!(
            bytes
                .split(|&b| b == b'\n')
                .rev()
                .skip(1)
                .all(|line| line.ends_with(b"\r"))
        );
    }

    #[test]
    fn nothing_given_can_add_a_field() {
        let all = addresses();
        let mut hostile = mail(&all, &[]);
        hostile.fields = &[("X-MSS-NIL", "a\r\nBcc: b@c.fr")];
        assert!(matches!(hostile.build(), Err(SyntheticError::FieldValue(_))));
        hostile.fields = &[("X:Y", "a")];
        assert!(matches!(hostile.build(), Err(SyntheticError::FieldName(_))));
        hostile.fields = &[];
        hostile.subject = "a\r\nBcc: b@c.fr";
        assert!(matches!(hostile.build(), Err(SyntheticError::FieldValue(_))));
        hostile.subject = "a";
        hostile.label = Some("a\n");
        assert!(matches!(hostile.build(), Err(SyntheticError::FieldValue(_))));
        hostile.label = None;
        hostile.message_id = "no at sign";
        assert!(matches!(hostile.build(), Err(SyntheticError::MessageId(_))));
        hostile.message_id = "a@b";
        assert!(hostile.build().is_ok());
        let files = [Attachment {
            name: "x",
            media_type: "pdf",
            bytes: b"",
        }];
        assert!(matches!(mail(&all, &files).build(), Err(SyntheticError::MediaType(_))));
    }
}
