//! `vaguemestre list verify`.

use std::fmt::Write;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};

use super::source::{self, SandboxArgs};
use crate::cli::{JsonFlag, output};
use crate::clock::Clock;
use crate::pki::{ExpectedSigner, MissingRevocation, PeerCertificate, TrustStore};
use crate::space;
use crate::trust::{self, Mode, SignatureError, SignatureStep, Signer, Verified};

/// Arguments of `vaguemestre list verify`.
#[derive(Args, Clone, Debug)]
pub(super) struct VerifyArgs {
    /// A file, or an http or https URL
    #[arg(value_name = "FILE|URL")]
    list: String,
    /// Certificates of the authority, PEM; may be repeated [default: the sandbox's]
    #[arg(long, value_name = "FILE")]
    ca: Vec<PathBuf>,
    /// Revocation lists, PEM or DER; may be repeated. Without any, revocation is not looked at
    #[arg(long, value_name = "FILE", requires = "ca")]
    crl: Vec<PathBuf>,
    /// CN that the signer must have [default: any, or the sandbox's]
    #[arg(long, value_name = "CN")]
    signer_cn: Option<String>,
    /// OU that the signer must have [default: any, or the sandbox's]
    #[arg(long, value_name = "OU")]
    signer_ou: Option<String>,
    /// Refuse the list when any of its entries cannot be used
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    sandbox: SandboxArgs,
    /// Print the checks as JSON
    #[command(flatten)]
    json: JsonFlag,
}

/// 0 when it verifies, 1 when not.
pub(super) fn run(args: &VerifyArgs) -> anyhow::Result<u8> {
    let (store, expected, has_revocation) = trusted(args)?;
    let bytes = source::read(&args.list, Some(&store))?;
    let now = Clock::system().now();
    let mode = if args.strict { Mode::Strict } else { Mode::Salvage };
    let mut signer = None;
    let result = trust::verify(&bytes, mode, now, |said: &Signer| {
        signer = Some(store.verify_signer(said, &expected, now)?);
        Ok(())
    });
    let checks = Checks {
        result,
        signer,
        has_revocation,
    };
    if args.json.json {
        output::print(&format!("{}\n", serde_json::to_string_pretty(&checks.as_json())?))?;
    } else {
        output::print(&checks.as_text())?;
    }
    Ok(u8::from(checks.result.is_err()))
}

/// Whom to believe, and whether revocation can be looked at.
fn trusted(args: &VerifyArgs) -> anyhow::Result<(TrustStore, ExpectedSigner, bool)> {
    let mut expected = ExpectedSigner {
        common_name: args.signer_cn.clone(),
        structure: args.signer_ou.clone(),
    };
    let (mut ca, mut crl) = (args.ca.clone(), args.crl.clone());
    if ca.is_empty() {
        let layout = args
            .sandbox
            .layout()
            .context("--ca is not given, and there is no sandbox to take it from")?;
        ca.push(layout.ca());
        crl = revocation_lists(&layout.authority().join("crl"));
        let of_sandbox = space::expected_signer();
        expected.common_name = expected.common_name.or(of_sandbox.common_name);
        expected.structure = expected.structure.or(of_sandbox.structure);
    }
    let has_revocation = !crl.is_empty();
    let mut store = source::authority(&ca, &crl)?;
    if !has_revocation {
        store = store.with_missing_revocation(MissingRevocation::Accept);
    }
    Ok((store, expected, has_revocation))
}

/// The complete lists that the sandbox's authority keeps; those that are not there are not looked at.
fn revocation_lists(folder: &std::path::Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut lists: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    let is_complete = |path: &PathBuf| {
        path.extension().is_some_and(|kind| kind == "crl") && !path.to_string_lossy().to_lowercase().contains("delta")
    };
    lists.retain(is_complete);
    lists.sort();
    lists
}

struct Checks {
    result: Result<Verified, SignatureError>,
    signer: Option<PeerCertificate>,
    has_revocation: bool,
}

impl Checks {
    /// Each step: passed, failed, or not reached.
    fn steps(&self) -> impl Iterator<Item = (SignatureStep, &'static str)> {
        let failed = self.result.as_ref().err().map(SignatureError::step);
        SignatureStep::ALL.into_iter().map(move |step| {
            let outcome = match failed {
                Some(failed) if step == failed => "failed",
                Some(failed) if step > failed => "not reached",
                _ => "passed",
            };
            (step, outcome)
        })
    }

    fn as_text(&self) -> String {
        let mut text = String::new();
        let mut push = |line: String| {
            let written = writeln!(text, "{line}");
            debug_assert!(written.is_ok(), "writing to a String cannot fail");
        };
        for (step, outcome) in self.steps() {
            push(format!("{outcome:<12} {}", step.describe()));
        }
        if let Some(signer) = &self.signer {
            push(format!("signer       {}", signer.subject));
            push(format!("issuer       {}", signer.issuer));
            push(format!(
                "valid        from {} to {}",
                signer.not_before, signer.not_after
            ));
            if !self.has_revocation {
                push("revocation   not looked at: no --crl".to_owned());
            }
        }
        match &self.result {
            Ok(verified) => {
                let list = &verified.parsed().list;
                push(format!("signed       {}", verified.signer().signed_at));
                push(format!(
                    "list         made {}: {} domains, {} certificates",
                    list.generated(),
                    list.domain_count(),
                    list.certificate_count()
                ));
                verified
                    .parsed()
                    .skipped
                    .iter()
                    .for_each(|one| push(format!("not used     {one}")));
                push("the list verifies".to_owned());
            }
            Err(error) => push(format!("the list does not verify: {error}")),
        }
        text
    }

    fn as_json(&self) -> Value {
        let step = |(step, outcome): (SignatureStep, &str)| json!({ "check": step.describe(), "outcome": outcome });
        let verified = self.result.as_ref().ok();
        let skipped = verified.map(|one| one.parsed().skipped.iter().map(ToString::to_string).collect::<Vec<_>>());
        json!({
            "verifies": verified.is_some(),
            "checks": self.steps().map(step).collect::<Vec<_>>(),
            "error": self.result.as_ref().err().map(ToString::to_string),
            "signer": self.signer.as_ref().map(|signer| signer.subject.to_string()),
            "signed_at": verified.map(|one| one.signer().signed_at.to_string()),
            "generated": verified.map(|one| one.parsed().list.generated().to_string()),
            "domains": verified.map(|one| one.parsed().list.domain_count()),
            "revocation_checked": self.has_revocation,
            "skipped": skipped,
        })
    }
}
