//! An operator without faces whose relay finds the hosts of a test, on a clock that the test moves.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::{SignedDuration, Timestamp};
use rusqlite::Connection;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::{RwLock, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use vaguemestre::app;
use vaguemestre::clock::Clock;
use vaguemestre::config;
use vaguemestre::directory::Directory;
use vaguemestre::dns::{MailHost, Reach, RouteTable, Zone};
use vaguemestre::identity::{Address, Domain};
use vaguemestre::journal::Record;
use vaguemestre::listener::{Handshakes, Health, Memory, Parts, Snapshot};
use vaguemestre::mailbox::{Mailboxes, Notify};
use vaguemestre::metrics::{Meter, render};
use vaguemestre::pki::{
    self, Authority, AuthorityOptions, ClientCertificates, Issued, Issuer, KeyKind, MissingRevocation, Names, Profile,
    Request, RevocationPolicy, RevocationReason, Subject, TlsMinimum, TrustStore,
};
use vaguemestre::policy::submission::Rules;
use vaguemestre::queue::{Parameters, Place, RetryPlan, Submission, enqueue};
use vaguemestre::relay::{self, Relay, Reuse};
use vaguemestre::store::sqlite::{Options as StoreOptions, SqliteStore};
use vaguemestre::store::{Acceptance, Content, JournalFilter, NewMessage, QueueItem, Store};
use vaguemestre::sync::Responders;
use vaguemestre::trust::{AllowList, AllowListDocument, ListedDomain};

use super::Host;
use crate::common::wait_until;

const PATIENCE: Duration = Duration::from_secs(20);
const OWN: &str = "mx.lilas.mssante.fr";
pub(crate) const SENDER: &str = "soins@lilas.mssante.fr";

/// How the relay of a field works.
#[derive(Clone)]
pub(crate) struct Options {
    pub(crate) relay: relay::Options,
}

impl Default for Options {
    /// Short waits: nobody is far away.
    fn default() -> Self {
        Self {
            relay: relay::Options {
                connections_max: 64,
                connect: Duration::from_millis(700),
                reply: Duration::from_millis(700),
                delivery: Duration::from_millis(700),
                // Long: a loaded machine must not end connections on its own.
                reuse: Reuse {
                    idle: Duration::from_mins(1),
                    age: Duration::from_mins(10),
                    ..Reuse::default()
                },
                ..relay::Options::default()
            },
        }
    }
}

/// A message to be queued.
pub(crate) struct Mail<'a> {
    /// Whom reports go to; `None`: the box of this operator.
    pub(crate) sender: Option<Address>,
    pub(crate) to: &'a [&'a str],
    pub(crate) text: Vec<u8>,
    pub(crate) parameters: Parameters,
}

impl<'a> Mail<'a> {
    pub(crate) fn new(to: &'a [&'a str], subject: &str) -> Self {
        Self {
            sender: None,
            to,
            text: format!("From: <{SENDER}>\r\nSubject: {subject}\r\n\r\nBonjour\r\n").into_bytes(),
            parameters: Parameters::default(),
        }
    }
}

/// The operator.
pub(crate) struct Field {
    pub(crate) runtime: Runtime,
    pub(crate) clock: Clock,
    authority: Authority,
    parts: Arc<Parts>,
    routes: Arc<RouteTable>,
    zone: Zone,
    entries: Vec<ListedDomain>,
    issued: Vec<(String, Issued)>,
    running: Option<(TaskTracker, CancellationToken)>,
    files: TempDir,
}

