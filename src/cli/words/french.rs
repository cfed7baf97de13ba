//! French. One line for each thing that can be said; the other language has the same ones.

use super::{FailureWords, ReasonWords, Texts, Words};
use crate::policy::Reason;

pub(super) static WORDS: Words = Words {
    texts: Texts {
        session: "Session",
        operator: "opérateur",
        face: "porte",
        from: "de",
        handshake: "Négociation TLS",
        nothing_agreed: "rien n'a été convenu avant la fin",
        asked_for: "nom demandé",
        offered: "proposé",
        chain: "Certificats présentés",
        no_certificate: "aucun",
        issued_by: "émis par",
        serial: "série",
        valid: "valable",
        until: "au",
        fingerprint: "SHA-256",
        usages: "usages",
        names: "noms",
        checks: "Contrôles, dans l'ordre",
        not_looked_at: "non regardé",
        judged_by: "Jugé d'après",
        list_of: "liste blanche du",
        crl_until: "listes de révocation jusqu'au",
        refused: "Refus",
        at_step: "à l'étape",
        requirement: "exigence",
        said: "Réponse donnée",
        expected: "Il faudrait",
        compared: "Sur la liste pour",
        shown: "présenté",
        listed: "sur la liste",
        same: "identique",
        different: "différent",
        nothing_listed: "rien n'est sur la liste",
        absent: "absent",
        to_do: "À faire",
        who: "Qui",
        reproduce: "Pour le reproduire",
        events: "Déroulement",
        good: "Rien n'a été refusé dans cette session.",
        problem: "Problème",
        alert: "alerte de l'autre bout",
        unknown: "aucune session, message ni tentative ne s'appelle",
        ids_are: "Les identifiants sont à la fin de chaque refus (« session K3F7Q2ABCD »), dans le 250 d'un message accepté, dans les champs Received (id …), dans les rapports de non-remise et dans `vaguemestre journal`. Le début suffit ; un Message-ID convient aussi.",
        read: "Journaux lus",
        several: "plusieurs identifiants commencent par",
        actor_operator: "vous, l'opérateur",
        actor_peer: "le pair : l'autre opérateur",
        actor_client: "le client : le logiciel ou son utilisateur",
        actor_authority: "l'autorité, à la demande de l'opérateur de ce certificat",
        actor_holder: "le titulaire de la boîte",
        actor_nobody: "personne : cela passe tout seul",
        event_submitted: "soumis par",
        event_received: "remis à",
        event_queued: "mis en file pour",
        event_relayed: "pris par l'opérateur de",
        event_deferred: "reporté pour",
        event_next: "prochaine tentative",
        event_bounced: "abandonné pour",
        event_told: "signalé à",
        event_login: "identifié",
        event_login_refused: "identification refusée",
        event_refused: "refusé",
        event_repeated: "l'avait déjà",
        event_examined: "certificat examiné",
        event_handshake_failed: "négociation échouée",
        event_opened: "boîte ouverte",
    },
    reasons: &[
        (
            Reason::TlsRequired,
            ReasonWords {
                meaning: "Du courrier a été proposé avant STARTTLS.",
                remedy: "Réglez l'expéditeur pour qu'il exige TLS (le TLS opportuniste ne suffit pas).",
                expected: "une session TLS ouverte par STARTTLS avant toute autre commande",
            },
        ),
        (
            Reason::CertificateMissing,
            ReasonWords {
                meaning: "Le pair n'a présenté aucun certificat pendant la négociation TLS.",
                remedy: "Configurez un certificat client pour le SMTP sortant ; vérifiez que la clé lui correspond.",
                expected: "un certificat SERV SSL (entre opérateurs) ou ORG AUTH_CLI (boîte applicative), présenté avec sa clé",
            },
        ),
        (
            Reason::CertificateUntrusted,
            ReasonWords {
                meaning: "La chaîne ne mène pas à l'autorité de l'espace de confiance.",
                remedy: "Envoyez les certificats intermédiaires ; vérifiez que le certificat vient de l'autorité de cet espace, et non d'une autorité publique.",
                expected: "un certificat émis par l'autorité intermédiaire de l'espace, sous sa racine",
            },
        ),
        (
            Reason::CertificateExpired,
            ReasonWords {
                meaning: "Le certificat, ou l'un de ses émetteurs, a dépassé sa date de fin.",
                remedy: "Renouvelez-le ; vérifiez l'horloge des deux machines.",
                expected: "un certificat dont la date de fin est dans l'avenir",
            },
        ),
        (
            Reason::CertificateNotYetValid,
            ReasonWords {
                meaning: "Le premier jour de validité du certificat est dans l'avenir.",
                remedy: "Vérifiez l'horloge des deux machines ; attendez la date.",
                expected: "un certificat dont la date de début est passée",
            },
        ),
        (
            Reason::CertificateRevoked,
            ReasonWords {
                meaning: "L'autorité a révoqué le certificat, ou l'un de ses émetteurs.",
                remedy: "Installez le nouveau certificat, et faites-le nommer par la liste blanche si son sujet a changé.",
                expected: "un certificat que l'autorité n'a pas révoqué",
            },
        ),
        (
            Reason::CertificateUsage,
            ReasonWords {
                meaning: "L'usage de la clé, ou l'usage étendu, n'autorise pas cet emploi.",
                remedy: "Les opérateurs ont besoin d'un certificat de serveur qui permet aussi l'authentification de client ; les boîtes, d'un certificat de client.",
                expected: "keyUsage digitalSignature, et extendedKeyUsage serverAuth + clientAuth (opérateur) ou clientAuth (boîte)",
            },
        ),
        (
            Reason::CertificateMalformed,
            ReasonWords {
                meaning: "Le certificat ne peut pas être lu.",
                remedy: "Examinez-le avec `openssl x509 -text` ; demandez-en un nouveau.",
                expected: "un certificat X.509 v3 bien formé",
            },
        ),
        (
            Reason::RevocationUnknown,
            ReasonWords {
                meaning: "Personne ne peut dire pour l'instant si le certificat est révoqué : la liste est trop ancienne ou introuvable.",
                remedy: "Rien chez l'expéditeur : il réessaie. Chez le destinataire : rendez la CRL de l'autorité accessible.",
                expected: "une CRL en cours de validité (ou une réponse OCSP) pour chaque émetteur de la chaîne",
            },
        ),
        (
            Reason::SenderDomainUnlisted,
            ReasonWords {
                meaning: "Le domaine de l'expéditeur n'est pas sur la liste blanche.",
                remedy: "Faites déclarer le domaine ; comparez l'orthographe de l'adresse.",
                expected: "une entrée <Domaine> de la liste blanche pour ce domaine, avec le DN du certificat",
            },
        ),
        (
            Reason::CertificateNotForDomain,
            ReasonWords {
                meaning: "Le domaine est sur la liste, mais pour un autre sujet que celui du certificat.",
                remedy: "Comparez le DN complet à celui de la liste : chaque attribut compte. Les deux sont dans la réponse.",
                expected: "pour ce domaine, un DN égal en entier à celui du certificat présenté",
            },
        ),
        (
            Reason::PeerUnlisted,
            ReasonWords {
                meaning: "Un message sans expéditeur (un rapport) est venu d'un certificat qui n'est sur la liste pour aucun domaine.",
                remedy: "Faites déclarer le certificat du serveur.",
                expected: "le DN du certificat, pour un domaine au moins",
            },
        ),
        (
            Reason::RelayDenied,
            ReasonWords {
                meaning: "Le domaine du destinataire n'est pas l'un de ceux de cet opérateur.",
                remedy: "Vérifiez le MX de ce domaine ; cet opérateur ne relaie pour personne.",
                expected: "",
            },
        ),
        (
            Reason::DomainLeaving,
            ReasonWords {
                meaning: "Le domaine du destinataire vient de passer à un autre opérateur ; celui-ci ne prend plus de courrier pour lui.",
                remedy: "Rien : l'expéditeur réessaie, et sa prochaine lecture des MX mène au nouvel opérateur. Raccourcissez ce qui les garde en cache si cela dure.",
                expected: "",
            },
        ),
        (
            Reason::BoxUnknown,
            ReasonWords {
                meaning: "Cette boîte n'existe pas.",
                remedy: "Vérifiez l'adresse dans l'annuaire.",
                expected: "",
            },
        ),
        (
            Reason::BoxClosed,
            ReasonWords {
                meaning: "La boîte a existé et a été fermée.",
                remedy: "Cherchez la nouvelle adresse du titulaire dans l'annuaire.",
                expected: "",
            },
        ),
        (
            Reason::BoxSuspended,
            ReasonWords {
                meaning: "La boîte est suspendue pour l'instant.",
                remedy: "Rien : l'expéditeur réessaie. L'opérateur de la boîte peut lever la suspension.",
                expected: "",
            },
        ),
        (
            Reason::OverQuota,
            ReasonWords {
                meaning: "La boîte est pleine.",
                remedy: "Le titulaire supprime du courrier, ou l'opérateur relève le quota ; l'expéditeur réessaie.",
                expected: "",
            },
        ),
        (
            Reason::MessageTooLarge,
            ReasonWords {
                meaning: "Le message dépasse la taille que cet opérateur accepte.",
                remedy: "Envoyez moins ; la limite est annoncée dans la réponse à EHLO (`SIZE`).",
                expected: "",
            },
        ),
        (
            Reason::PatientMessageTooLarge,
            ReasonWords {
                meaning: "Le message est plus gros que ce que prennent les boîtes des patients (Mon espace santé : 25 Mo en tout).",
                remedy: "Envoyer au patient moins de pièces jointes, ou de plus petites ; base64 ajoute 37 % à chaque fichier.",
                expected: "",
            },
        ),
        (
            Reason::MessageForm,
            ReasonWords {
                meaning: "Le message enfreint une règle nationale de forme, et l'opérateur les impose (`checks = \"enforce\"`).",
                remedy: "Chercher dans docs/submission.md le constat que nomme le texte, et corriger le logiciel qui a écrit le message.",
                expected: "",
            },
        ),
        (
            Reason::MessageMalformed,
            ReasonWords {
                meaning: "Le message enfreint une règle de son format ; le texte dit laquelle.",
                remedy: "Corrigez le logiciel qui l'a écrit.",
                expected: "",
            },
        ),
        (
            Reason::MailLoop,
            ReasonWords {
                meaning: "Le message est passé ici, ou ailleurs, trop souvent.",
                remedy: "Cherchez deux serveurs ou deux boîtes qui se renvoient le courrier.",
                expected: "",
            },
        ),
        (
            Reason::TooManyRecipients,
            ReasonWords {
                meaning: "Plus de destinataires qu'une transaction ne peut en avoir.",
                remedy: "Rien pour un serveur de messagerie, qui envoie le reste dans une deuxième transaction ; un logiciel qui soumet fait de même.",
                expected: "",
            },
        ),
        (
            Reason::AuthenticationRequired,
            ReasonWords {
                meaning: "Une soumission sans identification.",
                remedy: "Identifiez-vous : avec le certificat de la boîte (EXTERNAL), ou avec le nom et le mot de passe de l'utilisateur.",
                expected: "",
            },
        ),
        (
            Reason::CredentialsInvalid,
            ReasonWords {
                meaning: "Nom d'utilisateur ou mot de passe erroné.",
                remedy: "Les identifiants sont affichés par `vaguemestre up`.",
                expected: "",
            },
        ),
        (
            Reason::CertificateNotBound,
            ReasonWords {
                meaning: "Le certificat est bon, mais n'est lié à aucune boîte, ou pas à celle qui est demandée.",
                remedy: "Liez-le à la boîte, ou nommez une boîte à laquelle il est lié.",
                expected: "un certificat dont le sujet est lié à la boîte demandée",
            },
        ),
        (
            Reason::BoxAmbiguous,
            ReasonWords {
                meaning: "Plusieurs boîtes conviennent au certificat et le client n'en a nommé aucune.",
                remedy: "Mettez l'adresse de la boîte dans l'identité d'autorisation de EXTERNAL.",
                expected: "",
            },
        ),
        (
            Reason::SenderNotAllowed,
            ReasonWords {
                meaning: "L'expéditeur de l'enveloppe n'est pas une boîte de cet identifiant.",
                remedy: "Mettez l'adresse de la propre boîte de l'identifiant dans `MAIL FROM`.",
                expected: "",
            },
        ),
        (
            Reason::FromNotAllowed,
            ReasonWords {
                meaning: "Le champ `From` manque, ou nomme une boîte qui n'est pas celle de l'expéditeur.",
                remedy: "Écrivez la propre boîte de l'expéditeur dans `From` ; utilisez `Reply-To` pour une autre.",
                expected: "",
            },
        ),
        (
            Reason::RecipientDomainUnlisted,
            ReasonWords {
                meaning: "Le domaine du destinataire n'est pas sur la liste blanche.",
                remedy: "N'écrivez qu'à des boîtes de l'espace de confiance ; comparez l'orthographe.",
                expected: "une entrée <Domaine> de la liste blanche pour ce domaine",
            },
        ),
        (
            Reason::StorageFailed,
            ReasonWords {
                meaning: "Le stockage n'a pas pu le prendre : un disque défaillant ou protégé en écriture, ou une donnée endommagée.",
                remedy: "Rien chez l'expéditeur : il réessaie. Chez le destinataire : lisez le journal système, puis `vaguemestre verify`.",
                expected: "",
            },
        ),
        (
            Reason::StorageFull,
            ReasonWords {
                meaning: "Le disque du destinataire est plein.",
                remedy: "Rien chez l'expéditeur : il réessaie. Chez le destinataire : faites de la place ; le courrier est repris sans redémarrage.",
                expected: "",
            },
        ),
        (
            Reason::TooManyConnections,
            ReasonWords {
                meaning: "Trop de connexions de ce pair, ou de sessions de cet identifiant.",
                remedy: "Réduisez le parallélisme de l'expéditeur ou du logiciel.",
                expected: "",
            },
        ),
        (
            Reason::TooManyErrors,
            ReasonWords {
                meaning: "Trop d'erreurs, ou de commandes sans message, dans une même session.",
                remedy: "Cherchez les erreurs qui ont précédé ; une supervision qui garde une connexion ouverte en rouvre une. Les bornes : `faults_max`, `commands_max`.",
                expected: "",
            },
        ),
        (
            Reason::TooManyTransactions,
            ReasonWords {
                meaning: "Plus de transactions qu'une session n'en admet.",
                remedy: "Rien : l'expéditeur se reconnecte. La borne, annoncée dans EHLO (LIMITS MAILMAX) : `transactions_max`.",
                expected: "",
            },
        ),
        (
            Reason::TooSlow,
            ReasonWords {
                meaning: "Un message arrivait trop lentement, ou durait trop longtemps ; rien n'en a été gardé.",
                remedy: "Cherchez ce qui ralentit la liaison ou le logiciel émetteur. Les bornes : `data_rate_min_bytes_per_second`, `data_rate_grace`, `message_timeout`.",
                expected: "",
            },
        ),
    ],
    alerts: &[
        (
            "BadCertificate",
            FailureWords {
                meaning: "l'autre bout n'a pas pu utiliser le certificat présenté",
                remedy: "examinez le certificat avec openssl x509 -text, et le journal de l'autre bout",
            },
        ),
        (
            "UnsupportedCertificate",
            FailureWords {
                meaning: "l'autre bout n'accepte pas ce genre de certificat",
                remedy: "vérifiez le type de clé et les usages du certificat présenté",
            },
        ),
        (
            "CertificateRevoked",
            FailureWords {
                meaning: "l'autre bout a trouvé révoqué le certificat présenté",
                remedy: "renouvelez le certificat ; s'il n'est pas révoqué, l'autre bout a une liste de révocation fausse",
            },
        ),
        (
            "CertificateExpired",
            FailureWords {
                meaning: "l'autre bout a trouvé expiré le certificat présenté",
                remedy: "renouvelez le certificat ; comparez les horloges des deux machines",
            },
        ),
        (
            "CertificateUnknown",
            FailureWords {
                meaning: "l'autre bout n'accepte pas le certificat présenté, sans dire pourquoi",
                remedy: "vérifiez la chaîne, les dates, le nom et les usages du certificat présenté ; lisez le journal de l'autre bout",
            },
        ),
        (
            "UnknownCA",
            FailureWords {
                meaning: "l'autre bout ne fait pas confiance à l'autorité du certificat présenté",
                remedy: "donnez à l'autre bout les certificats de l'autorité (ca.pem), et envoyez l'intermédiaire avec le certificat",
            },
        ),
        (
            "AccessDenied",
            FailureWords {
                meaning: "le certificat est valable, mais l'autre bout ne laisse entrer personne avec lui",
                remedy: "faites autoriser là-bas le sujet du certificat",
            },
        ),
        (
            "CertificateRequired",
            FailureWords {
                meaning: "l'autre bout veut un certificat de client et n'en a reçu aucun",
                remedy: "configurez le certificat et la clé du client",
            },
        ),
        (
            "HandshakeFailure",
            FailureWords {
                meaning: "rien de commun n'a été trouvé : ni suite ni courbe commune, ou un certificat était exigé",
                remedy: "proposez TLS 1.2 avec ECDHE et AES-GCM, ou TLS 1.3 ; présentez un certificat",
            },
        ),
        (
            "ProtocolVersion",
            FailureWords {
                meaning: "il n'y a pas de version de TLS commune aux deux bouts",
                remedy: "parlez TLS 1.2 ou 1.3",
            },
        ),
        (
            "InsufficientSecurity",
            FailureWords {
                meaning: "les suites proposées sont trop faibles pour l'autre bout",
                remedy: "proposez des suites ECDHE avec AES-GCM ou ChaCha20",
            },
        ),
        (
            "UnrecognisedName",
            FailureWords {
                meaning: "l'autre bout n'a pas de certificat pour le nom demandé",
                remedy: "demandez le vrai nom du serveur",
            },
        ),
        (
            "DecryptError",
            FailureWords {
                meaning: "une signature de la négociation est fausse : la clé n'est pas celle du certificat",
                remedy: "vérifiez que le certificat et la clé vont ensemble",
            },
        ),
        (
            "InternalError",
            FailureWords {
                meaning: "l'autre bout a échoué pour des raisons à lui",
                remedy: "lisez le journal de l'autre bout",
            },
        ),
    ],
    checks: &[
        ("certificate", "certificat"),
        ("chain", "chaîne"),
        ("dates", "dates"),
        ("key-usage", "usage de la clé"),
        ("extended-key-usage", "usage étendu"),
        ("revocation-leaf", "révocation"),
        ("revocation-intermediate", "révocation des émetteurs"),
        ("host-name", "nom d'hôte"),
        ("allow-list", "liste blanche"),
    ],
    failures: &super::failures::FRENCH,
    doctor: &super::doctor::FRENCH,
};
