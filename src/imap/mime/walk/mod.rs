//! Walks through a message once, piece by piece, and finds its parts: time grows with its length alone, memory with its headers.

use memchr::{memchr, memchr_iter};

use super::part::{Assumed, Kind, Part};
use crate::message::lines;

/// Reads a message from its first byte.
pub(crate) struct Walker {
    /// Parts that are open, the innermost last; never empty.
    open: Vec<Open>,
    /// Whether the innermost part's header block goes on.
    in_header: bool,
    /// Where the current line starts.
    at: usize,
    /// Line feeds before it, as far as they are counted.
    feeds: u64,
    /// Bytes of the line end before it.
    line_end: usize,
    /// The current line when it came in pieces, as far as it is kept.
    line: Vec<u8>,
    /// All of it, in bytes.
    line_bytes: usize,
    /// Its last byte.
    last: u8,
    /// Parts begun.
    parts: usize,
    /// How many bytes of header blocks may still be kept.
    heads_left: usize,
}

struct Open {
    part: Part,
    children: Vec<Part>,
    /// Of a multipart that is not closed.
    boundary: Option<Vec<u8>>,
    /// The type of a part that does not say.
    assumed: Assumed,
    /// Line feeds before its body.
    feeds: u64,
    holds: Holds,
}

/// What an open part holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holds {
    Data,
    Parts,
    Message,
}

/// A line that separates or ends the parts of an open multipart.
struct Delimiter {
    /// Which of the open parts.
    level: usize,
    closes: bool,
}

impl Walker {
    pub(crate) fn new() -> Self {
        let mut walker = Self {
            open: Vec::new(),
            in_header: true,
            at: 0,
            feeds: 0,
            line_end: 0,
            line: Vec::new(),
            line_bytes: 0,
            last: 0,
            parts: 0,
            heads_left: HEADS_BYTES_MAX,
        };
        walker.begin(0, Assumed::TextPlain);
        walker
    }