impl Field {
    pub(crate) fn raise(options: &Options) -> Self {
        let runtime = Runtime::new().unwrap();
        let files = tempfile::tempdir().unwrap();
        let now: Timestamp = "2026-11-21T10:00:00Z".parse().unwrap();
        let clock = Clock::manual(now);
        let authority = Authority::create_or_open(
            &files.path().join("authority"),
            AuthorityOptions {
                base_url: "http://127.0.0.1:1".to_owned(),
                key: Some(KeyKind::EcdsaP256),
                ..AuthorityOptions::default()
            },
            now,
        )
        .unwrap();
        let own = authority.issue(&request(OWN), now).unwrap();
        let guard = runtime.enter();
        let meter = Meter::new("lilas");
        let store = measured_store(&files, &meter);
        let parts = Arc::new(Parts {
            operator: "lilas".to_owned(),
            clock: clock.clone(),
            mailboxes: Mailboxes::new(Arc::clone(&store), Notify::default()),
            store,
            snapshot: ArcSwap::from_pointee(Snapshot {
                directory: Arc::new(Directory::new(vec!["lilas.mssante.fr".parse().unwrap()])),
                inboxes: Arc::default(),
                allow_list: Arc::new(list(now, &[])),
                authority: Arc::new(trust(&authority)),
            }),
            departed: RwLock::new(HashSet::new()),
            queued: Arc::default(),
            handover: Arc::default(),
            responders: Arc::new(Responders::none()),
            retry: RetryPlan::default(),
            handshakes: Handshakes::default(),
            meter,
            limits: ArcSwap::from_pointee(app::limits_of(&config::Limits::default(), 50_000_000)),
            health: Health::default(),
            memory: Arc::new(Memory::new(64 << 20)),
            handshakes_room: Arc::new(Semaphore::new(1)),
            sending: Rules::default(),
            directory_changed: tokio::sync::watch::Sender::new(()),
            login_places: Arc::default(),
        });
        let routes = Arc::new(RouteTable::new(Arc::default(), None, Reach::ThisMachine));
        let identity = Arc::new(ArcSwap::from_pointee(own.identity().unwrap()));
        let sender: (Domain, _) = (OWN.parse().unwrap(), identity);
        let relay = Relay::new(
            Arc::clone(&parts),
            Arc::clone(&routes) as _,
            sender,
            options.relay.clone(),
        );
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        tracker.spawn(Arc::new(relay).run(tracker.clone(), stop.clone()));
        drop(guard);
        Self {
            runtime,
            clock,
            authority,
            parts,
            routes,
            zone: Zone::default(),
            entries: Vec::new(),
            issued: Vec::new(),
            running: Some((tracker, stop)),
            files,
        }
    }

    /// A host of a domain, listed for it.
    pub(crate) fn host(&mut self, domain: &str, preference: u16, offers: &[&str], rules: &[&str]) -> Host {
        let name = format!("mx{preference}.{domain}");
        let issued = self.authority.issue(&request(&name), self.clock.now()).unwrap();
        let host = self.start(&issued, offers, rules);
        self.place(domain, preference, &name, host.port);
        self.listing(domain, &issued);
        self.issued.push((name, issued));
        host
    }

    /// A host whose certificate nobody has listed: `authority` issued it, ours or another.
    pub(crate) fn stranger(&mut self, domain: &str, foreign: bool) -> Host {
        let name = format!("mx.{domain}");
        let elsewhere = tempfile::tempdir().unwrap();
        let issued = if foreign {
            let options = AuthorityOptions {
                base_url: "http://127.0.0.1:1".to_owned(),
                key: Some(KeyKind::EcdsaP256),
                ..AuthorityOptions::default()
            };
            let other = Authority::create_or_open(elsewhere.path(), options, self.clock.now()).unwrap();
            other.issue(&request(&name), self.clock.now()).unwrap()
        } else {
            self.authority.issue(&request(&name), self.clock.now()).unwrap()
        };
        let host = self.start(&issued, &[], &[]);
        self.place(domain, 10, &name, host.port);
        let listed = self
            .authority
            .issue(&request("mx.listed.mssante.fr"), self.clock.now())
            .unwrap();
        self.listing(domain, if foreign { &issued } else { &listed });
        host
    }

    /// Another domain with the same host.
    pub(crate) fn also(&mut self, domain: &str, host: &Host, of: &str) {
        let name = format!("mx10.{of}");
        self.place(domain, 10, &name, host.port);
        let at = self.issued.iter().position(|(known, _)| *known == name).unwrap();
        let issued = self.issued[at].1.clone();
        self.listing(domain, &issued);
    }

    /// A place in the routes where nobody listens.
    pub(crate) fn dead(&mut self, domain: &str, preference: u16) {
        self.place(domain, preference, &format!("mort.{domain}"), 1);
    }

    fn start(&self, issued: &Issued, offers: &[&str], rules: &[&str]) -> Host {
        let identity = issued.identity().unwrap();
        let tls = pki::server_config(&identity, ClientCertificates::Requested, TlsMinimum::Tls12, &self.clock).unwrap();
        self.runtime.block_on(Host::start(tls, offers, rules))
    }

    fn place(&mut self, domain: &str, preference: u16, name: &str, port: u16) {
        let host = MailHost {
            preference,
            name: name.to_owned(),
            addresses: vec![([127, 0, 0, 1], port).into()],
        };
        self.zone.add(domain.parse().unwrap(), host);
        self.routes.replace(Arc::new(self.zone.clone()));
    }

