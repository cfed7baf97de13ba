//! Postfix as a remote operator, in both directions: it receives over TLS with a client certificate into maildirs of its own,
//! and relays what `sendmail` gives it to the servers it is told of, proving itself with its certificate.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::{Certificate, Finished, Program, Running, folder, free_port, open_to_all, wait_until};

/// Long enough for the first start on a loaded machine.
const START_LIMIT: Duration = Duration::from_secs(30);
/// `nobody`: owns the maildirs.
const MAIL_UID: &str = "65534";

/// What the operator is called, and whom it knows.
pub(crate) struct PostfixOptions<'a> {
    /// Its mail domain.
    pub(crate) domain: &'a str,
    /// Its host name, as in its certificate.
    pub(crate) host: &'a str,
    /// Local parts of its boxes.
    pub(crate) boxes: &'a [&'a str],
    /// Shown as server and as client.
    pub(crate) certificate: &'a Certificate,
    /// PEM file of the roots it believes.
    pub(crate) authority: &'a Path,
    /// SHA-256 fingerprints (`AB:CD:…`) of the peers it takes mail from; `None`: of every peer with a valid certificate.
    pub(crate) listed_peers: Option<&'a [String]>,
    /// Where mail for other domains goes.
    pub(crate) routes: &'a [Route<'a>],
}

/// The server of another domain: a port of 127.0.0.1 that must show a certificate for `host`.
pub(crate) struct Route<'a> {
    pub(crate) domain: &'a str,
    pub(crate) port: u16,
    pub(crate) host: &'a str,
}

/// A Postfix of its own: configuration, queue, maildirs, port. Stopped when dropped.
pub(crate) struct Postfix {
    master: Option<Running>,
    folder: TempDir,
    domain: String,
    port: u16,
}

impl Postfix {
    /// Starts it on a free port, and returns once it greets.
    pub(crate) fn start(options: &PostfixOptions<'_>) -> Self {
        Self::start_on(free_port(), options)
    }

