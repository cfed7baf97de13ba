//! How it went: mails by what became of them, replies by code with an example of each.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::smtp::client::{Cause, Failure, RecipientOutcome};
use crate::smtp::reply::Status;

/// What was asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// How many mails.
    pub(super) mails: u64,
    /// Boxes that each of them goes to.
    pub(super) recipients: usize,
    /// What makes the same mails again.
    pub(super) seed: u64,
}

/// News from a connection.
#[derive(Debug)]
pub(super) enum Record {
    /// A mail with a verdict for each recipient.
    Answered(Vec<RecipientOutcome>),
    /// A mail that the server refused with the whole connection, or during which the connection broke.
    Broken(Failure),
    /// A mail for which no connection could be opened.
    NotSent(String),
    /// Not a mail: why nothing more is sent.
    Stopped(String),
}

/// Everything that happened so far.
#[derive(Debug)]
pub(super) struct Tally {
    asked: Asked,
    mails: Mails,
    replies: BTreeMap<ReplyKey, Example>,
    stopped: Option<String>,
    interrupted: bool,
    elapsed: Duration,
}

/// The summary as `--json` prints it.
#[derive(Debug, Serialize)]
pub(super) struct Report<'a> {
    mails: &'a Mails,
    recipients_per_mail: usize,
    replies: Vec<ReplyCount<'a>>,
    seconds: f64,
    mails_per_second: f64,
    seed: u64,
    interrupted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stopped: Option<&'a str>,
}

/// Mails by what became of them. `sent` is the sum of `accepted`, `partly_accepted`, `refused` and `deferred`.
#[derive(Debug, Default, Serialize)]
struct Mails {
    /// Asked for.
    asked: u64,
    /// Answered by the server.
    sent: u64,
    /// For every recipient.
    accepted: u64,
    /// For some recipients and not for others.
    partly_accepted: u64,
    /// For no recipient, for good for at least one.
    refused: u64,
    /// For no recipient, and it may work later.
    deferred: u64,
    /// Never offered: no connection.
    not_sent: u64,
    /// Under way when Ctrl-C cut them: nobody knows.
    unknown: u64,
}

/// Replies that say the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct ReplyKey {
    verdict: Verdict,
    /// `None`: the connection broke.
    code: Option<u16>,
    status: Option<(u8, u16, u16)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Accepted,
    Refused,
    Deferred,
}

#[derive(Debug)]
struct Example {
    count: u64,
    /// The first of them, whole: a refusal's reason id and session are in it.
    text: String,
}

#[derive(Debug, Serialize)]
struct ReplyCount<'a> {
    verdict: Verdict,
    code: Option<u16>,
    status: Option<String>,
    /// Recipients that got it.
    count: u64,
    example: &'a str,
}

impl Record {
    /// Whether it is the end of a mail.
    pub(super) fn is_mail(&self) -> bool {
        !matches!(self, Self::Stopped(_))
    }
}

impl Tally {
    /// Nothing yet.
    pub(super) fn new(asked: Asked) -> Self {
        Self {
            asked,
            mails: Mails {
                asked: asked.mails,
                ..Mails::default()
            },
            replies: BTreeMap::new(),
            stopped: None,
            interrupted: false,
            elapsed: Duration::ZERO,
        }
    }

    /// Counts one record.
    pub(super) fn add(&mut self, record: Record) {
        match record {
            Record::Answered(outcomes) => {
                let verdicts: Vec<Verdict> = outcomes.iter().map(|outcome| self.hear(outcome)).collect();
                self.mails.count(&verdicts);
            }
            Record::Broken(failure) => {
                let verdict = if failure.temporary {
                    Verdict::Deferred
                } else {
                    Verdict::Refused
                };
                let (code, status) = said_by(&failure);
                let key = ReplyKey { verdict, code, status };
                self.reply(key, self.asked.recipients as u64, || failure.to_string());
                self.mails.count(&[verdict]);
            }
            Record::NotSent(text) => {
                tracing::debug!(reason = text, "a mail was not sent");
                self.mails.not_sent += 1;
            }
            // Connections that fail together say the same.
            Record::Stopped(reason) => {
                self.stopped.get_or_insert(reason);
            }
        }
    }

    /// Ctrl-C.
    pub(super) fn interrupt(&mut self) {
        self.interrupted = true;
    }

    /// The end, after `elapsed`, with `taken` mails begun.
    pub(super) fn end(&mut self, elapsed: Duration, taken: u64) {
        self.elapsed = elapsed;
        self.mails.unknown = taken.saturating_sub(self.mails.sent + self.mails.not_sent);
    }

    /// Why it ended early, if it did for another reason than Ctrl-C.
    pub(super) fn stopped(&self) -> Option<&str> {
        self.stopped.as_deref()
    }

