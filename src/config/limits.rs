//! `[limits]`: what a gateway allows at most, so that no peer and no client can exhaust it.

use std::time::Duration;

use super::reader::Section;
use super::value::Size;

/// Numbers and sizes. All are bounds: reaching one is answered, never a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open connections, all listeners together.
    pub connections_max: u32,
    /// Open connections from one address.
    pub connections_per_address_max: u32,
    /// IMAP sessions at once of one login on one box.
    pub connections_per_login_max: u32,
    /// Recipients of one message.
    pub recipients_max: u32,
    /// Domains among the recipients of one SMTP session; 0: any number.
    pub recipient_domains_max: u32,
    /// Transactions of one SMTP session; 0: any number.
    pub transactions_max: u32,
    /// SMTP commands without an accepted message, before a session is closed.
    pub commands_max: u32,
    /// One line of a message, CR LF not counted, in bytes.
    pub message_line_bytes_max: u64,
    /// Bytes of one IMAP command line, literals apart.
    pub imap_line_bytes_max: u64,
    /// Folders of one box.
    pub imap_folders_max: u32,
    /// Levels of a folder name.
    pub imap_folder_levels_max: u32,
    /// Bytes of a folder name with all its levels.
    pub imap_folder_name_bytes_max: u64,
    /// Wrong commands and failed logins before a session is closed.
    pub faults_max: u32,
    /// Messages being received into memory, all together, in bytes.
    pub spool_bytes_max: u64,
    /// `Received` fields before a message counts as looping.
    pub hops_max: u32,
    /// Longest header of a message, in bytes.
    pub header_bytes_max: u64,
    /// Most fields of a header.
    pub header_fields_max: u32,
    /// Deepest nesting of multiparts and messages in a message.
    pub mime_depth_max: u32,
    /// Largest message that a failure report gives back whole, in bytes.
    pub report_original_bytes_max: u64,
    /// The least that the text of a message has to come at, in bytes per second; 0: no minimum.
    pub data_rate_min_bytes_per_second: u32,
    /// How long each wait may last.
    pub timeouts: Timeouts,
}

/// How long each wait may last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From the TCP connection to the end of the TLS handshake.
    pub handshake: Duration,
    /// Between two SMTP commands, and between two pieces of a message.
    pub smtp_idle: Duration,
    /// Between two IMAP commands before login.
    pub login_idle: Duration,
    /// Between two IMAP commands after it.
    pub imap_idle: Duration,
    /// From MAIL to the end of the message.
    pub message: Duration,
    /// Over how long the rate of a message's text is measured.
    pub data_rate_grace: Duration,
    /// From the start of an SMTP session to its end; a message whose text has begun is finished.
    pub smtp_session: Duration,
    /// From the start of an IMAP session to its end.
    pub imap_session: Duration,
    /// For writing a reply.
    pub write: Duration,
    /// At shutdown, for sessions to finish.
    pub drain: Duration,
}

