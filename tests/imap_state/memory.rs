//! Sessions without sockets: bytes in, bytes out, each step of each session in an order that the seed decides.

use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use vaguemestre::imap::{Answer, Certificate, Options, Request, Security, Session, Step};
use vaguemestre::mailbox::{BoxSession, Mailboxes, Notify, deliver, new_message};
use vaguemestre::store::sqlite::{self, SqliteStore};
use vaguemestre::store::{Acceptance, MessageStore, Store};

use crate::model::{Folder, Kind, Mode, Model, Resync, Truth};
use crate::random::Random;
use crate::{script, wire};

const ADDRESS: &str = "jean@chu.mssante.fr";
const CLIENTS: usize = 5;
const STEPS: usize = 2000;
/// Most things said before a client is heard again.
const STEPS_TO_QUIET: usize = 100_000;

/// A client, and the driver of its session.
struct Client {
    session: Session,
    boxes: BoxSession,
    model: Model,
    heard: Vec<u8>,
    /// A question whose answer is on its way.
    asked: Option<Request>,
    waits: Waits,
    tags: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waits {
    No,
    ForInput,
    Idle,
}

/// Everything said so far.
#[derive(Debug, Default)]
struct Transcript(Vec<String>);

impl Transcript {
    fn note(&mut self, who: usize, arrow: &str, bytes: &[u8]) {
        self.0
            .push(format!("{who} {arrow} {}", String::from_utf8_lossy(bytes).trim_end()));
    }

    fn fail(&self, seed: u64, why: &str) -> ! {
        panic!("seed {seed}: {why}\n{}", self.0.join("\n"));
    }
}

struct World {
    seed: u64,
    random: Random,
    store: Arc<SqliteStore>,
    mailboxes: Mailboxes,
    truth: Arc<Mutex<Truth>>,
    clients: Vec<Client>,
    transcript: Transcript,
    now: Timestamp,
}

/// Plays one seed to its quiet end.
pub(crate) async fn play(seed: u64) {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(SqliteStore::open(folder.path(), sqlite::Options::default()).unwrap());
    let mailboxes = Mailboxes::new(Arc::clone(&store) as Arc<dyn Store>, Notify::default());
    mailboxes.ensure(&ADDRESS.parse().unwrap()).await.unwrap();
    let mut world = World {
        seed,
        random: Random::new(seed),
        store,
        mailboxes,
        truth: Arc::default(),
        clients: Vec::new(),
        transcript: Transcript::default(),
        now: "2026-11-21T10:00:00Z".parse().unwrap(),
    };
    for who in 0..CLIENTS {
        world.connect(who).await;
    }
    for _ in 0..STEPS {
        if world.random.once_in(150) {
            world.deliver().await;
        }
        let who = world.random.below(CLIENTS);
        world.step(who).await;
    }
    world.quiet().await;
    world.compare().await;
    world.store.close().await.unwrap();
}

impl World {
    async fn connect(&mut self, who: usize) {
        let mode = *self.random.of(&Mode::ALL);
        let client = Client {
            session: Session::new(Options::new(Security::Tls(Certificate::None))),
            boxes: self.mailboxes.session(),
            model: Model::new(mode, Arc::clone(&self.truth)),
            heard: Vec::new(),
            asked: None,
            waits: Waits::No,
            tags: 0,
        };
        self.clients.push(client);
        while self.clients[who].waits == Waits::No {
            self.turn(who).await;
        }
        self.clients[who].heard.clear();
        self.send(who, "LOGIN jean s", Kind::Other, &[]);
        self.send(who, mode.enable(), Kind::Other, &[]);
    }

    fn send(&mut self, who: usize, line: &str, kind: Kind, targets: &[usize]) {
        let client = &mut self.clients[who];
        client.tags += 1;
        let tag = format!("{}{}", char::from(b'a' + u8::try_from(who).unwrap()), client.tags);
        let line = format!("{tag} {line}\r\n");
        client.model.sent(tag, kind, targets);
        client.session.feed(line.as_bytes());
        self.transcript.note(who, ">", line.as_bytes());
    }

    async fn deliver(&mut self) {
        let id = format!("{:016x}", self.random.next());
        let owner = self.mailboxes.ensure(&ADDRESS.parse().unwrap()).await.unwrap();
        let inbox = self.mailboxes.inbox(owner).await.unwrap();
        let acceptance = Acceptance {
            message: Some(new_message(Arc::new(script::message(&id).into_bytes()), Vec::new())),
            deliveries: vec![deliver::unread(inbox, self.now)],
            ..Acceptance::default()
        };
        let accepted = self.store.accept(acceptance).await.unwrap();
        self.mailboxes.notify().accepted(&accepted);
        let (_, validity, uid) = accepted.delivered[0];
        self.transcript
            .0
            .push(format!("delivered UID {uid} of {validity}: {id}"));
        let learnt = self.truth.lock().unwrap().learn(validity, uid, &format!("X-Id: {id}"));
        if let Err(why) = learnt {
            self.transcript.fail(self.seed, &why);
        }
    }

