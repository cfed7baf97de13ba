//! After an attempt: what to tell the store, the journal and the sender, for every recipient that was tried.
//!
//! Types that hold a queue item have no Debug output: its parameters name the original recipient in clear (invariant 9).

use jiff::Timestamp;

use super::fate::{Answer, Fate, Outcome, Tried, fate};
use super::parameters::{Parameters, ParametersError};
use super::schedule::RetryPlan;
use crate::identity::Address;
use crate::journal::{BounceCause, Bounced, Deferred, Event, Excerpt, MaskedAddress, Record, Relayed};
use crate::store::{QueueItem, Settled, Settlement};

/// One leased item and how the attempt ended for it.
#[derive(Clone)]
pub struct Attempt<'a> {
    /// The item, as leased.
    pub item: &'a QueueItem,
    /// How it ended.
    pub outcome: Outcome,
    /// Full subject DN of the peer; empty when none was proved.
    pub peer_subject: &'a str,
    /// Host name of the peer, for `Remote-MTA`; `None` when none was reached.
    pub peer_host: Option<&'a str>,
}

/// Everything an attempt leads to. Give `settlements` and an acceptance with `records` (through `indicator::enter`) and the report
/// made of `notices` to `QueueStore::settle`: one transaction.
#[derive(Clone, Default)]
pub struct Settling {
    /// One per item.
    pub settlements: Vec<Settlement>,
    /// `relayed`, `deferred` and `bounced`, one per item.
    pub records: Vec<Record>,
    /// What to report; empty for messages with a null reverse-path. Items of one message make one report (RFC 3464 §2).
    pub notices: Vec<Notice>,
}

/// One recipient of a delivery report (RFC 3464 §2.3).
#[derive(Clone)]
pub struct Notice {
    /// The item it is about; `item.message` and `item.sender` tell which report it goes into, and to whom.
    pub item: QueueItem,
    /// `Original-Recipient`, `RET` and `ENVID` are here.
    pub parameters: Parameters,
    /// `Action`.
    pub action: Action,
    /// `Status` (RFC 3463).
    pub status: String,
    /// What the attempt ended with: `Diagnostic-Code` is `smtp; …` when the peer said it.
    pub answer: Answer,
    /// `Remote-MTA`.
    pub peer_host: Option<String>,
}

/// `Action` of RFC 3464 §2.3.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It will not arrive.
    Failed,
    /// The peer took it and cannot report: the end of what is known.
    Relayed,
    /// It has not arrived yet; attempts go on.
    Delayed,
}

