//! `vaguemestre cert`: certificates of a sandbox's authority, issued, renewed, revoked, shown and converted, while the space runs or not.

mod export;
mod file;
mod inspect;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};

use super::order::{OrderArgs, run_order};
use crate::space::{Before, CertFilter, NewCertificate, Order, Renewal};

/// Arguments of `vaguemestre cert`.
#[derive(Args, Clone, Debug)]
pub(super) struct CertArgs {
    #[command(flatten)]
    order: OrderArgs,
    #[command(subcommand)]
    command: CertCommand,
}

#[derive(Subcommand, Clone, Debug)]
enum CertCommand {
    /// Issue a certificate with a new key, or for the key of your own request (--csr)
    Issue(Box<IssueArgs>),
    /// Issue a certificate again: same subject and names, new validity, new key or the same
    Renew(RenewArgs),
    /// Revoke a certificate; published, and refused by every operator, at once
    Revoke(RevokeArgs),
    /// Take a certificate off hold
    Release {
        /// Serial number, subject, CN, or a certificate file
        which: String,
    },
    /// Show what the authority has issued
    List(ListArgs),
    /// Say in plain words what a certificate file is: PEM, DER or PKCS#12
    Inspect(inspect::InspectArgs),
    /// Write a certificate, or the authorities to trust, in another form
    Export(export::ExportArgs),
}

#[derive(Args, Clone, Debug)]
struct IssueArgs {
    /// serv-ssl, serv-ssl-server-only, org-auth-cli or org-sign
    profile: String,
    /// CN: host name of a server, name of a software or service
    #[arg(long, value_name = "NAME")]
    cn: Option<String>,
    /// OU: 1 + FINESS or 3 + SIRET
    #[arg(long, value_name = "ID")]
    structure: Option<String>,
    /// O: the legal person
    #[arg(long, value_name = "NAME")]
    organisation: Option<String>,
    /// ST: such as "Rhône (69)"
    #[arg(long, value_name = "NAME")]
    department: Option<String>,
    /// C: two letters [default: FR]
    #[arg(long, value_name = "CODE")]
    country: Option<String>,
    /// One more host name; repeat for several. A server has its CN already
    #[arg(long, value_name = "HOST")]
    dns: Vec<String>,
    /// A mail address, of a box that a software opens; repeat for several
    #[arg(long, value_name = "ADDRESS")]
    mail: Vec<String>,
    /// An IP address; repeat for several
    #[arg(long, value_name = "IP")]
    ip: Vec<IpAddr>,
    /// rsa-2048, rsa-3072 or ecdsa-p256 [default: the profile's, rsa-2048]
    #[arg(long, value_name = "KIND")]
    key: Option<String>,
    /// Validity in days [default: the profile's, 1095]
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: Option<u32>,
    /// Sign this PKCS#10 request, PEM or DER, instead of making a key
    #[arg(long, value_name = "FILE", conflicts_with = "key")]
    csr: Option<PathBuf>,
    /// Issue from the chain that this space refuses, to test that your software refuses it too
    #[arg(long)]
    other_chain: bool,
    #[command(flatten)]
    files: FilesArgs,
}

/// Where the files of a certificate go.
#[derive(Args, Clone, Debug)]
struct FilesArgs {
    /// Folder for cert.pem, key.pem, cert.p12 and ca.pem
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// Password of cert.p12
    #[arg(long, value_name = "PASSWORD", default_value = "sandbox")]
    password: String,
}

#[derive(Args, Clone, Debug)]
struct RenewArgs {
    /// Serial number, subject, CN, or a certificate file
    which: String,
    /// Keep the key: only cert.pem changes
    #[arg(long)]
    same_key: bool,
    /// Validity in days [default: the profile's, 1095]
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: Option<u32>,
    #[command(flatten)]
    use_of_it: RenewedArgs,
}

