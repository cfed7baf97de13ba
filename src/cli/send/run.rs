//! Sends the mails: some connections in parallel, one mail after another over each, until all are sent or it is no use any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use indicatif::ProgressBar;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::pace::Pace;
use super::recipe::{Mail, Recipe};
use super::route::Route;
use super::summary::{Asked, Record, Tally};
use crate::cli::run::StopSignal;
use crate::clock::Clock;
use crate::relay::{Connection, ConnectionError, Driven, Text, Waits};
use crate::smtp::client::{Failure, Outcome, Stage};

/// What to do.
pub(super) struct Job {
    pub(super) route: Route,
    pub(super) recipe: Recipe,
    pub(super) pace: Pace,
    /// How many mails.
    pub(super) count: u64,
    /// Over how many connections at once.
    pub(super) connections: u64,
}

/// What the connections share.
struct Run {
    job: Job,
    clock: Clock,
    started: Instant,
    /// Mails taken so far.
    taken: AtomicU64,
    stop: CancellationToken,
}

/// How one mail went.
enum Sent {
    /// A record to keep; go on.
    Record(Record),
    /// No connection could be opened for it, which may pass.
    NoConnection(String),
    /// No connection will ever be opened.
    Hopeless(String),
}

/// Carries the job out, until its end, until Ctrl-C, or until the server cannot be used.
pub(super) async fn send_all(job: Job, clock: Clock, bar: &ProgressBar) -> anyhow::Result<Tally> {
    let asked = Asked {
        mails: job.count,
        recipients: job.recipe.recipients(),
        seed: job.recipe.seed(),
    };
    let connections = job.connections.min(job.count);
    let run = Arc::new(Run {
        job,
        clock,
        started: Instant::now(),
        taken: AtomicU64::new(0),
        stop: CancellationToken::new(),
    });
    let (records, mut heard) = mpsc::channel(RECORDS_MAX);
    let mut lines = JoinSet::new();
    for _ in 0..connections {
        lines.spawn(Arc::clone(&run).send_over_one(records.clone()));
    }
    drop(records);

    let mut tally = Tally::new(asked);
    let mut signal = StopSignal::watch()?;
    loop {
        tokio::select! {
            record = heard.recv() => match record {
                None => break,
                Some(record) => take(record, &mut tally, bar),
            },
            _ = signal.received() => {
                tally.interrupt();
                run.stop.cancel();
                let rest = async {
                    while let Some(record) = heard.recv().await {
                        take(record, &mut tally, bar);
                    }
                };
                if timeout(FINISH_MAX, rest).await.is_err() {
                    tracing::info!("mails under way were cut");
                }
                break;
            }
        }
    }
    tally.end(run.started.elapsed(), run.taken.load(Ordering::Relaxed));
    farewells(lines).await?;
    Ok(tally)
}

/// Lets each connection say QUIT, for a while.
async fn farewells(mut lines: JoinSet<()>) -> anyhow::Result<()> {
    let all = async {
        while let Some(ended) = lines.join_next().await {
            ended.context("a connection ended by a fault of this program")?;
        }
        Ok(())
    };
    let ended = timeout(FINISH_MAX, all).await;
    lines.shutdown().await;
    ended.unwrap_or(Ok(()))
}

fn take(record: Record, tally: &mut Tally, bar: &ProgressBar) {
    if record.is_mail() {
        bar.inc(1);
    }
    tally.add(record);
}

impl Run {
    async fn send_over_one(self: Arc<Self>, records: mpsc::Sender<Record>) {
        let mut line = None;
        let mut failed_in_a_row = 0;
        while let Some(number) = self.next().await {
            let sent = match self.job.recipe.mail(number, self.clock.now()) {
                Ok(mail) => self.send(&mut line, &mail).await,
                Err(error) => Sent::Hopeless(super::explain(&error).to_string()),
            };
            let (record, reason) = match sent {
                Sent::Record(record) => {
                    failed_in_a_row = 0;
                    (record, None)
                }
                Sent::NoConnection(text) => {
                    failed_in_a_row += 1;
                    let reason = (failed_in_a_row == OPENINGS_MAX).then(|| text.clone());
                    (Record::NotSent(text), reason)
                }
                Sent::Hopeless(text) => (Record::NotSent(text.clone()), Some(text)),
            };
            let mut unheard = records.send(record).await.is_err();
            if let Some(reason) = reason {
                self.stop.cancel();
                unheard |= records.send(Record::Stopped(reason)).await.is_err();
            }
            if unheard {
                return;
            }
        }
        // All is counted: the clock of the summary stops before the farewells.
        drop(records);
        if let Some(line) = line {
            line.close().await;
        }
    }

