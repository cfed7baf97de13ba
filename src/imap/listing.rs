//! What LIST and LSUB show: which names match, and what is said of each (RFC 3501 §6.3.8, RFC 5258, RFC 9051 §6.3.9).

use std::collections::BTreeMap;

use super::names::INBOX;
use super::request::Folder;

/// What a LIST asks for, its patterns put behind the reference.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Query {
    patterns: Vec<Pattern>,
    /// Only names that are all of this.
    only: Vec<Selection>,
    shows: Vec<Shown>,
    absence: Absence,
}

/// How a name that no folder has is marked: with one of these (RFC 9051 §9, `mbx-list-sflag`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Absence {
    /// As RFC 5258 §3 and RFC 9051 §7.3.1 have it; it implies the other.
    #[default]
    NonExistent,
    /// For who knows no more than RFC 3501.
    Noselect,
}

/// What is shown beyond the names selected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// Names above them (RECURSIVEMATCH).
    Parents,
    /// `\Subscribed`.
    Subscribed,
}

/// Which names are meant (RFC 5258 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Selection {
    Subscribed,
    /// RFC 6154 §2.
    SpecialUse,
}

impl Selection {
    fn option(self) -> &'static str {
        match self {
            Self::Subscribed => "SUBSCRIBED",
            Self::SpecialUse => "SPECIAL-USE",
        }
    }
}

/// One line of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    pub(crate) name: &'a str,
    pub(crate) folder: Option<&'a Folder>,
    /// With their backslashes, in the order they are written.
    pub(crate) attributes: Vec<&'static str>,
    /// For CHILDINFO (RFC 5258 §6): selections that something below matches.
    pub(crate) child_info: Vec<&'static str>,
}

impl Query {
    /// Names that match one of the patterns. RFC 9051 §6.3.9: a pattern too long to be looked for matches nothing.
    pub(crate) fn new(patterns: &[String]) -> Self {
        let mut bytes = 0;
        let all = patterns.iter().map(|text| Pattern::new(text));
        let patterns = all.filter(|pattern| {
            let fits = bytes + pattern.0.len() <= PATTERN_BYTES_MAX;
            bytes += if fits { pattern.0.len() } else { 0 };
            fits
        });
        Self {
            patterns: patterns.collect(),
            ..Self::default()
        }
    }

    /// Only some of them.
    pub(crate) fn only(mut self, only: Vec<Selection>) -> Self {
        // RFC 5258 §3.1: the selection implies the return option.
        let adds = only.contains(&Selection::Subscribed) && !self.shows.contains(&Shown::Subscribed);
        self.shows.extend(adds.then_some(Shown::Subscribed));
        for selection in only {
            // RFC 9051 §6.3.9: what is asked twice is asked once.
            if !self.only.contains(&selection) {
                self.only.push(selection);
            }
        }
        self
    }

    /// The same in the words of another standard.
    pub(crate) fn marking(self, absence: Absence) -> Self {
        Self { absence, ..self }
    }

    /// More than the names selected, and more said of each.
    pub(crate) fn showing(mut self, shown: Shown) -> Self {
        self.shows.push(shown);
        self
    }

    /// The lines of a LIST, by name. `wishes`: subscribed names that no folder has.
    pub(crate) fn list<'a>(&self, folders: &'a [Folder], wishes: &'a [String]) -> Vec<Line<'a>> {
        let names = Names::of(folders, wishes);
        let mut lines = Vec::new();
        for (at, (name, known)) in names.0.iter().enumerate() {
            if !self.matches(name) {
                continue;
            }
            let child_info = if self.shows.contains(&Shown::Parents) {
                self.selected_below(&names.0[at + 1..], name)
            } else {
                Vec::new()
            };
            let is_selected = self.selects(known);
            if is_selected || !child_info.is_empty() {
                lines.push(Line {
                    name,
                    // RFC 9051 §6.3.9.2: of what is shown only for what is below it, nothing more is told.
                    folder: known.folder.filter(|_| is_selected),
                    attributes: self.attributes(known, names.has_children(at)),
                    child_info,
                });
            }
        }
        lines
    }

    /// The lines of an LSUB. RFC 3501 §6.3.9: `%` shows the level above a subscribed name; `*` shows the name itself.
    pub(crate) fn list_subscribed<'a>(&self, folders: &'a [Folder], wishes: &'a [String]) -> Vec<Line<'a>> {
        let names = Names::of(folders, wishes);
        let stops = self.patterns.iter().all(|pattern| !pattern.0.contains(&b'*'));
        let mut lines = Vec::new();
        for (at, (name, known)) in names.0.iter().enumerate() {
            let is_above = stops && below(&names.0[at + 1..], name).any(|(_, known)| known.is_subscribed());
            if (known.is_subscribed() || is_above) && self.matches(name) {
                lines.push(Line {
                    name,
                    folder: known.folder,
                    attributes: if known.is_subscribed() {
                        vec![]
                    } else {
                        vec!["\\Noselect"]
                    },
                    child_info: Vec::new(),
                });
            }
        }
        lines
    }

