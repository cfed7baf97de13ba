//! What was expected of a server or client under test, what it did, and the score: the words that `probe`, `serve` and `audit` share.

use std::fmt;
use std::fmt::Write as _;

use comfy_table::Table;
use comfy_table::presets::NOTHING;
use serde::{Deserialize, Serialize};

/// What is spoken with the software under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Service {
    /// SMTP between operators, STARTTLS.
    Smtp,
    /// Submission, STARTTLS, AUTH EXTERNAL.
    Submission,
    /// Submission over TLS, AUTH EXTERNAL.
    Submissions,
    /// IMAP, STARTTLS, AUTHENTICATE EXTERNAL.
    Imap,
    /// IMAP over TLS, AUTHENTICATE EXTERNAL.
    Imaps,
    /// The handshake alone, whatever is spoken inside.
    Tls,
}

/// How far one side let the other come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reached {
    /// The TCP connection.
    Connection,
    /// The greeting and the first EHLO.
    Greeting,
    /// The TLS handshake.
    Handshake,
    /// EHLO inside TLS.
    Hello,
    /// The login.
    Login,
    /// MAIL.
    Sender,
    /// RCPT.
    Recipient,
    /// The message was taken.
    Message,
}

/// What ended it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Nothing: all that was asked was allowed.
    Allowed,
    /// A TLS alert, by its name.
    Alert(String),
    /// A reply that says no.
    Reply {
        /// Three digits; 0 for IMAP, whose replies have none.
        code: u16,
        /// Its words.
        text: String,
    },
    /// The connection was closed without a word.
    Closed,
    /// The other side left in good order, having sent nothing.
    Left,
    /// No answer within the time limit.
    Silent,
    /// Something that the protocol has no room for.
    Broken(String),
    /// Nobody is there.
    Unreachable(String),
}

/// What the software under test did with one case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// The last step it allowed.
    pub reached: Reached,
    /// What came then.
    pub end: End,
}

/// What it should do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expected {
    /// Trust.
    Accepted,
    /// No trust, in whatever way.
    Refused,
    /// Both are right: no rule decides.
    Either,
}

/// One line of a score.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Id of the case.
    pub id: String,
    /// Its group.
    pub group: String,
    /// What is shown, in one line.
    pub what: String,
    /// What should happen.
    pub expected: Expected,
    /// What happened, in one line; empty when it was not played.
    pub observed: String,
    /// The verdict.
    pub verdict: Verdict,
}

/// The verdict on one case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// As expected.
    Passed,
    /// Not as expected.
    Failed,
    /// Not played.
    Skipped,
}

/// All lines, and what they are about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Score {
    /// What was run: `certlab probe`.
    pub title: String,
    /// Who was under test.
    pub target: String,
    /// The lines, in the order of the catalogue.
    pub rows: Vec<Row>,
}

impl Observation {
    /// Shorthand.
    pub fn new(reached: Reached, end: End) -> Self {
        Self { reached, end }
    }

    /// Whether the other side showed trust: all was allowed.
    pub fn is_trust(&self) -> bool {
        self.end == End::Allowed
    }

    /// The verdict. A target that does not answer is never right: what it would have said is not known.
    pub fn judge(&self, expected: Expected) -> Verdict {
        let right = match (&self.end, expected) {
            (End::Unreachable(_) | End::Silent, _) => false,
            (_, Expected::Either) => true,
            (end, Expected::Accepted) => *end == End::Allowed,
            (end, Expected::Refused) => *end != End::Allowed,
        };
        if right { Verdict::Passed } else { Verdict::Failed }
    }
}

impl fmt::Display for Observation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let after = self.reached;
        match &self.end {
            End::Allowed => write!(f, "accepted up to {after}"),
            End::Alert(name) => write!(f, "refused after {after}: TLS alert {name}"),
            End::Reply { code: 0, text } => write!(f, "refused after {after}: {text}"),
            End::Reply { code, text } => write!(f, "refused after {after}: {code} {text}"),
            End::Closed => write!(f, "refused after {after}: connection closed"),
            End::Left => write!(f, "left after {after}"),
            End::Silent => write!(f, "no answer after {after}"),
            End::Broken(what) => write!(f, "refused after {after}: {what}"),
            End::Unreachable(why) => write!(f, "not reachable: {why}"),
        }
    }
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connection => "connection",
            Self::Greeting => "greeting",
            Self::Handshake => "handshake",
            Self::Hello => "EHLO",
            Self::Login => "login",
            Self::Sender => "MAIL",
            Self::Recipient => "RCPT",
            Self::Message => "message",
        })
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Accepted => "accept",
            Self::Refused => "refuse",
            Self::Either => "either",
        })
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Smtp => "smtp",
            Self::Submission => "submission",
            Self::Submissions => "submissions",
            Self::Imap => "imap",
            Self::Imaps => "imaps",
            Self::Tls => "tls",
        })
    }
}

