//! Senders that go on whatever happens to the operators: software that submits and forgets, and a peer's relay that never gives up.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::ground::{Ground, GroundError, loopback};
use super::mail::{Answer, Ledger, Mail};
use crate::relay::{Connection, Driven, Target, Text, Waits};
use crate::selftest::dice::Dice;
use crate::smtp::client::{ClientOptions, ClientTls, Outcome, RecipientOutcome, Transaction, Transfer};
use crate::smtp::{Credentials, ForwardPath, MailFrom, RcptTo};

/// One connection's sender.
pub(super) struct Sender {
    target: Target,
    options: ClientOptions,
    operator: usize,
    software: bool,
    shared: Shared,
    dice: Dice,
}

/// What all senders share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) ledger: Arc<Ledger>,
    pub(super) numbers: Arc<AtomicU64>,
    pub(super) stop: CancellationToken,
    pub(super) seed: u64,
}

impl Sender {
    /// The software of an operator, or the peer's relay to it.
    pub(super) fn new(
        ground: &Ground,
        operator: usize,
        software: bool,
        shared: Shared,
        dice: Dice,
    ) -> Result<Self, GroundError> {
        let ports = ground.ports(operator);
        let options = if software {
            ClientOptions {
                hostname: String::from("dui.selftest.example"),
                tls: ClientTls::Implicit,
                login: Some(Credentials::External { authzid: None }),
                transfer: Transfer::Data,
            }
        } else {
            ClientOptions {
                hostname: String::from("mx.est.localhost"),
                tls: ClientTls::StartTls,
                login: None,
                transfer: Transfer::BdatWhenOffered,
            }
        };
        let address: SocketAddr = loopback(if software { ports.submissions } else { ports.smtp });
        let target = Target {
            name: String::from("localhost"),
            address,
            tls: ground.tls(software.then_some(operator))?,
        };
        Ok(Self {
            target,
            options,
            operator,
            software,
            shared,
            dice,
        })
    }

    /// Sends until told to stop; then a relay still ends what it has begun.
    pub(super) async fn run(mut self) {
        let mut line = None;
        while !self.shared.stop.is_cancelled() {
            let number = self.shared.numbers.fetch_add(1, Ordering::Relaxed);
            let mail = Mail::new(number, self.operator, self.software, &mut self.dice);
            let content = Arc::new(mail.content(self.shared.seed));
            self.shared.ledger.mails().insert(number, mail.clone());
            for _ in 0..ATTEMPTS_MAX {
                let open = self.attempt(&mut line, &mail, &content).await;
                if !open || !mail.is_retried {
                    break;
                }
                sleep(RECONNECT).await;
            }
            if line.is_none() {
                sleep(RECONNECT).await;
            }
            sleep(Duration::from_millis(self.dice.below(PAUSE_MS_MAX) as u64)).await;
        }
        if let Some(line) = line {
            Connection::close(line).await;
        }
    }

    /// One attempt for the recipients without a verdict; whether there are still any.
    async fn attempt(&self, line: &mut Option<Connection>, mail: &Mail, content: &Arc<Vec<u8>>) -> bool {
        let open = self.open_recipients(mail.number);
        let Some(transaction) = transaction(mail, &open, content.len()) else {
            return false;
        };
        let kept = line
            .take()
            .filter_map_mut(|kept| kept.next_transaction(transaction.clone()));
        let connection = match kept {
            Some(kept) => Ok(kept),
            None => Connection::open(self.target.clone(), self.options.clone(), transaction, WAITS).await,
        };
        let Ok(mut connection) = connection else { return true };
        if let Driven::Outcome(Outcome::Finished(verdicts)) =
            connection.transact(&Text::Memory(Arc::clone(content))).await
        {
            for (recipient, verdict) in open.iter().zip(&verdicts) {
                let answer = match verdict {
                    RecipientOutcome::Accepted(_) => Answer::Accepted,
                    RecipientOutcome::Refused(_) => Answer::Refused,
                    // Nobody knows: a relay tries again, and what it repeats is recognised.
                    RecipientOutcome::Deferred(_) => Answer::None,
                };
                self.shared.ledger.answer(mail.number, recipient, answer);
            }
            *line = Some(connection);
        }
        !self.open_recipients(mail.number).is_empty()
    }

    fn open_recipients(&self, number: u64) -> Vec<String> {
        let mails = self.shared.ledger.mails();
        let recipients = mails.get(&number).map(|mail| &mail.recipients);
        let open = recipients
            .into_iter()
            .flatten()
            .filter(|(_, answer)| **answer == Answer::None);
        open.map(|(recipient, _)| recipient.clone()).collect()
    }
}

/// Keeps a connection that takes another transaction.
trait Kept: Sized {
    fn filter_map_mut(self, takes: impl FnOnce(&mut Connection) -> bool) -> Self;
}

impl Kept for Option<Connection> {
    fn filter_map_mut(self, takes: impl FnOnce(&mut Connection) -> bool) -> Self {
        let mut kept = self?;
        takes(&mut kept).then_some(kept)
    }
}

/// `None` without recipients.
fn transaction(mail: &Mail, recipients: &[String], size: usize) -> Option<Transaction> {
    let recipients: Vec<RcptTo> = recipients
        .iter()
        .filter_map(|recipient| {
            Some(RcptTo {
                path: ForwardPath::Address(recipient.parse().ok()?),
                notify: None,
                orcpt: None,
            })
        })
        .collect();
    let mail = MailFrom {
        path: mail.from.parse().ok(),
        size_bytes: u64::try_from(size).ok(),
        ..MailFrom::default()
    };
    (!recipients.is_empty()).then_some(Transaction { mail, recipients })
}

/// Beyond these an operator hangs, which a loaded machine does not explain.
const WAITS: Waits = Waits {
    connect: Duration::from_secs(20),
    reply: Duration::from_secs(30),
    delivery: Duration::from_secs(30),
};
/// Wait before another connection.
const RECONNECT: Duration = Duration::from_millis(20);
/// Pause of a sender between two messages, at most.
const PAUSE_MS_MAX: usize = 24;
/// Attempts of the peer's relay, some minutes: every restart lies within.
const ATTEMPTS_MAX: u32 = 10_000;