    fn listing(&mut self, domain: &str, issued: &Issued) {
        self.entries.push(ListedDomain {
            domain: domain.parse().unwrap(),
            description: String::new(),
            certificate: issued.subject.clone(),
            responsible_contact: String::new(),
            support_contact: String::new(),
            updated: self.clock.now(),
        });
        self.install();
    }

    /// Takes a domain off the allow list.
    pub(crate) fn unlist(&mut self, domain: &str) {
        self.entries.retain(|entry| entry.domain.as_str() != domain);
        self.install();
    }

    /// Lists another certificate for a domain than the one its host shows.
    pub(crate) fn list_another(&mut self, domain: &str) {
        self.entries.retain(|entry| entry.domain.as_str() != domain);
        let other = self
            .authority
            .issue(&request("mx.autre.mssante.fr"), self.clock.now())
            .unwrap();
        self.listing(domain, &other);
    }

    /// Revokes the certificate of the first host of a domain.
    pub(crate) fn revoke(&mut self, domain: &str) {
        let name = format!("mx10.{domain}");
        let (_, issued) = self.issued.iter().find(|(known, _)| *known == name).unwrap();
        let now = self.clock.now();
        self.authority
            .revoke(&issued.serial, RevocationReason::KeyCompromise, now)
            .unwrap();
        self.install();
    }

    fn install(&self) {
        let before = self.parts.snapshot.load_full();
        self.parts.snapshot.store(Arc::new(Snapshot {
            allow_list: Arc::new(list(self.clock.now(), &self.entries)),
            authority: Arc::new(with_crls(&self.authority, self.clock.now())),
            ..Snapshot::clone(&before)
        }));
    }

    /// Queues a message, and wakes the relay.
    pub(crate) fn send(&self, mail: &Mail<'_>) {
        self.queue(mail);
        self.wake();
    }

    pub(crate) fn wake(&self) {
        self.parts.queued.notify_one();
    }

    /// Queues a message; an idle relay does not know yet.
    pub(crate) fn queue(&self, mail: &Mail<'_>) {
        let acceptance = self.acceptance(mail);
        self.runtime.block_on(self.parts.store.accept(acceptance)).unwrap();
    }

    /// Room for a message that is to be handed to the relay.
    pub(crate) fn reserve(&self, mail: &Mail<'_>) -> Option<Place> {
        let outgoing = self.acceptance(mail).outgoing;
        self.parts.handover.reserve(&outgoing, self.clock.now())
    }

    /// Accepts a message that has a place, and hands it to the relay.
    pub(crate) fn hand_over(&self, place: Place, mail: &Mail<'_>) {
        let acceptance = Acceptance {
            leased_until: Some(place.leased_until()),
            ..self.acceptance(mail)
        };
        let accepted = self.runtime.block_on(self.parts.store.accept(acceptance)).unwrap();
        place.hand_over(accepted.leased);
    }

    /// The same once there is a place: the relay may be about to begin.
    pub(crate) fn hand(&self, mail: &Mail<'_>) {
        let place = wait_until("a place for a message", PATIENCE, || self.reserve(mail));
        self.hand_over(place, mail);
    }

    fn acceptance(&self, mail: &Mail<'_>) -> Acceptance {
        let sender: Address = SENDER.parse().unwrap();
        let recipients: Vec<(Address, Parameters)> = mail
            .to
            .iter()
            .map(|to| (to.parse().unwrap(), mail.parameters.clone()))
            .collect();
        let submission = Submission {
            sender: Some(mail.sender.as_ref().unwrap_or(&sender)),
            recipients: &recipients,
            session: "test",
        };
        let (outgoing, records) = enqueue(&submission, &self.parts.retry, self.clock.now()).unwrap();
        Acceptance {
            message: Some(NewMessage {
                content: Content::Memory(Arc::new(mail.text.clone())),
                lead: Vec::new(),
                summary: None,
            }),
            outgoing,
            records: records.iter().map(Record::to_row).collect(),
            ..Acceptance::default()
        }
    }

    pub(crate) fn send_one(&self, to: &str, subject: &str) {
        self.send(&Mail::new(&[to], subject));
    }

    /// Says something to the database behind the store's back.
    pub(crate) fn tell_database(&self, statement: &str) {
        let connection = Connection::open(self.files.path().join("store/store.db")).unwrap();
        connection.busy_timeout(PATIENCE).unwrap();
        connection.execute_batch(statement).unwrap();
    }

