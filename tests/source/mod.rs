//! The project's own files as `tests/layers.rs` and `tests/style.rs` see them: text, and for Rust a mask that tells code from
//! comments and literals. Only std: a rule that needs a parser of Rust is a rule for clippy.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::fs;
use std::ops::Range;
use std::path::Path;

/// One committed text file.
pub(crate) struct SourceFile {
    /// Relative to the package, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// What a character of a Rust file is part of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Part {
    Code,
    /// `//` and `/* */`.
    Comment,
    /// `///`, `//!` and their block forms.
    Doc,
    /// Inside a string or character literal, quotes included.
    Literal,
}

impl SourceFile {
    /// A file that exists only in a test of a rule.
    pub(crate) fn sample(path: &str, text: &str) -> Self {
        Self {
            path: path.into(),
            text: text.into(),
        }
    }

    pub(crate) fn is_rust(&self) -> bool {
        Path::new(&self.path)
            .extension()
            .is_some_and(|extension| extension == "rs")
    }

    /// Under `src/`.
    pub(crate) fn is_product(&self) -> bool {
        self.is_rust() && self.path.starts_with("src/")
    }

    /// The text with everything that is not one of `parts` turned to spaces; line numbers stay.
    pub(crate) fn only(&self, parts: &[Part]) -> String {
        self.text
            .chars()
            .zip(classify(&self.text))
            .map(|(c, part)| if c == '\n' || parts.contains(&part) { c } else { ' ' })
            .collect()
    }

    /// Comments, docs and literals of Rust; the whole of any other file.
    pub(crate) fn prose(&self) -> String {
        if self.is_rust() {
            self.only(&[Part::Comment, Part::Doc, Part::Literal])
        } else {
            self.text.clone()
        }
    }

    /// Ranges of line indices (from 0) of `#[cfg(test)] mod … { … }`.
    pub(crate) fn test_modules(&self) -> Vec<Range<usize>> {
        let code = self.only(&[Part::Code]);
        let lines: Vec<&str> = code.lines().collect();
        let mut found = Vec::new();
        let mut at = 0;
        while at < lines.len() {
            let end = if lines[at].trim_start().starts_with("#[cfg(test)]") {
                block_end(&lines, at).filter(|_| declares_module(&lines, at))
            } else {
                None
            };
            if let Some(end) = end {
                found.push(at..end + 1);
                at = end;
            }
            at += 1;
        }
        found
    }

    /// For each line, whether it is test code.
    pub(crate) fn test_lines(&self) -> Vec<bool> {
        // A helper of tests that stands in a file of its own says so with the inner attribute.
        let declared = self.text.lines().any(|line| line == "#![cfg(test)]");
        let all = declared || !self.is_product() || self.path.ends_with("/tests.rs") || self.path.contains("/tests/");
        let modules = if all { Vec::new() } else { self.test_modules() };
        let is_test = |index| all || modules.iter().any(|range| range.contains(&index));
        (0..self.text.lines().count()).map(is_test).collect()
    }
}

/// The line that closes the block opened at or after line `start`; none when a `;` comes first or it never closes.
pub(crate) fn block_end(lines: &[&str], start: usize) -> Option<usize> {
    let mut depth = 0_usize;
    // An attribute's or signature's brackets must not hide or end the item: `[u8; 4]` has a `;`.
    let mut bracket = 0_usize;
    for (index, line) in lines.iter().enumerate().skip(start) {
        for c in line.chars() {
            match c {
                '(' | '[' => bracket += 1,
                ')' | ']' => bracket = bracket.saturating_sub(1),
                '{' => depth += 1,
                '}' if depth <= 1 => return (depth == 1).then_some(index),
                '}' => depth -= 1,
                ';' if depth == 0 && bracket == 0 => return None,
                _ => {}
            }
        }
    }
    None
}

fn declares_module(lines: &[&str], start: usize) -> bool {
    const ATTRIBUTES_MAX: usize = 5;
    lines[start..]
        .iter()
        .take(ATTRIBUTES_MAX)
        .find(|line| !line.trim_start().starts_with("#["))
        .is_some_and(|line| words(line).contains(&"mod"))
}

/// Runs of identifier characters.
pub(crate) fn words(line: &str) -> Vec<&str> {
    line.split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .filter(|word| !word.is_empty())
        .collect()
}