    /// The number of the next mail, once it is due; `None` when there is none or all stops.
    async fn next(&self) -> Option<u64> {
        if self.stop.is_cancelled() {
            return None;
        }
        // Taken when it is due, not before: what was never tried must not look as if it were under way.
        loop {
            let number = self.taken.load(Ordering::Relaxed) + 1;
            if number > self.job.count {
                return None;
            }
            let wait = self.job.pace.wait(number, self.started.elapsed());
            if !wait.is_zero() {
                tokio::select! {
                    () = self.stop.cancelled() => return None,
                    () = sleep(wait) => {}
                }
            }
            let claimed = self
                .taken
                .compare_exchange(number - 1, number, Ordering::Relaxed, Ordering::Relaxed);
            if claimed.is_ok() {
                return Some(number);
            }
        }
    }

    /// Sends over the connection at hand if it still lives, else over a new one.
    async fn send(&self, line: &mut Option<Connection>, mail: &Mail) -> Sent {
        let text = Text::Memory(Arc::clone(&mail.content));
        if let Some(mut kept) = line.take()
            && kept.next_transaction(mail.transaction.clone())
        {
            match kept.transact(&text).await {
                Driven::Outcome(Outcome::Finished(verdicts)) => {
                    *line = Some(kept);
                    return Sent::Record(Record::Answered(verdicts));
                }
                // The server ended a connection that it found old enough; nothing of this mail is there yet.
                Driven::Outcome(Outcome::Failed(failure)) if nothing_arrived(&failure) => {}
                Driven::Outcome(Outcome::Failed(failure)) => return Sent::Record(Record::Broken(failure)),
                Driven::Unproved(error) => return self.no_connection(&error),
            }
        }
        let opened = Connection::open(
            self.job.route.target(),
            self.job.route.options(),
            mail.transaction.clone(),
            WAITS,
        );
        let mut fresh = match opened.await {
            Ok(fresh) => fresh,
            Err(error) => return self.no_connection(&error),
        };
        match fresh.transact(&text).await {
            Driven::Outcome(Outcome::Finished(verdicts)) => {
                *line = Some(fresh);
                Sent::Record(Record::Answered(verdicts))
            }
            Driven::Outcome(Outcome::Failed(failure)) if is_opening(failure.stage) => {
                let text = failure.to_string();
                if failure.temporary {
                    Sent::NoConnection(text)
                } else {
                    Sent::Hopeless(text)
                }
            }
            Driven::Outcome(Outcome::Failed(failure)) => Sent::Record(Record::Broken(failure)),
            Driven::Unproved(error) => self.no_connection(&error),
        }
    }

    /// A server that is not there or not the right one will not be so in a moment either.
    fn no_connection(&self, error: &ConnectionError) -> Sent {
        Sent::Hopeless(self.job.route.explain(error))
    }
}

fn is_opening(stage: Stage) -> bool {
    matches!(stage, Stage::Greeting | Stage::Hello | Stage::Tls | Stage::Login)
}

/// Whether the mail can be sent again without any risk that it arrives twice.
fn nothing_arrived(failure: &Failure) -> bool {
    let before_text = is_opening(failure.stage)
        || matches!(
            failure.stage,
            Stage::Mail | Stage::Recipient | Stage::Data | Stage::Quit
        );
    before_text && failure.temporary
}

/// Shorter than RFC 5321 §4.5.3.2 asks of a relay: a person waits for a simulator.
const WAITS: Waits = Waits {
    connect: Duration::from_secs(10),
    reply: Duration::from_mins(1),
    delivery: Duration::from_mins(2),
};
/// How long mails under way may go on after Ctrl-C.
const FINISH_MAX: Duration = Duration::from_secs(5);
/// Connections that fail in a row before it is no use any more.
const OPENINGS_MAX: u32 = 3;
/// Records waiting to be counted.
const RECORDS_MAX: usize = 256;
