//! What to change in a good certificate, in its chain or in its handshake, as the table writes it.

use serde::Deserialize;

use crate::pki::Profile;

use super::forge::ServiceFault;

/// The change that makes a defect. The default changes nothing.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Recipe {
    /// Start from this profile instead of the face's own: SERV SSL between operators, ORG `AUTH_CLI` for software.
    pub profile: Option<Profile>,
    /// Kind of the key.
    pub key: KeyChange,
    /// Version, serial number, and other fields no profile speaks of.
    pub field: FieldChange,
    /// Start of validity, in days from now.
    pub not_before_days: Option<i32>,
    /// End of validity, in days from now.
    pub not_after_days: Option<i32>,
    /// Who signs.
    pub issuer: IssuerChange,
    /// The subject.
    pub subject: SubjectChange,
    /// Key usages, instead of the profile's.
    pub key_usage: Option<Vec<KeyUsageBit>>,
    /// Extended key usages, instead of the profile's; an empty list leaves the extension out.
    pub extended_key_usage: Option<Vec<PurposeName>>,
    /// Alternative names, as `dns:name` or `ip:address`, instead of the profile's; an empty list leaves the extension out.
    pub names: Option<Vec<String>>,
    /// One more, or one less, extension.
    pub extension: ExtensionChange,
    /// How it is signed.
    pub signature: SignatureChange,
    /// What happens to its bytes once it is signed.
    pub bytes: BytesChange,
    /// What is shown beside it.
    pub chain: ChainChange,
    /// How it is shown.
    pub handshake: HandshakeChange,
    /// What the authority says of it.
    pub revocation: RevocationChange,
    /// What is wrong with the authority's services meanwhile.
    pub fault: Option<ServiceFault>,
    /// What the software under test must trust for the defect to show, instead of the authority's own certificates.
    pub trust: TrustChange,
}

