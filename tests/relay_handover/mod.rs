//! Mail that sessions hand to the relay: it is leased from the start, travels without a look at the store, and is nobody's loss when it
//! cannot travel.

use std::time::Duration;

use crate::common::wait_until;
use crate::mail_host::{Field, Host, Mail, Options};

const PATIENCE: Duration = Duration::from_secs(20);
const ALL: &[&str] = &["PIPELINING", "SIZE 50000000", "8BITMIME", "CHUNKING", "DSN"];

/// With so many connections to a domain, none of which ends because the machine is slow.
fn field(connections: usize) -> Field {
    let mut options = Options::default();
    let relay = &mut options.relay;
    (relay.connect, relay.reply, relay.delivery) = (PATIENCE, PATIENCE, PATIENCE);
    relay.connections_per_domain_max = connections;
    Field::raise(&options)
}

fn said(host: &Host, word: &str) -> usize {
    host.lines().iter().filter(|line| line.starts_with(word)).count()
}

/// A destination with one connection, over which a message travels whose text is not answered until the host is let go.
fn one_under_way() -> (Field, Host) {
    let mut field = field(1);
    let host = field.host("d.mssante.fr", 10, ALL, &["text premier: wait"]);
    field.hand(&Mail::new(&["a@d.mssante.fr"], "premier"));
    wait_until("the first text", PATIENCE, || (said(&host, "BDAT") == 1).then_some(()));
    (field, host)
}

#[test]
fn what_is_handed_over_is_leased_at_once_and_leaves_the_queue() {
    let mut field = field(4);
    let host = field.host("d.mssante.fr", 10, ALL, &["text: wait"]);
    field.hand(&Mail::new(&["a@d.mssante.fr", "b@d.mssante.fr"], "ensemble"));
    wait_until("the text", PATIENCE, || (said(&host, "BDAT") == 1).then_some(()));
    let leases: Vec<i64> = field.queued().iter().map(|item| item.lease).collect();
    assert_eq!(leases, [-1, -1], "the lease it was born with: no other was taken");
    host.let_go();
    field.wait_for("relayed", "", 2);
    assert_eq!((host.taken().len(), field.queued().len()), (1, 0));
    assert_eq!(host.taken()[0].recipients.len(), 2);
}

#[test]
fn what_comes_while_a_connection_serves_goes_over_it() {
    let (field, host) = one_under_way();
    for subject in ["deuxieme", "troisieme", "quatrieme"] {
        field.hand(&Mail::new(&["a@d.mssante.fr"], subject));
    }
    host.let_go();
    field.wait_for("relayed", "", 4);
    assert_eq!((host.connections(), said(&host, "MAIL")), (1, 4));
    assert!(field.queued().is_empty());
}

#[test]
fn what_waits_in_the_store_gets_the_lane_in_its_turn() {
    let (field, host) = one_under_way();
    field.send_one("b@d.mssante.fr", "du magasin");
    field.hand(&Mail::new(&["c@d.mssante.fr"], "deuxieme"));
    host.let_go();
    field.wait_for("relayed", "", 3);
    assert_eq!((host.taken().len(), field.queued().len()), (3, 0));
}

#[test]
fn what_was_handed_over_for_a_domain_that_lost_our_trust_gets_to_nobody() {
    let (mut field, host) = one_under_way();
    field.hand(&Mail::new(&["b@d.mssante.fr"], "deuxieme"));
    field.unlist("d.mssante.fr");
    host.let_go();
    let (fate, record) = field.fate("b@d.mssante.fr");
    assert_eq!(fate, "bounced", "{record}");
    assert!(record.contains("not on the allow list"), "{record}");
    assert_eq!((host.taken().len(), said(&host, "MAIL")), (1, 1));
}

#[test]
fn a_destination_that_cannot_be_reached_takes_nothing_until_it_is() {
    let mut field = field(4);
    field.host("d.mssante.fr", 10, ALL, &["greeting: close"]);
    let late = Mail::new(&["b@d.mssante.fr"], "deuxieme");
    let early = wait_until("a place", PATIENCE, || field.reserve(&late));
    field.hand(&Mail::new(&["a@d.mssante.fr"], "premier"));
    field.record("deferred", "a@d.mssante.fr");
    wait_until("no place", PATIENCE, || field.reserve(&late).is_none().then_some(()));

    // Its place is older than the failure.
    field.hand_over(early, &late);
    wait_until("it is given back", PATIENCE, || {
        field.queued().iter().all(|item| item.lease == 0).then_some(())
    });
    let attempts: Vec<u32> = field.queued().iter().map(|item| item.attempts).collect();
    assert_eq!(attempts, [1, 0], "for the second nothing was tried");

    let host = field.host("d.mssante.fr", 5, ALL, &[]);
    field.pass(20);
    field.wait_for("relayed", "", 2);
    assert_eq!((host.taken().len(), field.queued().len()), (2, 0));
    field.hand(&Mail::new(&["c@d.mssante.fr"], "troisieme"));
    field.wait_for("relayed", "", 3);
}

#[test]
fn what_the_peer_does_not_take_now_is_tried_again_when_it_is_due() {
    let mut field = field(4);
    let host = field.host("d.mssante.fr", 10, ALL, &["RCPT#1: 450 4.2.0 greylisted"]);
    field.hand(&Mail::new(&["a@d.mssante.fr"], "premier"));
    field.record("deferred", "a@d.mssante.fr");
    field.pass(60);
    field.wait_for("relayed", "a@d.mssante.fr", 1);
    assert_eq!((host.taken().len(), field.queued().len()), (1, 0));
}

#[test]
fn nothing_is_taken_over_once_the_relay_ends_and_what_waits_keeps_its_lease() {
    let (mut field, host) = one_under_way();
    let late = Mail::new(&["b@d.mssante.fr"], "deuxieme");
    field.hand(&late);
    host.let_go();
    field.drain();
    assert!(field.reserve(&late).is_none());
    let left = field.queued();
    assert!(left.iter().all(|item| item.lease == -1 && item.attempts == 0));
    assert_eq!(host.taken().len() + left.len(), 2, "each is in one place");
}
