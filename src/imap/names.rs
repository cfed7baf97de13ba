//! Names of folders: as a client spells them, and as they are kept.
//!
//! A kept name is UTF-8 in normal form C (RFC 5198 §3), its levels separated by `/`, `INBOX` in capitals. Two spellings of one name that look
//! the same are therefore one folder, whatever keyboard they were typed on.

use unicode_normalization::{UnicodeNormalization, is_nfc};

use super::grammar::tree::{Body, Name, NotifyFolders};
use super::utf7;
use super::wire;

/// How names stand on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Spelling {
    /// Modified UTF-7 (RFC 3501 §5.1.3).
    #[default]
    Utf7,
    /// UTF-8, once the client enabled `IMAP4rev2` or UTF8=ACCEPT (RFC 9051 §5.1, RFC 6855 §3).
    Utf8,
}

/// Why bytes cannot name a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadName {
    /// Not the spelling in force, or control characters.
    #[error("not a folder name")]
    Spelling,
    /// An empty name or level, or a wildcard.
    #[error("a folder name has no empty level and neither * nor %")]
    Form,
}

/// The text that was sent: a name, or a pattern of names.
pub(crate) fn text(sent: &[u8], spelling: Spelling) -> Result<String, BadName> {
    let text = decoded(sent, spelling)?;
    Ok(if is_nfc(&text) { text } else { text.nfc().collect() })
}

/// The same in whatever form it came.
fn decoded(sent: &[u8], spelling: Spelling) -> Result<String, BadName> {
    let text = match spelling {
        Spelling::Utf7 => utf7::decode(sent).map_err(|_| BadName::Spelling)?,
        Spelling::Utf8 => String::from_utf8(sent.to_vec()).map_err(|_| BadName::Spelling)?,
    };
    if text.chars().any(is_forbidden) {
        return Err(BadName::Spelling);
    }
    Ok(text)
}

/// The name that a command came with, if it is kept in another form: the client has to be told (RFC 9051 §6.3.9.7). Of a RENAME the first.
pub(crate) fn sent_otherwise(body: &Body, spelling: Spelling) -> Option<String> {
    let (name, other) = match body {
        Body::Select { folder, .. }
        | Body::Create { folder, .. }
        | Body::Append { folder, .. }
        | Body::Delete(folder) => (folder, folder),
        Body::Rename { from, to } => (from, to),
        _ => return None,
    };
    let [name, other] = [name, other].map(|name| decoded(&name.0, spelling).ok());
    let (name, other) = (name?, other?);
    (!is_nfc(&name) || !is_nfc(&other)).then_some(name)
}

/// Brings every name and pattern of a command to UTF-8 in normal form C, before anything else looks at it. What cannot be read becomes
/// [`UNREADABLE`], which names nothing.
pub(crate) fn adopt(body: &mut Body, spelling: Spelling) {
    let each =
        |sent: &mut Vec<u8>| *sent = text(sent, spelling).map_or_else(|_| UNREADABLE.to_vec(), String::into_bytes);
    match body {
        Body::Select { folder, .. }
        | Body::Create { folder, .. }
        | Body::Status { folder, .. }
        | Body::Append { folder, .. }
        | Body::Replace { folder, .. }
        | Body::SetAcl { folder, .. }
        | Body::DeleteAcl { folder, .. }
        | Body::ListRights { folder, .. }
        | Body::GetMetadata { folder, .. }
        | Body::SetMetadata { folder, .. }
        | Body::Delete(folder)
        | Body::Subscribe(folder)
        | Body::Unsubscribe(folder)
        | Body::GetQuotaRoot(folder)
        | Body::GetAcl(folder)
        | Body::MyRights(folder)
        | Body::Copy { to: folder, .. }
        | Body::Move { to: folder, .. } => each(&mut folder.0),
        Body::Rename { from, to } => {
            each(&mut from.0);
            each(&mut to.0);
        }
        Body::Lsub { reference, pattern } => [&mut reference.0, pattern].into_iter().for_each(each),
        Body::List(list) => std::iter::once(&mut list.reference)
            .chain(&mut list.patterns)
            .for_each(each),
        Body::Notify(Some(notify)) => {
            for group in &mut notify.groups {
                if let NotifyFolders::Subtree(names) | NotifyFolders::Named(names) = &mut group.folders {
                    for name in names {
                        each(&mut name.0);
                    }
                }
            }
        }
        _ => {}
    }
}

/// The name of a folder, of a command that was [`adopt`]ed. A trailing separator is dropped (RFC 3501 §6.3.3).
pub(crate) fn of(name: &Name) -> Result<String, BadName> {
    let text = std::str::from_utf8(&name.0).map_err(|_| BadName::Spelling)?;
    let name = text.strip_suffix('/').unwrap_or(text);
    // RFC 9051 §6.3.9: what has wildcards could not be asked for.
    if name.split('/').any(str::is_empty) || name.contains(['*', '%']) {
        return Err(BadName::Form);
    }
    Ok(canonical(name))
}

