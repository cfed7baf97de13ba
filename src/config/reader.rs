//! Reads TOML into checked values and collects every mistake on the way, so that a user corrects a file once and not ten times.
//!
//! A [`Section`] is asked for its keys one by one. What was never asked for when it is closed is unknown, and an error: a mistyped
//! key must not silently leave a default in force. A file that is not TOML at all is reported as such and not judged further.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::{Deref, Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, ConfigErrors, Place, Warning};
use super::file::{FILE_BYTES_MAX, too_large};
use super::suggest::nearest;

/// Parses `text` and lets `build` make a value of it; the value comes back only if nothing at all is wrong.
pub(super) fn read<T>(
    text: &str,
    file: &str,
    build: impl FnOnce(&Section<'_>) -> Option<T>,
) -> Result<(T, Vec<Warning>), ConfigErrors> {
    let source = Source::new(text, file);
    if text.len() > FILE_BYTES_MAX {
        source.report(
            0..0,
            too_large(text.len()),
            "describe fewer things, or split the space".into(),
        );
        return Err(ConfigErrors::new(source.problems.into_inner()));
    }
    let (table, syntax) = DeTable::parse_recoverable(text);
    if syntax.is_empty() {
        let root = Section::new(&source, table.get_ref(), String::new(), table.span());
        let value = build(&root);
        root.close();
        return source.outcome(value);
    }
    for error in syntax.iter().take(PROBLEMS_MAX) {
        let problem = format!("not valid TOML: {}", error.message().replace('\n', ", "));
        source.report(error.span().unwrap_or(0..0), problem, "correct the syntax".into());
    }
    Err(ConfigErrors::new(source.problems.into_inner()))
}

/// Why a value cannot be used, without its place.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) problem: String,
    pub(super) remedy: String,
}

impl Wrong {
    pub(super) fn new(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }
}

/// What a TOML value can be turned into.
pub(super) trait FromToml: Sized {
    /// Checks the value; the key's name is added by the caller.
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Wrong>;
}

/// A value that has a smallest and a largest sensible setting.
pub(super) trait Bounded: FromToml + PartialOrd {
    /// How a user writes it.
    fn show(&self) -> String;
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
}

impl<T> Deref for At<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// A file that the configuration names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NamedFile {
    pub(super) key: String,
    pub(super) path: PathBuf,
    pub(super) place: Place,
}

/// One TOML table, read key by key.
pub(super) struct Section<'a> {
    source: &'a Source<'a>,
    table: &'a DeTable<'a>,
    path: String,
    span: Range<usize>,
    asked: RefCell<BTreeSet<&'static str>>,
}

impl<'a> Section<'a> {
    fn new(source: &'a Source<'a>, table: &'a DeTable<'a>, path: String, span: Range<usize>) -> Self {
        Self {
            source,
            table,
            path,
            span,
            asked: RefCell::default(),
        }
    }

    /// The value of a key, or `None` when it is absent or wrong (then reported).
    pub(super) fn optional<T: FromToml>(&self, key: &'static str) -> Option<At<T>> {
        let (_, value) = self.find(key)?;
        self.convert(key, value)
    }

    /// The value of a key that has to be there.
    pub(super) fn required<T: FromToml>(&self, key: &'static str) -> Option<At<T>> {
        let Some((_, value)) = self.find(key) else {
            self.missing(key);
            return None;
        };
        self.convert(key, value)
    }

    /// The value of a key, or its default.
    pub(super) fn or<T: FromToml>(&self, key: &'static str, default: T) -> T {
        self.optional(key).map_or(default, |at| at.value)
    }

    /// The value of a key, or its default; outside `range` it is an error.
    pub(super) fn within<T: Bounded>(&self, key: &'static str, default: T, range: RangeInclusive<T>) -> T {
        let Some(at) = self.optional::<T>(key) else {
            return default;
        };
        if !range.contains(&at.value) {
            self.wrong(
                &at,
                format!("`{}` is {}, out of range", self.name(key), at.value.show()),
                format!("give something from {} to {}", range.start().show(), range.end().show()),
            );
        }
        at.value
    }

    /// The values of an array, empty when it is absent; each wrong one is reported.
    pub(super) fn list<T: FromToml>(&self, key: &'static str) -> Vec<At<T>> {
        match self.find(key).map(|(_, value)| (value.get_ref(), value.span())) {
            None => Vec::new(),
            Some((DeValue::Array(items), _)) => items.iter().filter_map(|item| self.convert(key, item)).collect(),
            Some((other, span)) => {
                let problem = format!("`{}` is {}", self.name(key), kind(other));
                self.source.report(span, problem, "write a list: [ … ]".into());
                Vec::new()
            }
        }
    }

    /// The values of an array that has to be there and hold something.
    pub(super) fn required_list<T: FromToml>(&self, key: &'static str) -> Vec<At<T>> {
        match self.find(key) {
            None => self.missing(key),
            Some((_, value)) if matches!(value.get_ref(), DeValue::Array(items) if items.is_empty()) => {
                let problem = format!("`{}` is empty", self.name(key));
                self.source.report(value.span(), problem, "name at least one".into());
            }
            Some(_) => {}
        }
        self.list(key)
    }