    fn matches(&self, name: &str) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(name))
    }

    fn selects(&self, known: &Known<'_>) -> bool {
        if self.only.is_empty() {
            // RFC 9051 §6.3.9: what is only subscribed to is no mailbox.
            return known.folder.is_some() || known.is_level;
        }
        self.only.iter().all(|selection| match selection {
            Selection::Subscribed => known.is_subscribed(),
            Selection::SpecialUse => known.special_use().is_some(),
        })
    }

    fn selected_below(&self, after: &[(&str, Known<'_>)], name: &str) -> Vec<&'static str> {
        if !below(after, name).any(|(_, known)| self.selects(known)) {
            return Vec::new();
        }
        self.only.iter().map(|selection| selection.option()).collect()
    }

    fn attributes(&self, known: &Known<'_>, has_children: bool) -> Vec<&'static str> {
        let mut attributes = Vec::with_capacity(4);
        if known.folder.is_none() {
            attributes.push(match self.absence {
                Absence::NonExistent => "\\NonExistent",
                Absence::Noselect => "\\Noselect",
            });
        }
        if self.shows.contains(&Shown::Subscribed) && known.is_subscribed() {
            attributes.push("\\Subscribed");
        }
        attributes.push(if has_children {
            "\\HasChildren"
        } else {
            "\\HasNoChildren"
        });
        attributes.extend(known.special_use());
        attributes
    }
}

/// What is said of names that no pattern was given for (RFC 9051 §6.3.2, RFC 5465 §5.4).
pub(crate) struct Attributes<'a> {
    names: Names<'a>,
    query: Query,
}

impl<'a> Attributes<'a> {
    /// Of the names of a box; `shows`: what is said beyond what every LIST says.
    pub(crate) fn new(folders: &'a [Folder], wishes: &'a [String], shows: &[Shown]) -> Self {
        Self {
            names: Names::of(folders, wishes),
            query: Query {
                shows: shows.to_vec(),
                ..Query::default()
            },
        }
    }

    /// Of one name, whether a folder has it or not.
    pub(crate) fn of(&self, name: &str) -> Vec<&'static str> {
        let names = &self.names.0;
        match names.binary_search_by(|(other, _)| Levels(other).cmp(&Levels(name))) {
            Ok(at) => self.query.attributes(&names[at].1, self.names.has_children(at)),
            Err(_) => self.query.attributes(&Known::default(), false),
        }
    }
}

/// What is known of a name.
#[derive(Clone, Copy, Debug, Default)]
struct Known<'a> {
    folder: Option<&'a Folder>,
    /// A folder is below it.
    is_level: bool,
    /// It is subscribed although no folder has it.
    wish: Option<&'a str>,
}

impl Known<'_> {
    fn is_subscribed(&self) -> bool {
        self.wish.is_some() || self.folder.is_some_and(|folder| folder.subscribed)
    }

    fn special_use(&self) -> Option<&'static str> {
        self.folder.and_then(|folder| folder.special_use)
    }
}

/// All names of a box, so ordered that what is below a name follows it at once.
struct Names<'a>(Vec<(&'a str, Known<'a>)>);

impl<'a> Names<'a> {
    fn of(folders: &'a [Folder], wishes: &'a [String]) -> Self {
        let mut names: BTreeMap<Levels<'a>, Known<'a>> = BTreeMap::new();
        for folder in folders {
            names.entry(Levels(&folder.name)).or_default().folder = Some(folder);
            for (end, _) in folder.name.match_indices('/') {
                names.entry(Levels(&folder.name[..end])).or_default().is_level = true;
            }
        }
        for wish in wishes {
            names.entry(Levels(wish)).or_default().wish = Some(wish);
            for (end, _) in wish.match_indices('/') {
                names.entry(Levels(&wish[..end])).or_default();
            }
        }
        Self(names.into_iter().map(|(levels, known)| (levels.0, known)).collect())
    }

    /// Whether a folder is below the name at that place.
    fn has_children(&self, at: usize) -> bool {
        self.0.get(at).is_some_and(|(_, known)| known.is_level)
    }
}

/// What is below a name, given what comes after it.
fn below<'n, 'a>(after: &'n [(&'a str, Known<'a>)], name: &str) -> impl Iterator<Item = &'n (&'a str, Known<'a>)> {
    after.iter().take_while(move |(other, _)| is_below(other, name))
}

/// Whether `other` is below `name`.
pub(crate) fn is_below(other: &str, name: &str) -> bool {
    other.strip_prefix(name).is_some_and(|rest| rest.starts_with('/'))
}

/// Compares names level by level, INBOX first: `a/b` comes before `a b`.
#[derive(PartialEq, Eq)]
struct Levels<'a>(&'a str);