impl Score {
    /// How many lines ended so.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.rows.iter().filter(|row| row.verdict == verdict).count()
    }

    /// Passed of those played, in percent, rounded down: 100 means all.
    pub fn percent(&self) -> usize {
        let played = self.rows.len() - self.count(Verdict::Skipped);
        (self.count(Verdict::Passed) * 100).checked_div(played).unwrap_or(0)
    }

    /// Whether something was played and nothing failed.
    pub fn is_clean(&self) -> bool {
        self.count(Verdict::Failed) == 0 && self.count(Verdict::Passed) > 0
    }

    /// A table for people, the score below.
    pub fn to_text(&self) -> String {
        let mut table = Table::new();
        table
            .load_style(NOTHING)
            .force_no_tty()
            .set_header(["", "id", "expected", "observed"]);
        for row in &self.rows {
            let mark = match row.verdict {
                Verdict::Passed => "pass",
                Verdict::Failed => "FAIL",
                Verdict::Skipped => "skip",
            };
            table.add_row([mark, &row.id, &row.expected.to_string(), &shortened(&row.observed)]);
        }
        format!("{}\n\n{}\n", table.trim_fmt(), self.summary())
    }

    /// One line.
    pub fn summary(&self) -> String {
        format!(
            "{} {}: {} passed, {} failed, {} not played: {} %",
            self.title,
            self.target,
            self.count(Verdict::Passed),
            self.count(Verdict::Failed),
            self.count(Verdict::Skipped),
            self.percent()
        )
    }

    /// The same for programs.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "title": self.title,
            "target": self.target,
            "passed": self.count(Verdict::Passed),
            "failed": self.count(Verdict::Failed),
            "skipped": self.count(Verdict::Skipped),
            "percent": self.percent(),
            "rows": self.rows,
        })
    }

    /// The same for continuous integration, in the form that `JUnit` made common.
    pub fn to_junit(&self) -> String {
        let mut text = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" skipped=\"{}\">\n",
            escaped(&format!("{} {}", self.title, self.target)),
            self.rows.len(),
            self.count(Verdict::Failed),
            self.count(Verdict::Skipped)
        );
        for row in &self.rows {
            let head = format!(
                "  <testcase classname=\"{}\" name=\"{}\"",
                escaped(&row.group),
                escaped(&row.id)
            );
            let written = match row.verdict {
                Verdict::Passed => writeln!(text, "{head}/>"),
                Verdict::Skipped => writeln!(
                    text,
                    "{head}><skipped message=\"{}\"/></testcase>",
                    escaped(&row.observed)
                ),
                Verdict::Failed => writeln!(
                    text,
                    "{head}><failure message=\"expected: {}; observed: {}\">{}</failure></testcase>",
                    row.expected,
                    escaped(&row.observed),
                    escaped(&row.what)
                ),
            };
            // A String takes everything.
            debug_assert!(written.is_ok());
        }
        text.push_str("</testsuite>\n");
        text
    }
}

/// Both ends of a long line: what was answered stands at its start, the reason and the session at its end.
fn shortened(text: &str) -> String {
    let count = text.chars().count();
    if count <= OBSERVED_CHARS_MAX {
        return text.to_owned();
    }
    let head: String = text.chars().take(HEAD_CHARS).collect();
    let tail: String = text.chars().skip(count - (OBSERVED_CHARS_MAX - HEAD_CHARS)).collect();
    format!("{} … {}", head.trim_end(), tail.trim_start())
}

/// Attribute and element text of XML; what XML cannot hold becomes a space.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            c if c.is_control() => safe.push(' '),
            c => safe.push(c),
        }
    }
    safe
}