    /// The keys and values of an inline table whose keys are data, such as months.
    pub(super) fn entries<T: FromToml>(&self, key: &'static str) -> Vec<(At<String>, At<T>)> {
        let Some((_, value)) = self.find(key) else {
            return Vec::new();
        };
        let DeValue::Table(table) = value.get_ref() else {
            let problem = format!("`{}` is {}", self.name(key), kind(value.get_ref()));
            self.source
                .report(value.span(), problem, "write a table: { … = … }".into());
            return Vec::new();
        };
        let entry = |(name, value): (&Spanned<_>, &Spanned<_>)| {
            let name = At {
                value: String::from(AsRef::<str>::as_ref(name.get_ref() as &std::borrow::Cow<'_, str>)),
                span: name.span(),
            };
            Some((name, self.convert(key, value)?))
        };
        table.iter().filter_map(entry).collect()
    }

    /// A path, relative to the folder of this file unless absolute; its existence is checked later, on demand.
    pub(super) fn file(&self, key: &'static str) -> Option<PathBuf> {
        self.optional::<PathBuf>(key).map(|at| self.named_file(key, at))
    }

    /// Like [`Self::file`], for a key that has to be there.
    pub(super) fn required_file(&self, key: &'static str) -> Option<PathBuf> {
        self.required::<PathBuf>(key).map(|at| self.named_file(key, at))
    }

    /// Like [`Self::file`], for a list of them.
    pub(super) fn files(&self, key: &'static str) -> Vec<PathBuf> {
        let paths = self.list::<PathBuf>(key);
        paths.into_iter().map(|at| self.named_file(key, at)).collect()
    }

    /// Like [`Self::files`], for a list that has to be there and hold something.
    pub(super) fn required_files(&self, key: &'static str) -> Vec<PathBuf> {
        let paths = self.required_list::<PathBuf>(key);
        paths.into_iter().map(|at| self.named_file(key, at)).collect()
    }

    /// Resolves a path against the folder of this file.
    pub(super) fn resolve(&self, path: &Path) -> PathBuf {
        self.source.folder.join(path)
    }

    fn named_file(&self, key: &str, at: At<PathBuf>) -> PathBuf {
        let path = self.resolve(&at.value);
        self.source.files.borrow_mut().push(NamedFile {
            key: self.name(key),
            path: path.clone(),
            place: self.source.place(at.span.start),
        });
        path
    }

    /// A table that may be absent; then every key of it has its default.
    pub(super) fn section(&self, key: &'static str) -> Self {
        let path = self.name(key);
        match self.find(key).map(|(_, value)| (value.get_ref(), value.span())) {
            Some((DeValue::Table(table), span)) => Section::new(self.source, table, path, span),
            Some((other, span)) => {
                let problem = format!("`{path}` is {}", kind(other));
                self.source
                    .report(span.clone(), problem, format!("write a section: [{path}]"));
                Section::new(self.source, &self.source.empty, path, span)
            }
            None => Section::new(self.source, &self.source.empty, path, 0..0),
        }
    }

    /// A table that has to be there; `None` when it is not (then reported).
    pub(super) fn required_section(&self, key: &'static str) -> Option<Self> {
        if self.find(key).is_some() {
            return Some(self.section(key));
        }
        let problem = format!("section [{}] is missing", self.name(key));
        self.source.report(self.span.clone(), problem, "add it".into());
        None
    }

    /// The tables of `[[key]]`, in the order of the file.
    pub(super) fn sections(&self, key: &'static str) -> Vec<Self> {
        let path = self.name(key);
        let items = match self.find(key).map(|(_, value)| (value.get_ref(), value.span())) {
            None => return Vec::new(),
            Some((DeValue::Array(items), _)) => items,
            Some((other, span)) => {
                let problem = format!("`{path}` is {}", kind(other));
                self.source.report(span, problem, format!("write [[{path}]]"));
                return Vec::new();
            }
        };
        let section = |item: &'a Spanned<DeValue<'a>>| match item.get_ref() {
            DeValue::Table(table) => Some(Section::new(self.source, table, path.clone(), item.span())),
            other => {
                let problem = format!("`{path}` holds {}", kind(other));
                self.source.report(item.span(), problem, format!("write [[{path}]]"));
                None
            }
        };
        items.iter().filter_map(section).collect()
    }

    /// Reports the keys that nobody asked for.
    pub(super) fn close(self) {
        let asked = self.asked.borrow();
        for key in self.table.keys() {
            let name: &str = key.get_ref();
            if asked.contains(name) {
                continue;
            }
            let place = if self.path.is_empty() {
                String::new()
            } else {
                format!(" in [{}]", self.path)
            };
            let remedy = match nearest(name, asked.iter().copied()) {
                Some(known) => format!("did you mean `{known}`?"),
                None => format!("known here: {}", asked.iter().copied().collect::<Vec<_>>().join(", ")),
            };
            let shown: String = name.chars().take(SHOWN_CHARS_MAX).collect();
            self.source
                .report(key.span(), format!("unknown key `{shown}`{place}"), remedy);
        }
    }

    /// Reports a mistake about a value of this section.
    pub(super) fn wrong<T>(&self, at: &At<T>, problem: String, remedy: impl Into<String>) {
        self.source.report(at.span.clone(), problem, remedy.into());
    }

    /// Reports a mistake about the section as a whole.
    pub(super) fn wrong_here(&self, problem: String, remedy: impl Into<String>) {
        self.source.report(self.span.clone(), problem, remedy.into());
    }

    /// Notes something odd about a value of this section.
    pub(super) fn warn<T>(&self, at: &At<T>, text: String) {
        self.source.warn(at.span.clone(), text);
    }

    /// The section's own place, for what has no better one.
    pub(super) fn here(&self) -> At<()> {
        At {
            value: (),
            span: self.span.clone(),
        }
    }

    /// The line where a value stands.
    pub(super) fn line<T>(&self, at: &At<T>) -> usize {
        self.source.place(at.span.start).line
    }

    /// Every file named so far, with its place.
    pub(super) fn named_files(&self) -> Vec<NamedFile> {
        self.source.files.borrow().clone()
    }

    /// Where a value stands.
    pub(super) fn place<T>(&self, at: &At<T>) -> Place {
        self.source.place(at.span.start)
    }

    /// Every key path that was ever asked for: what the documented example must hold.
    #[cfg(test)]
    pub(super) fn known(&self) -> BTreeSet<String> {
        self.source.known.borrow().clone()
    }

    fn find(&self, key: &'static str) -> Option<(&'a Spanned<std::borrow::Cow<'a, str>>, &'a Spanned<DeValue<'a>>)> {
        self.asked.borrow_mut().insert(key);
        self.source.known.borrow_mut().insert(self.name(key));
        self.table.get_key_value(key)
    }

    fn convert<T: FromToml>(&self, key: &str, value: &Spanned<DeValue<'_>>) -> Option<At<T>> {
        match T::from_toml(value.get_ref()) {
            Ok(read) => Some(At {
                value: read,
                span: value.span(),
            }),
            Err(Wrong { problem, remedy }) => {
                let problem = format!("`{}`: {problem}", self.name(key));
                self.source.report(value.span(), problem, remedy);
                None
            }
        }
    }

    fn missing(&self, key: &str) {
        let problem = format!("key `{}` is missing", self.name(key));
        self.source.report(self.span.clone(), problem, "add it".into());
    }

    fn name(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }
}

/// The words for a TOML type, as a user knows them.
pub(super) fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a decimal number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a section",
    }
}

