//! THREAD (RFC 5256 §3): ORDEREDSUBJECT and REFERENCES over facts read beforehand. Pure, without recursion, and bounded whatever the references say.

use std::collections::HashMap;

use super::sort::Sortable;
use super::wire;

/// How messages belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    OrderedSubject,
    References,
}

impl Algorithm {
    /// By its name in capitals.
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "ORDEREDSUBJECT" => Some(Self::OrderedSubject),
            "REFERENCES" => Some(Self::References),
            _ => None,
        }
    }
}

/// Threads, the messages given by their place in the list.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Threads {
    nodes: Vec<Node>,
    roots: Vec<usize>,
}

/// A message, or a place where one is missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Node {
    message: Option<usize>,
    parent: Option<usize>,
    children: Vec<usize>,
}

/// Makes threads of messages that are in the order of their sequence numbers.
pub(crate) fn threads(messages: &[Sortable<'_>], algorithm: Algorithm) -> Threads {
    match algorithm {
        Algorithm::OrderedSubject => ordered_subject(messages),
        Algorithm::References => {
            let mut weaver = Weaver::new(messages);
            weaver.link_all();
            weaver.prune();
            weaver.sort_roots();
            weaver.gather_subjects();
            weaver.sort_all();
            weaver.threads
        }
    }
}

/// One thread for each base subject: its first message, and the others as its children. No grandchildren.
fn ordered_subject(messages: &[Sortable<'_>]) -> Threads {
    let mut order: Vec<usize> = (0..messages.len()).collect();
    let key = |at: usize| (messages[at].sent(), messages[at].number);
    order.sort_by(|&a, &b| {
        let subjects = messages[a].facts.subject.cmp(&messages[b].facts.subject);
        subjects.then_with(|| key(a).cmp(&key(b)))
    });
    let mut threads = Threads::default();
    for group in order.chunk_by(|&a, &b| messages[a].facts.subject == messages[b].facts.subject) {
        let root = threads.nodes.len();
        threads.roots.push(root);
        for &message in group {
            let node = threads.nodes.len();
            threads.nodes.push(Node {
                message: Some(message),
                ..Node::default()
            });
            if node != root {
                threads.nodes[root].children.push(node);
            }
        }
    }
    let first = |threads: &Threads, root: usize| threads.nodes[root].message.map(key);
    let mut roots = std::mem::take(&mut threads.roots);
    roots.sort_by_key(|&root| first(&threads, root));
    threads.roots = roots;
    threads
}

/// The REFERENCES algorithm, step by step.
struct Weaver<'a> {
    messages: &'a [Sortable<'a>],
    threads: Threads,
    /// How many more ancestors may be looked at for loops.
    steps_left: usize,
}

