//! What is said of a handshake that failed on our side, in both languages.

use super::{FailureTable, FailureWords};

/// English.
pub(super) static ENGLISH: FailureTable = FailureTable {
    version: FailureWords {
        meaning: "the client offers no TLS version that this face speaks",
        remedy: "let the client speak TLS 1.2 or 1.3",
    },
    suite: FailureWords {
        meaning: "the client offers no cipher suite that this face accepts",
        remedy: "let the client offer ECDHE with AES-GCM or ChaCha20 (TLS 1.2), or TLS 1.3",
    },
    not_tls: FailureWords {
        meaning: "what came is not TLS",
        remedy: "clear text was sent to a TLS port, or the wrong port was chosen: use STARTTLS there, or TLS from the first byte here",
    },
    silent: FailureWords {
        meaning: "the handshake was not finished in time, or the connection was cut",
        remedy: "look for a firewall between the two, and at the other end's log",
    },
    other: FailureWords {
        meaning: "the handshake failed",
        remedy: "read the problem above",
    },
};

/// French.
pub(super) static FRENCH: FailureTable = FailureTable {
    version: FailureWords {
        meaning: "le client ne propose aucune version de TLS que cette porte parle",
        remedy: "faites parler TLS 1.2 ou 1.3 au client",
    },
    suite: FailureWords {
        meaning: "le client ne propose aucune suite que cette porte accepte",
        remedy: "faites proposer au client ECDHE avec AES-GCM ou ChaCha20 (TLS 1.2), ou TLS 1.3",
    },
    not_tls: FailureWords {
        meaning: "ce qui est arrivé n'est pas du TLS",
        remedy: "du texte en clair a été envoyé à un port TLS, ou le port est le mauvais : STARTTLS là-bas, ou TLS dès le premier octet ici",
    },
    silent: FailureWords {
        meaning: "la négociation n'a pas été finie à temps, ou la connexion a été coupée",
        remedy: "cherchez un pare-feu entre les deux, et lisez le journal de l'autre bout",
    },
    other: FailureWords {
        meaning: "la négociation a échoué",
        remedy: "lisez le problème ci-dessus",
    },
};
