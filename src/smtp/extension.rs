//! Service extensions (RFC 5321 §2.2): which ones a server offers.

/// An extension that can be switched on or off. STARTTLS and AUTH are not among them: the face decides those.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Extension {
    /// RFC 2920.
    Pipelining,
    /// RFC 1870.
    Size,
    /// RFC 6152.
    EightBitMime,
    /// RFC 2034.
    EnhancedStatusCodes,
    /// RFC 3030.
    Chunking,
    /// RFC 6531.
    Utf8,
    /// RFC 3461.
    Dsn,
    /// RFC 8689.
    RequireTls,
    /// RFC 9422.
    Limits,
}

impl Extension {
    /// All of them, in the order of an EHLO answer.
    pub const ALL: [Self; 9] = [
        Self::Pipelining,
        Self::Size,
        Self::EightBitMime,
        Self::EnhancedStatusCodes,
        Self::Chunking,
        Self::Utf8,
        Self::Dsn,
        Self::RequireTls,
        Self::Limits,
    ];

    /// The keyword in an EHLO answer.
    pub fn keyword(self) -> &'static str {
        match self {
            Self::Pipelining => "PIPELINING",
            Self::Size => "SIZE",
            Self::EightBitMime => "8BITMIME",
            Self::EnhancedStatusCodes => "ENHANCEDSTATUSCODES",
            Self::Chunking => "CHUNKING",
            Self::Utf8 => "SMTPUTF8",
            Self::Dsn => "DSN",
            Self::RequireTls => "REQUIRETLS",
            Self::Limits => "LIMITS",
        }
    }

    fn bit(self) -> u16 {
        1 << self as u8
    }
}

/// A set of extensions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extensions(u16);

impl Extensions {
    /// None.
    pub const NONE: Self = Self(0);

    /// What any mail software of the last twenty years can live with: all but SMTPUTF8 and REQUIRETLS, which oblige the next hop too.
    pub fn usual() -> Self {
        Extension::ALL
            .into_iter()
            .filter(|extension| !matches!(extension, Extension::Utf8 | Extension::RequireTls))
            .fold(Self::NONE, Self::with)
    }

    /// All of them.
    pub fn all() -> Self {
        Extension::ALL.into_iter().fold(Self::NONE, Self::with)
    }

    /// The set and this one.
    #[must_use]
    pub fn with(self, extension: Extension) -> Self {
        Self(self.0 | extension.bit())
    }

    /// The set but this one.
    #[must_use]
    pub fn without(self, extension: Extension) -> Self {
        Self(self.0 & !extension.bit())
    }

    /// Whether it is in the set.
    pub fn has(self, extension: Extension) -> bool {
        self.0 & extension.bit() != 0
    }
}
