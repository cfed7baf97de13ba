//! Why a request is not fulfilled: one response code and one text each.

/// Why a request was not fulfilled; each has one response code and one text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Wrong user, secret or certificate.
    Credentials,
    /// The login is right but may not open that box, or must say which of several.
    NotYourBox,
    /// The folder does not exist.
    NoSuchFolder,
    /// The message is gone.
    NoSuchMessage,
    /// A folder of that name exists already.
    FolderExists,
    /// The folder may not be changed that way; the text says why.
    Cannot(&'static str),
    /// The name is no folder, only a level above some.
    HasChildren,
    /// No folder can be given that special use.
    SpecialUse,
    /// The box is suspended: it is read only.
    Suspended,
    /// This login has too many sessions.
    TooManySessions,
    /// The box is full.
    OverQuota,
    /// Something is too large or too many.
    Limit,
    /// Storage is shutting down or failing for a moment.
    Unavailable,
    /// A defect on our side.
    Defect,
}

impl Refused {
    /// Response code of RFC 5530 and text.
    pub(crate) fn describe(self) -> (&'static str, &'static str) {
        match self {
            Self::Credentials => ("AUTHENTICATIONFAILED", "wrong credentials"),
            Self::NotYourBox => (
                "AUTHORIZATIONFAILED",
                "this login does not open that box; name one that it opens",
            ),
            Self::NoSuchFolder => ("NONEXISTENT", "no such folder"),
            Self::NoSuchMessage => ("EXPUNGEISSUED", "the message is gone"),
            Self::FolderExists => ("ALREADYEXISTS", "a folder of that name exists already"),
            Self::Cannot(why) => ("CANNOT", why),
            Self::HasChildren => (
                "HASCHILDREN",
                "there are folders below that name, and none of that name",
            ),
            // RFC 6154 §3.
            Self::SpecialUse => ("USEATTR", "no folder can be given that special use"),
            Self::Suspended => ("UNAVAILABLE", "the box is suspended: it can be read, and not changed"),
            Self::TooManySessions => ("LIMIT", "too many sessions of this login"),
            Self::OverQuota => ("OVERQUOTA", "the box is full"),
            Self::Limit => ("LIMIT", "too large or too many"),
            Self::Unavailable => ("UNAVAILABLE", "try again later"),
            Self::Defect => ("SERVERBUG", "internal error"),
        }
    }
}