    /// The only body file there is.
    pub(crate) fn body_file(&self) -> PathBuf {
        let folders = fs::read_dir(self.files.path().join("store/bodies")).unwrap();
        let folders = folders
            .map(|folder| folder.unwrap().path())
            .filter(|path| path.is_dir());
        let mut files: Vec<PathBuf> = folders
            .flat_map(|folder| fs::read_dir(folder).unwrap())
            .map(|file| file.unwrap().path())
            .collect();
        assert_eq!(files.len(), 1, "{files:?}");
        files.remove(0)
    }

    /// How often the store failed.
    pub(crate) fn store_has_failed(&self) -> bool {
        let page = render(std::slice::from_ref(&self.parts.meter));
        page.lines()
            .any(|line| line.starts_with("vaguemestre_store_errors_total{"))
    }

    /// The records of an event that mention `word`, as JSON.
    pub(crate) fn records(&self, event: &str, word: &str) -> Vec<String> {
        let filter = JournalFilter {
            events: vec![event.to_owned()],
            mentions: word.to_owned(),
            limit: 1000,
            ..JournalFilter::default()
        };
        let rows = self.runtime.block_on(self.parts.store.journal(filter)).unwrap();
        rows.into_iter().map(|row| row.detail).collect()
    }

    /// Waits for the first record of an event that mentions `word`.
    #[track_caller]
    pub(crate) fn record(&self, event: &str, word: &str) -> String {
        wait_until(&format!("{event} {word}"), PATIENCE, || {
            self.records(event, word).first().cloned()
        })
    }

    /// Waits for as many of them.
    #[track_caller]
    pub(crate) fn wait_for(&self, event: &str, word: &str, count: usize) {
        wait_until(&format!("{count} {event} {word}"), PATIENCE, || {
            (self.records(event, word).len() >= count).then_some(())
        });
    }

    /// What became of a recipient: `relayed`, `deferred` or `bounced`, and the record.
    #[track_caller]
    pub(crate) fn fate(&self, recipient: &str) -> (&'static str, String) {
        wait_until(&format!("an end for {recipient}"), PATIENCE, || {
            ["relayed", "deferred", "bounced"]
                .into_iter()
                .find_map(|event| Some((event, self.records(event, recipient).first()?.clone())))
        })
    }

    pub(crate) fn queued(&self) -> Vec<QueueItem> {
        self.runtime.block_on(self.parts.store.queued(1000)).unwrap()
    }

    /// Lets time pass, and wakes the relay.
    pub(crate) fn pass(&self, minutes: i64) {
        self.clock.advance(SignedDuration::from_mins(minutes));
        self.wake();
    }

    /// Asks the relay to end, and waits until it has.
    pub(crate) fn drain(&mut self) {
        let (tracker, stop) = self.running.take().unwrap();
        stop.cancel();
        tracker.close();
        self.runtime.block_on(tracker.wait());
    }
}

fn measured_store(files: &TempDir, meter: &Meter) -> Arc<dyn Store> {
    let options = StoreOptions {
        meter: meter.clone(),
        ..StoreOptions::default()
    };
    Arc::new(SqliteStore::open(&files.path().join("store"), options).unwrap())
}

fn request(host: &str) -> Request {
    Request {
        profile: Profile::ServSsl,
        subject: Subject {
            common_name: host.to_owned(),
            structure: "1990000010".to_owned(),
            organisation: "OPERATEUR D'ESSAI".to_owned(),
            state: "Rhône (69)".to_owned(),
            country: "FR".to_owned(),
        },
        names: Names::default(),
        key: Some(KeyKind::EcdsaP256),
        validity_days: None,
    }
}

fn trust(authority: &Authority) -> TrustStore {
    let store = TrustStore::from_pem(pki::trust_bundle(authority).as_bytes()).unwrap();
    store.with_revocation(RevocationPolicy {
        missing: MissingRevocation::Accept,
        ..RevocationPolicy::default()
    })
}

fn with_crls(authority: &Authority, now: Timestamp) -> TrustStore {
    let crl = |issuer| authority.crl(issuer, now).unwrap();
    let store = trust(authority).with_crl(&crl(Issuer::Root)).unwrap();
    store.with_crl(&crl(Issuer::Intermediate)).unwrap()
}

fn list(now: Timestamp, entries: &[ListedDomain]) -> AllowList {
    AllowList::new(AllowListDocument {
        generated: now,
        entries: entries.to_vec(),
    })
}
