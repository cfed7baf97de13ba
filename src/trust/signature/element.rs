//! A document and its elements, read so strictly that nothing is left to interpretation: no document type, no stray text, no comment
//! inside a value, no attribute that is not expected.

use bergshamra_c14n::C14nMode;
use bergshamra_xml::uppsala::{Document, NodeId, NodeKind, Parser};
use bergshamra_xml::{Element as Data, NodeSet};

use super::SignatureError;
use super::algorithm::shown;

/// Parses what could be a signed list, within limits.
pub(super) fn parse(text: &str) -> Result<Document<'_>, SignatureError> {
    let refused = |problem: String| Err(SignatureError::Document(problem));
    // Before any tree is built: how much memory one takes must be known.
    for mark in [b'<', b'='] {
        if memchr::memchr_iter(mark, text.as_bytes()).take(MARKS_MAX + 1).count() > MARKS_MAX {
            return refused(format!("more than {MARKS_MAX} tags or attributes"));
        }
    }
    let parser = Parser::new().with_max_depth(DEPTH_MAX).with_forbid_dtd(true);
    let document = parser.parse(text);
    let document = document.map_err(|error| SignatureError::Document(shown(&error.to_string())))?;
    for child in document.children_iter(document.root()) {
        if let Some(NodeKind::ProcessingInstruction(_)) = document.node_kind(child) {
            return refused("a processing instruction stands beside the root".to_owned());
        }
    }
    Ok(document)
}

/// Canonical bytes of the whole document without comments and without the subtree `without`.
pub(super) fn canonical_without(document: &Document<'_>, without: Option<NodeId>) -> Result<Vec<u8>, SignatureError> {
    let mut nodes = NodeSet::all_without_comments(document);
    if let Some(top) = without {
        nodes.remove_id(top);
        for node in document.descendants(top) {
            nodes.remove_id(node);
        }
    }
    canonical(document, &nodes)
}

/// Canonical bytes of one element, without comments.
pub(super) fn canonical_of(document: &Document<'_>, element: NodeId) -> Result<Vec<u8>, SignatureError> {
    canonical(document, &NodeSet::tree_without_comments(element, document))
}

fn canonical(document: &Document<'_>, nodes: &NodeSet) -> Result<Vec<u8>, SignatureError> {
    bergshamra_c14n::canonicalize_doc::<&str>(document, C14nMode::Exclusive, Some(nodes), &[])
        .map_err(|error| SignatureError::Document(shown(&error.to_string())))
}

/// An element of the signature, with what may be asked of it.
#[derive(Clone, Copy)]
pub(super) struct Element<'d> {
    document: &'d Document<'d>,
    id: NodeId,
    data: &'d Data<'d>,
}

impl<'d> Element<'d> {
    pub(super) fn new(document: &'d Document<'d>, id: NodeId) -> Result<Self, SignatureError> {
        match document.element(id) {
            Some(data) => Ok(Self { document, id, data }),
            None => Err(SignatureError::Document("an element is not one".to_owned())),
        }
    }

    pub(super) fn id(&self) -> NodeId {
        self.id
    }

    pub(super) fn is(&self, namespace: &str, name: &str) -> bool {
        self.data.name.namespace_uri.as_deref() == Some(namespace) && self.data.name.local_name == name
    }

    pub(super) fn name(&self) -> String {
        shown(&self.data.name.prefixed_name())
    }

    pub(super) fn wrong<T>(&self, problem: impl Into<String>) -> Result<T, SignatureError> {
        Err(SignatureError::Shape {
            element: self.name(),
            problem: problem.into(),
        })
    }

    /// An attribute without namespace; attributes with one are never looked at.
    pub(super) fn attribute(&self, name: &str) -> Option<&'d str> {
        let mut attributes = self.data.attributes.iter();
        let found = attributes.find(|one| one.name.namespace_uri.is_none() && one.name.local_name == name);
        found.map(|attribute| &*attribute.value)
    }

    pub(super) fn required(&self, name: &str) -> Result<&'d str, SignatureError> {
        match self.attribute(name) {
            Some(value) => Ok(value),
            None => self.wrong(format!("attribute {name} is missing")),
        }
    }

    /// Every attribute has to be one of these.
    pub(super) fn only(&self, names: &[&str]) -> Result<(), SignatureError> {
        let known = |one: &&_| names.contains(&attribute_name(one));
        match self.data.attributes.iter().find(|one| !known(one)) {
            Some(other) => self.wrong(format!(
                "attribute {} is not expected",
                shown(&other.name.prefixed_name())
            )),
            None => Ok(()),
        }
    }

    /// Values of attributes that some reader takes for an identifier.
    pub(super) fn identifiers(&self) -> impl Iterator<Item = &'d str> {
        let attributes = self.data.attributes.iter();
        let identifiers = attributes.filter(|one| one.name.local_name.eq_ignore_ascii_case("id"));
        identifiers.map(|attribute| &*attribute.value)
    }

    /// The namespace that a prefix stands for here.
    pub(super) fn namespace_of(&self, prefix: &str) -> Option<&'d str> {
        let mut at = Some(self.id);
        // Bounded by the depth of the document.
        while let Some(id) = at {
            let data = self.document.element(id)?;
            let mut declared = data.namespace_declarations.iter();
            if let Some((_, uri)) = declared.find(|(name, _)| name == prefix) {
                return Some(uri);
            }
            at = self.document.parent(id);
        }
        None
    }

    /// The child elements; anything else but white space is refused.
    pub(super) fn children(&self) -> Result<Vec<Self>, SignatureError> {
        let mut children = Vec::new();
        for child in self.document.children_iter(self.id) {
            match self.document.node_kind(child) {
                Some(NodeKind::Element(_)) => children.push(Self::new(self.document, child)?),
                Some(NodeKind::Text(text)) if text.chars().all(|c| c.is_ascii_whitespace()) => {}
                _ => return self.wrong("holds something beside its elements"),
            }
        }
        Ok(children)
    }

    /// Exactly these children, in this order.
    pub(super) fn exactly<const N: usize>(
        &self,
        namespace: &str,
        names: [&str; N],
    ) -> Result<[Self; N], SignatureError> {
        let children = self.children()?;
        let as_expected = children.len() == N
            && children
                .iter()
                .zip(names)
                .all(|(child, name)| child.is(namespace, name));
        match <[Self; N]>::try_from(children) {
            Ok(children) if as_expected => Ok(children),
            _ => self.wrong(format!("expected exactly {}", names.join(", "))),
        }
    }

    /// An element that holds nothing.
    pub(super) fn empty(&self) -> Result<(), SignatureError> {
        if self.children()?.is_empty() {
            Ok(())
        } else {
            self.wrong("must be empty")
        }
    }

    /// The text of an element that holds nothing else: no comment could cut it in two.
    pub(super) fn text(&self) -> Result<String, SignatureError> {
        let mut text = String::new();
        for child in self.document.children_iter(self.id) {
            match self.document.node_kind(child) {
                Some(NodeKind::Text(part)) => text.push_str(part),
                _ => return self.wrong("holds something beside text"),
            }
        }
        Ok(text)
    }
}

/// Local name of an attribute without namespace; an impossible name for the others.
fn attribute_name<'a>(attribute: &'a bergshamra_xml::Attribute<'_>) -> &'a str {
    match attribute.name.namespace_uri {
        None => &attribute.name.local_name,
        Some(_) => ":",
    }
}

/// The real list has 92,000 tags.
const MARKS_MAX: usize = 1_000_000;
/// The list needs 4, a `XAdES` signature about 12.
const DEPTH_MAX: u32 = 32;
