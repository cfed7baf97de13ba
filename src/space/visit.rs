//! The first visit: lines a new user can copy to send a mail as the DUI and read it at the other operator.

use jiff::Timestamp;

use super::card::{Card, CommandLine, LoginCard};
use super::folder::Layout;
use crate::config::{LoginKind, Operator, Space};
use crate::directory::BoxType;
use crate::identity::Address;
use crate::message::received;

/// Who writes to whom on the first visit.
struct Visit {
    /// Operator and name of the certificate login of the BAL applicative that sends.
    sender_login: (String, String),
    /// The box it sends from.
    sender: Address,
    /// The box at another operator that receives.
    recipient: Address,
    /// Operator and name of the password login that reads it.
    reader_login: (String, String),
    /// The patient who receives.
    patient: Option<Address>,
}

/// The lines to type, in the order of a visit; those only that make sense in this space.
pub(super) fn of(space: &Space, card: &Card, layout: &Layout) -> Vec<CommandLine> {
    let data = quote(&card.data);
    let program = program();
    let mut lines = Vec::new();
    if let Some(visit) = Visit::choose(space) {
        let find = |(operator, name): &(String, String)| {
            card.logins
                .iter()
                .find(|login| login.operator == *operator && login.name == *name)
        };
        if let Some(sender) = find(&visit.sender_login) {
            lines.extend(send_lines(
                card,
                &visit,
                sender,
                &layout.first_mail().display().to_string(),
            ));
        }
        if let Some(reader) = find(&visit.reader_login) {
            let what = "Read it at the hospital, with curl (the last message of INBOX)";
            lines.extend(read_lines(card, reader, what));
        }
        let (from, to) = (&visit.sender, &visit.recipient);
        let send = format!("{program} send --data {data} --from {from} --to {to} --count 20");
        lines.push(line("send", "The same as a DUI does it, twenty times", send));
        lines.extend(discovery_lines(card, to));
    }
    lines.push(line(
        "indicator",
        "What was counted, per establishment",
        format!("{program} indicator --data {data}"),
    ));
    lines.push(line(
        "journal",
        "Every decision taken",
        format!("{program} journal --data {data} --since 1h"),
    ));
    lines
}

/// Lines to exchange mail with one operator, once it is in the space: a mail to it from a software of another one, and how it is read.
pub(super) fn with(space: &Space, card: Option<&Card>, layout: &Layout, operator: &Operator) -> Vec<CommandLine> {
    let data = quote(&layout.root().display().to_string());
    let program = program();
    let mut lines = Vec::new();
    let sender = space
        .operators
        .iter()
        .filter(|other| other.key != operator.key)
        .find_map(|other| {
            let mut logins = other.directory.logins.iter();
            logins.find_map(|login| match &login.kind {
                LoginKind::Certificate { boxes, .. } => boxes.first(),
                LoginKind::Password(_) => None,
            })
        });
    let reader = operator.directory.logins.iter().find_map(|login| match &login.kind {
        LoginKind::Password(password) => Some((login, password.boxes.first()?)),
        LoginKind::Certificate { .. } => None,
    });
    let recipient = match (reader, operator.domains.first()) {
        (Some((_, address)), _) => address.to_string(),
        (None, Some(domain)) => format!("somebody@{domain}"),
        (None, None) => return lines,
    };
    if let Some(sender) = sender {
        lines.push(line(
            "send",
            "A mail to it",
            format!("{program} send --data {data} --from {sender} --to {recipient}"),
        ));
    }
    let card_of = |card: &Card| {
        let (login, _) = reader?;
        let mut logins = card.logins.iter();
        let login = logins.find(|one| one.operator == operator.key && one.name == login.name)?;
        Some(read_lines(card, login, "Read it with curl (the last message of INBOX)"))
    };
    lines.extend(card.and_then(card_of).unwrap_or_default());
    lines
}

/// A complete message from the first visit's sender. Date and Message-ID are left to the operator (RFC 6409 §8), so that the file can be sent
/// again and again.
pub(super) fn first_mail(space: &Space, now: Timestamp) -> String {
    let Some(visit) = Visit::choose(space) else {
        return String::new();
    };
    let fields = format!(
        "From: \"EHPAD - premier essai\" <{}>\r\nTo: {}\r\nSubject: Premier message du bac a sable\r\nX-MSS-NIL: BAC-A-SABLE\r\n",
        visit.sender, visit.recipient
    );
    let mime = "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=UTF-8\r\nContent-Transfer-Encoding: 8bit\r\n";
    let body = format!(
        "Bonjour,\r\n\r\nCe message a été préparé le {}.\r\nAucune donnée réelle ici.\r\n",
        received::date(now)
    );
    format!("{fields}{mime}\r\n{body}")
}

impl Visit {
    /// The first software with a certificate, and the first service of another operator that somebody can read with a password.
    fn choose(space: &Space) -> Option<Self> {
        let (home, login, boxes) = space.operators.iter().find_map(|operator| {
            let mut logins = operator.directory.logins.iter();
            logins.find_map(|login| match &login.kind {
                LoginKind::Certificate { boxes, .. } => Some((operator, login, boxes)),
                LoginKind::Password(_) => None,
            })
        })?;
        let (elsewhere, reader, recipient) =
            space
                .operators
                .iter()
                .filter(|other| other.key != home.key)
                .find_map(|operator| {
                    let mut logins = operator.directory.logins.iter();
                    logins.find_map(|login| match &login.kind {
                        LoginKind::Password(password) => {
                            let first = password.boxes.first()?;
                            is_of_service(operator, first).then(|| (operator, login, first.clone()))
                        }
                        LoginKind::Certificate { .. } => None,
                    })
                })?;
        let mut patients = space.operators.iter().flat_map(|operator| &operator.patients);
        Some(Self {
            sender_login: (home.key.clone(), login.name.clone()),
            sender: boxes.first()?.clone(),
            recipient,
            reader_login: (elsewhere.key.clone(), reader.name.clone()),
            patient: patients
                .find(|patient| patient.ins.key_matches())
                .map(|patient| patient.address().clone()),
        })
    }
}

