//! Dovecot as an IMAP client: its `imapc` storage is a proxy that keeps nothing, so every command given to it is asked of the
//! server behind.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::{Program, Running, folder, free_port, open_to_all, wait_until};

const START_LIMIT: Duration = Duration::from_secs(30);

/// The server behind, and one login on it.
pub(crate) struct Upstream<'a> {
    /// Must be in the server's certificate, and lead to 127.0.0.1.
    pub(crate) host: &'a str,
    /// Of implicit TLS.
    pub(crate) port: u16,
    /// PEM file of the root.
    pub(crate) authority: &'a Path,
    pub(crate) user: &'a str,
    pub(crate) password: &'a str,
}

/// A Dovecot of its own on a port of 127.0.0.1, in clear; log in with the same user and password. Stopped when dropped.
pub(crate) struct Imapc {
    master: Option<Running>,
    folder: TempDir,
    port: u16,
}

impl Imapc {
    /// Starts it, and returns once it greets.
    pub(crate) fn start(upstream: &Upstream<'_>) -> Self {
        Self::start_as(|folder, port| text(folder, port, upstream))
    }

    /// A Dovecot with mail of its own, for comparison; any user logs in with this password.
    pub(crate) fn with_own_mail(password: &str) -> Self {
        Self::start_as(|folder, port| {
            let location = format!("mail_location = maildir:{}/home/%u\n", folder.display());
            base(folder, port, password) + &location
        })
    }

    fn start_as(text: impl Fn(&Path, u16) -> String) -> Self {
        let folder = folder();
        for name in ["run", "state", "home"] {
            fs::create_dir(folder.path().join(name)).unwrap();
            open_to_all(&folder.path().join(name));
        }
        let home = folder.path().join("home");
        Program::as_root("chown")
            .arg("65534:65534")
            .arg(&home)
            .run()
            .assert_success();
        let port = free_port();
        let configuration = folder.path().join("dovecot.conf");
        fs::write(&configuration, text(folder.path(), port)).unwrap();
        let mut master = Program::as_root("dovecot")
            .arg("-F")
            .arg("-c")
            .arg(configuration)
            .start();
        wait_until("Dovecot greets", START_LIMIT, || {
            assert!(
                !master.has_ended(),
                "Dovecot ended: {}{}",
                master.stdout(),
                master.stderr()
            );
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
        Self {
            master: Some(master),
            folder,
            port,
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// `doveadm` of this Dovecot, as root.
    pub(crate) fn doveadm(&self) -> Program {
        Program::as_root("doveadm").arg("-c").arg(self.settings())
    }

    pub(crate) fn settings(&self) -> PathBuf {
        self.folder.path().join("dovecot.conf")
    }

    /// A folder that mails may be written to.
    pub(crate) fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// Everything it has logged.
    pub(crate) fn log(&self) -> String {
        Program::as_root("cat").arg(self.folder.path().join("log")).run().stdout
    }
}

impl Drop for Imapc {
    fn drop(&mut self) {
        if let Some(master) = self.master.take() {
            master.stop("TERM", START_LIMIT);
        }
        if std::thread::panicking() {
            super::show(&[&self.log()]);
        }
        Program::as_root("rm").args(["-rf", "--"]).arg(self.folder.path()).run();
    }
}

fn text(folder: &Path, port: u16, upstream: &Upstream<'_>) -> String {
    let at = folder.display();
    let Upstream {
        host,
        port: upstream_port,
        user,
        password,
        ..
    } = upstream;
    let authority = upstream.authority.display();
    base(folder, port, password)
        + &format!(
            "mail_location = imapc:{at}/home/imapc\n\
             imapc_host = {host}\nimapc_port = {upstream_port}\nimapc_ssl = imaps\nimapc_ssl_verify = yes\n\
             imapc_user = {user}\nimapc_password = {password}\n\
             imapc_features = rfc822.size fetch-headers\n\
             ssl_client_ca_file = {authority}\n"
        )
}

/// What every Dovecot here is told.
fn base(folder: &Path, port: u16, password: &str) -> String {
    let at = folder.display();
    format!(
        "base_dir = {at}/run\nstate_dir = {at}/state\nlog_path = {at}/log\n\
         protocols = imap\nlisten = 127.0.0.1\nssl = no\ndisable_plaintext_auth = no\n\
         auth_mechanisms = plain login\n\
         passdb {{\n  driver = static\n  args = password={password}\n}}\n\
         userdb {{\n  driver = static\n  args = uid=65534 gid=65534 home={at}/home\n}}\n\
         namespace inbox {{\n  inbox = yes\n  separator = /\n}}\n\
         service imap-login {{\n  inet_listener imap {{\n    port = {port}\n  }}\n  inet_listener imaps {{\n    port = 0\n  }}\n}}\n"
    )
}