impl Ord for Levels<'_> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let first = |name: &str| name != INBOX && !is_below(name, INBOX);
        first(self.0)
            .cmp(&first(other.0))
            .then_with(|| self.0.split('/').cmp(other.0.split('/')))
    }
}

impl PartialOrd for Levels<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// A pattern: `*` is anything, `%` anything but the separator. Wildcards side by side are one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern(Vec<u8>);

impl Pattern {
    fn new(text: &str) -> Self {
        let mut pattern: Vec<u8> = Vec::with_capacity(text.len());
        for byte in text.bytes() {
            match (pattern.last(), byte) {
                (Some(b'*' | b'%'), b'*') => {
                    pattern.pop();
                    pattern.push(b'*');
                }
                (Some(b'*' | b'%'), b'%') => {}
                _ => pattern.push(byte),
            }
        }
        Self(pattern)
    }

    /// Takes time in proportion to pattern × name. RFC 9051 §5.1: INBOX matches without regard to case.
    fn matches(&self, name: &str) -> bool {
        let blind = if name == INBOX || is_below(name, INBOX) {
            INBOX.len()
        } else {
            0
        };
        let bytes = name.as_bytes();
        // reached[i]: the pattern so far can match the first i bytes.
        let mut reached = vec![false; bytes.len() + 1];
        reached[0] = true;
        for wanted in &self.0 {
            let mut next = vec![false; bytes.len() + 1];
            if matches!(wanted, b'*' | b'%') {
                for i in 0..=bytes.len() {
                    next[i] = reached[i] || (i > 0 && next[i - 1] && (*wanted == b'*' || bytes[i - 1] != b'/'));
                }
            } else {
                for i in 1..=bytes.len() {
                    let same = bytes[i - 1] == *wanted || (i <= blind && bytes[i - 1].eq_ignore_ascii_case(wanted));
                    next[i] = reached[i - 1] && same;
                }
            }
            if !next.contains(&true) {
                return false;
            }
            reached = next;
        }
        reached[bytes.len()]
    }
}

