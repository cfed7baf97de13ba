//! Every metric there is: its name, kind, labels and meaning. `docs/operations.md` repeats this table.

/// A metric of the [`CATALOGUE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the catalogue below says what each is")]
pub enum Metric {
    Accepted,
    AcceptedBytes,
    AcceptSeconds,
    Refused,
    Sessions,
    SessionsOpen,
    TurnedAway,
    AcceptErrors,
    Handshakes,
    HandshakesFailed,
    HandshakeSeconds,
    NetworkBytes,
    QueueItems,
    QueueOldest,
    QueueUnreached,
    Relayed,
    DeliverySeconds,
    CommitWrites,
    CommitSeconds,
    SyncSeconds,
    StoreErrors,
    Spooled,
    SpoolBytes,
    ListAge,
    RevocationAge,
    RevocationLeft,
    CertificateLeft,
    Reloads,
    ReloadFailed,
    Ready,
    Draining,
    Memory,
    OpenFiles,
    OpenFilesMax,
    Cpu,
    Started,
    Build,
}

/// How a metric behaves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Only grows, from 0 at the start of the process.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution, counted up to each of these bounds.
    Histogram(&'static [f64]),
}

/// One metric of the catalogue.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// Which one.
    pub metric: Metric,
    /// Its name on the page, with its unit.
    pub name: &'static str,
    /// How it behaves.
    pub kind: Kind,
    /// Its labels after `operator`.
    pub labels: &'static [&'static str],
    /// What it says, in one sentence.
    pub help: &'static str,
}

impl Metric {
    /// Its entry in the catalogue.
    pub fn family(self) -> &'static Family {
        &CATALOGUE[self as usize]
    }
}

impl Family {
    /// Whether it belongs to the process: then it has no `operator`.
    pub fn is_of_process(&self) -> bool {
        self.name.starts_with("process_") || matches!(self.metric, Metric::Build | Metric::Draining)
    }
}

const fn family(
    metric: Metric,
    name: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
    help: &'static str,
) -> Family {
    Family {
        metric,
        name,
        kind,
        labels,
        help,
    }
}

use Kind::{Counter, Gauge, Histogram};

