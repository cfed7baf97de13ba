//! Two operators under load, killed without warning again and again.
//!
//! Each is this very program, as `serve` runs it, in a process of its own with certificates and a configuration made for the occasion.
//! Software submits to both of them and forgets what broke; a third operator's relay hands mail over by mutual TLS and repeats what was
//! not answered, as relays do. Some messages are large, some have several recipients, some are refused, some bounce. After the last kill the
//! queues run empty, both stop, and every box is read.

mod ground;
mod load;
mod mail;
mod operator;
mod verdict;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use self::ground::{Ground, OPERATORS, name};
use self::load::{Sender, Shared};
use self::mail::{Answer, Ledger};
use self::operator::Operator;
use self::verdict::Found;
use super::dice::Dice;
use super::findings::{Findings, Wrong};
use crate::clock::Clock;
use crate::store::sqlite::{Options, SqliteStore};
use crate::store::{QueueStore, StoreError};

pub use self::ground::GroundError;

/// What to run.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// The program to raise: this one.
    pub program: PathBuf,
    /// How many kills.
    pub kills: u64,
    /// Repeats the choices; processes interleave as they please.
    pub seed: u64,
    /// Mean time between two kills.
    pub between: Duration,
    /// Where to work: an empty folder, on the disk in question.
    pub folder: PathBuf,
    /// Tells the time.
    pub clock: Clock,
    /// Environment of the operators, beside this program's own: to run them under libfiu.
    pub environment: Vec<(String, String)>,
    /// Tamper with a data folder once, to see that the test notices.
    pub sabotage: bool,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Processes killed; one kill may take both operators.
    pub kills: u64,
    /// Messages offered.
    pub offered: u64,
    /// Recipients answered with 250.
    pub accepted: u64,
    /// Recipients refused.
    pub refused: u64,
    /// Recipients that never got an answer.
    pub unanswered: u64,
    /// Reports of failure that came back.
    pub bounces: u64,
    /// How long the load lasted, restarts included.
    pub seconds: f64,
    /// Longest time from a start to the first connection, in milliseconds.
    pub restart_ms_max: u64,
    /// Operators that did not come up, and were started again: under injected faults only.
    pub failed_starts: u64,
    /// Operators that ended by themselves under injected faults, and were started again.
    pub ended_alone: u64,
    /// Until the queues were empty after the last kill, in milliseconds.
    pub drain_ms: u64,
    /// What was wrong.
    pub findings: Findings,
}

