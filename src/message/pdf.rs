//! A one-page PDF of our own making: the attachment of a synthetic mail. Text only, in Helvetica, which no reader has to be given.

/// Writes a PDF 1.4 page (A4) that shows `text`. Lines are wrapped; what does not fit on the page is left out, and characters
/// outside Windows-1252 become `?`. The same text gives the same bytes.
pub fn one_page(text: &str) -> Vec<u8> {
    let content = content_stream(text);
    let objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>".to_vec(),
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_vec(),
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>"
            .to_vec(),
        stream(&content),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>".to_vec(),
    ];
    // The comment's high bytes tell transfer programs that the file is binary.
    let mut pdf = b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n".to_vec();
    let mut offsets = Vec::with_capacity(objects.len());
    for (index, object) in objects.iter().enumerate() {
        offsets.push(pdf.len());
        pdf.extend_from_slice(format!("{} 0 obj\n", index + 1).as_bytes());
        pdf.extend_from_slice(object);
        pdf.extend_from_slice(b"\nendobj\n");
    }
    let table_at = pdf.len();
    pdf.extend_from_slice(cross_references(&offsets).as_bytes());
    let trailer = format!(
        "trailer\n<< /Size {} /Root 1 0 R >>\nstartxref\n{table_at}\n%%EOF\n",
        objects.len() + 1
    );
    pdf.extend_from_slice(trailer.as_bytes());
    pdf
}

/// The table that says where each object begins: entries of exactly 20 bytes.
fn cross_references(offsets: &[usize]) -> String {
    let head = format!("xref\n0 {}\n0000000000 65535 f \n", offsets.len() + 1);
    let entries = offsets.iter().map(|offset| format!("{offset:010} 00000 n \n"));
    std::iter::once(head).chain(entries).collect()
}

fn stream(content: &[u8]) -> Vec<u8> {
    let mut object = format!("<< /Length {} >>\nstream\n", content.len()).into_bytes();
    object.extend_from_slice(content);
    object.extend_from_slice(b"\nendstream");
    object
}

/// Page operators: 11-point lines, 14 points apart, from the top left.
fn content_stream(text: &str) -> Vec<u8> {
    let mut content = b"BT /F1 11 Tf 14 TL 50 780 Td\n".to_vec();
    for line in text.lines().flat_map(wrap).take(LINES_MAX) {
        content.push(b'(');
        for byte in line.chars().map(windows_1252) {
            // Brackets and backslash would end the string or start an escape.
            if matches!(byte, b'(' | b')' | b'\\') {
                content.push(b'\\');
            }
            content.push(byte);
        }
        content.extend_from_slice(b") Tj T*\n");
    }
    content.extend_from_slice(b"ET");
    content
}

/// Lines of at most [`LINE_CHARACTERS_MAX`], broken at spaces where there are any.
fn wrap(line: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in line.split(' ') {
        let pieces: Vec<char> = word.chars().collect();
        for (index, piece) in pieces.chunks(LINE_CHARACTERS_MAX).enumerate() {
            let current = lines.last().map_or(0, |last| last.chars().count());
            if current > 0 && (index > 0 || current + 1 + piece.len() > LINE_CHARACTERS_MAX) {
                lines.push(String::new());
            }
            if let Some(last) = lines.last_mut() {
                if !last.is_empty() {
                    last.push(' ');
                }
                last.extend(piece);
            }
        }
    }
    lines
}

/// The part of Windows-1252 that French needs; control characters become spaces.
fn windows_1252(c: char) -> u8 {
    match c {
        ' '..='~' => u8::try_from(c).unwrap_or(b'?'),
        '\u{a0}'..='\u{ff}' => u8::try_from(u32::from(c)).unwrap_or(b'?'),
        '€' => 0x80,
        '…' => 0x85,
        'Œ' => 0x8c,
        'œ' => 0x9c,
        '‘' => 0x91,
        '’' => 0x92,
        '“' => 0x93,
        '”' => 0x94,
        '–' => 0x96,
        '—' => 0x97,
        'Ÿ' => 0x9f,
        c if c.is_control() => b' ',
        _ => b'?',
    }
}

/// Lines from 780 points down to the bottom margin.
const LINES_MAX: usize = 52;
/// Helvetica 11 leaves room for about this many average characters in 495 points.
const LINE_CHARACTERS_MAX: usize = 88;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
        bytes.windows(needle.len()).position(|window| window == needle)
    }

    /// Every offset of the table points at its object, and `startxref` at the table.
    fn check(pdf: &[u8]) {
        let table = find(pdf, b"\nxref\n").unwrap() + 1;
        let tail = String::from_utf8(pdf[table..].to_vec()).unwrap();
        let lines: Vec<&str> = tail.split('\n').collect();
        assert_eq!(lines[1], "0 6");
        for number in 1..=5 {
            let entry = lines[2 + number];
            assert_eq!(entry.len(), 19, "20 bytes with its line end");
            let offset: usize = entry[..10].parse().unwrap();
            assert!(pdf[offset..].starts_with(format!("{number} 0 obj\n").as_bytes()));
        }
        let at = lines.iter().position(|line| *line == "startxref").unwrap();
        assert_eq!(lines[at + 1].parse::<usize>().unwrap(), table);
        let stream = find(pdf, b"stream\n").unwrap() + 7;
        let end = find(pdf, b"\nendstream").unwrap();
        assert!(find(pdf, format!("/Length {} ", end - stream).as_bytes()).is_some());
    }

    #[test]
    fn the_tables_of_the_page_are_right() {
        check(&one_page(
            "Compte rendu d'essai (synthétique)\n\nRésident : TEST Alix \\ œuvre – 12 €",
        ));
        check(&one_page(""));
    }

    #[test]
    fn long_text_is_wrapped_and_cut_at_the_page() {
        let pdf = one_page(&"mot ".repeat(5_000));
        check(&pdf);
        assert_eq!(pdf.windows(4).filter(|w| w == b" Tj ").count(), LINES_MAX);
        assert_eq!(wrap(&"x".repeat(100)).len(), 2);
        assert_eq!(wrap("a b"), ["a b"]);
    }

    proptest! {
        #[test]
        fn any_text_gives_a_sound_file(text in "\\PC{0,200}|[a-z() \\\\\n]{0,300}") {
            let pdf = one_page(&text);
            prop_assert!(pdf.ends_with(b"%%EOF\n"));
        }
    }
}
