//! `vaguemestre cert export`: a certificate, or the authorities to trust, in the form that some software wants.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::file;
use crate::cli::order::{OrderArgs, carry_out};
use crate::cli::output;
use crate::pki::{self, KeyStoreFile, Pkcs12Form, Presented};
use crate::space::Order;
use crate::space::folder::{Layout, default_root};

/// Arguments of `vaguemestre cert export`.
#[derive(Args, Clone, Debug)]
pub(super) struct ExportArgs {
    /// Serial number, subject, CN, or a certificate file; none with --trust
    #[arg(required_unless_present = "trust", conflicts_with = "trust")]
    which: Option<String>,
    /// The authorities of the space: what a client must trust
    #[arg(long)]
    trust: bool,
    /// Form of the result
    #[arg(long, value_enum, default_value = "pem")]
    format: Format,
    /// The private key, PEM (PKCS#8), for PKCS#12
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    #[command(flatten)]
    protection: Protection,
    /// Write to this file [default: standard output, PEM only]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Args, Clone, Debug)]
struct Protection {
    /// Password of PKCS#12 files, read and written
    #[arg(long, value_name = "PASSWORD", default_value = "sandbox")]
    password: String,
    /// PKCS#12 for old software: triple DES and SHA-1
    #[arg(long)]
    legacy: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Whole chain, leaf first
    Pem,
    /// The one certificate
    Der,
    /// PKCS#12: with its key, or a trust store
    P12,
    /// Whole chain, PKCS#7
    P7b,
}

impl Protection {
    fn form(&self) -> (&str, Pkcs12Form) {
        let form = if self.legacy {
            Pkcs12Form::Legacy
        } else {
            Pkcs12Form::Modern
        };
        (&self.password, form)
    }
}

/// Converts.
pub(super) fn run(args: &ExportArgs, order: &OrderArgs) -> anyhow::Result<ExitCode> {
    let source = source(args, order)?;
    let bytes = convert(args, &source)?;
    match &args.out {
        Some(path) if args.format == Format::P12 => pki::write_private(path, &bytes)?,
        Some(path) => pki::write_public(path, &bytes)?,
        None if args.format == Format::Pem => output::print(&String::from_utf8_lossy(&bytes))?,
        None => bail!("this form is binary: say where to write it with --out FILE"),
    }
    Ok(ExitCode::SUCCESS)
}

fn source(args: &ExportArgs, order: &OrderArgs) -> anyhow::Result<KeyStoreFile> {
    let Some(which) = &args.which else {
        let root = order.root().map_or_else(default_root, Ok)?;
        return file::read(&Layout::existing(&root)?.ca(), "");
    };
    let mut source = if Path::new(which).is_file() {
        file::read(Path::new(which), &args.protection.password)?
    } else {
        issued(which, order)?
    };
    if let Some(path) = &args.key {
        let key = file::key(&file::bytes(path)?);
        source.key = Some(key.with_context(|| {
            format!(
                "{}: no PKCS#8 key in it (BEGIN PRIVATE KEY); convert it with: openssl pkcs8 -topk8 -nocrypt -in FILE -out NEWFILE",
                path.display()
            )
        })?);
    }
    Ok(source)
}

fn issued(which: &str, order: &OrderArgs) -> anyhow::Result<KeyStoreFile> {
    let question = Order::CertStatus {
        which: which.to_owned(),
        subject: None,
    };
    let answer = carry_out(order.root(), &question)?;
    let Some(pem) = answer.data["pem"].as_str() else {
        bail!("no certificate {which:?} was issued here, or no copy was kept; see: vaguemestre cert list");
    };
    let chain = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>()?;
    Ok(KeyStoreFile { chain, key: None })
}

fn convert(args: &ExportArgs, source: &KeyStoreFile) -> anyhow::Result<Vec<u8>> {
    let first = source.chain.first().context("no certificate in it")?;
    Ok(match args.format {
        Format::Pem => pki::pem(&source.chain).into_bytes(),
        Format::Der => first.to_vec(),
        Format::P7b => pki::p7b(&source.chain).context("cannot make the PKCS#7 file")?,
        Format::P12 => match &source.key {
            Some(key) => {
                let subject = Presented::of(first).subject;
                pki::pkcs12_of(&source.chain, key, &subject, args.protection.form())?
            }
            None if args.trust => {
                let (password, form) = args.protection.form();
                pki::trust_store_pkcs12(&source.chain, password, form)?
            }
            None => bail!(
                "PKCS#12 holds a certificate with its key, which the authority does not keep: give it with --key FILE"
            ),
        },
    })
}
