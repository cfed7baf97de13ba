//! One handler for each command.

use super::Face;
use super::Hello;
use super::Link;
use super::Progress;
use super::Question;
use super::Session;
use super::Step;
use super::Verb;
use super::state::Asked;
use super::state::State;
use super::state::Transaction;
use super::state::too_large;
use crate::identity::Address;
use crate::policy::Reason;
use crate::policy::Refusal;
use crate::smtp::command::Body;
use crate::smtp::command::Command;
use crate::smtp::command::CommandError;
use crate::smtp::command::MailFrom;
use crate::smtp::command::Onward;
use crate::smtp::command::RcptTo;
use crate::smtp::extension::Extension;
use crate::smtp::input::LineFault;
use crate::smtp::reply::Reply;

impl Session {
    pub(super) fn next_command(&mut self, transaction: Transaction) -> Progress {
        let line = self.input.next_line(command_bytes_max(self.input.rest()));
        self.state = State::Command(transaction);
        let Some(line) = line else {
            return Progress::Flushed(Step::Read);
        };
        self.tally.commands += 1;
        // A transaction with as many recipients as are taken must fit.
        let limits = &self.options.limits;
        if self.tally.commands > limits.commands_max.saturating_add(limits.recipients_max) {
            self.give_up(Reason::TooManyErrors, "too many commands without a message");
            return Progress::Again;
        }
        match line {
            Ok(line) => self.obey(Command::parse(&line)),
            Err(fault) => {
                self.blame_line(fault);
                Progress::Again
            }
        }
    }

    pub(super) fn blame_line(&mut self, fault: LineFault) {
        let reply = match fault {
            LineFault::TooLong => Reply::LINE_TOO_LONG,
            LineFault::BareLineEnd => Reply::BARE_LINE_END,
        };
        self.blame(&reply);
    }

    /// Answers a command in the state `Command`.
    fn obey(&mut self, command: Result<Command, CommandError>) -> Progress {
        if let Some(refusal) = self.known.refused.clone()
            && command != Ok(Command::Quit)
        {
            self.drain_after(&command);
            self.say_refusal(&refusal);
            self.count_error();
            return Progress::Again;
        }
        let command = match command {
            Ok(command) => command,
            Err(error) => {
                self.blame(&Reply::from(&error));
                if error == CommandError::Chunk {
                    // What follows is text of unknown length: never take it for commands.
                    self.abandon();
                    self.state = State::Closed;
                }
                return Progress::Again;
            }
        };
        if let Some(refusal) = self.gate(&command) {
            self.drain_after(&Ok(command));
            self.refuse(refusal);
            self.count_error();
            return Progress::Again;
        }
        match std::mem::take(&mut self.state) {
            State::Command(transaction) => self.execute(command, transaction),
            other => {
                self.state = other;
                Progress::Again
            }
        }
    }

    /// RFC 3207 §4 (OP-5) and RFC 4954 §6: what must have happened before this command.
    fn gate(&self, command: &Command) -> Option<Refusal> {
        let harmless = matches!(
            command,
            Command::Ehlo(_)
                | Command::Helo(_)
                | Command::StartTls
                | Command::Noop
                | Command::Rset
                | Command::Help
                | Command::Quit
        );
        if self.known.link == Link::Clear && !harmless {
            return Some(Refusal::new(Reason::TlsRequired, "use STARTTLS first"));
        }
        let anonymous = self.options.face == Face::Submission && self.known.login.is_none();
        (anonymous && matches!(command, Command::Mail(_)))
            .then(|| Refusal::new(Reason::AuthenticationRequired, "log in with AUTH first"))
    }

    fn execute(&mut self, command: Command, transaction: Transaction) -> Progress {
        match command {
            Command::Mail(mail) => return self.mail(mail, transaction),
            Command::Rcpt(recipient) => return self.recipient(recipient, transaction),
            Command::Data => self.data(transaction),
            Command::Bdat(header) => self.chunk(header, transaction),
            Command::Auth { mechanism, initial } => return self.authenticate(&mechanism, initial, transaction),
            Command::Ehlo(name) => self.greeted(name, Verb::Ehlo, transaction),
            Command::Helo(name) => self.greeted(name, Verb::Helo, transaction),
            Command::StartTls => self.start_tls(transaction),
            Command::Rset => {
                self.state = State::Command(transaction);
                self.abandon();
                self.say(&Reply::OK);
            }
            Command::Quit => {
                self.state = State::Command(transaction);
                self.abandon();
                self.say(&Reply::BYE);
                self.state = State::Closed;
            }
            Command::Noop => self.remain(transaction, &Reply::OK),
            Command::Vrfy => self.remain(transaction, &Reply::CANNOT_VERIFY),
            Command::Help => self.remain(transaction, &Reply::HELP),
        }
        Progress::Again
    }

