//! Recipients at other operators, on their way into the queue.

use jiff::Timestamp;

use super::parameters::{Parameters, ParametersError};
use super::schedule::RetryPlan;
use crate::identity::Address;
use crate::journal::{Event, Queued, Record};
use crate::store::Outgoing;

/// An accepted message with recipients elsewhere: a submission, or a report of this operator.
#[derive(Clone, Debug)]
pub struct Submission<'a> {
    /// Reverse-path; `None` for a report.
    pub sender: Option<&'a Address>,
    /// Recipients elsewhere, each with its parameters (those of MAIL repeated).
    pub recipients: &'a [(Address, Parameters)],
    /// Session it came in with.
    pub session: &'a str,
}

/// Rows for `Acceptance::outgoing`, due at once, and the `queued` records to enter beside them, in the order of the recipients.
pub fn enqueue(
    submission: &Submission<'_>,
    plan: &RetryPlan,
    now: Timestamp,
) -> Result<(Vec<Outgoing>, Vec<Record>), ParametersError> {
    let mut outgoing = Vec::with_capacity(submission.recipients.len());
    let mut records = Vec::with_capacity(submission.recipients.len());
    for (recipient, parameters) in submission.recipients {
        outgoing.push(Outgoing {
            sender: submission.sender.cloned(),
            recipient: recipient.clone(),
            due: now,
            expires: plan.expires(now),
            parameters: parameters.to_json()?,
            session: submission.session.to_owned(),
        });
        let queued = Queued {
            recipient: recipient.into(),
        };
        records.push(Record::new(now, submission.session, Event::Queued(queued)));
    }
    Ok((outgoing, records))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_recipient_gets_its_row_and_its_record() {
        let now: Timestamp = "2026-11-21T10:00:00Z".parse().unwrap();
        let sender: Address = "dui@lilas.mssante.fr".parse().unwrap();
        let patient: Address = "279035121518989@patient.mssante.fr".parse().unwrap();
        let doctor: Address = "medecin@ville.mssante.fr".parse().unwrap();
        let recipients = [(patient, Parameters::default()), (doctor, Parameters::default())];
        let submission = Submission {
            sender: Some(&sender),
            recipients: &recipients,
            session: "s-1",
        };
        let (outgoing, records) = enqueue(&submission, &RetryPlan::default(), now).unwrap();
        assert_eq!(outgoing.len(), 2);
        assert_eq!(outgoing[0].sender.as_ref(), Some(&sender));
        assert_eq!(outgoing[0].due, now);
        assert_eq!(outgoing[1].expires.to_string(), "2026-11-23T10:00:00Z");
        assert_eq!(
            records[0].to_row().detail,
            "{\"recipient\":\"2790…989@patient.mssante.fr\"}"
        );
        assert_eq!(records[1].session, "s-1");
    }
}