impl<'a> Weaver<'a> {
    fn new(messages: &'a [Sortable<'a>]) -> Self {
        Self {
            messages,
            threads: Threads::default(),
            steps_left: STEPS_MAX,
        }
    }

    /// Step 1: parents and children by what messages refer to.
    fn link_all(&mut self) {
        let mut named: HashMap<&str, usize> = HashMap::with_capacity(self.messages.len());
        let mut own = Vec::with_capacity(self.messages.len());
        for (at, message) in self.messages.iter().enumerate() {
            let node = self.node(Some(at));
            own.push(node);
            // A second message of one identifier, or one without, is known by no name.
            if !message.facts.id.is_empty() {
                named.entry(&message.facts.id).or_insert(node);
            }
        }
        let messages = self.messages;
        for (message, &node) in messages.iter().zip(&own) {
            let mut last = None;
            for reference in &message.facts.references {
                let referred = if let Some(&known) = named.get(reference.as_str()) {
                    known
                } else {
                    let missing = self.node(None);
                    named.insert(reference, missing);
                    missing
                };
                if let Some(parent) = last
                    && self.threads.nodes[referred].parent.is_none()
                {
                    self.link(parent, referred);
                }
                last = Some(referred);
            }
            // Step 1.B: the last reference is the parent, whatever another message made of it.
            self.unlink(node);
            if let Some(parent) = last {
                self.link(parent, node);
            }
        }
        // Step 2.
        let roots = (0..self.threads.nodes.len()).filter(|&node| self.threads.nodes[node].parent.is_none());
        self.threads.roots = roots.collect();
    }

    fn node(&mut self, message: Option<usize>) -> usize {
        self.threads.nodes.push(Node {
            message,
            ..Node::default()
        });
        self.threads.nodes.len() - 1
    }

    /// Makes a child, unless that would close a loop.
    fn link(&mut self, parent: usize, child: usize) {
        if !self.is_above(child, parent) {
            self.threads.nodes[parent].children.push(child);
            self.threads.nodes[child].parent = Some(parent);
        }
    }

    /// Whether a node is an ancestor of another, or the same. Once too much was looked at, everything might be.
    fn is_above(&mut self, above: usize, below: usize) -> bool {
        if above == below {
            return true;
        }
        if self.threads.nodes[above].children.is_empty() {
            return false;
        }
        let mut at = below;
        while let Some(parent) = self.threads.nodes[at].parent {
            let Some(left) = self.steps_left.checked_sub(1) else {
                return true;
            };
            self.steps_left = left;
            if parent == above {
                return true;
            }
            at = parent;
        }
        false
    }

    fn unlink(&mut self, child: usize) {
        if let Some(parent) = self.threads.nodes[child].parent.take() {
            self.threads.nodes[parent].children.retain(|&other| other != child);
        }
    }

    /// Step 3: places of missing messages go, their children move up; at the top only where one child takes the place.
    fn prune(&mut self) {
        for node in self.bottom_up() {
            let children = std::mem::take(&mut self.threads.nodes[node].children);
            let mut kept = Vec::with_capacity(children.len());
            for child in children {
                if self.threads.nodes[child].message.is_some() {
                    kept.push(child);
                } else {
                    kept.append(&mut self.threads.nodes[child].children);
                }
            }
            self.threads.nodes[node].children = kept;
        }
        let roots = std::mem::take(&mut self.threads.roots);
        for root in roots {
            let node = &self.threads.nodes[root];
            match (node.message, node.children.as_slice()) {
                (None, []) => {}
                (None, &[only]) => self.threads.roots.push(only),
                _ => self.threads.roots.push(root),
            }
        }
    }

    /// Step 4.
    fn sort_roots(&mut self) {
        for at in 0..self.threads.roots.len() {
            let root = self.threads.roots[at];
            if self.threads.nodes[root].message.is_none() {
                self.sort_children(root);
            }
        }
        let mut roots = std::mem::take(&mut self.threads.roots);
        roots.sort_by_key(|&root| self.sent(root));
        self.threads.roots = roots;
    }

    /// Step 5: threads with one base subject become one.
    fn gather_subjects(&mut self) {
        let mut table: HashMap<&'a str, usize> = HashMap::new();
        for &root in &self.threads.roots {
            let Some(subject) = self.subject(root) else { continue };
            let better = match table.get(subject) {
                None => true,
                Some(&known) => {
                    self.is_message(known) && (!self.is_message(root) || (self.is_reply(known) && !self.is_reply(root)))
                }
            };
            if better {
                table.insert(subject, root);
            }
        }
        let roots = std::mem::take(&mut self.threads.roots);
        let mut kept = Vec::with_capacity(roots.len());
        // A root that a new place took over stands where that place stands.
        let mut taken_over: HashMap<usize, usize> = HashMap::new();
        for root in roots {
            let subject = self.subject(root);
            let other = subject.and_then(|subject| table.get(subject).copied());
            match (subject, other) {
                (Some(subject), Some(other)) if other != root && !taken_over.contains_key(&root) => {
                    if let Some(place) = self.merge(root, other) {
                        taken_over.insert(other, place);
                        table.insert(subject, place);
                    }
                }
                _ => kept.push(root),
            }
        }
        self.threads.roots = kept
            .into_iter()
            .map(|root| taken_over.get(&root).copied().unwrap_or(root))
            .collect();
        // One that came first and was taken over later is named by its place already; none is there twice.
        let mut seen = std::collections::HashSet::new();
        self.threads.roots.retain(|root| seen.insert(*root));
    }

    /// Merges a thread into another one; returns the place made for both, if one was.
    fn merge(&mut self, current: usize, other: usize) -> Option<usize> {
        match (self.is_message(current), self.is_message(other)) {
            (false, false) => {
                let mut children = std::mem::take(&mut self.threads.nodes[current].children);
                self.threads.nodes[other].children.append(&mut children);
            }
            (true, false) => self.threads.nodes[other].children.push(current),
            (true, true) if self.is_reply(current) && !self.is_reply(other) => {
                self.threads.nodes[other].children.push(current);
            }
            _ => {
                let place = self.node(None);
                self.threads.nodes[place].children = vec![other, current];
                return Some(place);
            }
        }
        None
    }

    /// Step 6: siblings by date, the lowest first, since a missing message has the date of its first child.
    fn sort_all(&mut self) {
        for node in self.bottom_up() {
            self.sort_children(node);
        }
        let mut roots = std::mem::take(&mut self.threads.roots);
        roots.sort_by_key(|&root| self.sent(root));
        self.threads.roots = roots;
    }

    fn sort_children(&mut self, node: usize) {
        let mut children = std::mem::take(&mut self.threads.nodes[node].children);
        children.sort_by_key(|&child| self.sent(child));
        self.threads.nodes[node].children = children;
    }

    /// Every node below the roots and the roots themselves, children before their parents.
    fn bottom_up(&self) -> Vec<usize> {
        let mut order = self.threads.roots.clone();
        let mut at = 0;
        while at < order.len() {
            order.extend_from_slice(&self.threads.nodes[order[at]].children);
            at += 1;
        }
        order.reverse();
        order
    }

    /// The message of a node, or of the first child of a missing one.
    fn message(&self, node: usize) -> Option<&'a Sortable<'a>> {
        let messages = self.messages;
        let found = &self.threads.nodes[node];
        let at = found
            .message
            .or_else(|| self.threads.nodes[*found.children.first()?].message)?;
        messages.get(at)
    }

    fn is_message(&self, node: usize) -> bool {
        self.threads.nodes[node].message.is_some()
    }

    fn is_reply(&self, node: usize) -> bool {
        self.message(node).is_some_and(|message| message.facts.is_reply)
    }

    fn subject(&self, node: usize) -> Option<&'a str> {
        let subject = self.message(node)?.facts.subject.as_str();
        (!subject.is_empty()).then_some(subject)
    }

    fn sent(&self, node: usize) -> Option<(i64, u32)> {
        self.message(node).map(|message| (message.sent(), message.number))
    }
}

