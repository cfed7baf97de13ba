//! Certificate profiles: what `certs/profiles.toml` says, checked.

use std::collections::BTreeMap;

use rcgen::{ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, RsaKeySize};
use serde::{Deserialize, Serialize};

use super::Chain;

/// What a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// SERV SSL: an operator's server, TLS server and client (OP-2).
    ServSsl,
    /// SERV SSL with the server purpose only, to test strict peers.
    ServSslServerOnly,
    /// ORG `AUTH_CLI`: a software that opens application boxes.
    OrgAuthCli,
    /// ORG SIGN: the signer of the allow list.
    OrgSign,
}

/// Kind of a key pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyKind {
    /// RSA, 2048 bits: the field's size.
    #[serde(rename = "rsa-2048")]
    Rsa2048,
    /// RSA, 3072 bits.
    #[serde(rename = "rsa-3072")]
    Rsa3072,
    /// ECDSA on P-256: faster, but outside the suites of ECO.1.1.3.
    #[serde(rename = "ecdsa-p256")]
    EcdsaP256,
}

impl Profile {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::ServSsl, Self::ServSslServerOnly, Self::OrgAuthCli, Self::OrgSign];

    /// As commands and files name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::ServSsl => "serv-ssl",
            Self::ServSslServerOnly => "serv-ssl-server-only",
            Self::OrgAuthCli => "org-auth-cli",
            Self::OrgSign => "org-sign",
        }
    }

    /// What its certificates are for, for people.
    pub fn purpose(self) -> &'static str {
        match self {
            Self::ServSsl => "an operator's server, TLS server and client",
            Self::ServSslServerOnly => "a server, TLS server only",
            Self::OrgAuthCli => "a software that opens application boxes",
            Self::OrgSign => "a signer of allow lists",
        }
    }
}

impl KeyKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Rsa2048, Self::Rsa3072, Self::EcdsaP256];

    /// As commands and files name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rsa2048 => "rsa-2048",
            Self::Rsa3072 => "rsa-3072",
            Self::EcdsaP256 => "ecdsa-p256",
        }
    }

    pub(super) fn generate(self) -> Result<KeyPair, rcgen::Error> {
        match self {
            Self::Rsa2048 => KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048),
            Self::Rsa3072 => KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_3072),
            Self::EcdsaP256 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
        }
    }
}

/// The whole file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Profiles {
    pub(super) authority: AuthoritySection,
    pub(super) root: KeySection,
    pub(super) intermediate: KeySection,
    pub(super) responder: KeySection,
    chains: BTreeMap<Chain, ChainSection>,
    #[serde(rename = "profiles")]
    leaves: BTreeMap<Profile, ProfileSection>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AuthoritySection {
    pub(super) organisation: String,
    pub(super) country: String,
    pub(super) backdate_minutes: u32,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeySection {
    pub(super) key: KeyKind,
    pub(super) validity_days: u32,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ChainSection {
    pub(super) product_category: u8,
    pub(super) root: IssuerSection,
    pub(super) intermediate: IssuerSection,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IssuerSection {
    pub(super) common_name: String,
    /// Name of its files on the web face, without ending.
    pub(super) file: String,
}

impl IssuerSection {
    /// Where the complete CRL is served.
    pub(super) fn crl_path(&self) -> String {
        format!("/crl/{}.crl", self.file)
    }

    /// Where the delta CRL is served.
    pub(super) fn delta_crl_path(&self) -> String {
        format!("/crl/{}-delta.crl", self.file)
    }

    /// Where the certificate is served, for chains that were sent without it.
    pub(super) fn certificate_path(&self) -> String {
        format!("/ac/{}.cer", self.file)
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProfileSection {
    pub(super) key: KeyKind,
    pub(super) validity_days: u32,
    pub(super) layout: Vec<NamePart>,
    key_usage: Vec<KeyUsageName>,
    extended_key_usage: Vec<PurposeName>,
}

/// One RDN of a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) enum NamePart {
    #[serde(rename = "C")]
    Country,
    #[serde(rename = "ST")]
    State,
    #[serde(rename = "O")]
    Organisation,
    #[serde(rename = "OU")]
    Structure,
    #[serde(rename = "CN")]
    CommonName,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum KeyUsageName {
    DigitalSignature,
    ContentCommitment,
    KeyEncipherment,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum PurposeName {
    ServerAuth,
    ClientAuth,
}

impl Profiles {
    /// The embedded file. Fails only if the file was edited wrongly before building: a test reads it.
    pub(super) fn embedded() -> Result<Self, toml::de::Error> {
        toml::from_str(include_str!("../../certs/profiles.toml"))
    }

    pub(super) fn of(&self, profile: Profile) -> Option<&ProfileSection> {
        self.leaves.get(&profile)
    }

    pub(super) fn chain(&self, chain: Chain) -> Option<&ChainSection> {
        self.chains.get(&chain)
    }
}

impl ProfileSection {
    pub(super) fn key_usages(&self) -> Vec<KeyUsagePurpose> {
        let usage = |name: &KeyUsageName| match name {
            KeyUsageName::DigitalSignature => KeyUsagePurpose::DigitalSignature,
            KeyUsageName::ContentCommitment => KeyUsagePurpose::ContentCommitment,
            KeyUsageName::KeyEncipherment => KeyUsagePurpose::KeyEncipherment,
        };
        self.key_usage.iter().map(usage).collect()
    }

    pub(super) fn purposes(&self) -> Vec<ExtendedKeyUsagePurpose> {
        let purpose = |name: &PurposeName| match name {
            PurposeName::ServerAuth => ExtendedKeyUsagePurpose::ServerAuth,
            PurposeName::ClientAuth => ExtendedKeyUsagePurpose::ClientAuth,
        };
        self.extended_key_usage.iter().map(purpose).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_file_describes_every_profile_and_both_chains_under_names_of_our_own() {
        let profiles = Profiles::embedded().unwrap();
        for profile in [
            Profile::ServSsl,
            Profile::ServSslServerOnly,
            Profile::OrgAuthCli,
            Profile::OrgSign,
        ] {
            assert!(profiles.of(profile).is_some(), "{profile:?}");
        }
        for (chain, is_test) in [(Chain::Test, true), (Chain::ProductionShaped, false)] {
            let section = profiles.chain(chain).unwrap();
            for issuer in [&section.root, &section.intermediate] {
                assert_eq!(issuer.common_name.starts_with("TEST AC "), is_test, "{chain:?}");
                assert_eq!(issuer.file.ends_with("-TEST"), is_test, "{chain:?}");
            }
        }
        // Whatever the chain is called, the organisation in its names says whose it is.
        for real in ["ASIP", "AGENCE", "ANS"] {
            let mut words = profiles.authority.organisation.split(' ');
            assert!(words.all(|word| word != real), "{real}");
        }
    }
}
