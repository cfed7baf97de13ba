//! TLS configurations: who asks for a certificate, who judges it and when.
//!
//! *Server faces* let every handshake finish whose client proved that it holds the key of the certificate it shows. The session then
//! asks [`TrustStore::verify`] and refuses in the protocol, where a reason can be read.
//!
//! *Client side*: the peer is judged inside the handshake, before our own certificate and any mail are sent. The verdict comes back
//! through [`refusal_of`].
//!
//! *Resumption.* A resumed handshake carries no certificate: the server finds the client's chain in the session it stored, and the
//! session judges it again like any other, so a revocation counts at once. That needs storage on our side only, hence a bounded cache
//! and no self-contained tickets, which would keep a client's chain alive outside. As a client we never resume, because rustls does
//! not call the verifier on a resumed handshake and a peer revoked since would pass.

mod policy;
mod possession;
mod witness;

use std::io;
use std::sync::Arc;

use jiff::Timestamp;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::server::ServerSessionMemoryCache;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::time_provider::TimeProvider;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, OtherError, ServerConfig, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::clock::Clock;
use crate::policy::{Reason, Refusal};

use super::{Demand, Identity, PeerCertificate, TrustStore, Usage};

pub use policy::{Suites, SuitesError, TlsMinimum, TlsPolicy};
pub use witness::Witness;

/// Whether a server face asks for a certificate.
#[derive(Clone, Debug)]
pub enum ClientCertificates {
    /// It does not.
    None,
    /// It does, naming the authorities it knows: software of people then does not offer one from elsewhere.
    Optional {
        /// From [`TrustStore::issuer_hints`].
        hints: Vec<DistinguishedName>,
    },
    /// It does, naming none: a peer shows whatever it has and gets a reason if that is not good enough.
    Requested,
}

/// Whether the name we connected to must be in the peer's certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HostNameCheck {
    /// No: the field's rule is the full subject DN.
    #[default]
    Off,
    /// Yes, as in the web: for connections where no allow list speaks.
    On,
}

/// A rule on the peer's certificate, asked once it was found valid: between operators, the allow list's.
pub type SubjectRule = Arc<dyn Fn(&PeerCertificate) -> Result<(), Refusal> + Send + Sync>;

/// What we expect of a server before we say anything to it.
#[derive(Clone)]
pub struct Expectation {
    trust: Arc<TrustStore>,
    host_name: HostNameCheck,
    rule: Option<SubjectRule>,
    demand: Demand,
    witness: Option<Witness>,
}

/// A configuration that cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot configure TLS")]
pub struct TlsError(#[from] rustls::Error);

impl Expectation {
    /// A certificate valid in this trust store, whatever its name.
    pub fn new(trust: Arc<TrustStore>) -> Self {
        Self {
            trust,
            host_name: HostNameCheck::Off,
            rule: None,
            demand: Demand::Usable,
            witness: None,
        }
    }

    /// The same, with the host name checked or not.
    #[must_use]
    pub fn with_host_name(mut self, check: HostNameCheck) -> Self {
        self.host_name = check;
        self
    }

    /// The same, with somebody who remembers what a refused server showed.
    #[must_use]
    pub fn with_witness(mut self, witness: Witness) -> Self {
        self.witness = Some(witness);
        self
    }

    /// The same, with one more rule.
    #[must_use]
    pub fn with_rule(mut self, rule: SubjectRule) -> Self {
        self.rule = Some(rule);
        self
    }

    /// The same, wanting recent answers about revocation: for a first try, when a second one can follow.
    #[must_use]
    pub fn with_demand(mut self, demand: Demand) -> Self {
        self.demand = demand;
        self
    }
}

impl std::fmt::Debug for Expectation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Expectation")
            .field("host_name", &self.host_name)
            .finish_non_exhaustive()
    }
}

/// The configuration of a server face. After the handshake, judge `peer_certificates()` with [`TrustStore::verify`]; none means that
/// the client showed none.
pub fn server_config(
    identity: &Identity,
    clients: ClientCertificates,
    policy: impl Into<TlsPolicy>,
    clock: &Clock,
) -> Result<Arc<ServerConfig>, TlsError> {
    let policy = policy.into();
    let provider = policy.provider();
    let algorithms = provider.signature_verification_algorithms;
    let verifier = |hints| Arc::new(AnyClient { algorithms, hints });
    let builder = ServerConfig::builder_with_details(provider, Arc::new(OurTime(clock.clone())))
        .with_protocol_versions(policy.versions())?;
    let builder = match clients {
        ClientCertificates::None => builder.with_no_client_auth(),
        ClientCertificates::Optional { hints } => builder.with_client_cert_verifier(verifier(hints)),
        ClientCertificates::Requested => builder.with_client_cert_verifier(verifier(Vec::new())),
    };
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(identity.certified())));
    config.session_storage = ServerSessionMemoryCache::new(SESSIONS_MAX);
    Ok(Arc::new(config))
}

