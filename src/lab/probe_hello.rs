//! A `ClientHello` written by hand, and what a server answers to it: rustls speaks neither the old versions nor the weak suites, and
//! the first answer is enough to know whether the server would.

use std::fmt;

/// Protocol version as it stands on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u8, pub u8);

impl Version {
    /// SSL 3.0, forbidden by RFC 7568.
    pub const SSL_3: Self = Self(3, 0);
    /// TLS 1.0, forbidden by RFC 8996.
    pub const TLS_1_0: Self = Self(3, 1);
    /// TLS 1.1, forbidden by RFC 8996.
    pub const TLS_1_1: Self = Self(3, 2);
    /// TLS 1.2.
    pub const TLS_1_2: Self = Self(3, 3);
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::SSL_3 => f.write_str("SSL 3.0"),
            Self(3, minor) => write!(f, "TLS 1.{}", minor.saturating_sub(1)),
            Self(major, minor) => write!(f, "version {major}.{minor}"),
        }
    }
}

/// What a client offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The highest version, and the only one offered.
    pub version: Version,
    /// Cipher suites by their registered numbers.
    pub suites: Vec<u16>,
    /// Server name, when there is one to send.
    pub server_name: Option<String>,
}

/// The first thing a server says to a [`Hello`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It would go on, with this version and this suite.
    Hello {
        /// Chosen version.
        version: Version,
        /// Chosen suite.
        suite: u16,
    },
    /// It ends the handshake.
    Alert {
        /// RFC 8446 §6 registers the numbers.
        description: u8,
    },
}