impl Limits {
    pub(super) fn read(section: Section<'_>) -> Self {
        let default = Self::default();
        let size = |key, default, (from, to)| section.within(key, Size(default), Size(from)..=Size(to)).0;
        let limits = Self {
            connections_max: section.within("connections_max", default.connections_max, 1..=100_000),
            connections_per_address_max: section.within(
                "connections_per_address_max",
                default.connections_per_address_max,
                1..=100_000,
            ),
            connections_per_login_max: section.within(
                "connections_per_login_max",
                default.connections_per_login_max,
                1..=100_000,
            ),
            // RFC 5321 §4.5.3.1.8: at least 100.
            recipients_max: section.within("recipients_max", default.recipients_max, 100..=10_000),
            // RFC 9422 §3: at most six digits.
            recipient_domains_max: section.within("recipient_domains_max", default.recipient_domains_max, 0..=999_999),
            transactions_max: section.within("transactions_max", default.transactions_max, 0..=999_999),
            commands_max: section.within("commands_max", default.commands_max, 100..=1_000_000),
            // RFC 5321 §4.5.3.1.6: at least 998 without CR LF.
            message_line_bytes_max: size("message_line_max", default.message_line_bytes_max, (998, 64 << 10)),
            imap_line_bytes_max: size("imap_line_max", default.imap_line_bytes_max, (8 << 10, 1 << 20)),
            imap_folders_max: section.within("imap_folders_max", default.imap_folders_max, 10..=100_000),
            imap_folder_levels_max: section.within("imap_folder_levels_max", default.imap_folder_levels_max, 1..=100),
            imap_folder_name_bytes_max: size(
                "imap_folder_name_max",
                default.imap_folder_name_bytes_max,
                (64, 4 << 10),
            ),
            spool_bytes_max: size("spool_memory", default.spool_bytes_max, (1 << 20, 64 << 30)),
            faults_max: section.within("faults_max", default.faults_max, 1..=1_000),
            // RFC 5321 §6.3: at least 100.
            hops_max: section.within("hops_max", default.hops_max, 100..=1_000),
            header_bytes_max: size("header_max", default.header_bytes_max, (16 << 10, 256 << 10)),
            header_fields_max: section.within("header_fields_max", default.header_fields_max, 100..=10_000),
            mime_depth_max: section.within("mime_depth_max", default.mime_depth_max, 5..=100),
            report_original_bytes_max: size(
                "report_original_max",
                default.report_original_bytes_max,
                (1 << 10, 64 << 20),
            ),
            data_rate_min_bytes_per_second: section.within(
                "data_rate_min_bytes_per_second",
                default.data_rate_min_bytes_per_second,
                0..=1 << 20,
            ),
            timeouts: Timeouts::read(&section),
        };
        section.close();
        limits
    }
}

impl Timeouts {
    fn read(section: &Section<'_>) -> Self {
        let wait = |key, default| section.within(key, default, SECOND..=DAY);
        let default = Self::default();
        Self {
            handshake: wait("handshake_timeout", default.handshake),
            // RFC 5321 §4.5.3.2.7: at least five minutes.
            smtp_idle: wait("smtp_idle_timeout", default.smtp_idle),
            login_idle: wait("login_idle_timeout", default.login_idle),
            // RFC 9051 §5.4: at least 30 minutes.
            imap_idle: wait("imap_idle_timeout", default.imap_idle),
            message: section.within("message_timeout", default.message, SECOND..=DAY),
            data_rate_grace: wait("data_rate_grace", default.data_rate_grace),
            smtp_session: wait("smtp_session_max", default.smtp_session),
            imap_session: section.within("imap_session_max", default.imap_session, SECOND..=DAY * 30),
            write: wait("write_timeout", default.write),
            drain: wait("drain_timeout", default.drain),
        }
    }
}

impl Default for Limits {
    /// The documented defaults, which the sandbox uses too.
    fn default() -> Self {
        Self {
            connections_max: 1_000,
            connections_per_address_max: 100,
            connections_per_login_max: 250,
            recipients_max: 100,
            recipient_domains_max: 0,
            transactions_max: 0,
            commands_max: 1_000,
            message_line_bytes_max: 998,
            imap_line_bytes_max: 64 << 10,
            imap_folders_max: 1_000,
            imap_folder_levels_max: 20,
            imap_folder_name_bytes_max: 1_000,
            spool_bytes_max: 64 << 20,
            faults_max: 20,
            hops_max: 100,
            header_bytes_max: 256 << 10,
            header_fields_max: 1_000,
            mime_depth_max: 20,
            report_original_bytes_max: 1 << 20,
            data_rate_min_bytes_per_second: 1_024,
            timeouts: Timeouts::default(),
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(30),
            smtp_idle: Duration::from_mins(5),
            login_idle: Duration::from_mins(1),
            imap_idle: Duration::from_mins(30),
            message: Duration::from_mins(30),
            data_rate_grace: Duration::from_mins(2),
            smtp_session: Duration::from_mins(10),
            imap_session: DAY,
            write: Duration::from_mins(1),
            drain: Duration::from_secs(20),
        }
    }
}

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_hours(24);