/// A file being read, and what was found wrong with it.
struct Source<'a> {
    file: Arc<str>,
    text: &'a str,
    folder: PathBuf,
    line_starts: Vec<usize>,
    empty: DeTable<'a>,
    problems: RefCell<Vec<ConfigError>>,
    warnings: RefCell<Vec<Warning>>,
    files: RefCell<Vec<NamedFile>>,
    known: RefCell<BTreeSet<String>>,
}

impl<'a> Source<'a> {
    fn new(text: &'a str, file: &str) -> Self {
        let after_line_feed = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self {
            file: file.into(),
            text,
            folder: Path::new(file).parent().map(Path::to_path_buf).unwrap_or_default(),
            line_starts: std::iter::once(0)
                .chain(after_line_feed.map(|(offset, _)| offset + 1))
                .collect(),
            empty: DeTable::new(),
            problems: RefCell::default(),
            warnings: RefCell::default(),
            files: RefCell::default(),
            known: RefCell::default(),
        }
    }

    fn place(&self, offset: usize) -> Place {
        let line = self.line_starts.partition_point(|start| *start <= offset).max(1);
        let start = self.line_starts[line - 1];
        let before = self.text.get(start..offset).unwrap_or_default();
        Place {
            file: Arc::clone(&self.file),
            line,
            column: before.chars().count() + 1,
        }
    }

    fn report(&self, span: Range<usize>, problem: String, remedy: String) {
        if self.problems.borrow().len() < PROBLEMS_MAX {
            let place = self.place(span.start);
            self.problems.borrow_mut().push(ConfigError { place, problem, remedy });
        }
    }

    fn warn(&self, span: Range<usize>, text: String) {
        if self.warnings.borrow().len() < PROBLEMS_MAX {
            let place = self.place(span.start);
            self.warnings.borrow_mut().push(Warning { place, text });
        }
    }

    fn outcome<T>(&self, value: Option<T>) -> Result<(T, Vec<Warning>), ConfigErrors> {
        let problems = self.problems.take();
        match value {
            Some(value) if problems.is_empty() => {
                let mut warnings = self.warnings.take();
                warnings.sort();
                Ok((value, warnings))
            }
            _ if problems.is_empty() => Err(ConfigErrors::unreadable(
                &self.file,
                "holds nothing usable".into(),
                "start from the documented example",
            )),
            _ => Err(ConfigErrors::new(problems)),
        }
    }
}

/// Nobody reads further, and a wrong file must not fill a screen or the memory.
const PROBLEMS_MAX: usize = 200;
/// Of a key that we repeat in a message.
const SHOWN_CHARS_MAX: usize = 64;