    fn remain(&mut self, transaction: Transaction, reply: &Reply) {
        self.state = State::Command(transaction);
        self.say(reply);
    }

    /// The command does not fit here: nothing changes but the count of errors.
    pub(super) fn out_of_sequence(&mut self, transaction: Transaction, reply: &Reply) {
        self.state = State::Command(transaction);
        self.blame(reply);
    }

    /// Ends the transaction without a message.
    pub(super) fn abandon(&mut self) {
        if self.state.mail().is_some() {
            self.notices.push_back(Step::Abandon);
        }
        self.state = State::Command(Transaction::Idle);
    }

    /// RFC 5321 §4.1.4: EHLO also ends a transaction.
    fn greeted(&mut self, name: String, verb: Verb, transaction: Transaction) {
        self.state = State::Command(transaction);
        self.abandon();
        let mut lines = format!("{} greets {name}", self.options.hostname);
        self.known.hello = Some(Hello { name, verb });
        if verb == Verb::Ehlo {
            for keyword in self.keywords() {
                lines.push('\n');
                lines.push_str(&keyword);
            }
        }
        self.say(&Reply::plain(250, lines));
    }

    /// What EHLO announces now.
    fn keywords(&self) -> Vec<String> {
        let encrypted = self.known.link == Link::Encrypted;
        let mut keywords: Vec<String> = Extension::ALL
            .into_iter()
            .filter(|extension| self.offers(*extension))
            // RFC 8689 §4.1
            .filter(|extension| encrypted || *extension != Extension::RequireTls)
            .map(|extension| match extension {
                Extension::Size => format!("SIZE {}", self.options.limits.size_bytes_max),
                Extension::Limits => self.announced_limits(),
                other => other.keyword().to_owned(),
            })
            .collect();
        if !encrypted {
            keywords.push("STARTTLS".to_owned());
        }
        if encrypted && self.known.login.is_none() && !self.options.mechanisms.is_empty() {
            let names: Vec<&str> = self
                .options
                .mechanisms
                .iter()
                .map(|mechanism| mechanism.name())
                .collect();
            keywords.push(format!("AUTH {}", names.join(" ")));
        }
        keywords
    }

    /// RFC 9422 §3: values have at most six digits; a limit beyond that is none that a client has to mind.
    fn announced_limits(&self) -> String {
        let limits = &self.options.limits;
        let named = [
            ("MAILMAX", limits.session.mails_max),
            ("RCPTMAX", Some(limits.recipients_max)),
            ("RCPTDOMAINMAX", limits.session.recipient_domains_max),
        ];
        let mut line = Extension::Limits.keyword().to_owned();
        for (name, value) in named {
            if let Some(value) = value.filter(|value| (1..=ANNOUNCED_LIMIT_MAX).contains(value)) {
                line.push_str(&format!(" {name}={value}"));
            }
        }
        line
    }

    fn start_tls(&mut self, transaction: Transaction) {
        if self.known.link == Link::Encrypted {
            return self.out_of_sequence(transaction, &Reply::TLS_ALREADY);
        }
        self.state = State::Command(transaction);
        self.abandon();
        self.say(&Reply::START_TLS);
        // RFC 3207 §4: what was sent along in clear must not be taken for something said inside TLS.
        self.input.clear();
        self.state = State::Handshake;
    }

    fn mail(&mut self, mail: MailFrom, transaction: Transaction) -> Progress {
        self.spent.mails = self.spent.mails.saturating_add(1);
        let mails_max = self.options.limits.session.mails_max;
        if mails_max.is_some_and(|most| self.spent.mails > most) {
            self.state = State::Command(transaction);
            self.give_up(
                Reason::TooManyTransactions,
                "as many transactions as one session may hold, connect again",
            );
            return Progress::Again;
        }
        let misplaced = match transaction {
            _ if self.known.hello.is_none() => Some(Reply::HELLO_FIRST),
            Transaction::Idle => self.unusable(&mail),
            _ => Some(Reply::BAD_SEQUENCE),
        };
        if let Some(reply) = misplaced {
            self.out_of_sequence(transaction, &reply);
            return Progress::Again;
        }
        let size_bytes_max = self.options.limits.size_bytes_max;
        if mail.size_bytes.is_some_and(|size| size > size_bytes_max) {
            self.state = State::Command(Transaction::Idle);
            self.refuse(too_large(size_bytes_max));
            return Progress::Again;
        }
        self.state = State::Asked(Asked::Sender(mail.clone()));
        Progress::Now(Step::Ask(Question::Sender(mail)))
    }