/// Writes a name as the client spells them.
pub(crate) fn write(out: &mut Vec<u8>, name: &str, spelling: Spelling) {
    match spelling {
        Spelling::Utf7 => wire::astring(out, &utf7::encode(name)),
        Spelling::Utf8 if name.is_ascii() => wire::astring(out, name.as_bytes()),
        // RFC 9051 §4.3: quoted strings hold UTF-8; a kept name has no line ends.
        Spelling::Utf8 => wire::quoted(out, name.as_bytes()),
    }
}

/// `INBOX` in capitals, as the first level too (RFC 9051 §5.1).
pub(crate) fn canonical(name: &str) -> String {
    match name.split_once('/') {
        None if name.eq_ignore_ascii_case(INBOX) => INBOX.into(),
        Some((first, rest)) if first.eq_ignore_ascii_case(INBOX) => format!("{INBOX}/{rest}"),
        _ => name.to_owned(),
    }
}

/// RFC 6855 §3: no control characters, no line or paragraph separator.
fn is_forbidden(character: char) -> bool {
    character.is_control() || matches!(character, '\u{2028}' | '\u{2029}')
}

/// The folder that always exists.
pub(crate) const INBOX: &str = "INBOX";

/// Not UTF-8.
const UNREADABLE: &[u8] = b"\xff";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn known(sent: &[u8], spelling: Spelling) -> Result<String, BadName> {
        let mut body = Body::Delete(Name(sent.to_vec()));
        adopt(&mut body, spelling);
        let Body::Delete(name) = body else { unreachable!() };
        of(&name)
    }

    #[test]
    fn one_name_is_one_folder_however_it_is_typed() {
        let composed = known("été".as_bytes(), Spelling::Utf8).unwrap();
        let decomposed = known("e\u{301}te\u{301}".as_bytes(), Spelling::Utf8).unwrap();
        assert_eq!(composed, decomposed);
        assert_eq!(known(b"&AOk-t&AOk-", Spelling::Utf7).unwrap(), composed);
        assert_eq!(known(b"inbox/", Spelling::Utf7).unwrap(), "INBOX");
        assert_eq!(known(b"inBox/x", Spelling::Utf8).unwrap(), "INBOX/x");
        assert_eq!(known(b"R&-D", Spelling::Utf7).unwrap(), "R&D");
        assert_eq!(known(b"R&-D", Spelling::Utf8).unwrap(), "R&-D", "no coding in UTF-8");
    }

    #[test]
    fn control_characters_and_broken_text_name_nothing() {
        for sent in ["a\u{7f}", "a\u{85}b", "a\u{2028}b", "\u{2029}", "a\tb"] {
            assert_eq!(
                known(sent.as_bytes(), Spelling::Utf8),
                Err(BadName::Spelling),
                "{sent:?}"
            );
            let coded = utf7::encode(sent);
            assert_eq!(known(&coded, Spelling::Utf7), Err(BadName::Spelling), "{sent:?}");
        }
        assert_eq!(known(b"\xff", Spelling::Utf8), Err(BadName::Spelling));
        assert_eq!(known(b"&AOk", Spelling::Utf7), Err(BadName::Spelling));
    }

    #[test]
    fn a_name_has_good_levels() {
        for sent in ["", "/", "/a", "a//b", "a*", "a/%"] {
            assert_eq!(known(sent.as_bytes(), Spelling::Utf8), Err(BadName::Form), "{sent:?}");
        }
        assert_eq!(known(b"a/b/", Spelling::Utf8).unwrap(), "a/b");
    }

    #[test]
    fn names_are_written_as_the_client_spells_them() {
        let written = |name, spelling| {
            let mut out = Vec::new();
            write(&mut out, name, spelling);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(written("été", Spelling::Utf7), "&AOk-t&AOk-");
        assert_eq!(written("été", Spelling::Utf8), "\"été\"");
        assert_eq!(written("R&D", Spelling::Utf7), "R&-D");
        assert_eq!(written("R&D", Spelling::Utf8), "R&D");
        assert_eq!(written("a \"b\"", Spelling::Utf8), "\"a \\\"b\\\"\"");
        assert_eq!(written("a\\b", Spelling::Utf7), "\"a\\\\b\"");
        assert_eq!(written("", Spelling::Utf7), "\"\"");
    }

    proptest! {
        #[test]
        fn a_kept_name_is_read_back_in_both_spellings(typed in "\\PC{1,30}") {
            if let Ok(name) = known(typed.as_bytes(), Spelling::Utf8) {
                prop_assert_eq!(known(name.as_bytes(), Spelling::Utf8), Ok(name.clone()));
                prop_assert_eq!(known(&utf7::encode(&name), Spelling::Utf7), Ok(name));
            }
        }
    }
}
