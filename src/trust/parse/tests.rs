//! Tests of reading allow lists.

use std::path::PathBuf;
use std::process::Command;

use proptest::prelude::*;

use super::*;
use crate::trust::write;

const ODDITIES: &[u8] = include_bytes!("../../../testdata/trust/oddities.xml");

fn closed() -> String {
    let text = std::str::from_utf8(ODDITIES).unwrap();
    format!("{text}</ListeBlancheMSSante>\n")
}

/// A sound list with one entry, after `change`.
fn list_with(change: impl Fn(String) -> String) -> Result<Parsed, AllowListError> {
    let salvaged = AllowList::parse(ODDITIES, Mode::Salvage).unwrap().list;
    let document = AllowListDocument {
        generated: salvaged.generated(),
        entries: salvaged.entries()[..1].to_vec(),
    };
    AllowList::parse(change(write(&document)).as_bytes(), Mode::Strict)
}

fn domain(text: &str) -> Domain {
    text.parse().unwrap()
}

#[test]
fn every_oddity_of_the_real_list_is_survived_and_what_was_skipped_is_said() {
    let parsed = AllowList::parse(ODDITIES, Mode::Salvage).unwrap();
    assert_eq!(parsed.list.entries().len(), 5);
    assert_eq!(parsed.list.domain_count(), 3);
    assert_eq!(parsed.list.certificate_count(), 4);
    assert_eq!(parsed.list.certificates_of(&domain("ch-exemple.mssante.fr")).len(), 2);
    assert_eq!(parsed.list.entries()[0].description, "Hôpital & EHPAD étage");
    assert_eq!(parsed.list.generated().to_string(), "2026-11-20T14:54:10Z");
    let skipped: Vec<String> = parsed.skipped.iter().map(ToString::to_string).collect();
    assert_eq!(skipped.len(), 2, "{skipped:?}");
    assert!(
        skipped[0].starts_with("line 28: Domaine \"sessad@exemple.mssante.fr\": "),
        "{skipped:?}"
    );
    assert_eq!(
        skipped[1],
        "line 53: </ListeBlancheMSSante>: missing: the file is cut after its list"
    );
}

#[test]
fn strict_mode_refuses_what_salvage_skips() {
    let error = AllowList::parse(ODDITIES, Mode::Strict).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("2 defect(s) in the allow list, the first at line 28"),
        "{error}"
    );
    let error = AllowList::parse(closed().as_bytes(), Mode::Strict).unwrap_err();
    assert!(
        matches!(&error, AllowListError::Defects(defects) if defects.len() == 1),
        "{error}"
    );
    let sound = closed().replace("sessad@exemple", "sessad.exemple");
    assert!(
        AllowList::parse(sound.as_bytes(), Mode::Strict)
            .unwrap()
            .skipped
            .is_empty()
    );
}

#[test]
fn what_is_written_is_read_back_equal() {
    let list = AllowList::parse(ODDITIES, Mode::Salvage).unwrap().list;
    let document = AllowListDocument {
        generated: list.generated(),
        entries: list.entries().to_vec(),
    };
    let again = AllowList::parse(write(&document).as_bytes(), Mode::Strict).unwrap();
    assert_eq!(again.list.entries(), document.entries);
    assert_eq!(again.list.generated(), document.generated);
}

