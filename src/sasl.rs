//! SASL exchanges (RFC 4422) as SMTP and IMAP carry them: EXTERNAL, PLAIN, LOGIN, and the bearer tokens XOAUTH2 and OAUTHBEARER
//! (RFC 7628). Reads what the client says and hands out [`Credentials`]; whether they are good is the driver's question.
//!
//! An exchange is a chain of [`Turn`]s: ask [`Exchange::challenge`], give the decoded answer to [`Exchange::respond`], until the credentials are
//! complete. A mechanism is added here alone: the sessions of both protocols carry any exchange. A refused bearer token ends with a
//! [`Dismissal`], whose words and manner the driver chooses. No verifier of tokens exists yet, so no driver offers these two.

use std::fmt;

/// Text that must not reach a log: its debug output is a placeholder.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The secret itself, for the one comparison it is meant for.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// A way to log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mechanism {
    /// The certificate of the TLS session (RFC 4422 appendix A).
    External,
    /// User name and password (RFC 4616).
    Plain,
    /// The same, in two questions.
    Login,
    /// A bearer token, as clients of the field send it (ECO.1.2.1).
    XOAuth2,
    /// A bearer token (RFC 7628).
    OAuthBearer,
}

impl Mechanism {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::External,
        Self::Plain,
        Self::Login,
        Self::XOAuth2,
        Self::OAuthBearer,
    ];

    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::External => "EXTERNAL",
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
            Self::XOAuth2 => "XOAUTH2",
            Self::OAuthBearer => "OAUTHBEARER",
        }
    }
}

/// What a client showed to log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// The certificate; `authzid` is the box it wants to act as, `None` when it leaves that to the server.
    External {
        /// Box to act as.
        authzid: Option<String>,
    },
    /// A user name and its password (PLAIN and LOGIN).
    Plain {
        /// Which of the two.
        mechanism: Mechanism,
        /// Box to act as.
        authzid: Option<String>,
        /// User name.
        user: String,
        /// Password.
        password: Secret,
    },
    /// A token (XOAUTH2 and OAUTHBEARER).
    Bearer {
        /// Box to act as.
        user: Option<String>,
        /// The token, without `Bearer `.
        token: Secret,
    },
}

/// A response that is not what the mechanism asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a response of that mechanism")]
pub struct Malformed;

/// An exchange in progress: what the client has said so far.
#[derive(Debug)]
pub enum Exchange {
    /// The next response is all there is to it.
    Once(Mechanism),
    /// LOGIN: the user name is due.
    LoginUser,
    /// LOGIN: the password is due.
    LoginPassword {
        /// The user name.
        user: String,
    },
}

/// What follows a response.
#[derive(Debug)]
pub enum Turn {
    /// Another question.
    Challenge(Exchange),
    /// The client has said all.
    Complete(Credentials),
}

impl Exchange {
    /// At its beginning.
    pub fn new(mechanism: Mechanism) -> Self {
        match mechanism {
            Mechanism::Login => Self::LoginUser,
            once => Self::Once(once),
        }
    }

    /// What to ask now.
    pub fn challenge(&self) -> &'static str {
        match self {
            Self::Once(_) => "",
            Self::LoginUser => "Username:",
            Self::LoginPassword { .. } => "Password:",
        }
    }

    /// Takes a decoded response.
    pub fn respond(self, response: Vec<u8>) -> Result<Turn, Malformed> {
        let text = String::from_utf8(response).map_err(|_| Malformed)?;
        let credentials = match self {
            Self::LoginUser => return Ok(Turn::Challenge(Self::LoginPassword { user: text })),
            Self::LoginPassword { user } => Credentials::Plain {
                mechanism: Mechanism::Login,
                authzid: None,
                user,
                password: Secret::new(text),
            },
            // RFC 4422 appendix A.1
            Self::Once(Mechanism::External) if text.contains('\0') => return Err(Malformed),
            Self::Once(Mechanism::External) => Credentials::External {
                authzid: some_text(&text),
            },
            Self::Once(Mechanism::Plain | Mechanism::Login) => plain(&text)?,
            Self::Once(Mechanism::XOAuth2) => xoauth2(&text)?,
            Self::Once(Mechanism::OAuthBearer) => oauthbearer(&text)?,
        };
        Ok(Turn::Complete(credentials))
    }
}