    /// Takes the next bytes.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) {
        loop {
            bytes = self.pass_over(bytes);
            let Some(feed) = memchr(b'\n', bytes) else { break };
            let (line, rest) = bytes.split_at(feed + 1);
            if self.line_bytes == 0 {
                self.take_line(line, line.len(), line_end(line));
            } else {
                let before = if feed > 0 { bytes[feed - 1] } else { self.last };
                let length = self.line_bytes + line.len();
                self.keep(line);
                let kept = std::mem::take(&mut self.line);
                self.take_line(&kept, length, if before == b'\r' { 2 } else { 1 });
                self.line = kept;
                self.line.clear();
                self.line_bytes = 0;
            }
            bytes = rest;
        }
        if let Some(&last) = bytes.last() {
            self.keep(bytes);
            self.line_bytes += bytes.len();
            self.last = last;
        }
    }

    /// Takes the lines that cannot separate parts, all at once; what is left.
    fn pass_over<'a>(&mut self, mut bytes: &'a [u8]) -> &'a [u8] {
        if self.line_bytes > 0 {
            return bytes;
        }
        while self.in_header {
            let taken = self.take_head(bytes);
            if taken == 0 {
                return bytes;
            }
            bytes = &bytes[taken..];
        }
        let (passed, rest) = bytes.split_at(lines::without_hyphens(bytes));
        if !passed.is_empty() {
            self.at += passed.len();
            if self.counts_lines() {
                self.feeds += memchr_iter(b'\n', passed).count() as u64;
            }
            self.line_end = line_end(passed);
        }
        rest
    }

    /// Whether anybody is told how many lines of content there are here: most of a message is a file in base64, looked through once only.
    fn counts_lines(&self) -> bool {
        self.open.iter().any(|open| open.part.has_lines())
    }

    /// Takes the whole lines of a header block, its empty line included, up to one that may separate parts. How many bytes that are.
    fn take_head(&mut self, bytes: &[u8]) -> usize {
        let mut end = 0;
        let mut is_over = false;
        while let Some(feed) = memchr(b'\n', &bytes[end..]) {
            let line = &bytes[end..=end + feed];
            if line.starts_with(b"--") {
                break;
            }
            end += line.len();
            self.feeds += 1;
            is_over = matches!(line, b"\r\n" | b"\n");
            if is_over {
                break;
            }
        }
        if end > 0 {
            let taken = &bytes[..end];
            self.keep_head(taken);
            self.at += end;
            self.line_end = line_end(taken);
        }
        if is_over {
            self.end_header(self.at);
        }
        end
    }

    /// Keeps lines of the innermost part's header block.
    fn keep_head(&mut self, lines: &[u8]) {
        let kept = lines.len().min(self.heads_left);
        self.heads_left -= kept;
        if let Some(open) = self.open.last_mut() {
            open.part.head.extend_from_slice(&lines[..kept]);
        }
    }

    /// The end of the message.
    pub(crate) fn finish(mut self) -> Part {
        if self.line_bytes > 0 {
            let kept = std::mem::take(&mut self.line);
            self.take_line(&kept, self.line_bytes, 0);
        }
        // Nothing follows, so the last line end belongs to the last part.
        self.line_end = 0;
        if self.in_header {
            self.end_header(self.at);
        }
        self.close_above(0);
        let (end, feeds) = (self.at, self.feeds);
        match self.open.pop() {
            Some(mut root) => {
                root.end(end, feeds);
                root.close()
            }
            None => Part::at(0),
        }
    }

    /// Keeps what may matter of a line that comes in pieces.
    fn keep(&mut self, bytes: &[u8]) {
        let max = if self.in_header {
            self.heads_left.max(DELIMITER_BYTES_MAX)
        } else {
            DELIMITER_BYTES_MAX
        };
        let room = max.saturating_sub(self.line.len());
        self.line.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// `line` is as much of it as was kept, `length` all of it, `ending` the bytes of its line end.
    fn take_line(&mut self, line: &[u8], length: usize, ending: usize) {
        let end = self.at + length;
        let delimiter = if line.starts_with(b"--") {
            self.delimiter(&line[..line.len().min(DELIMITER_BYTES_MAX)])
        } else {
            None
        };
        match delimiter {
            Some(delimiter) => self.take_delimiter(&delimiter, end),
            None if self.in_header => {
                self.keep_head(line);
                if length == ending {
                    self.feeds += 1;
                    self.end_header(end);
                    self.feeds -= 1;
                }
            }
            None => {}
        }
        self.at = end;
        self.feeds += u64::from(ending > 0);
        self.line_end = ending;
    }

    /// Whether a line is a delimiter of a multipart that is open. RFC 2046 §5.1.1: it is enough that a line begins with it; the longest
    /// one is meant, then the innermost.
    fn delimiter(&self, line: &[u8]) -> Option<Delimiter> {
        let rest = line.strip_prefix(b"--")?;
        let candidates = self.open.iter().enumerate().rev();
        let matching = candidates.filter_map(|(level, open)| {
            let boundary = open.boundary.as_deref()?;
            let after = rest.strip_prefix(boundary)?;
            let bare = after.strip_prefix(b"--").unwrap_or(after);
            let exact = bare.trim_ascii().is_empty();
            let closes = after.starts_with(b"--");
            Some(((exact, boundary.len()), Delimiter { level, closes }))
        });
        let best = matching.reduce(|best, next| if next.0 > best.0 { next } else { best });
        best.map(|(_, delimiter)| delimiter)
    }

    fn take_delimiter(&mut self, delimiter: &Delimiter, end: usize) {
        if self.in_header {
            // A header block without its empty line ends here too; its line end is its own.
            self.end_header(self.at);
        }
        self.close_above(delimiter.level);
        self.in_header = false;
        let Some(holder) = self.open.get_mut(delimiter.level) else {
            return;
        };
        if delimiter.closes {
            holder.boundary = None;
        } else if self.parts < PARTS_MAX {
            let digest = holder.part.media.sub() == b"DIGEST";
            let assumed = if digest {
                Assumed::MessageRfc822
            } else {
                Assumed::TextPlain
            };
            self.begin(end, assumed);
        }
    }

    /// A part begins.
    fn begin(&mut self, start: usize, assumed: Assumed) {
        self.parts += 1;
        self.in_header = true;
        self.open.push(Open {
            part: Part::at(start),
            children: Vec::new(),
            boundary: None,
            assumed,
            feeds: 0,
            holds: Holds::Data,
        });
    }

    /// The header block of the innermost part ends.
    fn end_header(&mut self, end: usize) {
        self.in_header = false;
        let is_deep = self.open.len() > DEPTH_MAX || self.parts >= PARTS_MAX;
        let feeds = self.feeds;
        let Some(open) = self.open.last_mut() else { return };
        let part = &mut open.part;
        part.header.end = end;
        part.body = end..end;
        let boundary = part.read_head(open.assumed);
        open.feeds = feeds;
        let is_multipart = part.media.main() == b"MULTIPART";
        if is_deep && (is_multipart || part.is_message()) {
            // RFC 9051 §7.5.2: these types promise an inside; too deep to show, they are shown as data.
            part.becomes_data();
        } else if is_multipart {
            open.holds = Holds::Parts;
            open.boundary = boundary.and_then(good_boundary);
        } else if part.is_message() {
            open.holds = Holds::Message;
            self.begin(end, Assumed::TextPlain);
        }
    }

    /// Everything inside the part at `level` ends before the line end before the current line (RFC 2046 §5.1.1).
    fn close_above(&mut self, level: usize) {
        let (end, feeds) = (self.at - self.line_end, self.feeds - u64::from(self.line_end > 0));
        while self.open.len() > level + 1 {
            let Some(mut closed) = self.open.pop() else { return };
            closed.end(end, feeds);
            if let Some(holder) = self.open.last_mut() {
                holder.children.push(closed.close());
            }
        }
    }
}