/// All of them, in the order of the page and of [`Metric`].
pub const CATALOGUE: &[Family] = &[
    family(
        Metric::Accepted,
        "vaguemestre_messages_accepted_total",
        Counter,
        &["face"],
        "Messages answered with 250: durable and counted.",
    ),
    family(
        Metric::AcceptedBytes,
        "vaguemestre_messages_accepted_bytes_total",
        Counter,
        &["face"],
        "Bytes of those messages, as received.",
    ),
    family(
        Metric::AcceptSeconds,
        "vaguemestre_accept_seconds",
        Histogram(SHORT_WAITS),
        &["face"],
        "From the last byte of a message until it is durable, visible in its boxes and ready for its 250.",
    ),
    family(
        Metric::Refused,
        "vaguemestre_refusals_total",
        Counter,
        &["face", "stage", "reason"],
        "Refusals, by the reason ids of docs/reasons.md.",
    ),
    family(
        Metric::Sessions,
        "vaguemestre_sessions_total",
        Counter,
        &["face"],
        "Connections that got a place.",
    ),
    family(
        Metric::SessionsOpen,
        "vaguemestre_sessions_open",
        Gauge,
        &["face"],
        "Connections that hold a place now, whether their TLS is up or not.",
    ),
    family(
        Metric::TurnedAway,
        "vaguemestre_connections_turned_away_total",
        Counter,
        &["face", "limit"],
        "Connections that got no place, by the limit they met: total, address or process.",
    ),
    family(
        Metric::AcceptErrors,
        "vaguemestre_accept_errors_total",
        Counter,
        &["face"],
        "Times the system could not hand over a connection: descriptors or memory ran out.",
    ),
    family(
        Metric::Handshakes,
        "vaguemestre_tls_handshakes_total",
        Counter,
        &["face", "version", "suite"],
        "TLS handshakes that succeeded; face relay is this operator as client.",
    ),
    family(
        Metric::HandshakesFailed,
        "vaguemestre_tls_handshakes_failed_total",
        Counter,
        &["face", "cause"],
        "TLS handshakes that failed: peer (it ended it), time (too slow), protocol, or busy (too many at once).",
    ),
    family(
        Metric::HandshakeSeconds,
        "vaguemestre_tls_handshake_seconds",
        Histogram(SHORT_WAITS),
        &["face"],
        "How long successful handshakes took, the wait for the other end included.",
    ),
    family(
        Metric::NetworkBytes,
        "vaguemestre_network_bytes_total",
        Counter,
        &["face", "direction"],
        "Bytes read (in) and written (out) on connections, before encryption.",
    ),
    family(
        Metric::QueueItems,
        "vaguemestre_queue_items",
        Gauge,
        &["state"],
        "Recipients in the queue: due, waiting (their next attempt is later), leased (under way), blocked (their destination cannot be reached) or held.",
    ),
    family(
        Metric::QueueOldest,
        "vaguemestre_queue_oldest_seconds",
        Gauge,
        &[],
        "Age of the recipient that waits longest, held ones aside; 0 for an empty queue.",
    ),
    family(
        Metric::QueueUnreached,
        "vaguemestre_queue_destinations_unreached",
        Gauge,
        &[],
        "Destinations that could not be reached when they were visited last; `vaguemestre queue list --by domain` names them.",
    ),
    family(
        Metric::Relayed,
        "vaguemestre_relay_outcomes_total",
        Counter,
        &["outcome"],
        "Attempts per recipient: delivered, deferred (tried again) or bounced (given up).",
    ),
    family(
        Metric::DeliverySeconds,
        "vaguemestre_delivery_seconds",
        Histogram(LONG_WAITS),
        &["outcome"],
        "From our 250 to the final verdict. For delivered this is when the peer's 250 made it visible there.",
    ),
    family(
        Metric::CommitWrites,
        "vaguemestre_store_commit_writes",
        Histogram(GROUPS),
        &[],
        "Writes in one transaction of the store.",
    ),
    family(
        Metric::CommitSeconds,
        "vaguemestre_store_commit_seconds",
        Histogram(SHORT_WAITS),
        &[],
        "How long one transaction took, its sync included.",
    ),
    family(
        Metric::SyncSeconds,
        "vaguemestre_store_sync_seconds",
        Histogram(SHORT_WAITS),
        &[],
        "How long the commit itself took: the write of the log and its sync.",
    ),
    family(
        Metric::StoreErrors,
        "vaguemestre_store_errors_total",
        Counter,
        &["kind"],
        "Calls of the store that failed: full, read-only, io, corrupt, busy or other.",
    ),
    family(
        Metric::Spooled,
        "vaguemestre_spooled_messages_total",
        Counter,
        &["place"],
        "Message bodies received into memory, to disk for their size (disk), or to disk because memory was short (pressure).",
    ),
    family(
        Metric::SpoolBytes,
        "vaguemestre_spool_memory_bytes",
        Gauge,
        &[],
        "Bytes of messages that are being received into memory now.",
    ),
    family(
        Metric::ListAge,
        "vaguemestre_allow_list_age_seconds",
        Gauge,
        &[],
        "Time since the allow list in force was made.",
    ),
    family(
        Metric::RevocationAge,
        "vaguemestre_crl_age_seconds",
        Gauge,
        &[],
        "Time since the oldest of the revocation lists in force was made.",
    ),
    family(
        Metric::RevocationLeft,
        "vaguemestre_crl_expires_seconds",
        Gauge,
        &[],
        "Time until the first of the revocation lists in force ends; negative once it has.",
    ),
    family(
        Metric::CertificateLeft,
        "vaguemestre_certificate_expires_seconds",
        Gauge,
        &["face"],
        "Time until the certificate shown there ends; negative once it has.",
    ),
    family(
        Metric::Reloads,
        "vaguemestre_reloads_total",
        Counter,
        &["part", "result"],
        "Reloads that installed something (ok) or left what was there (failed), by part.",
    ),
    family(
        Metric::ReloadFailed,
        "vaguemestre_reload_failed",
        Gauge,
        &["part"],
        "1 while the last reload of that part failed and the former version stays in use.",
    ),
    family(
        Metric::Ready,
        "vaguemestre_ready",
        Gauge,
        &["check"],
        "1 when the check of /readyz holds.",
    ),
    family(
        Metric::Draining,
        "vaguemestre_draining",
        Gauge,
        &[],
        "1 from the signal to stop on.",
    ),
    family(
        Metric::Memory,
        "process_resident_memory_bytes",
        Gauge,
        &[],
        "Memory of the process that is in RAM.",
    ),
    family(
        Metric::OpenFiles,
        "process_open_fds",
        Gauge,
        &[],
        "File descriptors in use.",
    ),
    family(
        Metric::OpenFilesMax,
        "process_max_fds",
        Gauge,
        &[],
        "File descriptors that the process may use.",
    ),
    family(
        Metric::Cpu,
        "process_cpu_seconds_total",
        Counter,
        &[],
        "Processor time used, user and system.",
    ),
    family(
        Metric::Started,
        "process_start_time_seconds",
        Gauge,
        &[],
        "When the process started, in seconds since 1970.",
    ),
    family(
        Metric::Build,
        "vaguemestre_build_info",
        Gauge,
        &["version"],
        "Always 1; its label is the version that runs.",
    ),
];

/// Seconds, for what should take milliseconds.
const SHORT_WAITS: &[f64] = &[
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
];
/// Seconds, for what another operator has a say in.
const LONG_WAITS: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0, 600.0, 3_600.0, 14_400.0, 86_400.0,
];
/// Writes of one transaction.
const GROUPS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_is_in_the_order_of_its_names() {
        for (index, family) in CATALOGUE.iter().enumerate() {
            assert_eq!(family.metric as usize, index, "{}", family.name);
            assert_eq!(family.metric.family().name, family.name);
        }
    }

    #[test]
    fn names_follow_the_rules_of_prometheus() {
        for family in CATALOGUE {
            let total = family.name.ends_with("_total");
            assert_eq!(total, family.kind == Counter, "{}", family.name);
            assert!(family.help.ends_with('.'), "{}", family.name);
            assert!(
                family.labels.len() <= super::super::meter::LABELS_MAX,
                "{}",
                family.name
            );
            let allowed = |c: char| c.is_ascii_lowercase() || c == '_';
            assert!(family.name.chars().all(allowed), "{}", family.name);
            if let Histogram(bounds) = family.kind {
                assert!(bounds.is_sorted(), "{}", family.name);
            }
        }
    }
}
