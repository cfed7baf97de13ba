//! DATA and BDAT: receiving the text of a message.

use super::Progress;
use super::Question;
use super::Session;
use super::Step;
use super::state::Asked;
use super::state::Chunk;
use super::state::Receipt;
use super::state::State;
use super::state::Transaction;
use crate::smtp::command::ChunkHeader;
use crate::smtp::command::Command;
use crate::smtp::command::CommandError;
use crate::smtp::data::Framing;
use crate::smtp::extension::Extension;
use crate::smtp::reply::Reply;

impl Session {
    /// RFC 5321 §4.1.1.4.
    pub(super) fn data(&mut self, transaction: Transaction) {
        match transaction {
            Transaction::ToKnown { mail, .. } => {
                let receipt = Receipt::new(mail, Framing::Dots, &self.options.limits);
                self.state = State::Data(receipt);
                self.say(&Reply::SEND_MESSAGE);
            }
            other => {
                let reply = no_text_now(&other);
                self.out_of_sequence(other, &reply);
            }
        }
    }

    /// RFC 3030 §2: whatever the reply, the octets of the chunk follow and must not be taken for commands.
    pub(super) fn chunk(&mut self, header: ChunkHeader, transaction: Transaction) {
        let chunk = Chunk {
            size_bytes: header.size_bytes,
            left_bytes: header.size_bytes,
            last: header.last,
        };
        let reply = match transaction {
            _ if !self.offers(Extension::Chunking) => Reply::NOT_OFFERED,
            Transaction::ToKnown { mail, .. } => {
                let receipt = Receipt::new(mail, Framing::Counted, &self.options.limits);
                return self.begin_chunk(receipt, chunk);
            }
            Transaction::Chunked(receipt) => return self.begin_chunk(receipt, chunk),
            ref other => no_text_now(other),
        };
        let after = match transaction {
            Transaction::Failed if header.last => Transaction::Idle,
            other => other,
        };
        self.state = State::Drain {
            left_bytes: header.size_bytes,
            after,
        };
        self.blame(&reply);
    }

    fn begin_chunk(&mut self, mut receipt: Receipt, chunk: Chunk) {
        receipt.expect(chunk.size_bytes);
        self.note_fault(&mut receipt);
        self.state = State::Chunk(receipt, chunk);
    }

    /// A refused BDAT is followed by its octets all the same.
    pub(super) fn drain_after(&mut self, command: &Result<Command, CommandError>) {
        if let Ok(Command::Bdat(header)) = command {
            self.abandon();
            self.state = State::Drain {
                left_bytes: header.size_bytes,
                after: Transaction::Idle,
            };
        }
    }

    pub(super) fn next_text(&mut self, mut receipt: Receipt) -> Progress {
        let (consumed, text) = receipt.take(self.input.rest());
        self.input.consume(consumed);
        self.note_fault(&mut receipt);
        self.state = if receipt.ended() {
            State::Received(receipt)
        } else {
            State::Data(receipt)
        };
        hand_out(text, consumed)
    }

    pub(super) fn next_octets(&mut self, mut receipt: Receipt, mut chunk: Chunk) -> Progress {
        let there = bounded(self.input.rest(), chunk.left_bytes);
        let (consumed, text) = receipt.take(there);
        self.input.consume(consumed);
        chunk.left_bytes -= consumed as u64;
        if chunk.left_bytes > 0 {
            self.note_fault(&mut receipt);
            self.state = State::Chunk(receipt, chunk);
            return hand_out(text, consumed);
        }
        if chunk.last {
            receipt.finish();
        }
        self.note_fault(&mut receipt);
        match receipt.refusal().cloned() {
            _ if chunk.last => self.state = State::Received(receipt),
            Some(refusal) => {
                self.state = State::Command(Transaction::Failed);
                self.say_refusal(&refusal);
            }
            None => {
                self.state = State::Command(Transaction::Chunked(receipt));
                let text = format!("{} octets received", chunk.size_bytes);
                self.say(&Reply {
                    text: text.into(),
                    ..Reply::OK
                });
            }
        }
        // The end of a chunk is progress, even of an empty one.
        hand_out(text, consumed.max(1))
    }

    pub(super) fn next_drained(&mut self, left_bytes: u64, after: Transaction) -> Progress {
        let there = bounded(self.input.rest(), left_bytes).len();
        self.input.consume(there);
        let left_bytes = left_bytes - there as u64;
        if left_bytes == 0 {
            self.state = State::Command(after);
            return Progress::Again;
        }
        self.state = State::Drain { left_bytes, after };
        Progress::Flushed(Step::Read)
    }

    /// The text is complete: refuse it, or ask the driver to commit it.
    pub(super) fn judge(&mut self, receipt: Receipt) -> Progress {
        match receipt.verdict() {
            Ok(mail) => {
                self.state = State::Asked(Asked::Message(mail));
                Progress::Now(Step::Ask(Question::Message))
            }
            Err(refusal) => {
                self.state = State::Command(Transaction::Idle);
                self.say_refusal(&refusal);
                Progress::Again
            }
        }
    }

    /// Tells the driver at once that the text will be refused, so that it frees what it holds; the peer reads it at the end.
    fn note_fault(&mut self, receipt: &mut Receipt) {
        if let Some(refusal) = receipt.new_fault() {
            self.notices.push_back(Step::Refused(refusal));
            self.notices.push_back(Step::Abandon);
        }
    }
}

/// As much of `rest` as `left_bytes` counts.
fn bounded(rest: &[u8], left_bytes: u64) -> &[u8] {
    let count = usize::try_from(left_bytes).unwrap_or(usize::MAX);
    &rest[..rest.len().min(count)]
}

fn hand_out(text: Vec<u8>, consumed: usize) -> Progress {
    match (text.is_empty(), consumed) {
        (false, _) => Progress::Now(Step::Body(text)),
        (true, 0) => Progress::Flushed(Step::Read),
        (true, _) => Progress::Again,
    }
}

/// Why DATA or BDAT cannot come now.
fn no_text_now(transaction: &Transaction) -> Reply {
    match transaction {
        Transaction::Idle => Reply::MAIL_FIRST,
        Transaction::FromKnown { refused: 0, .. } => Reply::RECIPIENT_FIRST,
        Transaction::FromKnown { .. } => Reply::NO_VALID_RECIPIENTS,
        Transaction::ToKnown { .. } | Transaction::Chunked(_) | Transaction::Failed => Reply::BAD_SEQUENCE,
    }
}
