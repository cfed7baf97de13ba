//! The folder of an authority: made at the first start, opened at the next ones.

use std::path::Path;

use jiff::Timestamp;
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::Issuer;
use super::authority::{AuthorityError, AuthorityOptions, Signer, date, record_of, validity};
use super::certificate;
use super::extension::{self, Addresses};
use super::files;
use super::issue::{country, random_serial};
use super::profile::{ChainSection, IssuerSection, KeySection, Profiles};
use super::registry::Registry;

/// What is in the folder; what is not there yet is made.
pub(super) fn open_or_create(
    folder: &Path,
    profiles: &Profiles,
    options: &AuthorityOptions,
    now: Timestamp,
) -> Result<(Registry, [Signer; 2]), AuthorityError> {
    files::private_folder(&folder.join(CRL_FOLDER))?;
    files::private_folder(&folder.join(CERTIFICATE_FOLDER))?;
    let chain = profiles
        .chain(options.chain)
        .ok_or_else(|| AuthorityError::Profiles(format!("no chain {:?}", options.chain)))?;
    let registry_path = folder.join(REGISTRY);
    let registry = if registry_path.exists() {
        Registry::open(&registry_path)?
    } else {
        create(folder, (profiles, chain), options, now)?
    };
    let signers = [
        open_signer(folder, ROOT, &chain.root)?,
        open_signer(folder, INTERMEDIATE, &chain.intermediate)?,
    ];
    Ok((registry, signers))
}

/// Keys and certificates of both authorities; the registry comes last and marks the folder as complete.
fn create(
    folder: &Path,
    (profiles, chain): (&Profiles, &ChainSection),
    options: &AuthorityOptions,
    now: Timestamp,
) -> Result<Registry, AuthorityError> {
    let root_key = options.key.unwrap_or(profiles.root.key).generate()?;
    let root_params = authority_params(profiles, (&profiles.root, &chain.root), 1, now)?;
    let root_certificate = root_params.self_signed(&root_key)?;
    store(folder, ROOT, &root_key, &root_certificate)?;

    let key = options.key.unwrap_or(profiles.intermediate.key).generate()?;
    let mut params = authority_params(profiles, (&profiles.intermediate, &chain.intermediate), 0, now)?;
    params.custom_extensions = extension::addresses(&Addresses::of(&chain.root, &options.base_url))?;
    let root = rcgen::Issuer::new(root_params, root_key);
    let certificate = params.signed_by(&key, &root)?;
    store(folder, INTERMEDIATE, &key, &certificate)?;

    let mut registry = Registry::create(&folder.join(REGISTRY));
    registry.add(record_of(certificate.der(), Issuer::Root, None)?)?;
    Ok(registry)
}

fn authority_params(
    profiles: &Profiles,
    (kind, section): (&KeySection, &IssuerSection),
    path_length: u8,
    now: Timestamp,
) -> Result<CertificateParams, AuthorityError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CountryName, country(&profiles.authority.country)?);
    params
        .distinguished_name
        .push(DnType::OrganizationName, profiles.authority.organisation.as_str());
    params
        .distinguished_name
        .push(DnType::CommonName, section.common_name.as_str());
    let (not_before, not_after) = validity(profiles, kind.validity_days, now)?;
    params.not_before = date(not_before)?;
    params.not_after = date(not_after)?;
    params.serial_number = Some(random_serial()?);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(path_length));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn store(folder: &Path, name: &str, key: &KeyPair, certificate: &rcgen::Certificate) -> Result<(), AuthorityError> {
    files::write_private(&folder.join(format!("{name}.key")), key.serialize_pem().as_bytes())?;
    files::write_public(&folder.join(format!("{name}.pem")), certificate.pem().as_bytes())?;
    Ok(())
}

fn open_signer(folder: &Path, name: &str, section: &IssuerSection) -> Result<Signer, AuthorityError> {
    let path = folder.join(format!("{name}.pem"));
    let damaged = |path: &Path, problem: String| AuthorityError::Material {
        path: path.to_owned(),
        problem,
    };
    let certificate = CertificateDer::from_pem_slice(&files::read(&path, PEM_BYTES_MAX)?)
        .map_err(|error| damaged(&path, format!("no certificate in it ({error})")))?;
    let key_path = folder.join(format!("{name}.key"));
    let key_pem = files::read(&key_path, PEM_BYTES_MAX)?;
    let key = KeyPair::from_pem(&String::from_utf8_lossy(&key_pem))
        .map_err(|error| damaged(&key_path, format!("no private key in it ({error})")))?;
    if !certificate::has_key(&certificate, &key) {
        return Err(damaged(&key_path, format!("not the key of {}", path.display())));
    }
    Ok(Signer {
        not_after: certificate::read(&certificate)?.not_after,
        issuer: rcgen::Issuer::from_ca_cert_der(&certificate, key)?,
        certificate,
        section: section.clone(),
    })
}

pub(super) const ROOT: &str = "root";
pub(super) const INTERMEDIATE: &str = "intermediate";
pub(super) const CRL_FOLDER: &str = "crl";
pub(super) const CERTIFICATE_FOLDER: &str = "certificates";
pub(super) const PEM_BYTES_MAX: u64 = 1 << 20;
const REGISTRY: &str = "issued.json";
