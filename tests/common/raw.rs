//! A connection that keeps to no protocol.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::Certificate;

/// Longer than any reply takes on a loaded machine, shorter than the idle limits of the program.
const PATIENCE: Duration = Duration::from_secs(40);

/// What it goes over.
pub(crate) trait Wire: Read + Write + Send {}
impl<T: Read + Write + Send> Wire for T {}

/// A connection that says whatever it is told to.
pub(crate) struct Raw {
    pub(crate) tcp: TcpStream,
    pub(crate) wire: Box<dyn Wire>,
    unread: Vec<u8>,
}

impl Raw {
    /// Connects.
    pub(crate) fn clear(port: u16) -> Self {
        let tcp = TcpStream::connect(("127.0.0.1", port)).unwrap();
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        tcp.set_write_timeout(Some(PATIENCE)).unwrap();
        Self {
            wire: Box::new(tcp.try_clone().unwrap()),
            tcp,
            unread: Vec::new(),
        }
    }

    /// Runs the handshake.
    pub(crate) fn encrypt(self, config: &Arc<ClientConfig>) -> Self {
        assert!(
            self.unread.is_empty(),
            "said before TLS: {:?}",
            String::from_utf8_lossy(&self.unread)
        );
        let session = ClientConnection::new(Arc::clone(config), "localhost".try_into().unwrap()).unwrap();
        let mut stream = StreamOwned::new(session, self.tcp.try_clone().unwrap());
        stream.conn.complete_io(&mut stream.sock).unwrap();
        Self {
            wire: Box::new(stream),
            ..self
        }
    }

    /// Says it; a server that has hung up meanwhile is no mistake.
    pub(crate) fn say(&mut self, bytes: impl AsRef<[u8]>) {
        let said = self.wire.write_all(bytes.as_ref()).and_then(|()| self.wire.flush());
        drop(said);
    }

    /// The next line, with its end; empty when the server has hung up.
    pub(crate) fn hear(&mut self) -> String {
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                return String::from_utf8(line).expect("a server speaks ASCII or UTF-8");
            }
            let mut buffer = [0; 4096];
            match self.wire.read(&mut buffer) {
                Ok(0) => return String::new(),
                Ok(count) => self.unread.extend(&buffer[..count]),
                Err(error) => {
                    let waited = matches!(
                        error.kind(),
                        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                    );
                    assert!(!waited, "neither a reply nor an end after {} s", PATIENCE.as_secs());
                    return String::new();
                }
            }
        }
    }

    /// The next SMTP reply, its last line; empty when the server has hung up.
    pub(crate) fn reply(&mut self) -> String {
        loop {
            let line = self.hear();
            if line.as_bytes().get(3) != Some(&b'-') {
                return line;
            }
        }
    }

    #[track_caller]
    pub(crate) fn assert_says(&mut self, start: &str) -> String {
        let reply = self.reply();
        assert!(reply.starts_with(start), "{start:?} was expected: {reply:?}");
        reply
    }

    #[track_caller]
    pub(crate) fn ask(&mut self, bytes: impl AsRef<[u8]>, start: &str) -> String {
        self.say(bytes);
        self.assert_says(start)
    }

    /// IMAP: what answers the command with this tag; `*` lines before it are skipped, a farewell or an end also answers.
    pub(crate) fn answer(&mut self, tag: &str) -> String {
        loop {
            let line = self.hear();
            let farewell = line.is_empty() || line.starts_with("* BYE");
            if farewell || line.starts_with(tag) || line.starts_with("* BAD") || line.starts_with('+') {
                return line;
            }
        }
    }

    /// Nothing but farewells until the server has hung up.
    #[track_caller]
    pub(crate) fn assert_ends(&mut self) {
        const LINES_MAX: usize = 10_000;
        let ended = (0..LINES_MAX).any(|_| self.hear().is_empty());
        assert!(ended, "the session goes on");
    }
}

/// A client that believes this authority, and shows a certificate or none.
pub(crate) fn tls_config(authority: &Path, certificate: Option<&Certificate>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_file_iter(authority).unwrap() {
        roots.add(authority.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match certificate {
        None => builder.with_no_client_auth(),
        Some(files) => {
            let chain = CertificateDer::pem_file_iter(&files.certificate).unwrap();
            let key = PrivateKeyDer::from_pem_file(&files.key).unwrap();
            builder
                .with_client_auth_cert(chain.map(Result::unwrap).collect(), key)
                .unwrap()
        }
    };
    Arc::new(config)
}