/// The configuration of a client. A failed handshake has its reason in [`refusal_of`].
pub fn client_config(
    identity: Option<&Identity>,
    expectation: Expectation,
    policy: impl Into<TlsPolicy>,
    clock: &Clock,
) -> Result<Arc<ClientConfig>, TlsError> {
    let policy = policy.into();
    let provider = policy.provider();
    let verifier = ProvedServer {
        algorithms: provider.signature_verification_algorithms,
        expectation,
    };
    let builder = ClientConfig::builder_with_details(provider, Arc::new(OurTime(clock.clone())))
        .with_protocol_versions(policy.versions())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match identity {
        Some(identity) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity.certified()))),
        None => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// The refusal that ended a handshake, if it was ours. HTTP libraries wrap the error once more, so it is looked for inside too.
pub fn refusal_of(error: &io::Error) -> Option<Refusal> {
    let mut inner: &(dyn std::error::Error + 'static) = error.get_ref()?;
    while let Some(wrapped) = inner.downcast_ref::<io::Error>() {
        inner = wrapped.get_ref()?;
    }
    match inner.downcast_ref::<rustls::Error>()? {
        rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) => {
            inner.downcast_ref::<Refusal>().cloned()
        }
        rustls::Error::InvalidCertificate(problem) => Some(Refusal::new(
            Reason::CertificateMalformed,
            format!("the certificate cannot be used in the handshake: {problem}"),
        )),
        _ => None,
    }
}

/// Lets any client certificate through once its possession is proved; see the head of this file.
#[derive(Debug)]
struct AnyClient {
    algorithms: WebPkiSupportedAlgorithms,
    hints: Vec<DistinguishedName>,
}

impl ClientCertVerifier for AnyClient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        // Judged after the handshake, by the session.
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        possession::tls12(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        possession::tls13(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Judges a server inside the handshake.
#[derive(Debug)]
struct ProvedServer {
    algorithms: WebPkiSupportedAlgorithms,
    expectation: Expectation,
}

impl ProvedServer {
    fn judge(
        &self,
        chain: &[CertificateDer<'_>],
        host: &ServerName<'_>,
        (staple, now): (&[u8], Timestamp),
    ) -> Result<(), Refusal> {
        let expectation = &self.expectation;
        let peer = expectation
            .trust
            .verify_with(chain, (Usage::Server, now), expectation.demand, staple)?;
        if expectation.host_name == HostNameCheck::On {
            check_host_name(chain, host)?;
        }
        match &expectation.rule {
            Some(rule) => rule(&peer),
            None => Ok(()),
        }
    }
}

impl ServerCertVerifier for ProvedServer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let now = Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX);
        let mut chain = vec![end_entity.clone()];
        chain.extend_from_slice(intermediates);
        match self.judge(&chain, server_name, (ocsp_response, now)) {
            Ok(()) => Ok(ServerCertVerified::assertion()),
            Err(refusal) => {
                if let Some(witness) = &self.expectation.witness {
                    witness.saw(&chain);
                }
                Err(CertificateError::Other(OtherError(Arc::new(refusal))).into())
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn check_host_name(chain: &[CertificateDer<'_>], host: &ServerName<'_>) -> Result<(), Refusal> {
    let holds = chain
        .first()
        .and_then(|leaf| webpki::EndEntityCert::try_from(leaf).ok())
        .is_some_and(|leaf| leaf.verify_is_valid_for_subject_name(host).is_ok());
    if holds {
        return Ok(());
    }
    Err(Refusal::new(
        Reason::CertificateUntrusted,
        format!("the certificate is not the one of host {}", host.to_str()),
    ))
}

/// Our clock, as rustls asks for it.
#[derive(Debug)]
struct OurTime(Clock);

impl TimeProvider for OurTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(super::verify::unix_time(self.0.now()))
    }
}

/// Sessions a face remembers for resumption.
const SESSIONS_MAX: usize = 1024;

#[cfg(test)]
mod tests;
