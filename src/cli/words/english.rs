//! English. One line for each thing that can be said; the other language has the same ones.

use super::{FailureWords, ReasonWords, Texts, Words};
use crate::policy::Reason;

pub(super) static WORDS: Words = Words {
    texts: Texts {
        session: "Session",
        operator: "operator",
        face: "face",
        from: "from",
        handshake: "Handshake",
        nothing_agreed: "nothing was agreed on before it ended",
        asked_for: "asked for",
        offered: "offered",
        chain: "Certificates shown",
        no_certificate: "none",
        issued_by: "issued by",
        serial: "serial",
        valid: "valid",
        until: "to",
        fingerprint: "SHA-256",
        usages: "usages",
        names: "names",
        checks: "Checks, in their order",
        not_looked_at: "not looked at",
        judged_by: "Judged by",
        list_of: "allow list of",
        crl_until: "revocation lists until",
        refused: "Refused",
        at_step: "at step",
        requirement: "requirement",
        said: "Answered",
        expected: "Needed",
        compared: "Listed for",
        shown: "shown",
        listed: "listed",
        same: "same",
        different: "different",
        nothing_listed: "nothing is listed",
        absent: "absent",
        to_do: "What to do",
        who: "Who",
        reproduce: "To see it again",
        events: "Story",
        good: "Nothing was refused in this session.",
        problem: "Problem",
        alert: "alert of the other end",
        unknown: "no session, message or attempt is called",
        ids_are: "Ids stand at the end of every refusal (\"session K3F7Q2ABCD\"), in the 250 of an accepted message, in Received fields (id …), in delivery reports and in `vaguemestre journal`. The beginning of one is enough; a Message-ID works too.",
        read: "Journals read",
        several: "several ids begin with",
        actor_operator: "you, the operator",
        actor_peer: "the peer: the other operator",
        actor_client: "the client: the software or its user",
        actor_authority: "the authority, asked by the operator of that certificate",
        actor_holder: "the holder of the box",
        actor_nobody: "nobody: it passes by itself",
        event_submitted: "submitted by",
        event_received: "delivered to",
        event_queued: "queued for",
        event_relayed: "taken by the operator of",
        event_deferred: "put off for",
        event_next: "next attempt",
        event_bounced: "given up for",
        event_told: "reported to",
        event_login: "logged in",
        event_login_refused: "login refused",
        event_refused: "refused",
        event_repeated: "already had it",
        event_examined: "certificate examined",
        event_handshake_failed: "handshake failed",
        event_opened: "box opened",
    },
    reasons: &[
        (
            Reason::TlsRequired,
            ReasonWords {
                meaning: "Mail was offered before STARTTLS.",
                remedy: "Set the sender to require TLS (opportunistic TLS is not enough).",
                expected: "a TLS session opened by STARTTLS before any other command",
            },
        ),
        (
            Reason::CertificateMissing,
            ReasonWords {
                meaning: "The peer showed no certificate in the TLS handshake.",
                remedy: "Configure a client certificate for outgoing SMTP; check that the key matches it.",
                expected: "a SERV SSL certificate (between operators) or ORG AUTH_CLI certificate (applicative box), shown with its key",
            },
        ),
        (
            Reason::CertificateUntrusted,
            ReasonWords {
                meaning: "The chain does not lead to the authority of the trust space.",
                remedy: "Send the intermediate certificates; check that the certificate comes from this space's authority, not from a public one.",
                expected: "a certificate issued by the intermediate authority of the space, below its root",
            },
        ),
        (
            Reason::CertificateExpired,
            ReasonWords {
                meaning: "The certificate, or one of its issuers, is past its end date.",
                remedy: "Renew it; check the clock of both machines.",
                expected: "a certificate whose end date lies in the future",
            },
        ),
        (
            Reason::CertificateNotYetValid,
            ReasonWords {
                meaning: "The certificate's first day lies in the future.",
                remedy: "Check the clock of both machines; wait for the date.",
                expected: "a certificate whose first day has passed",
            },
        ),
        (
            Reason::CertificateRevoked,
            ReasonWords {
                meaning: "The authority has revoked the certificate, or one of its issuers.",
                remedy: "Install the new certificate, and have the allow list name it if its subject changed.",
                expected: "a certificate that the authority has not revoked",
            },
        ),
        (
            Reason::CertificateUsage,
            ReasonWords {
                meaning: "Key usage or extended key usage does not allow this use.",
                remedy: "Operators need a server certificate that also allows client authentication; boxes need a client certificate.",
                expected: "keyUsage digitalSignature, and extendedKeyUsage serverAuth + clientAuth (operator) or clientAuth (box)",
            },
        ),
        (
            Reason::CertificateMalformed,
            ReasonWords {
                meaning: "The certificate cannot be read.",
                remedy: "Look at it with `openssl x509 -text`; ask for a new one.",
                expected: "a well-formed X.509 v3 certificate",
            },
        ),
        (
            Reason::RevocationUnknown,
            ReasonWords {
                meaning: "Nobody can say now whether the certificate is revoked: the list is too old or cannot be had.",
                remedy: "Nothing at the sender: it tries again. At the receiver: make the authority's CRL reachable.",
                expected: "a CRL in force (or an OCSP answer) for each issuer of the chain",
            },
        ),
        (
            Reason::SenderDomainUnlisted,
            ReasonWords {
                meaning: "The sender's domain is not on the allow list.",
                remedy: "Have the domain declared; compare the spelling of the address.",
                expected: "an entry <Domaine> of the allow list for this domain, with the certificate's DN",
            },
        ),
        (
            Reason::CertificateNotForDomain,
            ReasonWords {
                meaning: "The domain is listed, but for another subject than the certificate's.",
                remedy: "Compare the full subject DN with the one listed: every attribute counts. Both are in the reply.",
                expected: "for this domain, a DN equal as a whole to that of the certificate shown",
            },
        ),
        (
            Reason::PeerUnlisted,
            ReasonWords {
                meaning: "A message without a sender (a report) came from a certificate that is listed for no domain.",
                remedy: "Have the server's certificate declared.",
                expected: "the certificate's DN, for at least one domain",
            },
        ),
        (
            Reason::RelayDenied,
            ReasonWords {
                meaning: "The recipient's domain is not one of this operator's.",
                remedy: "Check the MX of that domain; this operator relays for nobody.",
                expected: "",
            },
        ),
        (
            Reason::DomainLeaving,
            ReasonWords {
                meaning: "The recipient's domain has just moved to another operator; this one takes no more mail for it.",
                remedy: "Nothing: the sender tries again, and its next look at the MX records leads to the new operator. Shorten what caches them if that takes long.",
                expected: "",
            },
        ),
        (
            Reason::BoxUnknown,
            ReasonWords {
                meaning: "There is no such box.",
                remedy: "Check the address in the directory.",
                expected: "",
            },
        ),
        (
            Reason::BoxClosed,
            ReasonWords {
                meaning: "The box existed and was closed.",
                remedy: "Look for the holder's new address in the directory.",
                expected: "",
            },
        ),
        (
            Reason::BoxSuspended,
            ReasonWords {
                meaning: "The box is suspended for now.",
                remedy: "Nothing: the sender tries again. The box's operator can lift the suspension.",
                expected: "",
            },
        ),
        (
            Reason::OverQuota,
            ReasonWords {
                meaning: "The box is full.",
                remedy: "The holder deletes mail, or the operator raises the quota; the sender tries again.",
                expected: "",
            },
        ),
        (
            Reason::MessageTooLarge,
            ReasonWords {
                meaning: "The message is larger than this operator takes.",
                remedy: "Send less; the limit is announced in the EHLO reply (`SIZE`).",
                expected: "",
            },
        ),
        (
            Reason::PatientMessageTooLarge,
            ReasonWords {
                meaning: "The message is larger than what patients' boxes take (Mon espace santé: 25 MB in all).",
                remedy: "Send fewer or smaller attachments to the patient; base64 adds 37 % to each file.",
                expected: "",
            },
        ),
        (
            Reason::MessageForm,
            ReasonWords {
                meaning: "The message breaks a national rule on its form, and the operator enforces them (`checks = \"enforce\"`).",
                remedy: "Look the finding that the text names up in docs/submission.md, and correct the software that wrote the message.",
                expected: "",
            },
        ),
        (
            Reason::MessageMalformed,
            ReasonWords {
                meaning: "The message breaks a rule of its format; the text says which.",
                remedy: "Correct the software that wrote it.",
                expected: "",
            },
        ),
        (
            Reason::MailLoop,
            ReasonWords {
                meaning: "The message has passed here, or anywhere, too often.",
                remedy: "Look for two servers or two boxes that forward to each other.",
                expected: "",
            },
        ),
        (
            Reason::TooManyRecipients,
            ReasonWords {
                meaning: "More recipients than one transaction may have.",
                remedy: "Nothing for a mail server, which sends the rest in a second transaction; software that submits does the same.",
                expected: "",
            },
        ),
        (
            Reason::AuthenticationRequired,
            ReasonWords {
                meaning: "A submission without a login.",
                remedy: "Log in: with the box's certificate (EXTERNAL), or with the user's name and password.",
                expected: "",
            },
        ),
        (
            Reason::CredentialsInvalid,
            ReasonWords {
                meaning: "Wrong user name or password.",
                remedy: "The logins are printed by `vaguemestre up`.",
                expected: "",
            },
        ),
        (
            Reason::CertificateNotBound,
            ReasonWords {
                meaning: "The certificate is good, but bound to no box, or not to the one asked for.",
                remedy: "Bind it to the box, or name a box to which it is bound.",
                expected: "a certificate whose subject is bound to the box asked for",
            },
        ),
        (
            Reason::BoxAmbiguous,
            ReasonWords {
                meaning: "Several boxes fit the certificate and the client named none.",
                remedy: "Put the box's address into the authorisation identity of EXTERNAL.",
                expected: "",
            },
        ),
        (
            Reason::SenderNotAllowed,
            ReasonWords {
                meaning: "The envelope sender is not a box of this login.",
                remedy: "Use the address of the login's own box in `MAIL FROM`.",
                expected: "",
            },
        ),
        (
            Reason::FromNotAllowed,
            ReasonWords {
                meaning: "The `From` field is missing, or names a box that is not the sender's.",
                remedy: "Write the sender's own box into `From`; use `Reply-To` for another.",
                expected: "",
            },
        ),
        (
            Reason::RecipientDomainUnlisted,
            ReasonWords {
                meaning: "The recipient's domain is not on the allow list.",
                remedy: "Write only to boxes of the trust space; compare the spelling.",
                expected: "an entry <Domaine> of the allow list for this domain",
            },
        ),
        (
            Reason::StorageFailed,
            ReasonWords {
                meaning: "The store could not take it: a disk that fails or may not be written, or something damaged.",
                remedy: "Nothing at the sender: it tries again. At the receiver: read the log, then `vaguemestre verify`.",
                expected: "",
            },
        ),
        (
            Reason::StorageFull,
            ReasonWords {
                meaning: "The disk of the receiver is full.",
                remedy: "Nothing at the sender: it tries again. At the receiver: make room; mail is taken again without a restart.",
                expected: "",
            },
        ),
        (
            Reason::TooManyConnections,
            ReasonWords {
                meaning: "Too many connections from this peer, or sessions of this login.",
                remedy: "Lower the concurrency of the sender or of the software.",
                expected: "",
            },
        ),
        (
            Reason::TooManyErrors,
            ReasonWords {
                meaning: "Too many errors, or commands without a message, in one session.",
                remedy: "Look for the errors that came before; a monitor that keeps a connection open opens a new one. The bounds: `faults_max`, `commands_max`.",
                expected: "",
            },
        ),
        (
            Reason::TooManyTransactions,
            ReasonWords {
                meaning: "More transactions than one session may hold.",
                remedy: "Nothing: the sender connects again. The bound, which EHLO announces (LIMITS MAILMAX): `transactions_max`.",
                expected: "",
            },
        ),
        (
            Reason::TooSlow,
            ReasonWords {
                meaning: "A message came too slowly, or took too long; nothing of it was kept.",
                remedy: "Look for what slows the line or the sending software down. The bounds: `data_rate_min_bytes_per_second`, `data_rate_grace`, `message_timeout`.",
                expected: "",
            },
        ),
    ],
    alerts: &[
        (
            "BadCertificate",
            FailureWords {
                meaning: "the other end could not use the certificate it was shown",
                remedy: "look at the certificate with openssl x509 -text, and at the log of the other end",
            },
        ),
        (
            "UnsupportedCertificate",
            FailureWords {
                meaning: "the other end does not take this kind of certificate",
                remedy: "check key type and usages of the certificate shown",
            },
        ),
        (
            "CertificateRevoked",
            FailureWords {
                meaning: "the other end found the certificate it was shown revoked",
                remedy: "renew the certificate; if it is not revoked, the other end holds a wrong revocation list",
            },
        ),
        (
            "CertificateExpired",
            FailureWords {
                meaning: "the other end found the certificate it was shown expired",
                remedy: "renew the certificate; compare the clocks of both machines",
            },
        ),
        (
            "CertificateUnknown",
            FailureWords {
                meaning: "the other end does not accept the certificate it was shown, and does not say why",
                remedy: "check chain, dates, name and usages of the certificate shown; read the log of the other end",
            },
        ),
        (
            "UnknownCA",
            FailureWords {
                meaning: "the other end does not trust the authority of the certificate it was shown",
                remedy: "give the other end the authority's certificates (ca.pem), and send the intermediate with the certificate",
            },
        ),
        (
            "AccessDenied",
            FailureWords {
                meaning: "the certificate is valid, but the other end lets nobody in with it",
                remedy: "have the certificate's subject authorised there",
            },
        ),
        (
            "CertificateRequired",
            FailureWords {
                meaning: "the other end wants a client certificate and was shown none",
                remedy: "configure certificate and key of the client",
            },
        ),
        (
            "HandshakeFailure",
            FailureWords {
                meaning: "nothing both ends accept was found: no common suite or curve, or a certificate was required",
                remedy: "offer TLS 1.2 with ECDHE and AES-GCM, or TLS 1.3; show a certificate",
            },
        ),
        (
            "ProtocolVersion",
            FailureWords {
                meaning: "there is no TLS version that both ends speak",
                remedy: "speak TLS 1.2 or 1.3",
            },
        ),
        (
            "InsufficientSecurity",
            FailureWords {
                meaning: "the suites offered are too weak for the other end",
                remedy: "offer ECDHE suites with AES-GCM or ChaCha20",
            },
        ),
        (
            "UnrecognisedName",
            FailureWords {
                meaning: "the other end has no certificate for the name that was asked for",
                remedy: "ask for the server's real name",
            },
        ),
        (
            "DecryptError",
            FailureWords {
                meaning: "a signature of the handshake is wrong: the key is not that of the certificate",
                remedy: "check that certificate and key belong together",
            },
        ),
        (
            "InternalError",
            FailureWords {
                meaning: "the other end failed for reasons of its own",
                remedy: "read the log of the other end",
            },
        ),
    ],
    checks: &[
        ("certificate", "certificate"),
        ("chain", "chain"),
        ("dates", "dates"),
        ("key-usage", "key usage"),
        ("extended-key-usage", "extended key usage"),
        ("revocation-leaf", "revocation"),
        ("revocation-intermediate", "revocation of the issuers"),
        ("host-name", "host name"),
        ("allow-list", "allow list"),
    ],
    failures: &super::failures::ENGLISH,
    doctor: &super::doctor::ENGLISH,
};