macro_rules! change {
    ($(#[$meta:meta])* $name:ident { $(#[$first_meta:meta])* $first:ident $(, $(#[$rest_meta:meta])* $rest:ident)* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum $name {
            $(#[$first_meta])* #[default] $first
            $(, $(#[$rest_meta])* $rest)*
        }
    };
}

change! {
    /// Kind and size of the leaf's key.
    KeyChange {
        /// RSA, 2048 bits.
        Rsa2048,
        /// RSA, 3072 bits.
        Rsa3072,
        /// RSA, 4096 bits.
        Rsa4096,
        /// RSA, 1024 bits.
        Rsa1024,
        /// RSA, 512 bits: factored in hours.
        Rsa512,
        /// RSA, 2048 bits, public exponent 3.
        RsaExponent3,
        /// ECDSA on P-256.
        EcdsaP256,
        /// ECDSA on P-384.
        EcdsaP384,
        /// ECDSA on P-224.
        EcdsaP224,
        /// ECDSA on P-521.
        EcdsaP521,
        /// ECDSA on secp256k1.
        EcdsaK256,
        /// Ed25519.
        Ed25519,
    }
}

change! {
    /// Fields beside names, dates and extensions.
    FieldChange {
        /// As they should be.
        Right,
        /// Version 1: no extensions at all.
        Version1,
        /// Serial number below zero.
        NegativeSerial,
        /// Serial number zero.
        ZeroSerial,
        /// Serial number of 21 octets.
        LongSerial,
        /// Serial number with a needless leading zero octet.
        PaddedSerial,
        /// `UTCTime` without seconds.
        ShortUtcTime,
        /// `UTCTime` of a thirteenth month.
        WrongMonth,
        /// `GeneralizedTime` for a year before 2050.
        EarlyGeneralizedTime,
        /// `GeneralizedTime` with fractions of a second.
        FractionalTime,
        /// A start after the end.
        InvertedDates,
        /// No end: `99991231235959Z`.
        EndlessDates,
    }
}

change! {
    /// Who signs the leaf.
    IssuerChange {
        /// The authority's intermediate.
        Intermediate,
        /// The authority's root itself.
        Root,
        /// The leaf itself.
        Itself,
        /// An authority of another space.
        Foreign,
        /// An authority of another space that took the very same names.
        ForeignSameNames,
        /// An authority whose name merely contains the right one.
        Lookalike,
        /// The holder of a good certificate that is not an authority.
        Leaf,
        /// An intermediate signed by our root, without basicConstraints.
        WithoutBasicConstraints,
        /// An intermediate signed by our root, without keyCertSign.
        WithoutCertSign,
        /// An authority below our intermediate, whose path length is zero.
        TooDeep,
        /// An intermediate signed by our root whose name constraints forbid the leaf's names.
        NameConstraints,
        /// Another intermediate, signed by our root, that nobody configured.
        Unconfigured,
        /// Such an intermediate, expired.
        Expired,
        /// Such an intermediate, revoked.
        Revoked,
        /// The production space's namesake of a TEST authority: same layout, no TEST in its names.
        Twin,
    }
}

change! {
    /// The subject, where the allow list (or the login) names the right one.
    SubjectChange {
        /// The very one listed.
        Listed,
        /// Nothing in common but the country.
        Other,
        /// Same CN, another OU.
        OtherUnit,
        /// Same CN, another O.
        OtherOrganisation,
        /// Same names, CN of a subdomain.
        OtherName,
        /// CN in capitals.
        OtherCase,
        /// Spaces doubled in O, which text forms quote.
        DoubleSpaces,
        /// No-break spaces instead of spaces.
        NoBreakSpaces,
        /// A Cyrillic letter in the CN that looks like the Latin one.
        Homoglyph,
        /// Values in `T61String`.
        T61,
        /// Values in `BMPString`.
        Bmp,
        /// Values in `PrintableString` where they fit.
        Printable,
        /// CN and OU in one RDN.
        MultiValued,
        /// RDNs in the opposite order.
        Reversed,
        /// One more RDN: a serial number.
        Extended,
        /// Without O.
        Shortened,
        /// No RDN at all.
        Empty,
        /// CN with a zero octet after the listed name.
        NulInName,
        /// The listed CN, and a second one.
        TwoNames,
        /// The second CN is the listed one.
        SecondName,
        /// Two thousand characters of O.
        VeryLong,
        /// A value that is not text.
        NotText,
    }
}

change! {
    /// Extensions beside usages and names.
    ExtensionChange {
        /// As they should be.
        Right,
        /// basicConstraints says CA.
        Authority,
        /// No basicConstraints.
        NoBasicConstraints,
        /// An extension nobody knows, critical.
        UnknownCritical,
        /// An extension nobody knows, not critical.
        UnknownPlain,
        /// Key usage twice.
        Duplicate,
        /// Alternative names that are not DER.
        BrokenNames,
        /// Key usage of no bit.
        EmptyKeyUsage,
    }
}

change! {
    /// How the leaf is signed.
    SignatureChange {
        /// SHA-256, as the authority signs.
        Sha256,
        /// SHA-384.
        Sha384,
        /// SHA-512.
        Sha512,
        /// SHA-1.
        Sha1,
        /// MD5.
        Md5,
        /// One bit of the signature flipped.
        Broken,
        /// The algorithm inside differs from the one outside.
        Mismatch,
        /// Signed by another key than the issuer's.
        OtherKey,
        /// No signature bits.
        Empty,
    }
}

change! {
    /// What happens to the bytes of the leaf.
    BytesChange {
        /// Nothing.
        Right,
        /// Four octets follow it.
        Trailing,
        /// The last four octets are missing.
        Truncated,
        /// BER: indefinite length.
        IndefiniteLength,
        /// Not a certificate at all.
        Garbage,
    }
}

change! {
    /// What is shown beside the leaf.
    ChainChange {
        /// Its issuer.
        Right,
        /// Its issuer, and the root.
        WithRoot,
        /// Nothing.
        LeafOnly,
        /// An authority that did not sign it.
        WrongIntermediate,
        /// Leaf, root, intermediate.
        Shuffled,
        /// Three certificates that have nothing to do with it, and its issuer.
        Unrelated,
        /// Thirty certificates.
        Flood,
        /// The authority first, the leaf after it.
        AuthorityFirst,
    }
}

change! {
    /// How it is shown.
    HandshakeChange {
        /// As usual.
        Right,
        /// No certificate is shown.
        NoCertificate,
        /// The proof of possession is made with another key.
        WrongKey,
        /// No TLS: commands in clear, or a server without STARTTLS.
        NoTls,
        /// TLS 1.2 only.
        Tls12,
        /// TLS 1.3 only.
        Tls13,
        /// SSL 3.0 only.
        Ssl3,
        /// TLS 1.0 only.
        Tls10,
        /// TLS 1.1 only.
        Tls11,
        /// TLS 1.2 with CBC suites only.
        Cbc,
        /// TLS 1.2 with RSA key exchange only: no forward secrecy.
        RsaKeyExchange,
        /// Suites without encryption.
        Null,
        /// Suites without authentication.
        Anonymous,
        /// RC4 and triple DES.
        Rc4,
        /// Suites of 40 and 56 bits made for export.
        Export,
    }
}

change! {
    /// What the authority says of the leaf.
    RevocationChange {
        /// Nothing: it is good.
        Good,
        /// Revoked, key compromised.
        Revoked,
        /// On hold.
        OnHold,
        /// Was on hold, and no longer is.
        Released,
    }
}

change! {
    /// What the software under test must be configured to trust.
    TrustChange {
        /// The authority's root and intermediate.
        Usual,
        /// The root alone, so that the intermediate comes from the peer.
        RootOnly,
        /// The root, and the intermediate that signed the defect.
        DefectIssuer,
        /// An expired root of the same key, and the intermediate.
        ExpiredRoot,
    }
}

/// A bit of key usage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyUsageBit {
    /// Signs handshakes.
    DigitalSignature,
    /// Signs documents.
    ContentCommitment,
    /// Takes part in RSA key exchange.
    KeyEncipherment,
    /// Encrypts data.
    DataEncipherment,
    /// Takes part in Diffie-Hellman.
    KeyAgreement,
    /// Signs certificates.
    KeyCertSign,
    /// Signs CRLs.
    CrlSign,
}

/// An extended key usage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PurposeName {
    /// TLS server.
    ServerAuth,
    /// TLS client.
    ClientAuth,
    /// Signs code.
    CodeSigning,
    /// Signs mail.
    EmailProtection,
    /// Stamps time.
    TimeStamping,
    /// Answers OCSP.
    OcspSigning,
    /// Any.
    Any,
}
