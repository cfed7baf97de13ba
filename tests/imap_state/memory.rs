//! Sessions without sockets: bytes in, bytes out, each step of each session in an order that the seed decides.

use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use vaguemestre::imap::{Answer, Certificate, Options, Request, Security, Session, Step};
use vaguemestre::mailbox::{BoxSession, Mailboxes, Notify, deliver, new_message};
use vaguemestre::store::sqlite::{self, SqliteStore};
use vaguemestre::store::{Acceptance, MessageStore, Store};

use crate::folder::Folder;
use crate::model::{Kind, Model, Resync};
use crate::random::Random;
use crate::truth::Truth;
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
    for _ in 0..CLIENTS {
        world.connect();
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
    fn connect(&mut self) {
        let model = Model::new("LOGIN jean s".into(), Arc::clone(&self.truth));
        let client = self.client(model);
        self.clients.push(client);
    }

    fn client(&self, model: Model) -> Client {
        Client {
            session: Session::new(Options::new(Security::Tls(Certificate::None))),
            boxes: self.mailboxes.session(),
            model,
            heard: Vec::new(),
            asked: None,
            waits: Waits::No,
            tags: 0,
        }
    }

    /// A client whose session the server ended comes back.
    fn reconnect(&mut self, who: usize) {
        let mut model = Model::new(String::new(), Arc::clone(&self.truth));
        std::mem::swap(&mut model, &mut self.clients[who].model);
        model.reconnected();
        self.transcript.note(who, ">", b"(connects again)");
        self.clients[who] = Client {
            tags: self.clients[who].tags,
            ..self.client(model)
        };
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
        if self.clients[who].model.ended {
            self.reconnect(who);
        }
        let client = &mut self.clients[who];
        let idle = client.waits == Waits::Idle;
        if client.model.waiting.is_empty() && self.random.once_in(2) {
            let command = script::next(&self.clients[who].model, &mut self.random);
            let goes_on = command.kind.is_free();
            self.send(who, &command.line, command.kind, &command.targets);
            // A client may not wait for the answer where no answer changes what it meant.
            if goes_on
                && self.random.once_in(5)
                && let Some(command) = script::following(&self.clients[who].model, &mut self.random)
            {
                self.send(who, &command.line, command.kind, &command.targets);
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
            if let Err(why) = client.model.take(&response) {
                self.transcript.fail(self.seed, &format!("client {who}: {why}"));
            }
        }
    }

    /// Lets everything that was said be answered.
    async fn finish(&mut self, who: usize) {
        for _ in 0..STEPS_TO_QUIET {
            let client = &self.clients[who];
            let waits = client.waits != Waits::No && client.asked.is_none();
            if client.model.ended {
                return self.reconnect(who);
            }
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
            self.send(who, "NOOP", Kind::Noop, &[]);
            self.finish(who).await;
        }
    }

    /// What each client knows is what a newcomer finds.
    async fn compare(&mut self) {
        self.connect();
        self.ask(CLIENTS, "LOGIN jean s", Kind::Login).await;
        self.ask(CLIENTS, "LIST \"\" *", Kind::List).await;
        let names: Vec<String> = script::everything(&self.clients[CLIENTS].model);
        for name in &names {
            let status = format!("STATUS {name} ({})", script::FIGURES);
            self.ask(CLIENTS, &status, Kind::Other).await;
        }
        let others = self.clients[CLIENTS].model.others.clone();
        for who in 0..CLIENTS {
            if let Err(why) = self.clients[who].model.agree_on_others(&others) {
                self.transcript.fail(self.seed, &format!("client {who} {why}"));
            }
        }
        for name in names {
            let select = Kind::Select {
                name: name.clone(),
                read_only: true,
                resync: Resync::Nothing,
            };
            self.ask(CLIENTS, &format!("EXAMINE {name}"), select).await;
            self.ask(CLIENTS, script::LOOK, Kind::Fetch).await;
            let found = self.clients[CLIENTS].model.folder.clone().unwrap();
            for who in 0..CLIENTS {
                self.agree(who, &found);
            }
        }
    }

    async fn ask(&mut self, who: usize, line: &str, kind: Kind) {
        self.send(who, line, kind, &[]);
        self.finish(who).await;
    }

    fn agree(&self, who: usize, found: &Folder) {
        if let Err(why) = self.clients[who].model.agree(found) {
            self.transcript.fail(self.seed, &format!("client {who} {why}"));
        }
    }
}
