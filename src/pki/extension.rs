//! The extensions of a certificate that say where to ask: CRL, delta CRL, OCSP, issuer's certificate; and the field's own.

use der::Encode;
use der::asn1::{Ia5String, ObjectIdentifier, OctetString};
use rcgen::CustomExtension;
use x509_cert::ext::pkix::AuthorityInfoAccessSyntax;
use x509_cert::ext::pkix::crl::dp::DistributionPoint;
use x509_cert::ext::pkix::name::{DistributionPointName, GeneralName};
use x509_cert::ext::pkix::{AccessDescription, CrlDistributionPoints};

use super::profile::IssuerSection;
use super::publish::OCSP_PATH;

/// URLs of what an issuer publishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Addresses {
    pub(super) crl: String,
    pub(super) delta_crl: String,
    pub(super) ocsp: String,
    pub(super) issuer: String,
}

impl Addresses {
    pub(super) fn of(issuer: &IssuerSection, base_url: &str) -> Self {
        Self {
            crl: format!("{base_url}{}", issuer.crl_path()),
            delta_crl: format!("{base_url}{}", issuer.delta_crl_path()),
            ocsp: format!("{base_url}{OCSP_PATH}"),
            issuer: format!("{base_url}{}", issuer.certificate_path()),
        }
    }
}

/// CRL distribution point, freshest CRL and authority information access (RFC 5280 §4.2.1.13, §4.2.1.15, §4.2.2.1).
pub(super) fn addresses(addresses: &Addresses) -> der::Result<Vec<CustomExtension>> {
    let access = |access_method, url: &str| {
        Ok::<_, der::Error>(AccessDescription {
            access_method,
            access_location: uri(url)?,
        })
    };
    let access = AuthorityInfoAccessSyntax(vec![
        access(ACCESS_OCSP, &addresses.ocsp)?,
        access(ACCESS_ISSUER, &addresses.issuer)?,
    ]);
    Ok(vec![
        CustomExtension::from_oid_content(CRL_DISTRIBUTION_POINTS, points(&addresses.crl)?.to_der()?),
        CustomExtension::from_oid_content(FRESHEST_CRL, points(&addresses.delta_crl)?.to_der()?),
        CustomExtension::from_oid_content(INFORMATION_ACCESS, access.to_der()?),
    ])
}

/// One distribution point with one URL.
pub(super) fn points(url: &str) -> der::Result<CrlDistributionPoints> {
    Ok(CrlDistributionPoints(vec![DistributionPoint {
        distribution_point: Some(DistributionPointName::FullName(vec![uri(url)?])),
        reasons: None,
        crl_issuer: None,
    }]))
}

/// The field's product category: an OCTET STRING of one octet. The octet is published, its wrapping is our reading.
pub(super) fn product_category(category: u8) -> der::Result<CustomExtension> {
    let content = OctetString::new(vec![category])?.to_der()?;
    Ok(CustomExtension::from_oid_content(PRODUCT_CATEGORY, content))
}

/// RFC 6960 §4.2.2.2.1: nobody checks the responder itself.
pub(super) fn no_check() -> CustomExtension {
    let null = vec![0x05, 0x00];
    CustomExtension::from_oid_content(OCSP_NO_CHECK, null)
}

fn uri(url: &str) -> der::Result<GeneralName> {
    Ok(GeneralName::UniformResourceIdentifier(Ia5String::new(url)?))
}

const CRL_DISTRIBUTION_POINTS: &[u64] = &[2, 5, 29, 31];
const FRESHEST_CRL: &[u64] = &[2, 5, 29, 46];
const INFORMATION_ACCESS: &[u64] = &[1, 3, 6, 1, 5, 5, 7, 1, 1];
const OCSP_NO_CHECK: &[u64] = &[1, 3, 6, 1, 5, 5, 7, 48, 1, 5];
const PRODUCT_CATEGORY: &[u64] = &[1, 2, 250, 1, 71, 1, 2, 5];
const ACCESS_OCSP: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1");
const ACCESS_ISSUER: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.2");