/// Every text file of the project that is meant to be committed.
pub(crate) fn project_files() -> Vec<SourceFile> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    collect(root, root, &mut files);
    files.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(
        files.len() > 10,
        "the project's files were not found under {}",
        root.display()
    );
    files
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<SourceFile>) {
    const NOT_OURS: [&str; 6] = [".git", "target", "node_modules", "corpus", "artifacts", ".venv"];
    let entries = fs::read_dir(folder).expect("a readable folder");
    for entry in entries.map(|entry| entry.expect("a readable entry")) {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if NOT_OURS.contains(&name.as_str()) {
            continue;
        }
        if path.is_dir() {
            collect(root, &path, files);
        } else if let Ok(text) = fs::read_to_string(&path) {
            // What is not UTF-8 is a sample message or an archive: no rule reads it.
            let relative = path.strip_prefix(root).expect("a path below the root");
            files.push(SourceFile {
                path: relative.to_string_lossy().replace('\\', "/"),
                text,
            });
        }
    }
}

/// The part each character belongs to. Handles nested block comments, raw strings, and tells lifetimes from characters.
fn classify(text: &str) -> Vec<Part> {
    let chars: Vec<char> = text.chars().collect();
    let mut parts = Vec::with_capacity(chars.len());
    while parts.len() < chars.len() {
        let at = parts.len();
        let (part, end) = token(&chars, at);
        parts.resize(end.clamp(at + 1, chars.len()), part);
    }
    parts
}

/// What begins at `at`, and where it ends.
fn token(chars: &[char], at: usize) -> (Part, usize) {
    let next = |offset: usize| chars.get(at + offset).copied().unwrap_or('\n');
    match (chars[at], next(1)) {
        ('/', '/') => {
            let doc = next(2) == '!' || (next(2) == '/' && next(3) != '/');
            (if doc { Part::Doc } else { Part::Comment }, line_end(chars, at))
        }
        ('/', '*') => {
            let doc = next(2) == '!' || (next(2) == '*' && next(3) != '*' && next(3) != '/');
            (
                if doc { Part::Doc } else { Part::Comment },
                block_comment_end(chars, at),
            )
        }
        ('"', _) => (Part::Literal, string_end(chars, at)),
        ('r', '"' | '#') if !follows_word(chars, at) => raw_string(chars, at),
        ('\'', '\\') => (Part::Literal, char_end(chars, at + 3)),
        ('\'', _) if next(2) == '\'' => (Part::Literal, at + 3),
        _ => (Part::Code, at + 1),
    }
}

fn follows_word(chars: &[char], at: usize) -> bool {
    // `br"…"` and `cr"…"` are raw strings too.
    let before = |offset: usize| at.checked_sub(offset).map_or(' ', |index| chars[index]);
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    is_word(before(1)) && (!matches!(before(1), 'b' | 'c') || is_word(before(2)))
}

fn line_end(chars: &[char], at: usize) -> usize {
    chars[at..]
        .iter()
        .position(|c| *c == '\n')
        .map_or(chars.len(), |offset| at + offset)
}

fn block_comment_end(chars: &[char], at: usize) -> usize {
    let mut depth = 0_usize;
    let mut index = at;
    while index + 1 < chars.len() {
        match (chars[index], chars[index + 1]) {
            ('/', '*') => (depth, index) = (depth + 1, index + 2),
            ('*', '/') if depth == 1 => return index + 2,
            ('*', '/') => (depth, index) = (depth - 1, index + 2),
            _ => index += 1,
        }
    }
    chars.len()
}

fn string_end(chars: &[char], at: usize) -> usize {
    let mut index = at + 1;
    while index < chars.len() {
        match chars[index] {
            '\\' => index += 2,
            '"' => return index + 1,
            _ => index += 1,
        }
    }
    chars.len()
}

/// From after an escape's second character to the closing quote.
fn char_end(chars: &[char], from: usize) -> usize {
    const ESCAPE_CHARS_MAX: usize = 10;
    (from..chars.len().min(from + ESCAPE_CHARS_MAX))
        .find(|index| chars[*index] == '\'')
        .map_or(from, |index| index + 1)
}

fn raw_string(chars: &[char], at: usize) -> (Part, usize) {
    let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
    if chars.get(at + 1 + hashes) != Some(&'"') {
        return (Part::Code, at + 1); // a raw identifier
    }
    let mut index = at + 2 + hashes;
    while index < chars.len() {
        let closes =
            chars[index] == '"' && chars[index + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes;
        if closes {
            return (Part::Literal, index + 1 + hashes);
        }
        index += 1;
    }
    (Part::Literal, chars.len())
}
