//! What a FETCH asks, item by item, and what must be known to answer it.

use crate::imap::grammar::tree::{FetchItem, Numbering};
use crate::imap::request::What;
use crate::imap::section::{Binary, Section};
use crate::imap::view::Access;

/// One thing asked of each message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    Uid,
    Flags,
    InternalDate,
    Size,
    Envelope,
    Body,
    BodyStructure,
    Modseq,
    SaveDate,
    EmailId,
    ThreadId,
    Preview,
    /// A section under its own name, or that of an RFC822 item.
    Section(Section, Option<&'static str>),
    Binary(Binary),
    BinarySize(Binary),
}

impl Item {
    /// How much of a message must be loaded; `None`: the view knows it.
    fn needs(&self) -> Option<What> {
        match self {
            Self::Envelope | Self::Body | Self::BodyStructure => Some(What::Summary),
            Self::Section(section, _) if section.needs_only_header() => Some(What::Header),
            Self::Section(..) | Self::Binary(_) | Self::BinarySize(_) => Some(What::Content),
            _ => None,
        }
    }

    /// Whether the places of the parts must be known.
    pub(super) fn needs_outline(&self) -> bool {
        match self {
            Self::Section(section, _) => section.needs_structure(),
            Self::Binary(_) | Self::BinarySize(_) => true,
            _ => false,
        }
    }
}

/// What a FETCH asks.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) items: Vec<Item>,
    /// How much must be loaded; `None`: the view knows all.
    pub(super) what: Option<What>,
    pub(super) marks: Marks,
    pub(super) previews: Previews,
}

/// Whether reading sets `\Seen`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Marks {
    Seen,
    Nothing,
}

/// Whether first words are asked for (RFC 8970 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Previews {
    No,
    /// Only those that cost nothing.
    Lazy,
    All,
}

impl Plan {
    pub(super) fn new(asked: &[FetchItem], numbering: Numbering, access: Access) -> Self {
        let mut plan = Self {
            items: Vec::with_capacity(asked.len() + 2),
            what: None,
            marks: Marks::Nothing,
            previews: Previews::No,
        };
        if numbering == Numbering::Uid {
            plan.items.push(Item::Uid);
        }
        for item in asked {
            let item = plan.item(item);
            plan.add(item);
        }
        if access == Access::ReadOnly {
            plan.marks = Marks::Nothing;
        }
        plan
    }

    fn add(&mut self, item: Item) {
        self.what = both(self.what, item.needs());
        if !self.items.contains(&item) {
            self.items.push(item);
        }
    }

    fn item(&mut self, asked: &FetchItem) -> Item {
        use FetchItem as N;
        match asked {
            N::Uid => Item::Uid,
            N::Flags => Item::Flags,
            N::InternalDate => Item::InternalDate,
            N::Size => Item::Size,
            N::Envelope => Item::Envelope,
            N::Body => Item::Body,
            N::BodyStructure => Item::BodyStructure,
            N::Modseq => Item::Modseq,
            N::SaveDate => Item::SaveDate,
            N::EmailId => Item::EmailId,
            N::ThreadId => Item::ThreadId,
            N::Preview { lazy } => {
                // Asked for both ways, it is computed.
                if !*lazy {
                    self.previews = Previews::All;
                } else if self.previews == Previews::No {
                    self.previews = Previews::Lazy;
                }
                Item::Preview
            }
            N::Rfc822 => self.marking(Item::Section(Section::WHOLE, Some("RFC822")), false),
            N::Rfc822Header => Item::Section(Section::HEADER, Some("RFC822.HEADER")),
            N::Rfc822Text => self.marking(Item::Section(Section::TEXT, Some("RFC822.TEXT")), false),
            N::Section { section, partial, peek } => {
                self.marking(Item::Section(Section::new(section.clone(), *partial), None), *peek)
            }
            N::Binary { part, partial, peek } => self.marking(Item::Binary(Binary::new(part, *partial)), *peek),
            N::BinarySize { part } => Item::BinarySize(Binary::new(part, None)),
        }
    }

    fn marking(&mut self, item: Item, peek: bool) -> Item {
        if !peek {
            self.marks = Marks::Seen;
        }
        item
    }
}

fn both(a: Option<What>, b: Option<What>) -> Option<What> {
    match (a, b) {
        (None, other) | (other, None) => other,
        (Some(a), Some(b)) if a == b => Some(a),
        (Some(What::Header), Some(What::Content)) | (Some(What::Content), Some(What::Header)) => Some(What::Content),
        _ => Some(What::Both),
    }
}
