//! SASL exchanges (RFC 4422) as SMTP carries them (RFC 4954): EXTERNAL, PLAIN, LOGIN, and the bearer tokens XOAUTH2 and
//! OAUTHBEARER (RFC 7628). Reads what the client says and hands out [`Credentials`]; whether they are good is the driver's question.

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// An exchange in progress: what the client has said so far.
#[derive(Debug)]
pub(super) enum Exchange {
    /// The next response is all there is to it.
    Once(Mechanism),
    LoginUser,
    LoginPassword {
        user: String,
    },
}

/// What follows a response.
#[derive(Debug)]
pub(super) enum Turn {
    /// Another question.
    Challenge(Exchange),
    /// The client has said all.
    Complete(Credentials),
}

impl Exchange {
    pub(super) fn new(mechanism: Mechanism) -> Self {
        match mechanism {
            Mechanism::Login => Self::LoginUser,
            once => Self::Once(once),
        }
    }

    /// What to ask now.
    pub(super) fn challenge(&self) -> &'static str {
        match self {
            Self::Once(_) => "",
            Self::LoginUser => "Username:",
            Self::LoginPassword { .. } => "Password:",
        }
    }

    /// Takes a decoded response.
    pub(super) fn respond(self, response: Vec<u8>) -> Result<Turn, Malformed> {
        let text = String::from_utf8(response).map_err(|_| Malformed)?;
        let credentials = match self {
            Self::LoginUser => return Ok(Turn::Challenge(Self::LoginPassword { user: text })),
            Self::LoginPassword { user } => Credentials::Plain {
                mechanism: Mechanism::Login,
                authzid: None,
                user,
                password: Secret::new(text),
            },
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

/// RFC 7628 §3.2.2: what a refused token is told before the exchange fails; the client answers it with an empty or dummy response.
pub(super) const BEARER_REFUSED: &str = r#"{"status":"invalid_token","schemes":"bearer"}"#;

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