#[test]
fn what_is_written_has_the_shape_of_the_field() {
    let parsed = list_with(|xml| {
        insta::assert_snapshot!(xml, @r#"
        <?xml version="1.0" encoding="UTF-8"?>
        <ListeBlancheMSSante xmlns="https://listeblanche.mssante.fr/schema">
            <DateDeGeneration>2026-11-20T14:54:10Z</DateDeGeneration>
            <ListeDomaines>
                <Domaine>
                    <Nom>ch-exemple.mssante.fr</Nom>
                    <Description>Hôpital &amp; EHPAD étage</Description>
                    <DNCertificatOperateur>CN=smtp-1.exemple.fr,OU=1990000010,O=CH EXEMPLE,ST=Paris (75),C=FR</DNCertificatOperateur>
                    <ResponsableContact>01 00 00 00 00, contact@example.org</ResponsableContact>
                    <SupportContact>01 00 00 00 00, support@example.org</SupportContact>
                    <DateMAJ>2026-11-20T14:54:10Z</DateMAJ>
                </Domaine>
            </ListeDomaines>
        </ListeBlancheMSSante>
        "#);
        xml
    });
    assert!(parsed.is_ok());
}

#[test]
fn a_signature_a_prefix_a_comment_and_cdata_do_not_disturb() {
    let signature =
        "<ds:Signature xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\"><ds:SignedInfo/></ds:Signature></Liste";
    assert!(list_with(|xml| xml.replace("</ListeBl", &format!("{signature}Bl"))).is_ok());
    let prefixed = |xml: String| {
        let xml = xml.replace("</", "</l:").replace('<', "<l:");
        xml.replace("<l:/l:", "</l:")
            .replace("<l:?", "<?")
            .replace("xmlns=", "xmlns:l=")
    };
    assert!(list_with(prefixed).is_ok());
    let parsed = list_with(|xml| xml.replace("EHPAD", "<!-- x --><![CDATA[<EHPAD>]]>")).unwrap();
    assert_eq!(parsed.list.entries()[0].description, "Hôpital & <EHPAD> étage");
}

#[test]
fn what_is_not_an_allow_list_is_refused_in_both_modes() {
    let sound = closed();
    let bomb = "<!DOCTYPE l [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;\">]><ListeBlancheMSSante";
    let deep = format!("{}</ListeDomaines>", "<x>".repeat(40));
    for (xml, expected) in [
        (String::new(), "not an MSSanté allow list"),
        ("not xml".to_owned(), "not an MSSanté allow list"),
        ("<a/>".to_owned(), "expected root"),
        (
            sound.replace("listeblanche.mssante", "listeblanche.mesimages"),
            "expected root",
        ),
        (
            sound.replacen("<ListeBlancheMSSante", bomb, 1),
            "a document type is not allowed",
        ),
        (sound.replace("&amp;", "&nbsp;"), "entity &nbsp;"),
        (sound.replace("&amp;", "&"), "line 6"),
        (sound.replace("&amp;", "&#1;"), "line 6"),
        (sound.replace("&amp;", "\u{1}"), "a control character"),
        (sound.replacen("</Nom>", "</Nome>", 1), "line 5"),
        (sound.replace("</ListeDomaines>", &deep), "not well-formed"),
        (
            sound.replace("2026-11-20T14:54:10Z</DateD", "yesterday</DateD"),
            "DateDeGeneration \"yesterday\"",
        ),
        (sound.replace("DateDeGeneration", "Date"), "no DateDeGeneration"),
        (format!("{sound}<a/>"), "something follows the root"),
        (sound[..sound.len() / 2].to_owned(), "not well-formed"),
        (sound.split("</ListeDomaines>").next().unwrap().to_owned(), "cut"),
    ] {
        let error = AllowList::parse(xml.as_bytes(), Mode::Salvage).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(AllowList::parse(xml.as_bytes(), Mode::Strict).is_err());
    }
    assert_eq!(
        AllowList::parse(b"<a>\xff", Mode::Salvage).unwrap_err(),
        AllowListError::NotUtf8(3)
    );
}

#[test]
fn a_defective_entry_is_named_with_its_reason() {
    for (from, to, expected) in [
        (
            "<Nom>ch-exemple.mssante.fr</Nom>",
            "",
            "line 5: Domaine: Nom is missing",
        ),
        ("<Description>", "<Nom>b.fr</Nom><Description>", "Nom is given twice"),
        ("CN=smtp-1", "smtp-1", "is not a subject DN"),
        (
            "<SupportContact>",
            "<Inconnu/><SupportContact>",
            "Unknown(\"Inconnu\") is not expected",
        ),
        ("EHPAD", "<b>EHPAD</b>", "is not expected inside a text"),
        ("2026-11-20T14:54:10Z</DateMAJ>", "hier</DateMAJ>", "DateMAJ \"hier\""),
        ("<DateMAJ>", "text<DateMAJ>", "\"text\" stands between"),
    ] {
        let error = list_with(|xml| xml.replace(from, to)).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let long = "x".repeat(FIELD_BYTES_MAX + 1);
    let error = list_with(|xml| xml.replace("EHPAD", &long)).unwrap_err().to_string();
    assert!(error.contains("longer than"), "{error}");
}

#[test]
fn the_real_list_is_read_when_it_is_at_hand() {
    let Some(xml) = real_list() else { return };
    let parsed = AllowList::parse(&xml, Mode::Salvage).unwrap();
    let unreadable = parsed.skipped.iter().filter(|s| s.what.contains('@')).count();
    assert_eq!((parsed.skipped.len(), unreadable), (2, 1), "{:?}", parsed.skipped);
    assert_eq!(parsed.list.entries().len() + unreadable, 6554);
    assert_eq!(parsed.list.domain_count() + unreadable, 5002);
    let text = std::str::from_utf8(&xml).unwrap();
    let texts = text.lines().filter(|line| line.contains("<DNCertificatOperateur>"));
    let distinct: std::collections::HashSet<&str> = texts.map(str::trim).collect();
    assert_eq!(distinct.len(), 392);
    assert!(parsed.list.certificate_count() <= 392 && parsed.list.certificate_count() > 380);
    let patient = domain("patient.mssante.fr");
    assert_eq!(parsed.list.certificates_of(&patient).len(), 2);
    assert!(AllowList::parse(&xml, Mode::Strict).is_err());
}

fn real_list() -> Option<Vec<u8>> {
    let beside = || Some(PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared")));
    let shared = std::env::var_os("VAGUEMESTRE_SHARED")
        .map(PathBuf::from)
        .or_else(beside)?;
    let packed = shared.join("data/listeblanche-2025-03-contacts-removed.xml.gz");
    if !packed.exists() {
        return None;
    }
    let unpacked = Command::new("gzip").arg("-dc").arg(packed).output().ok()?;
    unpacked.status.success().then_some(unpacked.stdout)
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(AllowList::parse(&bytes, Mode::Salvage).is_err());
    }

    #[test]
    fn a_damaged_list_is_read_or_refused(at in 0..3000usize, byte in any::<u8>(), cut in 0..4000usize) {
        let mut bytes = closed().into_bytes();
        bytes[at] = byte;
        bytes.truncate(cut.max(1));
        for mode in [Mode::Strict, Mode::Salvage] {
            if let Ok(parsed) = AllowList::parse(&bytes, mode) {
                prop_assert!(parsed.list.entries().len() <= 6);
            }
        }
    }
}
