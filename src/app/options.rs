//! From the checked configuration to the options of the parts: the same for a gateway and for each operator of a sandbox.

use jiff::SignedDuration;

use crate::config;
use crate::listener::{Limits, Rate};
use crate::mailbox::FolderLimits;
use crate::pki::TlsPolicy;
use crate::queue::{RetryPlan, RetryPlanError};
use crate::relay;

/// Limits of an operator's faces.
pub fn limits_of(limits: &config::Limits, message_bytes_max: u64) -> Limits {
    let wait = &limits.timeouts;
    Limits {
        connections_max: limits.connections_max as usize,
        connections_per_address_max: limits.connections_per_address_max as usize,
        connections_per_login_max: limits.connections_per_login_max as usize,
        recipients_max: limits.recipients_max as usize,
        recipient_domains_max: some_limit(limits.recipient_domains_max),
        transactions_max: some_limit(limits.transactions_max),
        commands_max: limits.commands_max as usize,
        errors_max: limits.faults_max as usize,
        hops_max: limits.hops_max as usize,
        message_line_bytes_max: usize::try_from(limits.message_line_bytes_max).unwrap_or(usize::MAX),
        imap_line_bytes_max: usize::try_from(limits.imap_line_bytes_max).unwrap_or(usize::MAX),
        folders: FolderLimits {
            folders_max: limits.imap_folders_max as usize,
            levels_max: limits.imap_folder_levels_max as usize,
            name_bytes_max: usize::try_from(limits.imap_folder_name_bytes_max).unwrap_or(usize::MAX),
        },
        handshake: wait.handshake,
        smtp_idle: wait.smtp_idle,
        login_idle: wait.login_idle,
        imap_idle: wait.imap_idle,
        smtp_session: wait.smtp_session,
        imap_session: wait.imap_session,
        write: wait.write,
        message_bytes_max,
        header_bytes_max: usize::try_from(limits.header_bytes_max).unwrap_or(usize::MAX),
        header_fields_max: limits.header_fields_max as usize,
        mime_depth_max: limits.mime_depth_max as usize,
        report_original_bytes_max: limits.report_original_bytes_max,
        memory_bytes_max: MEMORY_BYTES_MAX,
        spool_bytes_max: usize::try_from(limits.spool_bytes_max).unwrap_or(usize::MAX),
        message: wait.message,
        data_rate: Rate {
            bytes_per_second_min: u64::from(limits.data_rate_min_bytes_per_second),
            grace: wait.data_rate_grace,
        },
    }
}

/// 0 stands for no limit.
fn some_limit(limit: u32) -> Option<usize> {
    (limit > 0).then_some(limit as usize)
}

/// When a message is tried again, and when it is given up.
///
/// # Errors
/// A plan that could not work: what the configuration accepts always does.
pub fn retry_plan(attempts: &config::Attempts) -> Result<RetryPlan, RetryPlanError> {
    let seconds = |duration: &std::time::Duration| SignedDuration::try_from(*duration).unwrap_or(SignedDuration::MAX);
    let plan = RetryPlan::new(attempts.retry.iter().map(seconds).collect(), seconds(&attempts.expiry))?;
    let delay_notice = (!attempts.delay_notice.is_zero()).then(|| seconds(&attempts.delay_notice));
    Ok(plan.with_delay_notice(delay_notice))
}

/// How the relay connects, and how long it waits.
pub fn relay_options(attempts: &config::Attempts, tls: TlsPolicy) -> relay::Options {
    // Connection and handshake, a reply for each step, the verdict: what one message can take at the most, twice.
    let one_message =
        attempts.connect_timeout * 2 + attempts.reply_timeout * REPLIES_PER_MESSAGE + attempts.delivery_timeout;
    let usual = relay::Options::default();
    relay::Options {
        tls,
        lease: usual.lease.max(one_message * 2),
        connections_max: attempts.connections_max as usize,
        connections_per_domain_max: attempts.connections_per_domain_max as usize,
        connect: attempts.connect_timeout,
        reply: attempts.reply_timeout,
        delivery: attempts.delivery_timeout,
        reuse: relay::Reuse {
            idle: attempts.connection_idle,
            age: attempts.connection_age_max,
            messages_max: attempts.messages_per_connection_max as usize,
        },
        ..usual
    }
}

/// A message larger than this arrives on disk: it bounds what many slow senders can hold in memory.
const MEMORY_BYTES_MAX: usize = 512 * 1024;

/// Greeting, EHLO twice, STARTTLS, MAIL, RCPT, DATA, RSET.
const REPLIES_PER_MESSAGE: u32 = 8;