impl Threads {
    /// Writes them as in the THREAD response (RFC 5256 §4), each message as the number that `number` gives it.
    pub(crate) fn write(&self, out: &mut Vec<u8>, number: impl Fn(usize) -> u32) {
        let mut todo: Vec<Piece> = self.roots.iter().rev().map(|&root| Piece::Open(root)).collect();
        while let Some(piece) = todo.pop() {
            let node = match piece {
                Piece::Close => {
                    out.push(b')');
                    continue;
                }
                Piece::Open(node) => {
                    out.push(b'(');
                    todo.push(Piece::Close);
                    node
                }
                Piece::Follow(node) => {
                    out.push(b' ');
                    node
                }
            };
            let Node { message, children, .. } = &self.nodes[node];
            if let Some(message) = message {
                wire::number(out, u64::from(number(*message)));
            }
            match children.as_slice() {
                [] => {}
                &[only] => todo.push(Piece::Follow(only)),
                several => {
                    if message.is_some() {
                        out.push(b' ');
                    }
                    todo.extend(several.iter().rev().map(|&child| Piece::Open(child)));
                }
            }
        }
    }
}

/// What is still to be written.
enum Piece {
    Open(usize),
    Follow(usize),
    Close,
}

/// Ancestors looked at for loops, in all: a second or so. Messages of whom that is not enough are not linked any more.
const STEPS_MAX: usize = 50_000_000;

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::imap::facts::Facts;

    /// Messages of one minute each: id, references, subject.
    fn written(algorithm: Algorithm, mails: &[(&str, &str, &str)]) -> String {
        let facts: Vec<Facts> = mails
            .iter()
            .map(|(id, references, subject)| {
                let references: Vec<String> = references.split_whitespace().map(|r| format!("<{r}@x>")).collect();
                let id = if id.is_empty() {
                    String::new()
                } else {
                    format!("Message-ID: <{id}@x>\r\n")
                };
                Facts::of(format!("{id}References: {}\r\nSubject: {subject}\r\n\r\n", references.join(" ")).as_bytes())
            })
            .collect();
        shown(algorithm, &facts)
    }

    fn shown(algorithm: Algorithm, facts: &[Facts]) -> String {
        let messages: Vec<Sortable<'_>> = (1_u32..)
            .zip(facts)
            .map(|(number, facts)| Sortable {
                number,
                internal_date: Timestamp::from_second(i64::from(number) * 60).unwrap(),
                size_bytes: 1,
                facts,
            })
            .collect();
        let mut out = Vec::new();
        threads(&messages, algorithm).write(&mut out, |at| messages[at].number);
        String::from_utf8(out).unwrap()
    }

    fn references(mails: &[(&str, &str, &str)]) -> String {
        written(Algorithm::References, mails)
    }

    #[test]
    fn replies_hang_below_what_they_refer_to() {
        assert_eq!(
            references(&[("a", "", "x"), ("b", "a", "y"), ("c", "a b", "z"), ("d", "a", "w")]),
            "(1 (2 3)(4))"
        );
        assert_eq!(references(&[("a", "", "x"), ("b", "", "y")]), "(1)(2)");
        assert_eq!(references(&[]), "");
    }

    #[test]
    fn missing_messages_keep_their_children_together() {
        assert_eq!(references(&[("b", "gone", "x"), ("c", "gone", "y")]), "((1)(2))");
        assert_eq!(references(&[("b", "gone", "x")]), "(1)");
        assert_eq!(
            references(&[("a", "", "x"), ("c", "a gone", "y"), ("d", "a gone", "z")]),
            "(1 (2)(3))"
        );
        assert_eq!(references(&[("c", "g1 g2", "y"), ("d", "g1 g3", "z")]), "((1)(2))");
    }

    #[test]
    fn threads_of_one_subject_become_one() {
        // The reply joins the original.
        assert_eq!(references(&[("a", "", "bilan"), ("b", "", "Re: bilan")]), "(1 2)");
        assert_eq!(references(&[("a", "", "Re: bilan"), ("b", "", "bilan")]), "(2 1)");
        // Two originals, or two replies, become siblings.
        assert_eq!(references(&[("a", "", "bilan"), ("b", "", "bilan")]), "((1)(2))");
        assert_eq!(
            references(&[("a", "", "re: bilan"), ("b", "", "re: bilan"), ("c", "", "re: bilan")]),
            "((1)(2)(3))"
        );
        // What is missing takes both.
        assert_eq!(
            references(&[("a", "g", "bilan"), ("b", "g", "x"), ("c", "", "bilan")]),
            "((1)(2)(3))"
        );
        assert_eq!(
            references(&[
                ("a", "g", "bilan"),
                ("b", "g", "x"),
                ("c", "h", "bilan"),
                ("d", "h", "y")
            ]),
            "((1)(2)(3)(4))"
        );
        // No subject, no thread.
        assert_eq!(references(&[("a", "", ""), ("b", "", "Re:")]), "(1)(2)");
    }

    #[test]
    fn a_truncated_list_of_references_gives_way_to_the_messages_own() {
        assert_eq!(
            references(&[("c", "a b", "x"), ("a", "", "y"), ("b", "z a", "w")]),
            "(2 3 1)"
        );
    }

    #[test]
    fn loops_and_doubles_do_no_harm() {
        assert_eq!(references(&[("a", "b", "x"), ("b", "a", "y")]), "(2 1)");
        assert_eq!(references(&[("a", "a", "x")]), "(1)");
        assert_eq!(
            references(&[("a", "", "x"), ("a", "", "y"), ("b", "a", "z")]),
            "(1 3)(2)"
        );
        assert_eq!(references(&[("", "", "x"), ("", "", "y")]), "(1)(2)");
        assert_eq!(references(&[("a", "b b b a b", "x"), ("c", "a b a", "y")]), "(1 2)");
    }

    #[test]
    fn a_long_chain_is_written_without_recursion() {
        let facts: Vec<Facts> = (0..20_000)
            .map(|n| {
                Facts::of(
                    format!(
                        "Message-ID: <{n}@x>\r\nReferences: <{}@x>\r\nSubject: s{n}\r\n\r\n",
                        n + 1
                    )
                    .as_bytes(),
                )
            })
            .collect();
        let text = shown(Algorithm::References, &facts);
        assert!(text.starts_with("(20000 19999 ") && text.ends_with(" 2 1)"));
    }

    #[test]
    fn ordered_subject_makes_one_thread_of_each_subject() {
        let mails = [
            ("", "", "b"),
            ("", "", "Re: a"),
            ("", "", "B"),
            ("", "", "a"),
            ("", "", "fwd: b"),
            ("", "", ""),
        ];
        assert_eq!(written(Algorithm::OrderedSubject, &mails), "(1 (3)(5))(2 4)(6)");
    }

    proptest! {
        #[test]
        fn every_message_is_there_once(
            mails in proptest::collection::vec((0_u8..8, proptest::collection::vec(0_u8..10, 0..5), 0_u8..5, any::<bool>()), 0..14),
            by_subject in any::<bool>()
        ) {
            let facts: Vec<Facts> = mails
                .iter()
                .map(|(id, references, subject, is_reply)| Facts {
                    id: if *id == 7 { String::new() } else { id.to_string() },
                    references: references.iter().map(ToString::to_string).collect(),
                    subject: if *subject == 4 { String::new() } else { subject.to_string() },
                    is_reply: *is_reply,
                    ..Facts::default()
                })
                .collect();
            let algorithm = if by_subject { Algorithm::OrderedSubject } else { Algorithm::References };
            let text = shown(algorithm, &facts);
            let mut numbers: Vec<usize> = text.split(['(', ')', ' ']).filter_map(|n| n.parse().ok()).collect();
            numbers.sort_unstable();
            prop_assert_eq!(numbers, (1..=mails.len()).collect::<Vec<_>>(), "{}", text);
            let depth = text.bytes().try_fold(0_u32, |depth, b| match b {
                b'(' => Some(depth + 1),
                b')' => depth.checked_sub(1),
                _ => Some(depth),
            });
            prop_assert_eq!(depth, Some(0));
            prop_assert!(!text.contains("()") && !text.contains("( ") && !text.contains(" )"), "{}", text);
        }
    }
}
