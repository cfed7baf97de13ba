//! The states of a server session; each owns exactly what is known in it.

use crate::identity::Domain;
use crate::policy::Reason;
use crate::policy::Refusal;
use crate::smtp::command::MailFrom;
use crate::smtp::data::Framing;
use crate::smtp::data::TextFault;
use crate::smtp::data::Unstuffer;
use crate::smtp::sasl::Exchange;
use crate::smtp::sasl::Mechanism;

/// What the session waits for.
#[derive(Debug, Default)]
pub(super) enum State {
    /// Nothing has been said yet.
    Greeting,
    /// A command.
    Command(Transaction),
    /// The driver's answer.
    Asked(Asked),
    /// A response of a SASL exchange.
    Exchange(Mechanism, Exchange),
    /// The response that a refused bearer token owes (RFC 7628 §3.2.3).
    Dismissed(Refusal),
    /// Text up to CR LF `.` CR LF.
    Data(Receipt),
    /// Octets of a chunk that belong to a message.
    Chunk(Receipt, Chunk),
    /// Octets of a refused chunk that belong to nothing.
    Drain { left_bytes: u64, after: Transaction },
    /// The text is complete and all of it is with the driver.
    Received(Receipt),
    /// The driver's TLS handshake.
    Handshake,
    /// The end, once the output is written.
    #[default]
    Closed,
}

/// What the driver was asked.
#[derive(Debug)]
pub(super) enum Asked {
    Login(Mechanism),
    Sender(MailFrom),
    /// With the domain of the recipient.
    Recipient(Transaction, Option<Domain>),
    Message(MailFrom),
}

/// What is known of the mail transaction (RFC 5321 §3.3).
#[derive(Debug)]
pub(super) enum Transaction {
    Idle,
    /// No recipient was accepted yet.
    FromKnown {
        mail: MailFrom,
        refused: usize,
    },
    ToKnown {
        mail: MailFrom,
        accepted: usize,
    },
    /// Between two chunks.
    Chunked(Receipt),
    /// A chunk failed; RFC 3030 §2 wants a RSET, or the last chunk, before anything new.
    Failed,
}

impl Transaction {
    pub(super) fn mail(&self) -> Option<&MailFrom> {
        match self {
            Self::FromKnown { mail, .. } | Self::ToKnown { mail, .. } => Some(mail),
            Self::Chunked(receipt) => Some(&receipt.mail),
            Self::Idle | Self::Failed => None,
        }
    }
}

impl State {
    /// Whether the text of a message has begun to come and is not complete.
    pub(super) fn has_text_under_way(&self) -> bool {
        let is_between_chunks = matches!(self, Self::Command(Transaction::Chunked(_)));
        is_between_chunks || matches!(self, Self::Data(_) | Self::Chunk(..) | Self::Drain { .. })
    }

    /// Whether octets that BDAT has announced are still to come.
    pub(super) fn has_chunk_under_way(&self) -> bool {
        matches!(self, Self::Chunk(..) | Self::Drain { .. })
    }

    /// The sender of the transaction, in whatever state it is.
    pub(super) fn mail(&self) -> Option<&MailFrom> {
        match self {
            Self::Command(transaction) | Self::Asked(Asked::Recipient(transaction, _)) => transaction.mail(),
            Self::Drain { after, .. } => after.mail(),
            Self::Asked(Asked::Sender(mail) | Asked::Message(mail)) => Some(mail),
            Self::Data(receipt) | Self::Received(receipt) | Self::Chunk(receipt, _) => Some(&receipt.mail),
            _ => None,
        }
    }
}

/// The chunk being received.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunk {
    pub(super) size_bytes: u64,
    pub(super) left_bytes: u64,
    pub(super) last: bool,
}

/// A message being received.
#[derive(Debug)]
pub(super) struct Receipt {
    pub(super) mail: MailFrom,
    text: Unstuffer,
    size_bytes: u64,
    size_bytes_max: u64,
    verdict: Verdict,
}

/// What is known of a message's text so far.
#[derive(Debug)]
enum Verdict {
    Sound,
    Refused(Refusal),
}

impl Receipt {
    pub(super) fn new(mail: MailFrom, framing: Framing, limits: &super::Limits) -> Self {
        Self {
            mail,
            text: Unstuffer::new(framing, limits.line_bytes_max),
            size_bytes: 0,
            size_bytes_max: limits.size_bytes_max,
            verdict: Verdict::Sound,
        }
    }

    /// Decodes what of `input` belongs to the message: how many bytes that was, and their text.
    pub(super) fn take(&mut self, input: &[u8]) -> (usize, Vec<u8>) {
        let mut text = match self.verdict {
            Verdict::Sound => Vec::with_capacity(input.len()),
            Verdict::Refused(_) => Vec::new(),
        };
        let consumed = self.text.push(input, &mut text);
        self.size_bytes = self.size_bytes.saturating_add(text.len() as u64);
        (consumed, text)
    }

    /// Whether CR LF `.` CR LF has come.
    pub(super) fn ended(&self) -> bool {
        self.text.ended()
    }

    /// No more octets will come.
    pub(super) fn finish(&mut self) {
        self.text.finish();
    }

    /// A chunk of this size is announced: what would not fit is dropped as it comes.
    pub(super) fn expect(&mut self, chunk_bytes: u64) {
        if self.size_bytes.saturating_add(chunk_bytes) > self.size_bytes_max {
            self.size_bytes = u64::MAX;
        }
    }

    /// The refusal that the text has earned; `Some` only the first time it is seen.
    pub(super) fn new_fault(&mut self) -> Option<Refusal> {
        if matches!(self.verdict, Verdict::Refused(_)) {
            return None;
        }
        let refusal = match self.text.fault() {
            Some(fault) => malformed(fault),
            None if self.size_bytes > self.size_bytes_max => too_large(self.size_bytes_max),
            None => return None,
        };
        self.text.drop_rest();
        self.verdict = Verdict::Refused(refusal.clone());
        Some(refusal)
    }

    /// The sender if the text is sound, or why not.
    pub(super) fn verdict(self) -> Result<MailFrom, Refusal> {
        match self.verdict {
            Verdict::Sound => Ok(self.mail),
            Verdict::Refused(refusal) => Err(refusal),
        }
    }

    /// Why the message will be refused, if that is known already.
    pub(super) fn refusal(&self) -> Option<&Refusal> {
        match &self.verdict {
            Verdict::Sound => None,
            Verdict::Refused(refusal) => Some(refusal),
        }
    }
}

/// RFC 1870 §6: said at MAIL and after the text in the same words.
pub(super) fn too_large(size_bytes_max: u64) -> Refusal {
    Refusal::new(
        Reason::MessageTooLarge,
        format!("the message is larger than the {size_bytes_max} bytes taken here"),
    )
}

fn malformed(fault: TextFault) -> Refusal {
    Refusal::new(Reason::MessageMalformed, format!("the message holds {fault}"))
}