    /// Starts it on a port that others have been told of already.
    pub(crate) fn start_on(port: u16, options: &PostfixOptions<'_>) -> Self {
        let folder = folder();
        let at = |name: &str| folder.path().join(name);
        for name in ["etc", "spool", "data", "mail"] {
            fs::create_dir(at(name)).unwrap();
            open_to_all(&at(name));
        }
        fs::write(at("etc/master.cf"), master_cf(port)).unwrap();
        fs::write(at("etc/main.cf"), main_cf(folder.path(), options)).unwrap();
        write_tables(folder.path(), options);
        own("postfix", &at("data"));
        own(MAIL_UID, &at("mail"));
        let master = Program::as_root("postfix")
            .arg("-c")
            .arg(at("etc"))
            .arg("start-fg")
            .start();
        let mut postfix = Self {
            master: Some(master),
            folder,
            domain: options.domain.to_owned(),
            port,
        };
        postfix.wait_until_it_greets();
        postfix
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Hands a message to its queue, as a program on that machine would; `message` has header and body, lines end with `\n`.
    pub(crate) fn send(&self, from: &str, to: &[&str], message: &str) -> Finished {
        Program::as_root("sendmail")
            .arg("-C")
            .arg(self.etc())
            .args(["-i", "-f", from, "--"])
            .args(to)
            .input(message)
            .run()
            .assert_success()
    }

    /// The messages in a box, oldest name first.
    pub(crate) fn mails(&self, box_name: &str) -> Vec<String> {
        let new = self.folder.path().join(format!("mail/{box_name}/new"));
        let listed = Program::as_root("find").arg(&new).args(["-type", "f"]).run();
        let mut names: Vec<&str> = listed.stdout.lines().collect();
        names.sort_unstable();
        names
            .into_iter()
            .map(|name| Program::as_root("cat").arg(name).run().stdout)
            .collect()
    }

    /// Waits until a box has a message with `text` in it, and returns that message.
    #[track_caller]
    pub(crate) fn wait_for_mail(&self, box_name: &str, text: &str) -> String {
        let what = format!("{text:?} in {box_name}@{}", self.domain);
        wait_until(&what, START_LIMIT, || {
            self.mails(box_name).into_iter().find(|mail| mail.contains(text))
        })
    }

    /// Waits until its log has a line with all of `words`, and returns the line.
    #[track_caller]
    pub(crate) fn wait_for_log(&self, words: &[&str]) -> String {
        wait_until(&format!("{words:?} in the log of {}", self.domain), START_LIMIT, || {
            let log = self.log();
            let line = log.lines().find(|line| words.iter().all(|word| line.contains(word)));
            line.map(str::to_owned)
        })
    }

    /// Everything it has logged.
    pub(crate) fn log(&self) -> String {
        Program::as_root("cat")
            .arg(self.folder.path().join("maillog"))
            .run()
            .stdout
    }

    /// What waits in its queue, as `postqueue -p` shows it.
    pub(crate) fn queue(&self) -> String {
        Program::as_root("postqueue")
            .arg("-c")
            .arg(self.etc())
            .arg("-p")
            .run()
            .stdout
    }

    /// Tries again now whatever waits in its queue.
    pub(crate) fn flush(&self) {
        Program::as_root("postqueue")
            .arg("-c")
            .arg(self.etc())
            .arg("-f")
            .run()
            .assert_success();
    }

    /// Changes settings (`name=value`) while it runs; daemons that were at work with the old ones end first.
    pub(crate) fn configure(&self, settings: &[&str]) {
        let tool = |name: &str| Program::as_root(name).arg("-c").arg(self.etc());
        tool("postconf").arg("-e").args(settings).run().assert_success();
        let reloads = || self.log().matches("reload -- version").count();
        let before = reloads();
        tool("postfix").arg("reload").run().assert_success();
        wait_until("Postfix reloads", START_LIMIT, || (reloads() > before).then_some(()));
    }

    /// Process id of its master daemon, once that runs.
    pub(crate) fn master_pid(&self) -> Option<String> {
        let file = self.folder.path().join("spool/pid/master.pid");
        let pid = Program::as_root("cat").arg(file).run().stdout.trim().to_owned();
        (!pid.is_empty()).then_some(pid)
    }

    /// The folder of its configuration.
    pub(crate) fn etc(&self) -> PathBuf {
        self.folder.path().join("etc")
    }

    fn wait_until_it_greets(&mut self) {
        let port = self.port;
        let master = self.master.as_mut().unwrap();
        wait_until("Postfix greets", START_LIMIT, || {
            assert!(
                !master.has_ended(),
                "Postfix ended: {}{}",
                master.stdout(),
                master.stderr()
            );
            std::net::TcpStream::connect(("127.0.0.1", port)).ok()
        });
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        let Some(script) = self.master.take() else { return };
        // What was started is a script that waits for the master; the master takes its own processes with it.
        if let Some(pid) = self.master_pid() {
            Program::as_root("kill").args(["-TERM", &pid]).run();
        } else {
            script.signal("TERM");
        }
        let ended = script.wait(START_LIMIT);
        if std::thread::panicking() {
            super::show(&[&ended.text(), &self.log()]);
        }
        // Files below are owned by others when the tests run without root.
        Program::as_root("rm").args(["-rf", "--"]).arg(self.folder.path()).run();
    }
}

fn own(user: &str, path: &Path) {
    Program::as_root("chown").arg(user).arg(path).run().assert_success();
}

/// One line per daemon: name, whether others than Postfix may speak to it, wake-up seconds, processes, program.
fn master_cf(port: u16) -> String {
    const DAEMONS: [(&str, &str, &str, &str, &str); 15] = [
        ("pickup", "n", "5", "1", "pickup"),
        ("cleanup", "n", "-", "0", "cleanup"),
        ("qmgr", "n", "10", "1", "qmgr"),
        ("tlsmgr", "-", "1000?", "1", "tlsmgr"),
        ("rewrite", "-", "-", "-", "trivial-rewrite"),
        ("bounce", "-", "-", "0", "bounce"),
        ("defer", "-", "-", "0", "bounce"),
        ("trace", "-", "-", "0", "bounce"),
        ("flush", "n", "1000?", "0", "flush"),
        ("proxymap", "-", "-", "-", "proxymap"),
        ("smtp", "-", "-", "-", "smtp"),
        ("virtual", "-", "-", "-", "virtual"),
        ("error", "-", "-", "-", "error"),
        ("retry", "-", "-", "-", "error"),
        ("anvil", "-", "-", "1", "anvil"),
    ];
    let mut text = format!("127.0.0.1:{port} inet n - n - - smtpd\npostlog unix-dgram n - n - 1 postlogd\n");
    for (name, private, wake, processes, program) in DAEMONS {
        // The second last column that is always "n": no chroot, nobody has prepared one. `virtual` writes as another user.
        let unprivileged = if name == "virtual" { "n" } else { "-" };
        writeln!(
            text,
            "{name} unix {private} {unprivileged} n {wake} {processes} {program}"
        )
        .unwrap();
    }
    text
}

fn main_cf(folder: &Path, options: &PostfixOptions<'_>) -> String {
    let at = folder.display();
    let certificate = options.certificate.certificate.display();
    let key = options.certificate.key.display();
    let authority = options.authority.display();
    let peers = match options.listed_peers {
        Some(_) => "permit_tls_clientcerts, reject",
        None => "permit_tls_all_clientcerts, reject",
    };
    format!(
        "compatibility_level = 3.6\n\
         queue_directory = {at}/spool\n\
         data_directory = {at}/data\n\
         maillog_file = {at}/maillog\n\
         maillog_file_prefixes = {at}\n\
         myhostname = {host}\n\
         mydomain = {domain}\n\
         mydestination =\n\
         mynetworks =\n\
         alias_maps =\n\
         local_recipient_maps =\n\
         inet_interfaces = 127.0.0.1\n\
         inet_protocols = ipv4\n\
         smtpd_peername_lookup = no\n\
         virtual_mailbox_domains = {domain}\n\
         virtual_mailbox_base = {at}/mail\n\
         virtual_mailbox_maps = texthash:{at}/etc/boxes\n\
         virtual_uid_maps = static:{MAIL_UID}\n\
         virtual_gid_maps = static:{MAIL_UID}\n\
         transport_maps = texthash:{at}/etc/routes\n\
         default_transport = error:5.1.2 no route to this domain\n\
         relay_clientcerts = texthash:{at}/etc/peers\n\
         smtpd_client_restrictions = {peers}\n\
         smtpd_relay_restrictions = reject_unauth_destination\n\
         smtpd_delay_reject = yes\n\
         smtpd_tls_security_level = encrypt\n\
         smtpd_tls_ask_ccert = yes\n\
         smtpd_tls_req_ccert = yes\n\
         smtpd_tls_fingerprint_digest = sha256\n\
         smtpd_tls_CAfile = {authority}\n\
         smtpd_tls_cert_file = {certificate}\n\
         smtpd_tls_key_file = {key}\n\
         smtpd_tls_received_header = yes\n\
         smtpd_tls_loglevel = 1\n\
         smtp_tls_security_level = secure\n\
         smtp_tls_policy_maps = texthash:{at}/etc/policies\n\
         smtp_tls_CAfile = {authority}\n\
         smtp_tls_cert_file = {certificate}\n\
         smtp_tls_key_file = {key}\n\
         smtp_tls_loglevel = 1\n\
         queue_run_delay = 2s\n\
         minimal_backoff_time = 2s\n\
         maximal_backoff_time = 4s\n",
        host = options.host,
        domain = options.domain,
    )
}

fn write_tables(folder: &Path, options: &PostfixOptions<'_>) {
    let write = |name: &str, lines: Vec<String>| {
        fs::write(folder.join("etc").join(name), lines.concat()).unwrap();
    };
    let domain = options.domain;
    write(
        "boxes",
        options
            .boxes
            .iter()
            .map(|name| format!("{name}@{domain} {name}/\n"))
            .collect(),
    );
    write(
        "routes",
        options
            .routes
            .iter()
            .map(|route| format!("{} smtp:[127.0.0.1]:{}\n", route.domain, route.port))
            .collect(),
    );
    write(
        "policies",
        options
            .routes
            .iter()
            .map(|route| format!("[127.0.0.1]:{} secure match={}\n", route.port, route.host))
            // Several domains may live behind one port.
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect(),
    );
    let peers = options.listed_peers.unwrap_or_default();
    write(
        "peers",
        peers
            .iter()
            .map(|fingerprint| format!("{fingerprint} listed\n"))
            .collect(),
    );
}