/// The answer is not a TLS record of a handshake.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer is not TLS: {0}")]
pub struct NotTls(&'static str);

impl Hello {
    /// The record to send. `random` is the client's random value; nothing depends on its secrecy, since no handshake is finished.
    pub fn record(&self, random: [u8; 32]) -> Vec<u8> {
        let mut body = vec![self.version.0, self.version.1];
        body.extend(random);
        body.push(0); // no session to resume
        let suites: Vec<u8> = self.suites.iter().flat_map(|suite| suite.to_be_bytes()).collect();
        counted(&mut body, &suites);
        body.extend([1, 0]); // RFC 5246 §7.4.1.2: the null compression, alone
        if self.version > Version::SSL_3 {
            counted(&mut body, &self.extensions());
        }
        let mut handshake = vec![CLIENT_HELLO];
        handshake.extend(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes()[1..]);
        handshake.extend(body);
        // RFC 5246 §E.1: the record layer of a first flight says a low version, so that every server reads it.
        let record_version = self.version.min(Version::TLS_1_0);
        let mut record = vec![HANDSHAKE, record_version.0, record_version.1];
        counted(&mut record, &handshake);
        record
    }

    fn extensions(&self) -> Vec<u8> {
        let mut all = Vec::new();
        if let Some(name) = &self.server_name {
            let mut entry = vec![0];
            counted(&mut entry, name.as_bytes());
            let mut list = Vec::new();
            counted(&mut list, &entry);
            extension(&mut all, SERVER_NAME, &list);
        }
        // RFC 8422 §5.1: x25519, secp256r1, secp384r1, uncompressed points.
        extension(&mut all, SUPPORTED_GROUPS, &[0, 6, 0, 29, 0, 23, 0, 24]);
        extension(&mut all, POINT_FORMATS, &[1, 0]);
        if self.version >= Version::TLS_1_2 {
            let mut list = Vec::new();
            counted(&mut list, &SIGNATURES);
            extension(&mut all, SIGNATURE_ALGORITHMS, &list);
        }
        // RFC 5746 §3.4: first handshake, so nothing to renegotiate.
        extension(&mut all, RENEGOTIATION_INFO, &[0]);
        all
    }
}

impl Answer {
    /// Reads the start of what the server sent: `None` when more is needed.
    ///
    /// # Errors
    /// It cannot be an answer, whatever follows.
    pub fn read(bytes: &[u8]) -> Result<Option<Self>, NotTls> {
        let &[kind, 3, _, high, low, ref rest @ ..] = bytes else {
            return match bytes {
                [] | [HANDSHAKE | ALERT] | [HANDSHAKE | ALERT, 3, ..] => Ok(None),
                _ => Err(NotTls("no TLS record")),
            };
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length > RECORD_BYTES_MAX {
            return Err(NotTls("a record that is too long"));
        }
        match (kind, rest) {
            (ALERT, &[_, description, ..]) => Ok(Some(Self::Alert { description })),
            (ALERT, _) => Ok(None),
            (HANDSHAKE, body) => Self::read_hello(body),
            _ => Err(NotTls("neither an alert nor a handshake record")),
        }
    }

    /// RFC 5246 §7.4.1.3: type, length, version, random, session id, suite.
    fn read_hello(body: &[u8]) -> Result<Option<Self>, NotTls> {
        match body.first() {
            None => return Ok(None),
            Some(&SERVER_HELLO) => {}
            Some(_) => return Err(NotTls("a handshake message that is no ServerHello")),
        }
        let Some(&session_bytes) = body.get(SESSION_LENGTH_AT) else {
            return Ok(None);
        };
        let suite_at = SESSION_LENGTH_AT + 1 + usize::from(session_bytes);
        let (Some(&[major, minor]), Some(&[high, low])) = (body.get(4..6), body.get(suite_at..suite_at + 2)) else {
            return Ok(None);
        };
        Ok(Some(Self::Hello {
            version: Version(major, minor),
            suite: u16::from_be_bytes([high, low]),
        }))
    }
}

/// What a client offers in its `ClientHello`, as far as a laboratory server needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientOffer {
    /// Cipher suites by their registered numbers.
    pub suites: Vec<u16>,
}

impl ClientOffer {
    /// Reads the start of what a client sent: `None` when more is needed.
    ///
    /// # Errors
    /// It is no `ClientHello`, whatever follows.
    pub fn read(bytes: &[u8]) -> Result<Option<Self>, NotTls> {
        match bytes {
            [HANDSHAKE, 3, _, _, _, CLIENT_HELLO, ..] => {}
            [HANDSHAKE, 3, _, _, _, _, ..] => return Err(NotTls("a handshake message that is no ClientHello")),
            [] | [HANDSHAKE] | [HANDSHAKE, 3, ..] => return Ok(None),
            _ => return Err(NotTls("no TLS record")),
        }
        let body = &bytes[5..];
        let Some(&session_bytes) = body.get(SESSION_LENGTH_AT) else {
            return Ok(None);
        };
        let at = SESSION_LENGTH_AT + 1 + usize::from(session_bytes);
        let Some(&[high, low]) = body.get(at..at + 2) else {
            return Ok(None);
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let Some(listed) = body.get(at + 2..at + 2 + length) else {
            return Ok(None);
        };
        let suites = listed
            .chunks_exact(2)
            .map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
        Ok(Some(Self {
            suites: suites.collect(),
        }))
    }
}

/// A `ServerHello` that chooses this version and this suite, no extension, no session.
pub fn hello_record(version: Version, suite: u16) -> Vec<u8> {
    let mut body = vec![version.0, version.1];
    body.extend([0x56; 32]);
    body.push(0);
    body.extend(suite.to_be_bytes());
    body.push(0);
    let mut handshake = vec![SERVER_HELLO];
    handshake.extend(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes()[1..]);
    handshake.extend(body);
    let mut record = vec![HANDSHAKE, version.0, version.1];
    counted(&mut record, &handshake);
    record
}

/// A fatal alert.
pub fn alert_record(description: u8) -> Vec<u8> {
    vec![ALERT, 3, 1, 0, 2, 2, description]
}

/// Name of an alert, for people; `alert 123` when it has none here.
pub fn alert_name(description: u8) -> String {
    let known = ALERTS.iter().find(|(number, _)| *number == description);
    known.map_or_else(|| format!("alert {description}"), |(_, name)| (*name).to_owned())
}

/// Two bytes of length, then the bytes.
fn counted(to: &mut Vec<u8>, bytes: &[u8]) {
    to.extend(u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes());
    to.extend(bytes);
}

fn extension(to: &mut Vec<u8>, kind: u16, data: &[u8]) {
    to.extend(kind.to_be_bytes());
    counted(to, data);
}

const HANDSHAKE: u8 = 22;
const ALERT: u8 = 21;
const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
const SERVER_NAME: u16 = 0;
const SUPPORTED_GROUPS: u16 = 10;
const POINT_FORMATS: u16 = 11;
const SIGNATURE_ALGORITHMS: u16 = 13;
const RENEGOTIATION_INFO: u16 = 0xff01;
/// RFC 5246 §7.4.1.4.1: SHA-256, SHA-384 and SHA-1 with RSA and with ECDSA.
const SIGNATURES: [u8; 12] = [4, 1, 4, 3, 5, 1, 5, 3, 2, 1, 2, 3];
/// RFC 5246 §6.2.3, with room for what old servers add.
const RECORD_BYTES_MAX: usize = 18 * 1024;
/// After type, length, version and random.
const SESSION_LENGTH_AT: usize = 4 + 2 + 32;
/// RFC 8446 §6.
const ALERTS: [(u8, &str); 20] = [
    (0, "close_notify"),
    (10, "unexpected_message"),
    (20, "bad_record_mac"),
    (40, "handshake_failure"),
    (42, "bad_certificate"),
    (43, "unsupported_certificate"),
    (44, "certificate_revoked"),
    (45, "certificate_expired"),
    (46, "certificate_unknown"),
    (47, "illegal_parameter"),
    (48, "unknown_ca"),
    (49, "access_denied"),
    (50, "decode_error"),
    (51, "decrypt_error"),
    (70, "protocol_version"),
    (71, "insufficient_security"),
    (80, "internal_error"),
    (109, "missing_extension"),
    (112, "unrecognized_name"),
    (116, "certificate_required"),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hello(version: Version) -> Hello {
        Hello {
            version,
            suites: vec![0x002f, 0xc013],
            server_name: Some("mx.chu.fr".to_owned()),
        }
    }

    #[test]
    fn lengths_of_a_hello_agree() {
        let record = hello(Version::TLS_1_1).record([7; 32]);
        let length = |at: usize| usize::from(u16::from_be_bytes([record[at], record[at + 1]]));
        assert_eq!(record[..3], [22, 3, 1]);
        assert_eq!(length(3), record.len() - 5);
        assert_eq!(length(7), record.len() - 9, "of the handshake message");
        assert_eq!(record[9..11], [3, 2], "the version that is offered");
        // Version, random and empty session id come before the suites.
        assert_eq!(record[44..50], [0, 4, 0x00, 0x2f, 0xc0, 0x13]);
        assert_eq!(record[50..52], [1, 0]);
        assert_eq!(length(52), record.len() - 54, "of the extensions");
    }

    #[test]
    fn ssl_3_has_no_extensions() {
        let record = hello(Version::SSL_3).record([7; 32]);
        assert_eq!(record[..3], [22, 3, 0]);
        assert_eq!(record[record.len() - 2..], [1, 0]);
    }

    #[test]
    fn an_alert_and_a_server_hello_are_told_apart() {
        let alert = Answer::read(&[21, 3, 1, 0, 2, 2, 70]).unwrap();
        assert_eq!(alert, Some(Answer::Alert { description: 70 }));
        assert_eq!(alert_name(70), "protocol_version");
        assert_eq!(alert_name(200), "alert 200");
        let mut hello = vec![22, 3, 3, 0, 42, 2, 0, 0, 38, 3, 2];
        hello.extend([9; 32]);
        hello.extend([0, 0xc0, 0x13, 0]);
        let expected = Answer::Hello {
            version: Version::TLS_1_1,
            suite: 0xc013,
        };
        assert_eq!(Answer::read(&hello).unwrap(), Some(expected));
        for cut in 0..hello.len() - 1 {
            assert_eq!(Answer::read(&hello[..cut]).unwrap(), None, "{cut} bytes");
        }
        assert!(Answer::read(b"554 no TLS here\r\n").is_err());
        assert!(Answer::read(&[23, 3, 3, 0, 1, 0]).is_err());
    }

    #[test]
    fn what_a_client_offers_is_read_and_a_server_hello_is_what_a_client_reads() {
        let record = hello(Version::TLS_1_1).record([7; 32]);
        let offer = ClientOffer::read(&record).unwrap().unwrap();
        assert_eq!(offer.suites, [0x002f, 0xc013]);
        for cut in 0..50 {
            assert_eq!(ClientOffer::read(&record[..cut]).unwrap(), None, "{cut} bytes");
        }
        assert!(ClientOffer::read(b"EHLO me\r\n").is_err());
        let chosen = Answer::Hello {
            version: Version::TLS_1_0,
            suite: 0x002f,
        };
        assert_eq!(
            Answer::read(&hello_record(Version::TLS_1_0, 0x002f)).unwrap(),
            Some(chosen)
        );
        let alert = Answer::read(&alert_record(40)).unwrap();
        assert_eq!(alert, Some(Answer::Alert { description: 40 }));
    }

    proptest! {
        #[test]
        fn no_answer_makes_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            drop(Answer::read(&bytes));
            let mut record = vec![22, 3, 3, 0, 70];
            record.extend(bytes);
            drop(Answer::read(&record));
            record.insert(5, CLIENT_HELLO);
            drop(ClientOffer::read(&record));
        }
    }
}