/// All patterns of a LIST together: a thousand folders are looked through in less than a second.
const PATTERN_BYTES_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn folder(name: &str, subscribed: bool, special_use: Option<&'static str>) -> Folder {
        Folder {
            name: name.to_owned(),
            special_use,
            subscribed,
            ..Folder::default()
        }
    }

    fn query(patterns: &[&str]) -> Query {
        let patterns: Vec<String> = patterns.iter().map(|text| (*text).to_owned()).collect();
        Query::new(&patterns)
    }

    fn shown(lines: &[Line<'_>]) -> Vec<String> {
        let show = |line: &Line<'_>| {
            let info = if line.child_info.is_empty() {
                String::new()
            } else {
                format!(" <{}>", line.child_info.join(" "))
            };
            format!("{} ({}){info}", line.name, line.attributes.join(" "))
        };
        lines.iter().map(show).collect()
    }

    #[test]
    fn wildcards_stop_at_the_separator_or_not() {
        for (pattern, name, expected) in [
            ("*", "a/b", true),
            ("%", "a/b", false),
            ("%", "a", true),
            ("a/%", "a/b", true),
            ("a/%", "a", false),
            ("%/%", "a/b", true),
            ("%%/%", "a/b", true),
            ("%*", "a/b", true),
            ("*%", "a/b", true),
            ("*b", "a/b", true),
            ("a*", "b", false),
            ("é%", "été", true),
            ("", "a", false),
            ("INBOX", "INBOX", true),
            ("inbox", "INBOX", true),
            ("inb%", "INBOX", true),
            ("iNbOx/X", "INBOX/X", true),
            ("inbox/x", "INBOX/X", false),
            ("inboxes", "INBOXES", false),
        ] {
            assert_eq!(Pattern::new(pattern).matches(name), expected, "{pattern} {name}");
        }
        let slow = "*a".repeat(40) + "b";
        assert!(!Pattern::new(&slow).matches(&"a".repeat(500)));
        let count = |patterns: &[String]| Query::new(patterns).patterns.len();
        assert_eq!(count(&["a*".repeat(2500), "a".into()]), 1);
        assert_eq!(count(&["*".repeat(5000)]), 1);
    }

    #[test]
    fn a_list_shows_folders_and_the_levels_above_them() {
        let folders = [
            folder("a b", false, None),
            folder("a/b", true, None),
            folder("Sent", true, Some("\\Sent")),
            folder("INBOX", true, None),
            folder("INBOX/x", false, None),
        ];
        let wishes = ["gone".to_owned(), "gone/deep".to_owned()];
        assert_eq!(
            shown(&query(&["*"]).list(&folders, &wishes)),
            [
                "INBOX (\\HasChildren)",
                "INBOX/x (\\HasNoChildren)",
                "Sent (\\HasNoChildren \\Sent)",
                "a (\\NonExistent \\HasChildren)",
                "a/b (\\HasNoChildren)",
                "a b (\\HasNoChildren)",
            ]
        );
        assert_eq!(
            shown(
                &query(&["%/%", "s*", "S*"])
                    .showing(Shown::Subscribed)
                    .list(&folders, &wishes)
            ),
            [
                "INBOX/x (\\HasNoChildren)",
                "Sent (\\Subscribed \\HasNoChildren \\Sent)",
                "a/b (\\Subscribed \\HasNoChildren)"
            ]
        );
    }

    #[test]
    fn a_selection_shows_only_what_it_selects() {
        let folders = [
            folder("INBOX", false, None),
            folder("Sent", true, Some("\\Sent")),
            folder("Trash", false, Some("\\Trash")),
        ];
        let wishes = ["gone".to_owned()];
        assert_eq!(
            shown(&query(&["*"]).only(vec![Selection::Subscribed]).list(&folders, &wishes)),
            [
                "Sent (\\Subscribed \\HasNoChildren \\Sent)",
                "gone (\\NonExistent \\Subscribed \\HasNoChildren)"
            ]
        );
        assert_eq!(
            shown(&query(&["*"]).only(vec![Selection::SpecialUse]).list(&folders, &wishes)),
            ["Sent (\\HasNoChildren \\Sent)", "Trash (\\HasNoChildren \\Trash)"]
        );
        let both = vec![Selection::Subscribed, Selection::SpecialUse];
        assert_eq!(
            shown(&query(&["*"]).only(both).list(&folders, &wishes)),
            ["Sent (\\Subscribed \\HasNoChildren \\Sent)"]
        );
    }

    #[test]
    fn recursive_match_shows_the_way_to_what_is_selected() {
        // RFC 5258 §5, example 9.
        let folders = [
            folder("foo", false, None),
            folder("foo2", false, None),
            folder("foo2/bar1", true, None),
            folder("foo2/bar2", false, None),
            folder("baz2", false, None),
        ];
        let wishes = ["baz2/bar2".to_owned()];
        let recursive = |patterns: &[&str]| {
            let query = query(patterns)
                .only(vec![Selection::Subscribed])
                .showing(Shown::Parents);
            shown(&query.list(&folders, &wishes))
        };
        assert_eq!(
            recursive(&["%"]),
            [
                "baz2 (\\HasNoChildren) <SUBSCRIBED>",
                "foo2 (\\HasChildren) <SUBSCRIBED>"
            ]
        );
        assert_eq!(
            recursive(&["*"]),
            [
                "baz2 (\\HasNoChildren) <SUBSCRIBED>",
                "baz2/bar2 (\\NonExistent \\Subscribed \\HasNoChildren)",
                "foo2 (\\HasChildren) <SUBSCRIBED>",
                "foo2/bar1 (\\Subscribed \\HasNoChildren)"
            ]
        );
        assert!(recursive(&["foo"]).is_empty());
    }

    #[test]
    fn lsub_shows_what_is_subscribed_and_the_level_above_for_a_percent() {
        let folders = [
            folder("INBOX", true, None),
            folder("a", false, None),
            folder("a/b", true, None),
            folder("c/d", false, None),
        ];
        let wishes = ["e/f".to_owned()];
        assert_eq!(
            shown(&query(&["*"]).list_subscribed(&folders, &wishes)),
            ["INBOX ()", "a/b ()", "e/f ()"]
        );
        assert_eq!(
            shown(&query(&["%"]).list_subscribed(&folders, &wishes)),
            ["INBOX ()", "a (\\Noselect)", "e (\\Noselect)"]
        );
    }

    /// What a pattern means, as RFC 9051 §6.3.9 says it.
    fn plainly(pattern: &[char], name: &[char]) -> bool {
        match pattern.split_first() {
            None => name.is_empty(),
            Some((wild @ ('*' | '%'), rest)) => (0..=name.len())
                .take_while(|n| *wild == '*' || !name[..*n].contains(&'/'))
                .any(|n| plainly(rest, &name[n..])),
            Some((literal, rest)) => name
                .split_first()
                .is_some_and(|(c, after)| c == literal && plainly(rest, after)),
        }
    }

    proptest! {
        #[test]
        fn a_pattern_means_what_the_standard_says(pattern in "[aé/*%]{0,8}", name in "[aé/]{0,8}") {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(Pattern::new(&pattern).matches(&name), plainly(&chars(&pattern), &chars(&name)));
        }
    }
}