/// How an exchange with a refused token ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dismissal {
    /// JSON that tells why, before it is encoded (RFC 7628 §3.2.2).
    pub challenge: String,
    /// What follows it.
    pub manner: Manner,
}

/// What follows the challenge that tells why a token was refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manner {
    /// The client answers with an empty or dummy response, and then the exchange fails (RFC 7628 §3.2.3).
    #[default]
    Failure,
    /// The connection ends at once, as a real operator was seen to do (ECO.1.2.1).
    Hangup,
}

/// Why a token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is unknown, expired or revoked.
    InvalidToken,
    /// It is good, but not for this.
    InsufficientScope,
    /// It is not a token.
    InvalidRequest,
}

impl Dismissal {
    /// In the words of the mechanism: XOAUTH2 tells an HTTP status, OAUTHBEARER the word of RFC 6750 §3.1.
    pub fn new(mechanism: Mechanism, fault: Fault, manner: Manner) -> Self {
        let status = match (mechanism, fault) {
            (Mechanism::OAuthBearer, Fault::InvalidToken) => "invalid_token",
            (Mechanism::OAuthBearer, Fault::InsufficientScope) => "insufficient_scope",
            (Mechanism::OAuthBearer, Fault::InvalidRequest) => "invalid_request",
            (_, Fault::InvalidToken) => "401",
            (_, Fault::InsufficientScope) => "403",
            (_, Fault::InvalidRequest) => "400",
        };
        Self {
            challenge: format!(r#"{{"status":"{status}","schemes":"bearer","scope":"mail"}}"#),
            manner,
        }
    }
}

/// RFC 4616 §2: `[authzid] NUL authcid NUL passwd`.
fn plain(text: &str) -> Result<Credentials, Malformed> {
    let parts: Vec<&str> = text.split('\0').collect();
    match parts.as_slice() {
        [authzid, user, password] if !user.is_empty() => Ok(Credentials::Plain {
            mechanism: Mechanism::Plain,
            authzid: some_text(authzid),
            user: (*user).to_owned(),
            password: Secret::new((*password).to_owned()),
        }),
        _ => Err(Malformed),
    }
}

/// `user=` box `^Aauth=Bearer ` token `^A^A`.
fn xoauth2(text: &str) -> Result<Credentials, Malformed> {
    let user = text.split('\x01').find_map(|field| field.strip_prefix("user="));
    Ok(Credentials::Bearer {
        user: user.and_then(some_text),
        token: bearer_token(text)?,
    })
}

/// RFC 7628 §3.1: a GS2 header `n,a=box,`, then fields between `^A`.
fn oauthbearer(text: &str) -> Result<Credentials, Malformed> {
    let (header, fields) = text.split_once('\x01').ok_or(Malformed)?;
    let mut parts = header.split(',');
    if !matches!(parts.next(), Some("n" | "y")) {
        return Err(Malformed);
    }
    let user = parts.find_map(|part| part.strip_prefix("a=")).and_then(some_text);
    Ok(Credentials::Bearer {
        user: user.map(|name| name.replace("=2C", ",").replace("=3D", "=")),
        token: bearer_token(fields)?,
    })
}

fn bearer_token(fields: &str) -> Result<Secret, Malformed> {
    let auth = fields.split('\x01').find_map(|field| field.strip_prefix("auth="));
    let (scheme, token) = auth.and_then(|auth| auth.split_once(' ')).ok_or(Malformed)?;
    if !scheme.eq_ignore_ascii_case("bearer") || token.trim().is_empty() {
        return Err(Malformed);
    }
    Ok(Secret::new(token.trim().to_owned()))
}

fn some_text(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(mechanism: Mechanism, response: &str) -> Option<Credentials> {
        match Exchange::new(mechanism).respond(response.into()) {
            Ok(Turn::Complete(credentials)) => Some(credentials),
            Ok(Turn::Challenge(_)) | Err(Malformed) => None,
        }
    }

    #[test]
    fn plain_has_three_parts_and_a_user() {
        for (response, fine) in [
            ("\0user\0secret", true),
            ("box\0user\0secret", true),
            ("\0user\0", true),
            ("\0\0secret", false),
            ("user\0secret", false),
            ("\0user\0se\0cret", false),
            ("", false),
        ] {
            assert_eq!(shown(Mechanism::Plain, response).is_some(), fine, "{response:?}");
        }
    }

    #[test]
    fn external_names_a_box_or_none() {
        let authzid = |response| match shown(Mechanism::External, response) {
            Some(Credentials::External { authzid }) => Ok(authzid),
            _ => Err(()),
        };
        assert_eq!(authzid(""), Ok(None));
        assert_eq!(authzid("a@b.fr"), Ok(Some("a@b.fr".into())));
        assert_eq!(authzid("a@b.fr\0"), Err(()));
    }

    #[test]
    fn login_asks_two_questions() {
        let Ok(Turn::Challenge(second)) = Exchange::new(Mechanism::Login).respond(b"user".to_vec()) else {
            panic!("a question follows the user name");
        };
        assert_eq!(
            (Exchange::new(Mechanism::Login).challenge(), second.challenge()),
            ("Username:", "Password:")
        );
        let complete = second.respond(b"secret".to_vec()).unwrap();
        assert!(matches!(complete, Turn::Complete(Credentials::Plain { user, .. }) if user == "user"));
    }

    #[test]
    fn tokens_are_read_in_both_forms() {
        for (mechanism, response, user) in [
            (
                Mechanism::XOAuth2,
                "user=a@b.fr\x01auth=Bearer t\x01\x01",
                Some("a@b.fr"),
            ),
            (Mechanism::XOAuth2, "auth=bearer t\x01\x01", None),
            (
                Mechanism::OAuthBearer,
                "n,a=a=2Cb@b.fr,\x01auth=Bearer t\x01\x01",
                Some("a,b@b.fr"),
            ),
            (Mechanism::OAuthBearer, "y,,\x01host=h\x01auth=Bearer t\x01\x01", None),
        ] {
            let expected = Credentials::Bearer {
                user: user.map(str::to_owned),
                token: Secret::new("t".into()),
            };
            assert_eq!(shown(mechanism, response), Some(expected), "{response:?}");
        }
        for (mechanism, response) in [
            (Mechanism::XOAuth2, "user=a@b.fr\x01\x01"),
            (Mechanism::XOAuth2, "auth=Basic t\x01\x01"),
            (Mechanism::XOAuth2, "auth=Bearer  \x01\x01"),
            (Mechanism::OAuthBearer, "p=tls-unique,,\x01auth=Bearer t\x01\x01"),
            (Mechanism::OAuthBearer, "auth=Bearer t"),
        ] {
            assert_eq!(shown(mechanism, response), None, "{response:?}");
        }
    }

    #[test]
    fn a_dismissal_speaks_the_words_of_its_mechanism() {
        let challenge = |mechanism, fault| Dismissal::new(mechanism, fault, Manner::Failure).challenge;
        assert_eq!(
            challenge(Mechanism::XOAuth2, Fault::InvalidToken),
            r#"{"status":"401","schemes":"bearer","scope":"mail"}"#
        );
        assert_eq!(
            challenge(Mechanism::OAuthBearer, Fault::InsufficientScope),
            r#"{"status":"insufficient_scope","schemes":"bearer","scope":"mail"}"#
        );
    }

    proptest! {
        #[test]
        fn no_response_makes_an_exchange_panic(
            response in proptest::collection::vec(any::<u8>(), 0..60),
            mechanism in proptest::sample::select(Mechanism::ALL.to_vec()),
        ) {
            let _unused = Exchange::new(mechanism).respond(response);
        }
    }
}
