//! `vaguemestre doctor`: connects as a user's client or server would and names the first step that fails, with its remedy; without a
//! server to connect to, it looks at the sandbox itself.

mod dialogue;
mod own;
mod report;
mod sandbox;
mod visit;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, ValueEnum};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::open::JsonFlag;
use super::output;
use super::run::small_runtime;
use super::send::ServerName;
use super::words::LanguageFlag;
use crate::clock::Clock;
use crate::identity::{Address, Domain};
use crate::pki::Presented;
use crate::space::card::{Card, LoginCard};
use crate::space::folder::{Layout, default_root};

use report::Report;
pub(in crate::cli) use report::StepId;

/// Arguments of `vaguemestre doctor`.
#[derive(Args, Clone, Debug)]
pub(super) struct DoctorArgs {
    /// The server to connect to
    #[arg(long, value_name = "HOST:PORT")]
    host: Option<ServerName>,
    /// What is spoken there [default: that of the port, else submission]
    #[arg(long, value_enum, value_name = "FACE")]
    face: Option<FaceArg>,
    #[command(flatten)]
    files: FileArgs,
    #[command(flatten)]
    person: PersonArgs,
    /// Data folder of a sandbox [default: the user's data folder]
    #[arg(long, value_name = "DIR", env = "VAGUEMESTRE_DATA")]
    data: Option<PathBuf>,
    /// A login of the sandbox: fills in everything from its card
    #[arg(long, value_name = "NAME", conflicts_with = "host")]
    login: Option<String>,
    /// Language of the report
    #[command(flatten)]
    language: LanguageFlag,
    /// Print JSON for scripts
    #[command(flatten)]
    json: JsonFlag,
}

/// Files of the one who connects.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct FileArgs {
    /// Your certificate, PEM, with its intermediate
    #[arg(long, value_name = "FILE", requires = "key", conflicts_with = "pkcs12")]
    cert: Option<PathBuf>,
    /// Its private key, PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// Both as PKCS#12
    #[arg(long, value_name = "FILE")]
    pkcs12: Option<PathBuf>,
    /// Password of the PKCS#12 file
    #[arg(long, value_name = "PASSWORD", default_value = "sandbox")]
    pkcs12_password: String,
    /// Certificates of the authority, PEM [default: those of the sandbox]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Revocation lists, PEM or DER (may be repeated) [default: those of the sandbox, if --ca is not given; else none, and revocation is not looked at]
    #[arg(long, value_name = "FILE")]
    crl: Vec<PathBuf>,
    /// The allow list: a file, or a URL that the authority serves
    #[arg(long, value_name = "FILE|URL")]
    list: Option<String>,
}

/// Who connects, and to do what.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct PersonArgs {
    /// Your mail domain: that of the list for a server, that of your boxes for a client
    #[arg(long, value_name = "DOMAIN")]
    domain: Option<Domain>,
    /// The box to open, or the user name of a password login
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Password; without one the certificate speaks
    #[arg(long, value_name = "PASSWORD", env = "VAGUEMESTRE_PASSWORD", hide_env_values = true)]
    password: Option<String>,
    /// A recipient to offer
    #[arg(long, value_name = "ADDRESS")]
    to: Option<Address>,
    /// Send a short test message to the recipient, too
    #[arg(long, requires = "to")]
    send: bool,
}

/// What is spoken on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum FaceArg {
    /// Between operators
    Smtp,
    /// Submission with STARTTLS
    Submission,
    /// Submission over TLS
    Submissions,
    /// IMAP with STARTTLS
    Imap,
    /// IMAP over TLS
    Imaps,
}

impl FileArgs {
    /// What the sandbox says of its authority, where nothing else was given: certificates, revocation lists.
    fn fill_in(&mut self, card: &Card, layout: &Layout) {
        self.ca = Some(card.ca.clone().into());
        if self.crl.is_empty() {
            self.crl = revocation_lists(card, layout);
        }
    }
}

/// The lists that the certificates of the authority and of its hosts name, as the authority signed them last.
fn revocation_lists(card: &Card, layout: &Layout) -> Vec<PathBuf> {
    let host = card.endpoints.first();
    let host = host.map(|one| layout.operator(&one.operator).join(&one.host).join("cert.pem"));
    let files = [Some(PathBuf::from(&card.ca)), host].into_iter().flatten();
    let read = files.filter_map(|file| CertificateDer::pem_file_iter(file).ok());
    let certificates = read.flatten().filter_map(Result::ok);
    let mut lists: Vec<PathBuf> = certificates
        .filter_map(|certificate| {
            let url = Presented::of(&certificate).crl_urls.into_iter().next()?;
            let path = layout.revocation_list(url.rsplit('/').next()?);
            path.exists().then_some(path)
        })
        .collect();
    lists.sort_unstable();
    lists.dedup();
    lists
}

