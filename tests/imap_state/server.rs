//! The same clients on a running server, over TLS, each on a thread of its own.

use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use rustls::ClientConfig;

use crate::common::{Clinic, Raw, tls_config};
use crate::model::{Kind, Model, Resync};
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
    /// How it connects.
    to: (u16, Arc<ClientConfig>),
    line: Raw,
    packed: Option<Packed>,
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
    let (user, password) = Clinic::login();
    let login = format!("LOGIN {user} {password}");
    let threads: Vec<_> = (0..CLIENTS)
        .map(|who| {
            let mut random = Random::new(seed + u64::from(who) * 1_000_003);
            let model = Model::new(login.clone(), Arc::clone(&truth));
            let mut client = Client::new(&clinic, (who, seed), model, &transcript);
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
        client.ask("NOOP", Kind::Noop);
    }
    let model = Model::new(login.clone(), truth);
    let mut judge = Client::new(&clinic, (CLIENTS, seed), model, &transcript);
    judge.ask(&login, Kind::Login);
    judge.compare(&clients);
}

impl Client {
    fn new(clinic: &Clinic, (who, seed): (u32, u64), mut model: Model, transcript: &Arc<Transcript>) -> Self {
        let to = (clinic.imaps, tls_config(&clinic.at("root.pem"), None));
        model.can_compress = true;
        Self {
            who,
            seed,
            line: Raw::clear(to.0).encrypt(&to.1),
            to,
            packed: None,
            model,
            heard: Vec::new(),
            tags: AtomicU32::new(0),
            transcript: Arc::clone(transcript),
        }
    }

    /// Comes back after the server has ended the session.
    fn reconnect(&mut self) {
        self.model.reconnected();
        self.model.can_compress = true;
        self.line = Raw::clear(self.to.0).encrypt(&self.to.1);
        self.packed = None;
        self.heard.clear();
        self.transcript.note(self.who, ">", b"(connects again)");
    }

    /// What each client knows is what this newcomer finds.
    fn compare(&mut self, clients: &[Self]) {
        self.ask("LIST \"\" *", Kind::List);
        let names = script::everything(&self.model);
        for name in &names {
            self.ask(&format!("STATUS {name} ({})", script::FIGURES), Kind::Other);
        }
        let others = self.model.others.clone();
        for client in clients {
            self.agree(client, client.model.agree_on_others(&others));
        }
        for name in names {
            let select = Kind::Select {
                name: name.clone(),
                read_only: true,
                resync: Resync::Nothing,
            };
            self.ask(&format!("EXAMINE {name}"), select);
            self.ask(script::LOOK, Kind::Fetch);
            let found = self.model.folder.clone().unwrap();
            for client in clients {
                self.agree(client, client.model.agree(&found));
            }
        }
    }

    fn agree(&self, client: &Self, agreed: Result<(), String>) {
        if let Err(why) = agreed {
            self.transcript.fail(self.seed, &format!("client {} {why}", client.who));
        }
    }

    fn work(&mut self, random: &mut Random) {
        if self.model.ended {
            self.reconnect();
        }
        let command = script::next(&self.model, random);
        let goes_on = command.kind.is_free();
        if command.kind == Kind::Idle {
            return self.idle(&command.line);
        }
        self.send(&command.line, command.kind, &command.targets);
        // A client may not wait for the answer where no answer changes what it meant.
        if goes_on
            && random.once_in(5)
            && let Some(next) = script::following(&self.model, random)
        {
            self.send(&next.line, next.kind, &next.targets);
        }
        self.finish();
    }

    fn ask(&mut self, line: &str, kind: Kind) {
        self.send(line, kind, &[]);
        self.finish();
    }

    fn send(&mut self, line: &str, kind: Kind, targets: &[usize]) {
        let tag = format!("t{}", self.tags.fetch_add(1, Ordering::Relaxed));
        let line = format!("{tag} {line}\r\n");
        self.model.sent(tag, kind, targets);
        self.transcript.note(self.who, ">", line.as_bytes());
        self.say(line.as_bytes());
    }

    fn say(&mut self, bytes: &[u8]) {
        match &mut self.packed {
            Some(packed) => self.line.say(packed.pack(bytes)),
            None => self.line.say(bytes),
        }
    }

    fn finish(&mut self) {
        while !self.model.waiting.is_empty() && !self.model.ended {
            if !self.hear() {
                self.transcript
                    .fail(self.seed, &format!("client {}: no answer", self.who));
            }
        }
    }

    /// Is told for a while what happens.
    fn idle(&mut self, line: &str) {
        self.send(line, Kind::Idle, &[]);
        while !self.model.continued && !self.model.ended {
            self.hear();
        }
        self.line.tcp.set_read_timeout(Some(IDLE)).unwrap();
        for _ in 0..10 {
            if self.model.ended || !self.hear() {
                break;
            }
        }
        self.line.tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        if self.model.ended {
            return;
        }
        self.model.continued = false;
        self.transcript.note(self.who, ">", b"DONE");
        self.say(b"DONE\r\n");
        self.finish();
    }

    /// Takes in what comes; false when nothing came in time.
    fn hear(&mut self) -> bool {
        let mut buffer = [0; 16 * 1024];
        match self.line.wire.read(&mut buffer) {
            Ok(0) => self
                .transcript
                .fail(self.seed, &format!("client {}: the server hung up", self.who)),
            Ok(count) => self.receive(&buffer[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return false,
            Err(error) => self
                .transcript
                .fail(self.seed, &format!("client {}: {error}", self.who)),
        }
        while let Some(response) = wire::next(&mut self.heard) {
            self.transcript.note(self.who, "<", &response.raw);
            let could_compress = self.model.can_compress;
            if let Err(why) = self.model.take(&response) {
                self.transcript.fail(self.seed, &format!("client {}: {why}", self.who));
            }
            if self.model.ended {
                break;
            }
            if could_compress && !self.model.can_compress {
                // What came behind the tagged OK is packed already.
                self.packed = Some(Packed::new());
                let rest = std::mem::take(&mut self.heard);
                self.receive(&rest);
            }
        }
        true
    }

    fn receive(&mut self, bytes: &[u8]) {
        match &mut self.packed {
            Some(packed) => packed.unpack(bytes, &mut self.heard),
            None => self.heard.extend_from_slice(bytes),
        }
    }
}

/// COMPRESS=DEFLATE (RFC 4978).
struct Packed {
    packer: Compress,
    unpacker: Decompress,
}

impl Packed {
    fn new() -> Self {
        Self {
            packer: Compress::new(Compression::fast(), false),
            unpacker: Decompress::new(false),
        }
    }

    fn pack(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut packed = Vec::with_capacity(2 * bytes.len() + 1024);
        self.packer
            .compress_vec(bytes, &mut packed, FlushCompress::Sync)
            .unwrap();
        packed
    }

    fn unpack(&mut self, mut bytes: &[u8], unpacked: &mut Vec<u8>) {
        let mut piece = [0; 16 * 1024];
        loop {
            let (taken, given) = (self.unpacker.total_in(), self.unpacker.total_out());
            self.unpacker
                .decompress(bytes, &mut piece, FlushDecompress::Sync)
                .unwrap();
            bytes = &bytes[usize::try_from(self.unpacker.total_in() - taken).unwrap()..];
            let given = usize::try_from(self.unpacker.total_out() - given).unwrap();
            unpacked.extend_from_slice(&piece[..given]);
            if given == 0 {
                return;
            }
        }
    }
}
