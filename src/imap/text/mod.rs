//! What SEARCH looks at (RFC 9051 §6.4.4): a message as one run of folded text, made once, in which every text key is decided.
//!
//! ```text
//! NAME: VALUE ff NAME: VALUE ff … fe    the header: a line for each field, its encoded words decoded
//! NAME: VALUE ff …              fe    header fields of MIME parts
//! TEXT ff TEXT ff …                   text parts decoded, and the header fields of attached messages
//! ```
//!
//! Neither `ff` nor `fe` occurs in UTF-8, so no text that is sought reaches across them: TEXT looks at all of it, BODY at the third
//! part, HEADER at the lines of the first that carry its name. Parts that are not text (files, images) are not looked into.

pub(crate) mod decode;
mod fold;
mod key;

use super::mime::header;
use super::mime::parameter;
use super::mime::part::{Kind, Part};
pub(crate) use fold::{fold, folded, folded_text};
pub use key::TextKey;

/// The text of a message that searches look at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Searchable {
    /// See the module's description.
    pub text: Vec<u8>,
    /// Whether all of it is there: `false` when it would have been longer than asked for.
    pub is_complete: bool,
}

/// The searchable text of a message, up to `bytes_max` (a little more in the last part). Nothing fails: any bytes are some message.
pub fn searchable(message: &[u8], bytes_max: usize) -> Searchable {
    let root = Part::of_message(message);
    let mut found = Collector {
        message,
        bytes_max,
        header: Vec::with_capacity(HEADER_BYTES_USUAL),
        mime: Vec::new(),
        body: Vec::new(),
        is_complete: true,
    };
    fields_into(&mut found.header, &message[root.header.clone()]);
    found.inside(&root);
    let mut text = found.header;
    text.push(SECTION_END);
    text.append(&mut found.mime);
    text.push(SECTION_END);
    text.append(&mut found.body);
    Searchable {
        text,
        is_complete: found.is_complete,
    }
}

/// The same for a header block alone: enough for keys that [`TextKey::needs_body`] says no of.
pub fn searchable_header(message: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(HEADER_BYTES_USUAL);
    fields_into(&mut text, &message[..header::block_length(message)]);
    text.push(SECTION_END);
    text.push(SECTION_END);
    text
}

struct Collector<'a> {
    message: &'a [u8],
    bytes_max: usize,
    header: Vec<u8>,
    mime: Vec<u8>,
    body: Vec<u8>,
    is_complete: bool,
}

impl Collector<'_> {
    fn inside(&mut self, part: &Part) {
        match &part.kind {
            Kind::Leaf => self.leaf(part),
            Kind::Multipart(children) => {
                for child in children {
                    if self.is_full() {
                        return;
                    }
                    fields_into(&mut self.mime, &self.message[child.header.clone()]);
                    self.inside(child);
                }
            }
            // RFC 3501 §6.4.4: what is attached as a message is body of the outer one, its header too.
            Kind::Message(inner) => {
                fields_into(&mut self.body, &self.message[inner.header.clone()]);
                self.inside(inner);
            }
        }
    }

    fn leaf(&mut self, part: &Part) {
        if self.is_full() || !matches!(part.media.main(), b"TEXT" | b"MESSAGE") {
            return;
        }
        let head = &self.message[part.header.clone()];
        let bytes = decode::transfer(head, &self.message[part.body.clone()]);
        let text = decode::charset(&bytes, &part.charset().unwrap_or_default());
        fold(&text, &mut self.body);
        self.body.push(UNIT_END);
        // What people see of HTML: entities resolved, words that tags tear apart joined. Its source is searched as well.
        if part.media.sub() == b"HTML" && text.contains(['<', '&']) && !self.is_full() {
            fold(&mail_parser::decoders::html::html_to_text(&text), &mut self.body);
            self.body.push(UNIT_END);
        }
    }

    fn is_full(&mut self) -> bool {
        let is_full = self.header.len() + self.mime.len() + self.body.len() > self.bytes_max;
        self.is_complete &= !is_full;
        is_full
    }
}

/// A line for each field; a second one where parameters read otherwise than they are written (RFC 2231).
fn fields_into(out: &mut Vec<u8>, block: &[u8]) {
    for field in header::fields(block) {
        let value = header::unfold(field.value);
        line_into(out, field.name, &decode::words(&value));
        let has_parameters = ["Content-Type", "Content-Disposition"]
            .iter()
            .any(|name| field.name.eq_ignore_ascii_case(name.as_bytes()));
        if has_parameters && value.windows(2).any(|pair| pair == b"*=" || pair == b"*0") {
            let read: Vec<String> = parameter::parse(&value)
                .parameters
                .iter()
                .map(decode::parameter)
                .collect();
            line_into(out, field.name, &read.join("; "));
        }
    }
}

fn line_into(out: &mut Vec<u8>, name: &[u8], value: &str) {
    out.extend(name.iter().map(u8::to_ascii_uppercase));
    out.extend_from_slice(b": ");
    fold(value, out);
    out.push(UNIT_END);
}