impl Open {
    fn end(&mut self, end: usize, feeds: u64) {
        let body = &mut self.part.body;
        // An empty body has no line end before the delimiter but that of its header.
        body.end = end.max(body.start);
        let is_told = body.start < body.end && self.part.has_lines();
        self.part.lines = if is_told { feeds.saturating_sub(self.feeds) } else { 0 };
    }

    fn close(mut self) -> Part {
        self.part.kind = match self.holds {
            Holds::Data => Kind::Leaf,
            Holds::Parts => {
                if self.children.is_empty() {
                    self.children.push(Part::at(self.part.body.end));
                }
                if let Some(last) = self.children.last_mut() {
                    // So may the line end of a header block that the delimiter of a multipart around this one cut.
                    last.end_by(self.part.body.end);
                }
                Kind::Multipart(self.children)
            }
            Holds::Message => {
                let mut inner = self.children.pop().unwrap_or_else(|| Part::at(self.part.body.start));
                // The empty line after its header may be the line end before a delimiter, which is not its own.
                inner.end_by(self.part.body.end);
                Kind::Message(Box::new(inner))
            }
        };
        self.part
    }
}

/// Bytes of the line end that whole lines end with.
fn line_end(lines: &[u8]) -> usize {
    if lines.ends_with(b"\r\n") { 2 } else { 1 }
}

/// The boundary of a multipart; trailing white space cannot be part of it (RFC 2046 §5.1.1).
fn good_boundary(mut boundary: Vec<u8>) -> Option<Vec<u8>> {
    boundary.truncate(boundary.trim_ascii_end().len());
    let good = !boundary.is_empty() && boundary.len() <= BOUNDARY_BYTES_MAX;
    good.then_some(boundary)
}

/// Deeper parts are shown as data.
pub(super) const DEPTH_MAX: usize = 100;

/// More parts than this are left out.
const PARTS_MAX: usize = 1000;

/// Fields beyond so many bytes of header blocks, all parts together, are as if they were not there.
const HEADS_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A longer boundary is none; the standard allows 70.
const BOUNDARY_BYTES_MAX: usize = 1000;

/// As much of a line as may show that it is a delimiter.
const DELIMITER_BYTES_MAX: usize = BOUNDARY_BYTES_MAX + 64;

#[cfg(test)]
mod tests;