/// Decides for each attempt and gathers what follows. Fails only on an item whose parameters are not ours; nothing is settled then.
pub fn settle(attempts: &[Attempt<'_>], plan: &RetryPlan, now: Timestamp) -> Result<Settling, ParametersError> {
    let mut settling = Settling::default();
    for attempt in attempts {
        let parameters = Parameters::from_json(&attempt.item.parameters)?;
        settling.settle_one(attempt, parameters, plan, now);
    }
    Ok(settling)
}

impl Settling {
    fn settle_one(&mut self, attempt: &Attempt<'_>, parameters: Parameters, plan: &RetryPlan, now: Timestamp) {
        let item = attempt.item;
        let tried = Tried {
            attempts: item.attempts.saturating_add(1),
            expires: item.expires,
            // Invariant 6: an automatic message never triggers another.
            tell_failure: parameters.tell_failure(item.sender.as_ref()),
            late: plan
                .late(item.created)
                .filter(|_| item.delay_told.is_none() && parameters.tell_delay(item.sender.as_ref())),
        };
        let fate = fate(&attempt.outcome, tried, plan, now);
        // Also where nobody is to be told: the moment has passed, and the item need not be looked at for it again.
        let is_late = item.delay_told.is_none() && plan.late(item.created).is_some_and(|late| late <= now);
        self.settlements.push(Settlement {
            key: item.key,
            lease: item.lease,
            fate: settled(fate, attempt, is_late.then_some(now)),
        });
        let event = event(fate, attempt, tried.attempts);
        self.records.push(Record::new(now, &item.session, event));
        self.notices.extend(notice(fate, attempt, parameters));
    }
}

fn settled(fate: Fate, attempt: &Attempt<'_>, delay_told: Option<Timestamp>) -> Settled {
    match fate {
        Fate::RetryAt(due) | Fate::TellDelay(due) => Settled::Retry {
            due,
            last_reply: Excerpt::new(&attempt.outcome.answer().text).as_str().to_owned(),
            delay_told,
        },
        Fate::Delivered | Fate::Bounce(_) | Fate::Discard(_) => Settled::Done,
    }
}

fn event(fate: Fate, attempt: &Attempt<'_>, attempts: u32) -> Event {
    let recipient = MaskedAddress::from(&attempt.item.recipient);
    let peer_subject = Excerpt::new(attempt.peer_subject);
    let reply = Excerpt::new(&attempt.outcome.answer().text);
    let bounced = |cause: BounceCause, told: Option<&Address>| Bounced {
        recipient: recipient.clone(),
        peer_subject: peer_subject.clone(),
        reply: reply.clone(),
        attempts,
        cause,
        told: told.map(MaskedAddress::from),
    };
    match fate {
        Fate::Delivered => Event::Relayed(Relayed {
            recipient,
            peer_subject,
            reply,
            attempts,
        }),
        Fate::RetryAt(due) | Fate::TellDelay(due) => Event::Deferred(Deferred {
            recipient,
            peer_subject,
            reply,
            attempts,
            due: due.to_string(),
        }),
        Fate::Bounce(cause) => Event::Bounced(bounced(cause, attempt.item.sender.as_ref())),
        Fate::Discard(cause) => Event::Bounced(bounced(cause, None)),
    }
}

fn notice(fate: Fate, attempt: &Attempt<'_>, parameters: Parameters) -> Option<Notice> {
    let answer = attempt.outcome.answer();
    let said = |default: &str| answer.status().unwrap_or(default).to_owned();
    let (action, status) = match fate {
        Fate::Bounce(BounceCause::Refused) => (Action::Failed, permanent(&said(STATUS_UNDEFINED))),
        Fate::Bounce(BounceCause::Expired) => (Action::Failed, STATUS_EXPIRED.to_owned()),
        Fate::TellDelay(_) => (Action::Delayed, temporary(&said(STATUS_WAITING))),
        // RFC 3461 §5.2.2 (c): success was asked for, the peer cannot tell of it, so this operator says "relayed".
        Fate::Delivered
            if matches!(attempt.outcome, Outcome::AcceptedWithoutDsn(_))
                && parameters.tell_success(attempt.item.sender.as_ref()) =>
        {
            (Action::Relayed, said(STATUS_SUCCESS))
        }
        Fate::Delivered | Fate::RetryAt(_) | Fate::Discard(_) => return None,
    };
    Some(Notice {
        item: attempt.item.clone(),
        parameters,
        action,
        status,
        answer: answer.clone(),
        peer_host: attempt.peer_host.map(str::to_owned),
    })
}

/// A status of class 4 or 2 beside a definite refusal is the peer's slip: the report must say "failed" consistently (RFC 3464 §2.3.4).
fn permanent(status: &str) -> String {
    format!("5{}", status.get(1..).unwrap_or(".0.0"))
}

/// The same for a delay.
fn temporary(status: &str) -> String {
    format!("4{}", status.get(1..).unwrap_or(".0.0"))
}

/// RFC 3463 §3.1: other or undefined status.
const STATUS_UNDEFINED: &str = "5.0.0";
const STATUS_SUCCESS: &str = "2.0.0";
const STATUS_WAITING: &str = "4.0.0";
/// RFC 3463 §3.5 X.4.7 delivery time expired, now for good.
const STATUS_EXPIRED: &str = "5.4.7";

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use proptest::prelude::*;

    use super::*;
    use crate::message::Class;
    use crate::smtp::command::Notify;
    use crate::store::{MessageKey, QueueKey};

    fn now() -> Timestamp {
        "2026-11-21T10:00:00Z".parse().unwrap()
    }

    fn item(sender: Option<&str>, notify: Option<Notify>) -> QueueItem {
        let parameters = Parameters {
            notify,
            ..Parameters::default()
        };
        QueueItem {
            key: QueueKey(5),
            message: MessageKey(2),
            size_bytes: 100,
            sender: sender.map(|text| text.parse().unwrap()),
            recipient: "279035121518989@patient.mssante.fr".parse().unwrap(),
            created: now(),
            due: now(),
            expires: now() + SignedDuration::from_hours(48),
            attempts: 0,
            last_reply: None,
            delay_told: None,
            parameters: parameters.to_json().unwrap(),
            session: "s-1".into(),
            lease: 9,
            instead: None,
        }
    }

    fn settled(item: &QueueItem, outcome: Outcome) -> Settling {
        let attempt = Attempt {
            item,
            outcome,
            peer_subject: "CN=mx",
            peer_host: Some("mx.patient.mssante.fr"),
        };
        settle(&[attempt], &RetryPlan::default(), now()).unwrap()
    }

    const SENDER: Option<&str> = Some("dui@lilas.mssante.fr");

    fn refused() -> Outcome {
        Outcome::Refused(Answer::peer("550 5.1.1 <279035121518989@patient.mssante.fr> unknown"))
    }

    #[test]
    fn a_delivered_recipient_leaves_the_queue_with_its_record() {
        let settling = settled(&item(SENDER, None), Outcome::Accepted(Answer::peer("250 2.0.0 ok")));
        assert!(matches!(settling.settlements[0].fate, Settled::Done));
        assert_eq!(
            (settling.settlements[0].key, settling.settlements[0].lease),
            (QueueKey(5), 9)
        );
        assert!(matches!(&settling.records[0].event, Event::Relayed(relayed) if relayed.attempts == 1));
        assert_eq!(settling.records[0].session, "s-1");
        assert!(settling.notices.is_empty());
    }

    #[test]
    fn a_deferred_recipient_waits_and_shows_no_ins() {
        let answer = Answer::peer("451 4.2.0 <279035121518989@patient.mssante.fr> later");
        let settling = settled(&item(SENDER, None), Outcome::Deferred(answer));
        let Settled::Retry { due, last_reply, .. } = &settling.settlements[0].fate else {
            panic!("it stays in the queue");
        };
        assert_eq!(due.to_string(), "2026-11-21T10:01:00Z");
        assert_eq!(last_reply, "451 4.2.0 <2790…989@patient.mssante.fr> later");
        assert!(settling.notices.is_empty());
    }

    #[test]
    fn a_refusal_is_reported_to_the_sender() {
        let settling = settled(&item(SENDER, None), refused());
        let notice = &settling.notices[0];
        assert_eq!((notice.action, notice.status.as_str()), (Action::Failed, "5.1.1"));
        assert_eq!(notice.peer_host.as_deref(), Some("mx.patient.mssante.fr"));
        let row = settling.records[0].to_row();
        assert_eq!(row.event, "bounced");
        assert!(row.detail.contains("\"told\":\"dui@lilas.mssante.fr\""));
        assert!(!row.detail.contains("279035121518989"));
    }

    #[test]
    fn an_automatic_message_triggers_nothing_however_it_ends() {
        let wants_all = Notify::SUCCESS.with(Notify::FAILURE);
        for outcome in [refused(), Outcome::AcceptedWithoutDsn(Answer::peer("250 ok"))] {
            let settling = settled(&item(None, Some(wants_all)), outcome);
            assert!(settling.notices.is_empty());
            assert!(matches!(settling.settlements[0].fate, Settled::Done));
        }
        let mut late = item(None, None);
        late.expires = now();
        let settling = settled(&late, Outcome::Deferred(Answer::here("451 4.4.1 no route")));
        assert!(settling.notices.is_empty());
        assert!(matches!(&settling.records[0].event, Event::Bounced(b) if b.told.is_none()));
    }

    #[test]
    fn notify_never_keeps_a_failure_silent() {
        assert!(
            settled(&item(SENDER, Some(Notify::NEVER)), refused())
                .notices
                .is_empty()
        );
    }

    #[test]
    fn expiry_is_reported_as_such() {
        let mut late = item(SENDER, None);
        late.expires = now();
        let settling = settled(&late, Outcome::Deferred(Answer::here("451 4.4.1 no route")));
        assert_eq!(settling.notices[0].status, "5.4.7");
        assert!(matches!(&settling.records[0].event, Event::Bounced(b) if b.cause == BounceCause::Expired));
    }

    #[test]
    fn success_is_reported_here_only_when_asked_for_and_nobody_beyond_can() {
        let asked = Notify::SUCCESS;
        let silent = || Outcome::AcceptedWithoutDsn(Answer::peer("250 ok"));
        let told = settled(&item(SENDER, Some(asked)), silent());
        assert_eq!(
            (told.notices[0].action, told.notices[0].status.as_str()),
            (Action::Relayed, "2.0.0")
        );
        assert!(settled(&item(SENDER, None), silent()).notices.is_empty());
        let onward = Outcome::Accepted(Answer::peer("250 ok"));
        assert!(settled(&item(SENDER, Some(asked)), onward).notices.is_empty());
    }

    #[test]
    fn a_delay_is_told_once_and_only_to_who_may_be_told() {
        let busy = || Outcome::Deferred(Answer::peer("451 4.2.0 later"));
        let waiting = |sender, notify, hours| QueueItem {
            created: now() - SignedDuration::from_hours(hours),
            ..item(sender, notify)
        };
        let told_at = |settling: &Settling| match settling.settlements[0].fate {
            Settled::Retry { delay_told, .. } => delay_told,
            Settled::Done | Settled::Unattempted => panic!("it waits for another attempt"),
        };
        let first = settled(&waiting(SENDER, None, 4), busy());
        assert_eq!(
            (first.notices[0].action, first.notices[0].status.as_str()),
            (Action::Delayed, "4.2.0")
        );
        assert_eq!(told_at(&first), Some(now()));
        assert_eq!(first.records.len(), 1);

        let early = settled(&waiting(SENDER, None, 3), busy());
        assert!(early.notices.is_empty() && told_at(&early).is_none());
        let again = QueueItem {
            delay_told: Some(now()),
            ..waiting(SENDER, None, 5)
        };
        assert!(settled(&again, busy()).notices.is_empty());
        for (sender, notify) in [
            (None, None),
            (None, Some(Notify::DELAY)),
            (SENDER, Some(Notify::NEVER)),
            (SENDER, Some(Notify::FAILURE)),
        ] {
            let silent = settled(&waiting(sender, notify, 5), busy());
            assert!(silent.notices.is_empty());
            assert_eq!(told_at(&silent), Some(now()), "it is not looked at again");
        }
    }

    /// Plays attempts until the item leaves the queue; what its sender was told, in order.
    fn told_by(item: &mut QueueItem, outcomes: &[Outcome], plan: &RetryPlan) -> (Vec<Action>, u32) {
        let (mut told, mut at, mut ends) = (Vec::new(), item.created, 0);
        // The last outcome repeats: no schedule has more attempts than this.
        let outcomes = outcomes
            .iter()
            .chain(outcomes.last().into_iter().cycle().take(PLAYED_MAX));
        for outcome in outcomes {
            let attempt = Attempt {
                item,
                outcome: outcome.clone(),
                peer_subject: "CN=mx",
                peer_host: None,
            };
            let settling = settle(&[attempt], plan, at).unwrap();
            assert_eq!((settling.settlements.len(), settling.records.len()), (1, 1));
            told.extend(settling.notices.iter().map(|notice| notice.action));
            match &settling.settlements[0].fate {
                Settled::Unattempted => panic!("an attempt was made"),
                Settled::Done => {
                    ends += 1;
                    break;
                }
                Settled::Retry { due, delay_told, .. } => {
                    assert!(*due > at && *due <= item.expires, "later, and not after the end");
                    at = *due;
                    item.attempts += 1;
                    item.delay_told = delay_told.or(item.delay_told);
                }
            }
        }
        (told, ends)
    }

    const PLAYED_MAX: usize = 500;

    fn outcomes() -> impl Strategy<Value = Vec<Outcome>> {
        let one = prop_oneof![
            6 => Just(Outcome::Deferred(Answer::peer("451 4.3.0 later"))),
            1 => Just(Outcome::Accepted(Answer::peer("250 2.0.0 ok"))),
            1 => Just(Outcome::AcceptedWithoutDsn(Answer::peer("250 ok"))),
            1 => Just(Outcome::Refused(Answer::here("550 5.1.1 no"))),
        ];
        proptest::collection::vec(one, 1..30)
    }

    fn notify() -> impl Strategy<Value = Option<Notify>> {
        let one = |on: bool, condition| if on { condition } else { Notify::NEVER };
        let any = any::<(bool, bool, bool)>().prop_map(move |(success, failure, delay)| {
            one(success, Notify::SUCCESS)
                .with(one(failure, Notify::FAILURE))
                .with(one(delay, Notify::DELAY))
        });
        proptest::option::of(any)
    }

    proptest! {
        #[test]
        fn a_recipient_has_one_final_verdict_and_an_automatic_message_is_never_answered(
            outcomes in outcomes(),
            notify in notify(),
            has_sender: bool,
            class in proptest::sample::select(&Class::ALL[..]),
            delay_hours in 0i64..60,
        ) {
            let plan = RetryPlan::default().with_delay_notice((delay_hours > 0).then(|| SignedDuration::from_hours(delay_hours)));
            let mut item = item(has_sender.then_some("dui@lilas.mssante.fr"), notify);
            let parameters = Parameters { notify, class, ..Parameters::default() };
            item.parameters = parameters.to_json().unwrap();
            let sender = item.sender.clone();
            let (told, ends) = told_by(&mut item, &outcomes, &plan);
            prop_assert_eq!(ends, 1, "it leaves the queue once");
            let finals = told.iter().filter(|action| **action != Action::Delayed).count();
            prop_assert!(finals <= 1 && told.len() - finals <= 1, "{:?}", told);
            prop_assert!(told.is_empty() || finals == 0 || told.last() != Some(&Action::Delayed), "nothing after the end: {:?}", told);
            if sender.is_none() || matches!(class, Class::Mdn | Class::Dsn) || notify == Some(Notify::NEVER) {
                prop_assert!(told.is_empty(), "{:?}", told);
            }
            let sender = sender.as_ref();
            prop_assert!(parameters.tell_failure(sender) || !told.contains(&Action::Failed));
            prop_assert!(parameters.tell_success(sender) || !told.contains(&Action::Relayed));
            prop_assert!(parameters.tell_delay(sender) || !told.contains(&Action::Delayed));
        }
    }

    #[test]
    fn a_refusal_is_always_reported_with_a_permanent_status() {
        for (reply, status) in [
            ("550 no", "5.0.0"),
            ("550 4.1.1 slip", "5.1.1"),
            ("550 5.7.1 x", "5.7.1"),
        ] {
            let settling = settled(&item(SENDER, None), Outcome::Refused(Answer::peer(reply)));
            assert_eq!(settling.notices[0].status, status);
        }
    }

    #[test]
    fn an_item_that_is_not_ours_settles_nothing() {
        let mut foreign = item(SENDER, None);
        foreign.parameters = "{".into();
        let attempt = Attempt {
            item: &foreign,
            outcome: refused(),
            peer_subject: "",
            peer_host: None,
        };
        assert!(settle(&[attempt], &RetryPlan::default(), now()).is_err());
    }
}
