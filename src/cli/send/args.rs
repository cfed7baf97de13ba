//! What is typed after `vaguemestre send`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;

use super::pace::Pace;
use crate::cli::JsonFlag;
use crate::identity::Address;
use crate::smtp::command::Notify;

/// Arguments of `vaguemestre send`.
#[derive(Args, Clone, Debug)]
pub(crate) struct SendArgs {
    #[command(flatten)]
    pub(super) route: RouteArgs,
    #[command(flatten)]
    pub(super) mail: MailArgs,
    #[command(flatten)]
    pub(super) pace: PaceArgs,
    #[command(flatten)]
    pub(super) json: JsonFlag,
}

/// Where to send, and as whom.
#[derive(Args, Clone, Debug)]
pub(super) struct RouteArgs {
    /// Data folder of the running sandbox [default: the user's data folder]
    #[arg(long, value_name = "DIR", env = "VAGUEMESTRE_DATA")]
    pub(super) data: Option<PathBuf>,
    /// Box to send from; by default the box of the sandbox's first certificate login
    #[arg(long, value_name = "BOX")]
    pub(super) from: Option<Address>,
    /// Use STARTTLS (port 587) instead of implicit TLS (port 465)
    #[arg(long)]
    pub(super) starttls: bool,
    #[command(flatten)]
    pub(super) server: ServerArgs,
}

/// An operator that is not the sandbox's.
#[derive(Args, Clone, Debug)]
pub(super) struct ServerArgs {
    /// Submission server of another operator, instead of the sandbox
    #[arg(long, value_name = "HOST:PORT", requires_all = ["cert", "key", "ca", "from"])]
    pub(super) server: Option<ServerName>,
    /// Certificate to log in with, PEM, followed by its issuer
    #[arg(long, value_name = "PEM", requires = "server")]
    pub(super) cert: Option<PathBuf>,
    /// Its private key, PEM
    #[arg(long, value_name = "PEM", requires = "server")]
    pub(super) key: Option<PathBuf>,
    /// Authorities that the server's certificate must come from, PEM
    #[arg(long, value_name = "PEM", requires = "server")]
    pub(super) ca: Option<PathBuf>,
    /// Demand that the server's certificate names the host of --server
    #[arg(long, requires = "server")]
    pub(super) check_name: bool,
}

/// What to send.
#[derive(Args, Clone, Debug)]
pub(super) struct MailArgs {
    /// Recipient of every mail; repeat it, or separate several with commas
    #[arg(long, value_name = "ADDRESS", required = true, value_delimiter = ',')]
    pub(super) to: Vec<Address>,
    /// Subject of every mail, instead of synthetic ones
    #[arg(long, value_name = "TEXT")]
    pub(super) subject: Option<String>,
    /// Box that answers go to
    #[arg(long, value_name = "BOX")]
    pub(super) reply_to: Option<Address>,
    /// Further header field (may be repeated); X-MSS-NIL is BAC-A-SABLE unless given here
    #[arg(long, value_name = "NAME: VALUE")]
    pub(super) header: Vec<FieldArg>,
    /// Attach this file (may be repeated), instead of a synthetic PDF
    #[arg(long, value_name = "FILE")]
    pub(super) attach: Vec<PathBuf>,
    /// Attach no synthetic PDF
    #[arg(long)]
    pub(super) no_pdf: bool,
    /// When the sender's box gets a report about each recipient: success (the "accusé de réception"), failure, delay, several with commas, or
    /// never [default: on failure, and on a long delay]
    #[arg(long, value_name = "WHEN", value_parser = notify)]
    pub(super) notify: Option<Notify>,
    /// Pad every mail to this size, header and attachments included
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(..=SIZE_BYTES_MAX))]
    pub(super) size: Option<u64>,
    /// Make the same mails again, Message-IDs included; only their dates differ [default: random]
    #[arg(long, value_name = "NUMBER")]
    pub(super) seed: Option<u64>,
}

/// How many, and how fast.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct PaceArgs {
    /// How many mails
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) count: u64,
    /// Mails per second, over all connections; 0 is as fast as possible
    #[arg(long, value_name = "R", default_value_t = 0.0, value_parser = rate)]
    pub(super) rate: f64,
    /// Parallel connections
    #[arg(long, value_name = "C", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=CONNECTIONS_MAX))]
    pub(super) connections: u64,
}

/// A host and a port as typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct ServerName {
    /// Name or address, an IPv6 address without its brackets.
    pub(in crate::cli) host: String,
    /// Port.
    pub(in crate::cli) port: u16,
}

/// A header field as typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FieldArg {
    /// Before the colon.
    pub(super) name: String,
    /// After it.
    pub(super) value: String,
}

impl PaceArgs {
    pub(super) fn pace(self) -> Pace {
        Pace::new(self.rate)
    }
}

impl FromStr for ServerName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not HOST:PORT, such as smtp.operator.example:465 or [::1]:465");
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let host = bracketed.unwrap_or(host);
        let is_clear = !host.is_empty() && (bracketed.is_some() || !host.contains(':'));
        let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)?;
        is_clear
            .then(|| Self {
                host: host.to_owned(),
                port,
            })
            .ok_or_else(wrong)
    }
}