    /// 0: every mail asked for was accepted for every recipient. 2: nothing could be sent. 1: anything between.
    pub(super) fn exit_code(&self) -> u8 {
        match (self.mails.sent, self.mails.accepted) {
            (_, accepted) if accepted == self.mails.asked => 0,
            (0, _) if !self.interrupted => super::NOTHING_SENT,
            _ => 1,
        }
    }

    /// The summary for scripts.
    pub(super) fn report(&self) -> Report<'_> {
        let replies = self.replies.iter().map(|(key, example)| ReplyCount {
            verdict: key.verdict,
            code: key.code,
            status: key.status_text(),
            count: example.count,
            example: &example.text,
        });
        Report {
            mails: &self.mails,
            recipients_per_mail: self.asked.recipients,
            replies: replies.collect(),
            seconds: self.elapsed.as_secs_f64(),
            mails_per_second: self.per_second(),
            seed: self.asked.seed,
            interrupted: self.interrupted,
            stopped: self.stopped(),
        }
    }

    /// The summary for a person.
    pub(super) fn to_text(&self) -> String {
        let mails = &self.mails;
        let states = [
            (mails.accepted, "accepted"),
            (mails.partly_accepted, "accepted for some recipients only"),
            (mails.refused, "refused"),
            (mails.deferred, "deferred"),
            (mails.not_sent, "not sent: no connection"),
            (mails.unknown, "cut under way"),
        ];
        let parts: Vec<String> = states
            .iter()
            .filter(|(count, what)| *count > 0 || *what == "accepted")
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        let plural = if mails.asked == 1 { "mail" } else { "mails" };
        let mut text = format!(
            "{} of {} {plural} sent in {:.1} s ({:.1} per second): {}\n",
            mails.sent,
            mails.asked,
            self.elapsed.as_secs_f64(),
            self.per_second(),
            parts.join(", ")
        );
        let counts = self.replies.values().map(|example| example.count.to_string().len());
        let width = counts.max().unwrap_or(1);
        let lines = self.replies.iter().map(|(key, Example { count, text })| {
            let verdict = key.verdict.word();
            let of_many = if *count > 1 { ", first: " } else { ": " };
            format!("  {count:>width$} × {verdict}{of_many}{text}\n")
        });
        text.extend(lines);
        if self.interrupted {
            text.push_str("Stopped by Ctrl-C.\n");
        }
        text
    }

    fn hear(&mut self, outcome: &RecipientOutcome) -> Verdict {
        let (verdict, reply) = match outcome {
            RecipientOutcome::Accepted(reply) => (Verdict::Accepted, reply),
            RecipientOutcome::Refused(reply) => (Verdict::Refused, reply),
            RecipientOutcome::Deferred(reply) => (Verdict::Deferred, reply),
        };
        let key = ReplyKey {
            verdict,
            code: Some(reply.code),
            status: triple(reply.status),
        };
        self.reply(key, 1, || reply.to_string());
        verdict
    }

    fn reply(&mut self, key: ReplyKey, count: u64, text: impl FnOnce() -> String) {
        let example = self
            .replies
            .entry(key)
            .or_insert_with(|| Example { count: 0, text: text() });
        example.count += count;
    }

    fn per_second(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let sent = self.mails.sent as f64;
        let seconds = self.elapsed.as_secs_f64();
        if seconds > 0.0 { sent / seconds } else { 0.0 }
    }
}

impl Mails {
    fn count(&mut self, verdicts: &[Verdict]) {
        self.sent += 1;
        let has = |wanted| verdicts.contains(&wanted);
        let state = match (has(Verdict::Accepted), has(Verdict::Refused), has(Verdict::Deferred)) {
            (true, false, false) => &mut self.accepted,
            (true, _, _) => &mut self.partly_accepted,
            (false, true, _) => &mut self.refused,
            (false, false, _) => &mut self.deferred,
        };
        *state += 1;
    }
}

impl ReplyKey {
    fn status_text(&self) -> Option<String> {
        self.status
            .map(|(class, subject, detail)| Status(class, subject, detail).to_string())
    }
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::Deferred => "deferred",
        }
    }
}

fn triple(status: Option<Status>) -> Option<(u8, u16, u16)> {
    status.map(|Status(class, subject, detail)| (class, subject, detail))
}

