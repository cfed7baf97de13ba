//! The same clients on a running server, over TLS, each on a thread of its own.

use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use crate::common::{Clinic, Raw, tls_config};
use crate::model::{Kind, Mode, Model, Resync};
use crate::random::Random;
use crate::{script, wire};

const CLIENTS: u32 = 6;
/// How long IDLE lasts when nothing is told.
const IDLE: Duration = Duration::from_millis(30);
const PATIENCE: Duration = Duration::from_secs(40);

/// Everything said so far, by all of them; the end of it is shown.
#[derive(Debug, Default)]
struct Transcript(Mutex<Vec<String>>);

impl Transcript {
    fn lines(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, who: u32, arrow: &str, bytes: &[u8]) {
        let line = format!("{who} {arrow} {}", String::from_utf8_lossy(bytes).trim_end());
        let mut lines = self.lines();
        if lines.len() >= 2 * LINES_SHOWN {
            lines.drain(..LINES_SHOWN);
        }
        lines.push(line);
    }

    fn fail(&self, seed: u64, why: &str) -> ! {
        let lines = self.lines();
        let shown = lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n");
        drop(lines);
        panic!("seed {seed}: {why}\n{shown}");
    }
}

/// Lines shown with a failure, and at most twice as many kept.
const LINES_SHOWN: usize = 20_000;

struct Client {
    who: u32,
    seed: u64,
    line: Raw,
    model: Model,
    heard: Vec<u8>,
    tags: AtomicU32,
    transcript: Arc<Transcript>,
}

/// Works on a server for so many seconds, then asks everybody what they know.
pub(crate) fn play(seed: u64, seconds: u64) {
    let clinic = Clinic::new("");
    let _server = clinic.serve();
    let (truth, transcript) = (Arc::default(), Arc::new(Transcript::default()));
    let is_over = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (0..CLIENTS)
        .map(|who| {
            let mut random = Random::new(seed + u64::from(who) * 1_000_003);
            let mode = *random.of(&Mode::ALL);
            let mut client = Client::new(&clinic, (who, seed), Model::new(mode, Arc::clone(&truth)), &transcript);
            let is_over = Arc::clone(&is_over);
            thread::spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    client.work(&mut random);
                }
                client
            })
        })
        .collect();
    let (_kept, nothing) = mpsc::channel::<()>();
    // Nobody sends: this is how long they work.
    let _elapsed = nothing.recv_timeout(Duration::from_secs(seconds));
    is_over.store(true, Ordering::Relaxed);
    let mut clients: Vec<Client> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    for client in &mut clients {
        client.ask("NOOP", Kind::Other, &[]);
    }
    let model = Model::new(Mode::Plain, truth);
    let mut judge = Client::new(&clinic, (CLIENTS, seed), model, &transcript);
    for name in script::FOLDERS {
        let select = Kind::Select {
            name: name.into(),
            read_only: true,
            resync: Resync::Nothing,
        };
        judge.ask(&format!("EXAMINE {name}"), select, &[]);
        judge.ask(
            "UID FETCH 1:* (UID FLAGS BODY.PEEK[HEADER.FIELDS (X-ID)])",
            Kind::Fetch,
            &[],
        );
        let found = judge.model.folder.clone().unwrap();
        for client in &clients {
            if let Err(why) = client.model.agree(&found) {
                transcript.fail(seed, &format!("client {} {why}", client.who));
            }
        }
    }
}

impl Client {
    fn new(clinic: &Clinic, (who, seed): (u32, u64), model: Model, transcript: &Arc<Transcript>) -> Self {
        let mut line = Raw::clear(clinic.imaps).encrypt(&tls_config(&clinic.at("root.pem"), None));
        line.assert_says("* OK");
        let mut client = Self {
            who,
            seed,
            line,
            model,
            heard: Vec::new(),
            tags: AtomicU32::new(0),
            transcript: Arc::clone(transcript),
        };
        let (user, password) = Clinic::login();
        client.ask(&format!("LOGIN {user} {password}"), Kind::Other, &[]);
        client.ask(client.model.mode.enable(), Kind::Other, &[]);
        client
    }

    fn work(&mut self, random: &mut Random) {
        let command = script::next(&self.model, random);
        let goes_on = command.kind.is_free();
        if command.kind == Kind::Idle {
            return self.idle(&command.line);
        }
        self.send(&command.line, command.kind, &command.targets);
        // A client may not wait for the answer where no answer changes what it meant.
        if goes_on && random.once_in(5) {
            let next = script::next(&self.model, random);
            if next.kind.is_free() {
                self.send(&next.line, next.kind, &next.targets);
            }
        }
        self.finish();
    }

    fn ask(&mut self, line: &str, kind: Kind, targets: &[usize]) {
        self.send(line, kind, targets);
        self.finish();
    }

    fn send(&mut self, line: &str, kind: Kind, targets: &[usize]) {
        let tag = format!("t{}", self.tags.fetch_add(1, Ordering::Relaxed));
        let line = format!("{tag} {line}\r\n");
        self.model.sent(tag, kind, targets);
        self.transcript.note(self.who, ">", line.as_bytes());
        self.line.say(line);
    }

    fn finish(&mut self) {
        while !self.model.waiting.is_empty() {
            if !self.hear() {
                self.transcript
                    .fail(self.seed, &format!("client {}: no answer", self.who));
            }
        }
    }

    /// Is told for a while what happens.
    fn idle(&mut self, line: &str) {
        self.send(line, Kind::Idle, &[]);
        while !self.model.continued {
            self.hear();
        }
        self.line.tcp.set_read_timeout(Some(IDLE)).unwrap();
        for _ in 0..10 {
            if !self.hear() {
                break;
            }
        }
        self.line.tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        self.model.continued = false;
        self.transcript.note(self.who, ">", b"DONE");
        self.line.say("DONE\r\n");
        self.finish();
    }

    /// Takes in what comes; false when nothing came in time.
    fn hear(&mut self) -> bool {
        let mut buffer = [0; 16 * 1024];
        match self.line.wire.read(&mut buffer) {
            Ok(0) => self
                .transcript
                .fail(self.seed, &format!("client {}: the server hung up", self.who)),
            Ok(count) => self.heard.extend_from_slice(&buffer[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return false,
            Err(error) => self
                .transcript
                .fail(self.seed, &format!("client {}: {error}", self.who)),
        }
        while let Some(response) = wire::next(&mut self.heard) {
            self.transcript.note(self.who, "<", &response.raw);
            if let Err(why) = self.model.take(&response) {
                self.transcript.fail(self.seed, &format!("client {}: {why}", self.who));
            }
        }
        true
    }
}