impl FaceArg {
    fn of_port(port: u16) -> Self {
        match port {
            25 => Self::Smtp,
            465 => Self::Submissions,
            143 => Self::Imap,
            993 => Self::Imaps,
            _ => Self::Submission,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Smtp => "smtp",
            Self::Submission => "submission",
            Self::Submissions => "submissions",
            Self::Imap => "imap",
            Self::Imaps => "imaps",
        }
    }

    fn is_imap(self) -> bool {
        matches!(self, Self::Imap | Self::Imaps)
    }

    fn is_implicit(self) -> bool {
        matches!(self, Self::Submissions | Self::Imaps)
    }
}

/// Everything a visit needs, whether it was typed or read from a card.
pub(super) struct Patient {
    host: ServerName,
    /// Name asked for in the handshake.
    name: String,
    face: FaceArg,
    files: FileArgs,
    person: PersonArgs,
}

/// Looks; the code is 1 when a step failed.
pub(super) fn run(args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    let words = args.language.words();
    let mut report = Report::new(words);
    let patient = patient(args)?;
    small_runtime()?.block_on(async {
        let clock = Clock::system();
        match &patient {
            Some(patient) => visit::visit(patient, &clock, &mut report).await,
            None => sandbox::look(&layout(args)?, &clock, &mut report).await?,
        }
        anyhow::Ok(())
    })?;
    if args.json.json {
        output::print(&format!("{}\n", serde_json::to_string_pretty(&report)?))?;
    } else {
        let data = args.data.as_ref().map(|data| format!(" --data {}", data.display()));
        output::print(&report.to_text(&data.unwrap_or_default()))?;
    }
    Ok(match report.first_failure() {
        None => ExitCode::SUCCESS,
        Some(_) => ExitCode::FAILURE,
    })
}

fn patient(args: &DoctorArgs) -> anyhow::Result<Option<Patient>> {
    if let Some(name) = &args.login {
        return of_card(args, name).map(Some);
    }
    let Some(host) = args.host.clone() else {
        return Ok(None);
    };
    let mut files = args.files.clone();
    if files.ca.is_none() {
        let found = layout(args).and_then(|layout| Ok((card(&layout)?, layout)));
        let (card, layout) =
            found.context("give the certificates of the authority with --ca: no sandbox is here to take them from")?;
        files.fill_in(&card, &layout);
    }
    Ok(Some(Patient {
        name: host.host.clone(),
        face: args.face.unwrap_or_else(|| FaceArg::of_port(host.port)),
        host,
        files,
        person: args.person.clone(),
    }))
}

/// What the card of the sandbox says of a login.
fn of_card(args: &DoctorArgs, name: &str) -> anyhow::Result<Patient> {
    let layout = layout(args)?;
    let card = card(&layout)?;
    let login = card.logins.iter().find(|login| login.name == name);
    let login = login.with_context(|| {
        let names: Vec<&str> = card.logins.iter().map(|login| login.name.as_str()).collect();
        format!("no login {name:?} in this sandbox; there is {}", names.join(", "))
    })?;
    let face = args.face.unwrap_or(FaceArg::Submission);
    let mut endpoints = card.endpoints.iter();
    let endpoint = endpoints.find(|e| e.operator == login.operator && e.face == face.name());
    let endpoint = endpoint.with_context(|| format!("operator {} has no {} address", login.operator, face.name()))?;
    let mut files = args.files.clone();
    files.cert = files.cert.or_else(|| login.certificate.clone().map(PathBuf::from));
    files.key = files.key.or_else(|| login.key.clone().map(PathBuf::from));
    if files.ca.is_none() {
        files.fill_in(&card, &layout);
    }
    files.list = files.list.or_else(|| Some(layout.allow_list().display().to_string()));
    Ok(Patient {
        host: endpoint.address.parse().map_err(anyhow::Error::msg)?,
        name: endpoint.host.clone(),
        face,
        files,
        person: person_of(login, &args.person),
    })
}

fn person_of(login: &LoginCard, typed: &PersonArgs) -> PersonArgs {
    let first = login.boxes.first().cloned();
    PersonArgs {
        domain: typed.domain.clone().or_else(|| {
            let address: Address = first.clone()?.parse().ok()?;
            Some(address.domain().clone())
        }),
        user: typed.user.clone().or_else(|| login.user.clone().or(first)),
        password: typed.password.clone().or_else(|| login.password.clone()),
        ..typed.clone()
    }
}

fn layout(args: &DoctorArgs) -> anyhow::Result<Layout> {
    let root = args.data.clone().map_or_else(default_root, Ok)?;
    Ok(Layout::existing(&root)?)
}

/// The card of the sandbox as it was raised last.
fn card(layout: &Layout) -> anyhow::Result<Card> {
    let path = layout.card();
    let text = std::fs::read_to_string(&path).with_context(|| {
        format!(
            "cannot read {}: has `vaguemestre up` finished starting?",
            path.display()
        )
    })?;
    serde_json::from_str(&text).with_context(|| format!("{} is damaged: start `vaguemestre up` again", path.display()))
}
