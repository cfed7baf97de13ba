//! Certificate files as people have them: PEM, DER, PKCS#12.

use std::path::Path;

use anyhow::{Context, bail};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::pki::{self, KeyStoreFile, Presented};

/// Reads a whole file of a sensible size.
pub(super) fn bytes(path: &Path) -> anyhow::Result<Vec<u8>> {
    let length = std::fs::metadata(path)
        .with_context(|| format!("cannot read {}", path.display()))?
        .len();
    if length > FILE_BYTES_MAX {
        bail!("{} has {length} bytes: too long for certificates", path.display());
    }
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Reads the certificates of a file, and its key if there is one.
pub(super) fn read(path: &Path, password: &str) -> anyhow::Result<KeyStoreFile> {
    let bytes = bytes(path)?;
    if bytes.windows(PEM_MARK.len()).any(|window| window == PEM_MARK) {
        return pem(&bytes).with_context(|| path.display().to_string());
    }
    let single = CertificateDer::from(bytes.clone());
    if Presented::of(&single).problem.is_none() {
        return Ok(KeyStoreFile {
            chain: vec![single],
            key: None,
        });
    }
    // PFX: a SEQUENCE that begins with the version 3 (RFC 7292 §4).
    let inner = bytes.iter().skip(2).take(8).collect::<Vec<_>>();
    let is_pkcs12 = bytes.first() == Some(&0x30) && inner.windows(3).any(|window| window == [&2, &1, &3]);
    if !is_pkcs12 {
        bail!(
            "{} is neither PEM, nor a DER certificate, nor PKCS#12; is it the right file?",
            path.display()
        );
    }
    pki::read_pkcs12(&bytes, password).with_context(|| path.display().to_string())
}

fn pem(bytes: &[u8]) -> anyhow::Result<KeyStoreFile> {
    let chain = CertificateDer::pem_slice_iter(bytes)
        .collect::<Result<Vec<_>, _>>()
        .context("a PEM block in it is damaged")?;
    if chain.is_empty() {
        bail!("no PEM block BEGIN CERTIFICATE in it");
    }
    Ok(KeyStoreFile { chain, key: key(bytes) })
}

/// A PKCS#8 key; other forms are left to openssl.
pub(super) fn key(bytes: &[u8]) -> Option<Vec<u8>> {
    match PrivateKeyDer::from_pem_slice(bytes) {
        Ok(PrivateKeyDer::Pkcs8(key)) => Some(key.secret_pkcs8_der().to_vec()),
        _ => None,
    }
}

const PEM_MARK: &[u8] = b"-----BEGIN ";
const FILE_BYTES_MAX: u64 = 1 << 20;