/// What becomes of the new certificate, and of the one before.
#[derive(Args, Clone, Debug)]
struct RenewedArgs {
    /// Folder for the files [default: that of the host or login whose certificate it is, which uses it at once; else this folder]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Password of cert.p12; hosts and logins of the sandbox keep theirs
    #[arg(long, value_name = "PASSWORD", default_value = "sandbox")]
    password: String,
    /// Revoke the one before (superseded) once the new one is in use
    #[arg(long)]
    revoke_old: bool,
}

#[derive(Args, Clone, Debug)]
struct RevokeArgs {
    /// Serial number, subject, CN, or a certificate file
    which: String,
    /// unspecified, key-compromise, ca-compromise, affiliation-changed, superseded, cessation-of-operation or privilege-withdrawn
    #[arg(long, value_name = "REASON", default_value = "unspecified")]
    reason: String,
    /// Only suspend it: `cert release` takes it back
    #[arg(long, conflicts_with = "reason")]
    hold: bool,
    /// As of a moment in the past, such as 2026-11-21T10:00:00Z [default: now]
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
}

#[derive(Args, Clone, Debug)]
struct ListArgs {
    /// Only those of this profile
    #[arg(long, value_name = "PROFILE")]
    profile: Option<String>,
    /// Only those whose subject contains this
    #[arg(long, value_name = "TEXT")]
    subject: Option<String>,
    /// Only those that are valid, revoked or expired
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
    /// Only those that end within so many days
    #[arg(long, value_name = "DAYS")]
    ends_within: Option<u32>,
}

/// Carries one of them out.
pub(super) fn run(args: &CertArgs) -> anyhow::Result<ExitCode> {
    let order = match args.command.clone() {
        CertCommand::Issue(issue) => Order::CertIssue(new_certificate(*issue)?),
        CertCommand::Renew(renew) => Order::CertRenew(Renewal {
            which: meant(&renew.which)?,
            same_key: renew.same_key,
            days: renew.days,
            folder: renew.use_of_it.out.as_deref().map(absolute).transpose()?,
            elsewhere: absolute(Path::new("."))?,
            password: renew.use_of_it.password,
            before: if renew.use_of_it.revoke_old {
                Before::IsRevoked
            } else {
                Before::Stays
            },
        }),
        CertCommand::Revoke(revoke) => Order::CertRevoke {
            which: meant(&revoke.which)?,
            reason: if revoke.hold {
                "certificate-hold".to_owned()
            } else {
                revoke.reason
            },
            at: revoke.at,
        },
        CertCommand::Release { which } => Order::CertRelease { which: meant(&which)? },
        CertCommand::List(list) => Order::CertList(CertFilter {
            profile: list.profile,
            subject: list.subject,
            state: list.state,
            ends_within_days: list.ends_within,
        }),
        CertCommand::Inspect(inspect) => return inspect::run(&inspect, &args.order),
        CertCommand::Export(export) => return export::run(&export, &args.order),
    };
    run_order(&args.order, &order)?;
    Ok(ExitCode::SUCCESS)
}

fn new_certificate(issue: IssueArgs) -> anyhow::Result<NewCertificate> {
    let signing_request = issue.csr.as_deref().map(file::bytes).transpose()?;
    Ok(NewCertificate {
        profile: issue.profile,
        common_name: issue.cn,
        structure: issue.structure,
        organisation: issue.organisation,
        department: issue.department,
        country: issue.country,
        dns: issue.dns,
        mail: issue.mail,
        ip: issue.ip,
        key: issue.key,
        days: issue.days,
        signing_request,
        folder: absolute(&issue.files.out)?,
        password: issue.files.password,
        other_chain: issue.other_chain,
    })
}

/// The process that carries the order out may work in another folder.
fn absolute(path: &Path) -> anyhow::Result<String> {
    let path = std::path::absolute(path).with_context(|| format!("cannot use {}", path.display()))?;
    Ok(path.display().to_string())
}

/// A word that is a file means the first certificate in it.
fn meant(which: &str) -> anyhow::Result<String> {
    if !Path::new(which).is_file() {
        return Ok(which.to_owned());
    }
    let read = file::read(Path::new(which), "")?;
    let first = read.chain.first().context("no certificate in it")?;
    Ok(crate::pki::Presented::of(first).serial)
}