/// Ends a line of a header, or the text of a part.
const UNIT_END: u8 = 0xFF;
/// Ends the first and the second section.
const SECTION_END: u8 = 0xFE;
/// Room for the header of most messages.
const HEADER_BYTES_USUAL: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    fn finds(message: &str, key: TextKey) -> bool {
        key.holds(&searchable(message.as_bytes(), usize::MAX).text)
    }

    fn text(needle: &str) -> TextKey {
        TextKey::text(needle.as_bytes()).unwrap()
    }

    fn body(needle: &str) -> TextKey {
        TextKey::body(needle.as_bytes()).unwrap()
    }

    fn field(name: &str, needle: &str) -> TextKey {
        TextKey::header(name.as_bytes(), needle.as_bytes()).unwrap()
    }

    #[test]
    fn encoded_words_are_found_as_they_read_and_not_as_they_are_written() {
        let mail = "Subject: =?utf-8?B?UsOpc3VsdGF0cyBkZSBiaW9sb2c=?= =?utf-8?Q?ie_m=C3=A9dicale?=\r\n\r\nx";
        assert!(finds(mail, field("Subject", "résultats de biologie MÉDICALE")));
        assert!(finds(mail, text("Biologie")));
        assert!(!finds(mail, text("UsOpc3")));
        assert!(!finds(mail, body("biologie")));
    }

    #[test]
    fn a_header_key_looks_at_its_own_fields_only() {
        let mail = "From: Jean <jean@chu.mssante.fr>\r\nTo: a@b.fr\r\n c@d.fr\r\nX-Empty:\r\n\r\njean";
        assert!(finds(mail, field("from", "JEAN@chu")));
        assert!(!finds(mail, field("To", "jean")));
        assert!(finds(mail, field("To", "b.fr c@d")), "unfolded");
        assert!(!finds(mail, field("Fro", "jean")), "a name is a whole name");
        assert!(
            !finds(mail, field("From", "From: Jean")),
            "the name is no text of the field"
        );
        assert!(finds(mail, field("X-Empty", "")) && finds(mail, field("TO", "")));
        assert!(!finds(mail, field("Cc", "")));
    }

    #[test]
    fn no_match_reaches_from_one_field_or_part_into_the_next() {
        let mail = "Subject: ab\r\nX: cd\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nef\r\n--b\r\n\r\ngh\r\n--b--";
        for needle in ["abX", "ab\r\nX", "ab X", "efgh", "ef\r\ngh"] {
            assert!(!finds(mail, text(needle)), "{needle:?}");
        }
        assert!(finds(mail, body("ef")) && finds(mail, body("gh")));
    }

    #[test]
    fn parts_are_decoded_and_files_are_not_looked_into() {
        let mail = "Content-Type: multipart/mixed; boundary=b\r\n\r\npreamble\r\n--b\r\nContent-Type: text/plain; charset=iso-8859-1\r\n\
                    Content-Transfer-Encoding: quoted-printable\r\n\r\nd=E9j=E0 =\r\nvu\r\n\
                    --b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\nYWlndWls\r\nbGU=\r\n\
                    --b\r\nContent-Type: application/pdf; name*=utf-8''r%C3%A9sum%C3%A9.pdf\r\n\r\nhidden\r\n--b--\r\n";
        assert!(finds(mail, body("DÉJÀ vu")));
        assert!(finds(mail, body("aiguille")));
        assert!(!finds(mail, text("hidden")) && !finds(mail, text("preamble")));
        assert!(finds(mail, text("résumé.pdf")), "a file name");
        assert!(finds(mail, text("application/pdf")), "MIME header fields are text");
        assert!(!finds(mail, body("application/pdf")), "but no body");
        assert!(
            !finds(mail, field("Content-Type", "application/pdf")),
            "nor header fields of the message"
        );
    }

    #[test]
    fn an_attached_message_is_body() {
        let mail =
            "Content-Type: message/rfc822\r\nSubject: outer\r\n\r\nSubject: =?utf-8?Q?int=C3=A9rieur?=\r\n\r\nwithin";
        assert!(finds(mail, body("intérieur")) && finds(mail, body("within")));
        assert!(!finds(mail, field("Subject", "intérieur")));
        assert!(!finds(mail, body("outer")));
    }

    #[test]
    fn html_is_found_by_what_it_shows_and_by_its_source() {
        let mail = "Content-Type: text/html; charset=utf-8\r\n\r\n<p>r&eacute;<b>sul</b>tat <a href=\"https://dmp.fr/x\">ici</a></p>";
        assert!(finds(mail, body("résultat ici")));
        assert!(finds(mail, body("https://dmp.fr/x")));
        assert!(!finds(mail, body("résultatici")));
    }

    #[test]
    fn hostile_messages_have_some_text() {
        for mail in [
            "",
            "\r\n",
            "no header at all",
            "Content-Type: multipart/mixed\r\n\r\nx",
            "Content-Type: text/plain; charset=nonsense\r\nContent-Transfer-Encoding: nonsense\r\n\r\nword",
            "Subject: =?x?y?z?= =?utf-8?B?!!!?= =?utf-8?Q?=?= =?\r\n\r\nword",
        ] {
            let whole = searchable(mail.as_bytes(), usize::MAX);
            assert_eq!(memchr::memchr_iter(SECTION_END, &whole.text).count(), 2);
            assert!(whole.is_complete);
        }
        assert!(finds(
            "Content-Type: text/plain; charset=nonsense\r\n\r\nword",
            body("word")
        ));
        assert!(
            finds("Subject: \u{e9}t\u{e9}\r\n\r\n", field("subject", "été")),
            "UTF-8 as it is"
        );
    }

    #[test]
    fn long_text_is_cut_and_says_so() {
        let mail = format!(
            "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n{}\r\n--b\r\n\r\nlast",
            "x".repeat(100)
        );
        assert!(searchable(mail.as_bytes(), 1000).is_complete);
        let cut = searchable(mail.as_bytes(), 100);
        assert!(!cut.is_complete && !body("last").holds(&cut.text));
    }

    #[test]
    fn a_header_alone_gives_the_same_lines() {
        let mail = b"Subject: a\r\nContent-Type: a/b; name*=utf-8''%C3%A9\r\n\r\nbody";
        let whole = searchable(mail, usize::MAX).text;
        let alone = searchable_header(mail);
        assert_eq!(&whole[..alone.len()], &alone[..]);
    }
}
