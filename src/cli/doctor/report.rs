//! Steps one after the other until one fails: what was found at each, and the remedy of the one that failed.

use std::fmt::Write;

use serde::Serialize;

use crate::cli::explain::sessions_named;
use crate::cli::words::{DoctorTexts, Words};
use crate::policy::Reason;

/// What is looked at, in its order. The ids are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::cli) enum StepId {
    OwnCertificate,
    OwnListed,
    Resolve,
    Connect,
    Greeting,
    Hello,
    StartTls,
    Handshake,
    ServerCertificate,
    ServerListed,
    HelloAgain,
    Mechanisms,
    Login,
    Sender,
    Recipient,
    Data,
    Quit,
    Ports,
    Certificates,
    Crl,
    List,
    Boxes,
    Queue,
    Clock,
}

/// How a step went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Outcome {
    Passed,
    Failed,
    Skipped,
}

/// One step.
#[derive(Debug, Serialize)]
pub(super) struct Step {
    pub(super) id: StepId,
    pub(super) outcome: Outcome,
    /// What was found, in lines.
    pub(super) found: Vec<String>,
    /// What to do about it; only of a failure.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) remedy: String,
    /// Session of ours that answered, for `explain`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) session: Option<String>,
}

/// A step failed: nothing after it is looked at.
#[derive(Debug)]
pub(super) struct Stop;

/// All steps.
#[derive(Serialize)]
pub(super) struct Report {
    pub(super) steps: Vec<Step>,
    #[serde(skip)]
    pub(super) words: &'static Words,
}

impl Report {
    /// Nothing looked at yet.
    pub(super) fn new(words: &'static Words) -> Self {
        Self {
            steps: Vec::new(),
            words,
        }
    }

    /// The texts of the doctor.
    pub(super) fn texts(&self) -> &'static DoctorTexts {
        self.words.doctor
    }

    /// As it must be.
    pub(super) fn passed(&mut self, id: StepId, found: impl Into<String>) {
        self.add(id, Outcome::Passed, found.into(), String::new());
    }

    /// Not looked at, and why.
    pub(super) fn skipped(&mut self, id: StepId, why: impl Into<String>) {
        self.add(id, Outcome::Skipped, why.into(), String::new());
    }

    /// Not as it must be.
    pub(super) fn failed(&mut self, id: StepId, found: impl Into<String>, remedy: impl Into<String>) -> Stop {
        self.add(id, Outcome::Failed, found.into(), remedy.into());
        Stop
    }

    /// A reply that refuses: the remedy of its reason when it names one, else that of the step.
    pub(super) fn refused(&mut self, id: StepId, reply: &str, remedy: &str) -> Stop {
        let reason = Reason::ALL
            .into_iter()
            .find(|reason| reply.contains(&format!("({reason}")));
        let remedy = match reason {
            Some(reason) => {
                let words = self.words.reason(reason);
                format!("{} {}", words.meaning, words.remedy)
            }
            None => remedy.to_owned(),
        };
        self.failed(id, reply, remedy)
    }

    fn add(&mut self, id: StepId, outcome: Outcome, found: String, remedy: String) {
        let session = sessions_named(&found).pop();
        self.steps.push(Step {
            id,
            outcome,
            found: found.lines().map(str::to_owned).collect(),
            remedy,
            session,
        });
    }

    /// The step that failed first.
    pub(super) fn first_failure(&self) -> Option<&Step> {
        self.steps.iter().find(|step| step.outcome == Outcome::Failed)
    }

    /// The steps of `all` that were not reached, as skipped.
    pub(super) fn complete(&mut self, all: &[StepId]) {
        for id in all {
            if !self.steps.iter().any(|step| step.id == *id) {
                self.skipped(*id, "");
            }
        }
    }

    /// For people. `data` is how `explain` is told where to look, if this is known.
    pub(super) fn to_text(&self, data: &str) -> String {
        let texts = self.texts();
        let mut text = String::new();
        for step in &self.steps {
            let mark = match step.outcome {
                Outcome::Passed => '✓',
                Outcome::Failed => '✗',
                Outcome::Skipped => '–',
            };
            let mut found = step.found.iter();
            let first = found.next().map(String::as_str).unwrap_or_default();
            push(&mut text, format_args!("{mark} {:<26} {first}", texts.step(step.id)));
            for line in found {
                push(&mut text, format_args!("  {:<26} {line}", ""));
            }
        }
        match self.first_failure() {
            None => push(&mut text, format_args!("\n{}", texts.all_good)),
            Some(step) => {
                push(
                    &mut text,
                    format_args!("\n{}: {}", texts.first_failure, texts.step(step.id)),
                );
                push(&mut text, format_args!("{}: {}", self.words.texts.to_do, step.remedy));
                if let Some(session) = &step.session {
                    push(
                        &mut text,
                        format_args!("{}: vaguemestre explain {session}{data}", texts.more),
                    );
                }
            }
        }
        text
    }
}

fn push(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    if writeln!(text, "{}", line.to_string().trim_end()).is_err() {
        text.push('\n');
    }
}