/// Why it could not be carried out; says nothing of durability.
#[derive(Debug, thiserror::Error)]
pub enum KillError {
    /// Certificates, ports, files.
    #[error(transparent)]
    Ground(#[from] GroundError),
    /// A process.
    #[error("{name} could not be started or stopped: {source}")]
    Start {
        /// Which operator.
        name: &'static str,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// It ended, or took no connection for too long.
    #[error("{name} does not serve after {starts} start(s); it wrote to {}", log.display())]
    NotReady {
        /// Which operator.
        name: &'static str,
        /// How often it was started in a row.
        starts: u32,
        /// Its log.
        log: PathBuf,
    },
    /// It ends by itself again and again.
    #[error("{name} keeps ending by itself; it wrote to {}", log.display())]
    KeepsEnding {
        /// Which operator.
        name: &'static str,
        /// Its log.
        log: PathBuf,
    },
    /// It does not end.
    #[error("{name} did not stop when asked")]
    NotStopped {
        /// Which operator.
        name: &'static str,
    },
    /// A store that was to be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The tampering that was asked for.
    #[error("the sabotage did not succeed: {0}")]
    Sabotage(#[from] rusqlite::Error),
    /// The same, for want of messages.
    #[error("no message had come when one was to be taken away: ask for more kills")]
    NothingToTake,
}

/// Runs the whole test; `progress` hears how many kills are done.
///
/// # Errors
/// See [`KillError`]: findings are not errors but part of the outcome.
pub async fn run(campaign: &Campaign, progress: impl Fn(u64)) -> Result<Outcome, KillError> {
    let ground = Ground::lay(&campaign.folder, campaign.clock.now())?;
    let mut run = Run {
        campaign,
        ground,
        operators: Vec::new(),
        dice: Dice::new(campaign.seed),
        environment: &campaign.environment,
        ledger: Arc::default(),
        outcome: Outcome::default(),
        is_sabotaged: false,
    };
    for number in 0..OPERATORS.len() {
        let operator = run.start(number).await?;
        run.operators.push(operator);
    }
    let stop = CancellationToken::new();
    let started = campaign.clock.now();
    let senders = run.senders(&stop)?;
    for kill in 0..campaign.kills {
        run.kill(kill).await?;
        progress(kill + 1);
    }
    if campaign.sabotage && !run.is_sabotaged {
        return Err(KillError::NothingToTake);
    }
    run.outcome.seconds = campaign.clock.now().duration_since(started).as_secs_f64();
    stop.cancel();
    // A relay ends what it has begun: for that, operators must serve.
    if !campaign.environment.is_empty() {
        run.end_injection().await?;
    }
    run.end_senders(senders).await?;
    run.finish().await
}

/// A test under way.
struct Run<'a> {
    campaign: &'a Campaign,
    ground: Ground,
    operators: Vec<Operator>,
    environment: &'a [(String, String)],
    dice: Dice,
    ledger: Arc<Ledger>,
    outcome: Outcome,
    is_sabotaged: bool,
}

impl Run<'_> {
    async fn start(&mut self, number: usize) -> Result<Operator, KillError> {
        let clock = &self.campaign.clock;
        let began = clock.now();
        let starts_max = if self.environment.is_empty() { 1 } else { STARTS_MAX };
        let mut starts = 0;
        let operator = loop {
            starts += 1;
            let mut operator = Operator::start((&self.campaign.program, self.environment), &self.ground, number)?;
            if operator.is_ready().await {
                break operator;
            }
            // Where faults are injected from outside, a start may fail too; the service manager tries again.
            if starts == starts_max {
                return Err(KillError::NotReady {
                    name: name(number),
                    starts,
                    log: self.ground.log(number),
                });
            }
            self.outcome.failed_starts += 1;
        };
        let took = clock.now().duration_since(began).as_millis();
        let took = u64::try_from(took).unwrap_or(0);
        self.outcome.restart_ms_max = self.outcome.restart_ms_max.max(took);
        Ok(operator)
    }

    /// Waits, and starts operators again that end by themselves meanwhile: injected faults may do that, nothing else.
    async fn wait(&mut self, time: Duration) -> Result<(), KillError> {
        let mut left = time;
        while !left.is_zero() {
            let slice = left.min(LOOK_PERIOD);
            sleep(slice).await;
            left -= slice;
            self.raise_ended().await?;
        }
        Ok(())
    }

    async fn raise_ended(&mut self) -> Result<(), KillError> {
        for number in 0..self.operators.len() {
            if !self.operators.get_mut(number).is_some_and(Operator::has_ended) {
                continue;
            }
            self.outcome.ended_alone += 1;
            if self.environment.is_empty() {
                let what = format!("{} ended by itself", name(number));
                self.outcome.findings.note(Wrong::Unusable, what);
            }
            if self.outcome.ended_alone > ENDED_ALONE_MAX {
                return Err(KillError::KeepsEnding {
                    name: name(number),
                    log: self.ground.log(number),
                });
            }
            let operator = self.start(number).await?;
            if let Some(place) = self.operators.get_mut(number) {
                *place = operator;
            }
        }
        Ok(())
    }

    /// Waits for the senders, whose last messages may take some attempts.
    async fn end_senders(&mut self, senders: Vec<JoinHandle<()>>) -> Result<(), KillError> {
        let mut waits = 0;
        while !senders.iter().all(JoinHandle::is_finished) && waits < SENDERS_WAITS_MAX {
            self.wait(LOOK_PERIOD).await?;
            waits += 1;
        }
        for sender in senders {
            if !sender.is_finished() {
                sender.abort();
                let what = String::from("a relay still has no answer to its last message");
                self.outcome.findings.note(Wrong::Unusable, what);
            } else if sender.await.is_err() {
                let what = String::from("a sender ended by a panic");
                self.outcome.findings.note(Wrong::Unusable, what);
            }
        }
        Ok(())
    }

    fn senders(&mut self, stop: &CancellationToken) -> Result<Vec<JoinHandle<()>>, KillError> {
        let shared = Shared {
            ledger: Arc::clone(&self.ledger),
            numbers: Arc::default(),
            stop: stop.clone(),
            seed: self.campaign.seed,
        };
        let mut senders = Vec::new();
        for number in 0..CONNECTIONS {
            let operator = number % OPERATORS.len();
            let software = (number / OPERATORS.len()).is_multiple_of(2);
            let dice = Dice::new(self.dice.next());
            let sender = Sender::new(&self.ground, operator, software, shared.clone(), dice)?;
            senders.push(tokio::spawn(sender.run()));
        }
        Ok(senders)
    }

    /// Waits for a random while, kills one operator or both, and starts them again.
    async fn kill(&mut self, kill: u64) -> Result<(), KillError> {
        let mean = usize::try_from(self.campaign.between.as_millis()).unwrap_or(usize::MAX >> 2);
        let wait = self.dice.between(mean / 4, mean.saturating_mul(7) / 4);
        self.wait(Duration::from_millis(u64::try_from(wait).unwrap_or(u64::MAX)))
            .await?;
        // The first, the second, or both at once.
        let victims: &[usize] = match self.dice.below(3) {
            0 => &[0],
            1 => &[1],
            _ => &[1, 0],
        };
        let mut downed = Vec::new();
        for number in victims {
            let operator = self.operators.remove(*number);
            operator.kill().map_err(|source| KillError::Start {
                name: name(*number),
                source,
            })?;
            downed.insert(0, *number);
            self.outcome.kills += 1;
        }
        if self.campaign.sabotage
            && !self.is_sabotaged
            && kill >= self.campaign.kills / 2
            && let Some(number) = downed.first()
        {
            self.is_sabotaged = sabotage(&self.ground.data(*number))?;
        }
        for number in downed {
            let operator = self.start(number).await?;
            self.operators.insert(number, operator);
        }
        Ok(())
    }

    /// Lets the queues run empty, stops both operators and reads what is there.
    async fn finish(mut self) -> Result<Outcome, KillError> {
        let clock = &self.campaign.clock;
        let began = clock.now();
        let mut is_drained = false;
        for _ in 0..DRAIN_ATTEMPTS_MAX {
            is_drained = self.queues_are_empty().await?;
            if is_drained {
                break;
            }
            self.wait(DRAIN_PERIOD).await?;
        }
        if !is_drained {
            let what = String::from("the queues did not run empty");
            self.outcome.findings.note(Wrong::Unusable, what);
        }
        let took = clock.now().duration_since(began).as_millis();
        self.outcome.drain_ms = u64::try_from(took).unwrap_or(0);
        for operator in std::mem::take(&mut self.operators) {
            operator.stop().await?;
        }
        self.judge().await
    }

    /// The disk is mended: both operators are killed once more and start without injected faults.
    async fn end_injection(&mut self) -> Result<(), KillError> {
        for (number, operator) in std::mem::take(&mut self.operators).into_iter().enumerate() {
            operator.kill().map_err(|source| KillError::Start {
                name: name(number),
                source,
            })?;
            self.outcome.kills += 1;
        }
        self.environment = &[];
        for number in 0..OPERATORS.len() {
            let operator = self.start(number).await?;
            self.operators.push(operator);
        }
        Ok(())
    }

    async fn queues_are_empty(&self) -> Result<bool, KillError> {
        for number in 0..OPERATORS.len() {
            let store = SqliteStore::open_read_only(&self.ground.data(number))?;
            let is_empty = store.queued(1).await?.is_empty();
            store.close().await?;
            if !is_empty {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn judge(mut self) -> Result<Outcome, KillError> {
        let mut found = Found::default();
        let findings = &mut self.outcome.findings;
        for number in 0..OPERATORS.len() {
            let folder = self.ground.data(number);
            let store = SqliteStore::open(&folder, Options::default())?;
            let known = (&*self.ledger, self.campaign.seed);
            found.read(&store, number, known, findings).await?;
            store.close().await?;
            check_database(&folder, number, findings)?;
        }
        found.compare(&self.ledger, findings);
        let ledger = &self.ledger;
        self.outcome.offered = u64::try_from(ledger.mails().len()).unwrap_or(u64::MAX);
        self.outcome.accepted = ledger.count(Answer::Accepted);
        self.outcome.refused = ledger.count(Answer::Refused);
        self.outcome.unanswered = ledger.count(Answer::None);
        self.outcome.bounces = found.reports;
        Ok(self.outcome)
    }
}

/// SQLite's own opinion of a closed store.
fn check_database(folder: &Path, number: usize, findings: &mut Findings) -> Result<(), KillError> {
    let db = Connection::open(folder.join("store.db"))?;
    let verdict: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
    if verdict != "ok" {
        let what = format!("{}: integrity_check says {verdict}", name(number));
        findings.note(Wrong::Integrity, what);
    }
    Ok(())
}

/// Takes delivered messages away, as a store that forgot what it answered would have it; whether there were any.
fn sabotage(data: &Path) -> Result<bool, KillError> {
    let db = Connection::open(data.join("store.db"))?;
    let sql = "DELETE FROM entry WHERE (folder, uid) IN (SELECT folder, uid FROM entry ORDER BY message LIMIT 5)";
    Ok(db.execute(sql, [])? > 0)
}

/// Starts of an operator under injected faults until one must succeed.
const STARTS_MAX: u32 = 30;
/// Operators that end by themselves: more than this, and the injected faults leave nothing to test.
const ENDED_ALONE_MAX: u64 = 10_000;
const LOOK_PERIOD: Duration = Duration::from_millis(50);
/// Three minutes of looks.
const SENDERS_WAITS_MAX: u32 = 3_600;
/// Half of them submit, half relay.
const CONNECTIONS: usize = 8;
const DRAIN_PERIOD: Duration = Duration::from_millis(200);
/// Three minutes: a destination that was down is tried again within seconds here.
const DRAIN_ATTEMPTS_MAX: u32 = 900;