/// Reply texts are long; JSON and `JUnit` hold them whole.
const OBSERVED_CHARS_MAX: usize = 100;
const HEAD_CHARS: usize = 45;

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(code: u16) -> Observation {
        let text = "5.7.1 <no> \"trust\"".to_owned();
        Observation::new(Reached::Hello, End::Reply { code, text })
    }

    fn row(id: &str, observation: &Observation, expected: Expected) -> Row {
        Row {
            id: id.to_owned(),
            group: "validity".to_owned(),
            what: "what is shown".to_owned(),
            expected,
            observed: observation.to_string(),
            verdict: observation.judge(expected),
        }
    }

    fn score() -> Score {
        let trust = Observation::new(Reached::Recipient, End::Allowed);
        let mut skipped = row("ocsp-late", &trust, Expected::Refused);
        skipped.verdict = Verdict::Skipped;
        Score {
            title: "certlab probe".to_owned(),
            target: "127.0.0.1:25".to_owned(),
            rows: vec![
                row("valid", &trust, Expected::Accepted),
                row("expired", &reply(550), Expected::Refused),
                row("revoked", &trust, Expected::Refused),
                skipped,
            ],
        }
    }

    #[test]
    fn trust_is_right_only_where_it_is_expected_and_silence_never() {
        let trust = Observation::new(Reached::Recipient, End::Allowed);
        let silent = Observation::new(Reached::Greeting, End::Silent);
        let gone = Observation::new(Reached::Connection, End::Unreachable("refused".into()));
        assert_eq!(trust.judge(Expected::Accepted), Verdict::Passed);
        assert_eq!(trust.judge(Expected::Refused), Verdict::Failed);
        assert_eq!(reply(550).judge(Expected::Refused), Verdict::Passed);
        assert_eq!(reply(454).judge(Expected::Refused), Verdict::Passed);
        assert_eq!(reply(550).judge(Expected::Accepted), Verdict::Failed);
        for expected in [Expected::Accepted, Expected::Refused, Expected::Either] {
            assert_eq!(silent.judge(expected), Verdict::Failed);
            assert_eq!(gone.judge(expected), Verdict::Failed);
        }
    }

    #[test]
    fn a_score_counts_what_was_played_and_names_what_failed() {
        let score = score();
        assert!(!score.is_clean());
        assert_eq!(
            score.summary(),
            "certlab probe 127.0.0.1:25: 2 passed, 1 failed, 1 not played: 66 %"
        );
        let text = score.to_text();
        let failed: Vec<&str> = text.lines().filter(|line| line.contains("FAIL")).collect();
        assert_eq!(failed.len(), 1, "{text}");
        assert!(
            failed[0].contains("revoked") && failed[0].contains("accepted up to RCPT"),
            "{text}"
        );
        let json = score.to_json();
        assert_eq!(json["rows"][1]["verdict"], "passed");
        assert_eq!(json["percent"], 66);
    }

    #[test]
    fn a_long_answer_keeps_its_start_and_its_reason() {
        let long = format!(
            "refused: 554 5.7.0 {} (certificate-expired, session 0KQF)",
            "x".repeat(200)
        );
        let shown = shortened(&long);
        assert!(
            shown.starts_with("refused: 554") && shown.ends_with("session 0KQF)"),
            "{shown}"
        );
        assert_eq!(shortened("short"), "short");
    }

    #[test]
    fn an_empty_score_is_no_success() {
        let empty = Score {
            rows: Vec::new(),
            ..score()
        };
        assert!(!empty.is_clean());
        assert_eq!(empty.percent(), 0);
    }

    #[test]
    fn a_junit_file_is_xml_with_one_case_for_each_line() {
        let text = score().to_junit();
        let mut reader = quick_xml::Reader::from_str(&text);
        let (mut cases, mut failures) = (0, 0);
        loop {
            use quick_xml::events::Event;
            match reader.read_event().unwrap() {
                Event::Eof => break,
                Event::Start(tag) | Event::Empty(tag) if tag.name().as_ref() == "testcase" => cases += 1,
                Event::Start(tag) if tag.name().as_ref() == "failure" => failures += 1,
                _ => {}
            }
        }
        assert_eq!((cases, failures), (4, 1));
        assert_eq!(escaped("<a & \"b\">\u{1}"), "&lt;a &amp; &quot;b&quot;&gt; ");
    }
}