impl FromStr for FieldArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text
            .split_once(':')
            .ok_or_else(|| format!("{text:?} is not NAME: VALUE, such as 'X-MSS-NIL: DEV000001'"))?;
        let name = name.trim();
        // RFC 5322 §3.6: these may stand there once, and the mail has its own.
        let own = OWN_FIELDS.iter().find(|(own, _)| own.eq_ignore_ascii_case(name));
        if let Some((own, instead)) = own {
            return Err(format!("{own} is a field the mail has already{instead}"));
        }
        if name.to_ascii_lowercase().starts_with("content-") {
            return Err(format!("{name} is a field the mail has already"));
        }
        Ok(Self {
            name: name.to_owned(),
            value: value.trim().to_owned(),
        })
    }
}

fn notify(text: &str) -> Result<Notify, String> {
    let wrong = |_| String::from("expected success, failure, delay (several with commas) or never");
    text.parse().map_err(wrong)
}

fn rate(text: &str) -> Result<f64, String> {
    let wrong = || format!("expected mails per second: 0 for as fast as possible, else from {RATE_MIN} to {RATE_MAX}");
    let rate: f64 = text.parse().map_err(|_| wrong())?;
    let in_range = rate == 0.0 || (RATE_MIN..=RATE_MAX).contains(&rate);
    in_range.then_some(rate).ok_or_else(wrong)
}

/// Slowest and fastest, in mails per second: one in about three hours, and more than any server takes.
const RATE_MIN: f64 = 0.0001;
const RATE_MAX: f64 = 1_000_000.0;
/// More would measure the simulator.
const CONNECTIONS_MAX: u64 = 256;
/// Twenty times what any operator of the field takes.
const SIZE_BYTES_MAX: u64 = 500_000_000;
/// Fields of the mail itself, and how to set them.
const OWN_FIELDS: [(&str, &str); 8] = [
    ("From", ": use --from"),
    ("To", ": use --to"),
    ("Subject", ": use --subject"),
    ("Reply-To", ": use --reply-to"),
    ("Date", ""),
    ("Message-ID", ": use --seed"),
    ("MIME-Version", ""),
    ("Sender", ": use --from"),
];

#[cfg(test)]
pub(super) mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: SendArgs,
    }

    pub(in crate::cli::send) fn parse(words: &[&str]) -> Result<SendArgs, clap::Error> {
        Cli::try_parse_from([&["send"], words].concat()).map(|cli| cli.args)
    }

    fn error(words: &[&str]) -> String {
        parse(words).expect_err("the arguments are wrong").to_string()
    }

    #[test]
    fn recipients_come_one_by_one_or_in_lists() {
        let args = parse(&["--to", "a@x.mssante.fr,b@x.mssante.fr", "--to", "c@x.mssante.fr"]).unwrap();
        let to: Vec<&str> = args.mail.to.iter().map(Address::as_str).collect();
        assert_eq!(to, ["a@x.mssante.fr", "b@x.mssante.fr", "c@x.mssante.fr"]);
        assert!(error(&[]).contains("--to"));
        assert!(error(&["--to", "nobody"]).contains("nobody"));
    }

    #[test]
    fn one_mail_as_fast_as_possible_over_one_connection_is_the_default() {
        let args = parse(&["--to", "a@x.mssante.fr"]).unwrap();
        assert_eq!((args.pace.count, args.pace.connections), (1, 1));
        assert!(args.pace.rate.abs() < f64::EPSILON);
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        let with = |more: &[&str]| parse(&[&["--to", "a@x.fr"], more].concat());
        for good in [
            &["--rate", "0"][..],
            &["--rate", "0.5"],
            &["--rate", "250"],
            &["--connections", "256"],
        ] {
            assert!(with(good).is_ok(), "{good:?}");
        }
        for bad in [
            &["--rate=-1"][..],
            &["--rate", "NaN"],
            &["--rate", "inf"],
            &["--rate", "1e-300"],
            &["--rate", "fast"],
            &["--count", "0"],
            &["--connections", "0"],
            &["--connections", "257"],
            &["--size", "500000001"],
        ] {
            assert!(with(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn another_operator_needs_all_of_its_files_and_a_sender() {
        let complete = [
            "--to", "a@x.fr", "--server", "h:465", "--cert", "c", "--key", "k", "--ca", "a", "--from", "d@x.fr",
        ];
        assert!(parse(&complete).is_ok());
        for (at, name) in [(4, "--cert"), (6, "--key"), (8, "--ca"), (10, "--from")] {
            let mut less = complete.to_vec();
            less.drain(at..at + 2);
            assert!(error(&less).contains(name), "{name}");
        }
        assert!(error(&["--to", "a@x.fr", "--check-name"]).contains("--server"));
        assert!(error(&["--to", "a@x.fr", "--cert", "c"]).contains("--server"));
    }

    #[test]
    fn a_server_is_a_host_and_a_port() {
        let read = |text: &str| text.parse::<ServerName>().map(|name| (name.host, name.port));
        assert_eq!(read("smtp.x.fr:465"), Ok(("smtp.x.fr".to_owned(), 465)));
        assert_eq!(read("[::1]:587"), Ok(("::1".to_owned(), 587)));
        for bad in ["smtp.x.fr", ":465", "h:0", "h:70000", "::1:465", "[]:1"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn fields_of_the_mail_itself_cannot_be_added_twice() {
        let read = |text: &str| text.parse::<FieldArg>();
        let field = read("X-MSS-NIL:  DEV000001 ").unwrap();
        assert_eq!((field.name.as_str(), field.value.as_str()), ("X-MSS-NIL", "DEV000001"));
        assert_eq!(read("X-Time: 10:30").unwrap().value, "10:30");
        assert!(read("no colon").is_err());
        assert!(read("from: a@b.fr").unwrap_err().contains("--from"));
        assert!(read("Content-Type: text/html").is_err());
    }
}