    /// Lets one client do a little.
    async fn step(&mut self, who: usize) {
        let client = &mut self.clients[who];
        let idle = client.waits == Waits::Idle;
        if client.model.waiting.is_empty() && self.random.once_in(2) {
            let command = script::next(&self.clients[who].model, &mut self.random);
            let goes_on = command.kind.is_free();
            self.send(who, &command.line, command.kind, &command.targets);
            // A client may not wait for the answer where no answer changes what it meant.
            if goes_on && self.random.once_in(5) {
                let command = script::next(&self.clients[who].model, &mut self.random);
                if command.kind.is_free() {
                    self.send(who, &command.line, command.kind, &command.targets);
                }
            }
        } else if idle && self.random.once_in(6) {
            self.done(who);
        }
        self.turn(who).await;
    }

    fn done(&mut self, who: usize) {
        let client = &mut self.clients[who];
        if client.model.continued {
            client.model.continued = false;
            client.session.feed(b"DONE\r\n");
            self.transcript.note(who, ">", b"DONE");
        }
    }

    /// One step of a driver.
    async fn turn(&mut self, who: usize) {
        let now = self.now;
        let client = &mut self.clients[who];
        if client.boxes.has_news() {
            client.session.changed();
        }
        if let Some(request) = client.asked.take() {
            let answer = match request {
                Request::Authenticate(_) => Answer::Boxes(vec![ADDRESS.into()]),
                request => client.boxes.perform(request, now).await,
            };
            client.session.answer(answer);
            return;
        }
        client.waits = Waits::No;
        match client.session.step() {
            Step::Write(bytes) => {
                client.heard.extend_from_slice(&bytes);
                self.hear(who);
            }
            Step::Ask(request) => client.asked = Some(request),
            Step::Read => client.waits = Waits::ForInput,
            Step::Idle => client.waits = Waits::Idle,
            Step::Refused(_) | Step::StartTls | Step::Compress(_) => {}
            Step::Close => client.model.ended = true,
        }
    }

    fn hear(&mut self, who: usize) {
        while let Some(response) = wire::next(&mut self.clients[who].heard) {
            self.transcript.note(who, "<", &response.raw);
            let client = &mut self.clients[who];
            if client.model.waiting.is_empty() && client.tags == 0 {
                continue;
            }
            if let Err(why) = client.model.take(&response) {
                self.transcript.fail(self.seed, &format!("client {who}: {why}"));
            }
            if client.model.ended {
                self.transcript
                    .fail(self.seed, &format!("client {who}: the server ended the session"));
            }
        }
    }

    /// Lets everything that was said be answered.
    async fn finish(&mut self, who: usize) {
        for _ in 0..STEPS_TO_QUIET {
            let client = &self.clients[who];
            let waits = client.waits != Waits::No && client.asked.is_none();
            if waits && client.model.waiting.is_empty() {
                return;
            }
            if client.waits == Waits::Idle {
                self.done(who);
            }
            self.turn(who).await;
        }
        self.transcript
            .fail(self.seed, &format!("client {who} waits for an answer for ever"));
    }

    /// Everybody asks for news until nothing is new.
    async fn quiet(&mut self) {
        for who in 0..CLIENTS {
            self.finish(who).await;
        }
        for who in 0..CLIENTS {
            self.send(who, "NOOP", Kind::Other, &[]);
            self.finish(who).await;
        }
    }

    /// What each client knows is what a newcomer finds.
    async fn compare(&mut self) {
        self.connect(CLIENTS).await;
        self.clients[CLIENTS].model.mode = Mode::Plain;
        self.finish(CLIENTS).await;
        for name in script::FOLDERS {
            let select = Kind::Select {
                name: name.into(),
                read_only: true,
                resync: Resync::Nothing,
            };
            self.send(CLIENTS, &format!("EXAMINE {name}"), select, &[]);
            self.finish(CLIENTS).await;
            let items = "(UID FLAGS BODY.PEEK[HEADER.FIELDS (X-ID)])";
            self.send(CLIENTS, &format!("UID FETCH 1:* {items}"), Kind::Fetch, &[]);
            self.finish(CLIENTS).await;
            let found = self.clients[CLIENTS].model.folder.clone().unwrap();
            for who in 0..CLIENTS {
                self.agree(who, &found);
            }
        }
    }

    fn agree(&self, who: usize, found: &Folder) {
        if let Err(why) = self.clients[who].model.agree(found) {
            self.transcript.fail(self.seed, &format!("client {who} {why}"));
        }
    }
}