fn is_of_service(operator: &Operator, address: &Address) -> bool {
    let mut boxes = operator.directory.boxes.iter();
    boxes.any(|declared| declared.mailbox.address == *address && declared.mailbox.box_type == BoxType::Organisational)
}

fn send_lines(card: &Card, visit: &Visit, sender: &LoginCard, mail: &str) -> Vec<CommandLine> {
    let (Some(certificate), Some(key)) = (&sender.certificate, &sender.key) else {
        return Vec::new();
    };
    let (certificate, key, ca, mail) = (quote(certificate), quote(key), quote(&card.ca), quote(mail));
    let mut lines = Vec::new();
    if let Some(address) = card.address(&sender.operator, "submissions") {
        let curl = |recipient: &Address| {
            format!(
                "curl --silent --show-error --url smtps://{address} --cacert {ca} --cert {certificate} --key {key} --login-options AUTH=EXTERNAL --user {}: --mail-from {} --mail-rcpt {recipient} --upload-file {mail}",
                visit.sender, visit.sender
            )
        };
        lines.push(line(
            "send-curl",
            "A first mail from the DUI to the hospital, with curl",
            curl(&visit.recipient),
        ));
        if let Some(patient) = &visit.patient {
            lines.push(line(
                "send-patient-curl",
                "The same to a patient of Mon espace santé",
                curl(patient),
            ));
        }
    }
    if let Some(address) = card.address(&sender.operator, "submission") {
        let dialogue = format!(
            "EHLO dui.example\\r\\nAUTH EXTERNAL =\\r\\nMAIL FROM:<{}>\\r\\nRCPT TO:<{}>\\r\\nDATA\\r\\n",
            visit.sender, visit.recipient
        );
        lines.push(line(
            "send-openssl",
            "The same by hand, over STARTTLS",
            format!(
                "(printf '{dialogue}'; cat {mail}; printf '.\\r\\nQUIT\\r\\n') | openssl s_client -quiet -starttls smtp -connect {address} -CAfile {ca} -cert {certificate} -key {key}"
            ),
        ));
    }
    lines
}

fn read_lines(card: &Card, reader: &LoginCard, what: &str) -> Vec<CommandLine> {
    let (Some(user), Some(password)) = (&reader.user, &reader.password) else {
        return Vec::new();
    };
    let ca = quote(&card.ca);
    let mut lines = Vec::new();
    if let Some(address) = card.address(&reader.operator, "imaps") {
        lines.push(line(
            "read-curl",
            what,
            format!("curl --silent --show-error --cacert {ca} --user {user}:{password} 'imaps://{address}/INBOX;MAILINDEX=*'"),
        ));
    }
    if let Some(address) = card.address(&reader.operator, "imap") {
        let (host, port) = address.rsplit_once(':').unwrap_or((address, "143"));
        lines.push(line(
            "read-client",
            "Or with any IMAP client",
            format!(
                "# server {host}, port {port}, STARTTLS; user {user}, password {password}; trust {}",
                card.ca
            ),
        ));
    }
    lines
}

/// How a server and a mail client find the operator of a box.
fn discovery_lines(card: &Card, address: &Address) -> Vec<CommandLine> {
    let domain = address.domain();
    let mut lines = Vec::new();
    if let Some((server, port)) = card.dns.rsplit_once(':') {
        let server = server.trim_matches(['[', ']']);
        let dig = format!(
            "dig @{server} -p {port} +noall +answer {domain} MX _submission._tcp.{domain} SRV _imap._tcp.{domain} SRV"
        );
        lines.push(line(
            "find-dig",
            "Where its mail goes, and where its people connect",
            dig,
        ));
    }
    if !card.web_tls.is_empty() {
        let (ca, web) = (quote(&card.ca), &card.web_tls);
        let curl =
            format!("curl --silent --show-error --cacert {ca} '{web}/mail/config-v1.1.xml?emailaddress={address}'");
        lines.push(line("find-curl", "The same as a mail client asks for it", curl));
    }
    lines
}

fn line(name: &str, what: &str, line: String) -> CommandLine {
    CommandLine {
        name: name.to_owned(),
        what: what.to_owned(),
        line,
    }
}

/// How to call this program again from any folder; a bare name where the system will not say.
fn program() -> String {
    let path = std::env::current_exe().ok();
    path.map_or_else(|| "vaguemestre".to_owned(), |path| quote(&path.display().to_string()))
}

/// Quotes a path for a POSIX shell when it needs it.
fn quote(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%=".contains(c);
    if text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_with_spaces_and_quotes_survive_the_shell() {
        assert_eq!(quote("/tmp/a b/l'été"), "'/tmp/a b/l'\\''été'");
        assert_eq!(quote("/tmp/plain-1.pem"), "/tmp/plain-1.pem");
    }
}
