//! `vaguemestre cert inspect FILE`: who, for what, until when, of which chain, revoked or not, listed or not.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;
use serde_json::json;

use super::file;
use crate::cli::order::{OrderArgs, carry_out};
use crate::cli::output;
use crate::clock::Clock;
use crate::pki::Presented;
use crate::space::{Answer, Order};

/// Arguments of `vaguemestre cert inspect`.
#[derive(Args, Clone, Debug)]
pub(super) struct InspectArgs {
    /// The file: PEM, DER or PKCS#12
    file: PathBuf,
    /// Password of a PKCS#12 file
    #[arg(long, value_name = "PASSWORD", default_value = "sandbox")]
    password: String,
}

/// Reads the file; without a space, what the authority and the list say is left out.
pub(super) fn run(args: &InspectArgs, order: &OrderArgs) -> anyhow::Result<ExitCode> {
    let read = file::read(&args.file, &args.password)?;
    let now = Clock::system().now();
    let mut shown = Vec::new();
    let mut text = String::new();
    for (rank, certificate) in (1_u32..).zip(&read.chain) {
        let presented = Presented::of(certificate);
        let said = (rank == 1 && !presented.is_authority)
            .then(|| said_of(&presented, order))
            .flatten();
        if read.chain.len() > 1 {
            text.push_str(&format!("certificate {rank} of {}\n", read.chain.len()));
        }
        text.push_str(&words(&presented, now));
        if let Some(said) = &said {
            text.push_str(&said.text);
        }
        shown.push(json!({ "certificate": presented, "space": said.map(|said| said.data) }));
    }
    text.push_str(if read.key.is_some() {
        "key         the private key is in the file\n"
    } else {
        "key         not in this file\n"
    });
    if order.is_json() {
        output::print(&format!("{}\n", serde_json::to_string_pretty(&shown)?))?;
    } else {
        output::print(&text)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn said_of(presented: &Presented, order: &OrderArgs) -> Option<Answer> {
    let question = Order::CertStatus {
        which: presented.serial.clone(),
        subject: Some(presented.subject.clone()),
    };
    carry_out(order.root(), &question).ok()
}

fn words(presented: &Presented, now: Timestamp) -> String {
    if let Some(problem) = &presented.problem {
        return format!("unreadable  {problem}\n");
    }
    let when = match (presented.not_before, presented.not_after) {
        (Some(from), _) if from > now => format!("not valid before {from}"),
        (_, Some(until)) if until <= now => format!("EXPIRED since {until}"),
        (Some(from), Some(until)) => format!("from {from} until {until}"),
        _ => "no dates".to_owned(),
    };
    let names = if presented.names.is_empty() {
        "none".to_owned()
    } else {
        presented.names.join(", ")
    };
    let mut text = format!(
        "for         {}\nby          {}\nserial      {}\nvalid       {when}\nkey kind    {}, signed with {}\nuse         {}\nnames       {names}\nsha-256     {}\n",
        presented.subject,
        presented.issuer,
        presented.serial,
        presented.key,
        presented.signature,
        uses(presented),
        presented.fingerprint,
    );
    for (label, urls) in [
        ("CRL", &presented.crl_urls),
        ("OCSP", &presented.ocsp_urls),
        ("issuer at", &presented.issuer_urls),
    ] {
        if !urls.is_empty() {
            text.push_str(&format!("{label:<11} {}\n", urls.join(", ")));
        }
    }
    text
}

fn uses(presented: &Presented) -> String {
    if presented.is_authority {
        return "authority: it signs certificates".to_owned();
    }
    let has = |purpose: &str| presented.extended_key_usage.iter().any(|one| one == purpose);
    let plain = match (has("serverAuth"), has("clientAuth")) {
        (true, true) => "TLS server and client: an operator's server (SERV SSL)",
        (true, false) => "TLS server only",
        (false, true) => "TLS client: a software that opens boxes (ORG AUTH_CLI)",
        (false, false) => "no TLS: signatures (ORG SIGN) or another use",
    };
    let all = [presented.key_usage.as_slice(), presented.extended_key_usage.as_slice()].concat();
    format!("{plain} [{}]", all.join(", "))
}