/// Code and status that a failure's text begins with, when the server said it.
fn said_by(failure: &Failure) -> (Option<u16>, Option<(u8, u16, u16)>) {
    if failure.cause != Cause::Refused {
        return (None, None);
    }
    let mut words = failure.text.split(' ');
    let code = words.next().and_then(|code| code.parse().ok());
    (code, triple(words.next().and_then(Status::parse)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::client::Stage;
    use crate::smtp::reply::Reply;

    const REFUSED: &str = "domain nowhere.fr is not on the allow list (recipient-domain-unlisted, session K3F7Q2)";

    fn tally(mails: u64, recipients: usize) -> Tally {
        Tally::new(Asked {
            mails,
            recipients,
            seed: 7,
        })
    }

    fn accepted() -> RecipientOutcome {
        RecipientOutcome::Accepted(Reply::MESSAGE_OK)
    }

    fn refused() -> RecipientOutcome {
        RecipientOutcome::Refused(Reply::new(550, Status(5, 7, 1), REFUSED))
    }

    fn deferred() -> RecipientOutcome {
        RecipientOutcome::Deferred(Reply::plain(451, "later"))
    }

    fn broken(cause: Cause, text: &str) -> Record {
        Record::Broken(Failure {
            temporary: true,
            stage: Stage::Verdict,
            cause,
            text: text.to_owned(),
            refused: Vec::new(),
        })
    }

    fn json(tally: &Tally) -> serde_json::Value {
        serde_json::to_value(tally.report()).unwrap()
    }

    #[test]
    fn each_mail_is_counted_once_and_each_recipient_by_its_reply() {
        let mut tally = tally(6, 2);
        tally.add(Record::Answered(vec![accepted(), accepted()]));
        tally.add(Record::Answered(vec![accepted(), refused()]));
        tally.add(Record::Answered(vec![refused(), deferred()]));
        tally.add(Record::Answered(vec![deferred(), deferred()]));
        tally.add(Record::NotSent("nobody there".to_owned()));
        tally.end(Duration::from_secs(2), 6);
        let report = json(&tally);
        let expected = serde_json::json!({
            "asked": 6, "sent": 4, "accepted": 1, "partly_accepted": 1, "refused": 1, "deferred": 1, "not_sent": 1, "unknown": 1
        });
        assert_eq!(report["mails"], expected);
        assert_eq!(report["mails_per_second"], 2.0);
        let replies: Vec<(u64, u64)> = report["replies"]
            .as_array()
            .unwrap()
            .iter()
            .map(|reply| (reply["code"].as_u64().unwrap(), reply["count"].as_u64().unwrap()))
            .collect();
        assert_eq!(replies, [(250, 3), (550, 2), (451, 3)]);
        assert_eq!(report["replies"][1]["status"], "5.7.1");
        assert_eq!(tally.exit_code(), 1);
    }

    #[test]
    fn the_text_shows_an_example_of_each_reply() {
        let mut tally = tally(12, 1);
        for _ in 0..10 {
            tally.add(Record::Answered(vec![accepted()]));
        }
        tally.add(Record::Answered(vec![refused()]));
        tally.add(broken(Cause::Lost, "connection with mx lost: the peer closed it"));
        tally.end(Duration::from_secs(4), 12);
        let expected = format!(
            "12 of 12 mails sent in 4.0 s (3.0 per second): 10 accepted, 1 refused, 1 deferred
  10 × accepted, first: 250 2.0.0 message accepted
   1 × refused: 550 5.7.1 {REFUSED}
   1 × deferred: end of message: connection with mx lost: the peer closed it
"
        );
        assert_eq!(tally.to_text(), expected);
    }

    #[test]
    fn a_refusal_of_the_connection_keeps_its_code() {
        let mut tally = tally(2, 3);
        tally.add(broken(Cause::Refused, "421 4.3.2 going down"));
        tally.add(broken(Cause::Lost, "421 is only text here"));
        let report = json(&tally);
        assert_eq!(report["replies"][0]["code"], serde_json::Value::Null);
        assert_eq!(report["replies"][1]["code"], 421);
        assert_eq!(report["replies"][1]["status"], "4.3.2");
        assert_eq!(report["replies"][1]["count"], 3);
    }

    #[test]
    fn the_exit_code_tells_all_some_and_nothing_apart() {
        let mut all = tally(1, 1);
        all.add(Record::Answered(vec![accepted()]));
        assert_eq!(all.exit_code(), 0);

        let mut one_of_two = tally(2, 1);
        one_of_two.add(Record::Answered(vec![accepted()]));
        assert_eq!(one_of_two.exit_code(), 1);

        let mut refusal = tally(1, 1);
        refusal.add(Record::Answered(vec![refused()]));
        assert_eq!(refusal.exit_code(), 1);

        let mut nothing = tally(1, 1);
        nothing.add(Record::NotSent("refused".to_owned()));
        nothing.add(Record::Stopped("the first reason".to_owned()));
        nothing.add(Record::Stopped("another".to_owned()));
        assert_eq!((nothing.exit_code(), nothing.stopped()), (2, Some("the first reason")));
    }

    #[test]
    fn ctrl_c_is_not_a_success_and_shows() {
        let mut tally = tally(3, 1);
        tally.add(Record::Answered(vec![accepted()]));
        tally.interrupt();
        tally.end(Duration::from_secs(1), 2);
        assert_eq!(tally.exit_code(), 1);
        let text = tally.to_text();
        assert!(text.contains("1 of 3 mails sent"), "{text}");
        assert!(
            text.contains("1 cut under way")
                && text.ends_with(
                    "Stopped by Ctrl-C.
"
                ),
            "{text}"
        );
    }
}