    /// Parameters of extensions that are not offered, and addresses that need one.
    fn unusable(&self, mail: &MailFrom) -> Option<Reply> {
        let used = [
            (Extension::Size, mail.size_bytes.is_some()),
            (Extension::EightBitMime, mail.body.is_some()),
            (Extension::Utf8, mail.utf8),
            (Extension::Dsn, mail.ret.is_some() || mail.envid.is_some()),
            (Extension::RequireTls, mail.onward == Onward::TlsRequired),
        ];
        let foreign = used.iter().any(|(extension, used)| *used && !self.agreed(*extension));
        if foreign || mail.body == Some(Body::BinaryMime) {
            return Some(Reply::PARAMETER_NOT_OFFERED);
        }
        if mail.auth.is_some() && self.options.mechanisms.is_empty() {
            return Some(Reply::PARAMETER_NOT_OFFERED);
        }
        needs_utf8(mail.path.as_ref(), mail).then_some(Reply::ADDRESS_NEEDS_UTF8)
    }

    /// RFC 5321 §2.2.1: parameters belong to extensions, which only EHLO announces.
    fn agreed(&self, extension: Extension) -> bool {
        let extended = self.known.hello.as_ref().is_some_and(|hello| hello.verb == Verb::Ehlo);
        extended && self.offers(extension)
    }

    /// Why one more recipient is for another transaction or session (RFC 5321 §4.5.3.1.10); not an error of the client.
    fn no_room(&self, recipient: &RcptTo, accepted: usize) -> Option<String> {
        let limits = &self.options.limits;
        if accepted >= limits.recipients_max {
            return Some(format!("at most {accepted} recipients in one transaction"));
        }
        let most = limits.session.recipient_domains_max?;
        let known = &self.spent.domains;
        let another = recipient.path.address().is_some_and(|to| !known.contains(to.domain()));
        (another && known.len() >= most).then(|| format!("at most {most} domains among the recipients of one session"))
    }

    fn recipient(&mut self, recipient: RcptTo, transaction: Transaction) -> Progress {
        let (accepted, mail) = match &transaction {
            Transaction::FromKnown { mail, .. } => (0, mail),
            Transaction::ToKnown { mail, accepted } => (*accepted, mail),
            Transaction::Idle => {
                self.out_of_sequence(transaction, &Reply::MAIL_FIRST);
                return Progress::Again;
            }
            Transaction::Chunked(_) | Transaction::Failed => {
                self.out_of_sequence(transaction, &Reply::BAD_SEQUENCE);
                return Progress::Again;
            }
        };
        let reports = recipient.notify.is_some() || recipient.orcpt.is_some();
        let unusable = if reports && !self.agreed(Extension::Dsn) {
            Some(Reply::PARAMETER_NOT_OFFERED)
        } else {
            needs_utf8(recipient.path.address(), mail).then_some(Reply::ADDRESS_NEEDS_UTF8)
        };
        if let Some(reply) = unusable {
            self.out_of_sequence(transaction, &reply);
            return Progress::Again;
        }
        if let Some(text) = self.no_room(&recipient, accepted) {
            self.state = State::Command(transaction);
            self.refuse(Refusal::new(Reason::TooManyRecipients, text));
            return Progress::Again;
        }
        let domain = recipient.path.address().map(|to| to.domain().clone());
        self.state = State::Asked(Asked::Recipient(transaction, domain));
        Progress::Now(Step::Ask(Question::Recipient(recipient)))
    }
}

/// RFC 6531 §3.5: an address outside ASCII is only for a transaction that began with SMTPUTF8.
fn needs_utf8(address: Option<&Address>, mail: &MailFrom) -> bool {
    !mail.utf8 && address.is_some_and(|address| !address.as_str().is_ascii())
}

/// The limit for the command line that begins like this.
fn command_bytes_max(rest: &[u8]) -> usize {
    match rest.get(..5) {
        Some(verb) if verb.eq_ignore_ascii_case(b"AUTH ") => super::login::RESPONSE_BYTES_MAX,
        _ => COMMAND_BYTES_MAX,
    }
}

/// RFC 9422 §3.
const ANNOUNCED_LIMIT_MAX: usize = 999_999;
/// RFC 5321 §4.5.3.1.4 says 512; the parameters known here add at most 26 + 17 + 10 + 11 + 500 + 9 + 106 (MAIL) or 28 + 507 (RCPT).
const COMMAND_BYTES_MAX: usize = 2048;
