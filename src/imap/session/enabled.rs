//! What a client switched on with ENABLE, or by using it (RFC 5161, RFC 7162 §3.1, RFC 9051 §6.3.1).

/// What can be switched on; it never goes off before the end of the login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extension {
    /// RFC 7162 §3.1: MODSEQ comes with every change of flags.
    Condstore,
    /// RFC 7162 §3.2: VANISHED instead of EXPUNGE. Switches CONDSTORE on.
    Qresync,
    /// RFC 6855: names and quoted strings are UTF-8.
    Utf8,
    /// RFC 9051: ESEARCH instead of SEARCH, no RECENT.
    Imap4rev2,
    /// RFC 5465, by using it: the UID comes with each change of flags.
    Notify,
}

impl Extension {
    /// What ENABLE takes.
    pub(crate) const ALL: [Self; 4] = [Self::Condstore, Self::Qresync, Self::Utf8, Self::Imap4rev2];

    /// As ENABLE names it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Condstore => "CONDSTORE",
            Self::Qresync => "QRESYNC",
            Self::Utf8 => "UTF8=ACCEPT",
            Self::Imap4rev2 => "IMAP4rev2",
            Self::Notify => "NOTIFY",
        }
    }
}

/// A set of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Enabled(u8);

impl Enabled {
    pub(crate) fn insert(&mut self, extension: Extension) {
        self.0 |= 1 << extension as u8;
        if extension == Extension::Qresync {
            self.insert(Extension::Condstore);
        }
    }

    pub(crate) fn has(self, extension: Extension) -> bool {
        self.0 & (1 << extension as u8) != 0
    }
}
