//! `[listen]`: where a gateway waits for peers and clients.

use std::net::SocketAddr;

use super::declared::Unique;
use super::reader::Section;

/// The addresses a gateway listens on; an absent one is not opened. At least one is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Listen {
    /// Other operators: STARTTLS with a client certificate.
    pub smtp: Option<SocketAddr>,
    /// Submission with STARTTLS.
    pub submission: Option<SocketAddr>,
    /// Submission with implicit TLS.
    pub submissions: Option<SocketAddr>,
    /// IMAP with STARTTLS.
    pub imap: Option<SocketAddr>,
    /// IMAP with implicit TLS.
    pub imaps: Option<SocketAddr>,
    /// Readiness and console, over HTTP without TLS.
    pub web: Option<SocketAddr>,
    /// Metrics, health and readiness, over HTTP without TLS.
    pub metrics: Option<SocketAddr>,
}

impl Listen {
    pub(super) fn read(section: Section<'_>) -> Self {
        let mut seen = Unique::default();
        let mut any = false;
        let mut listen = |key| {
            let at = section.optional::<SocketAddr>(key)?;
            // Port 0 lets the system choose: several listeners may ask for it.
            if at.port() != 0 {
                seen.declare(&section, &at, format_args!("address {} (`{key}`)", at.value));
            }
            any = true;
            Some(at)
        };
        let found = [
            listen("smtp"),
            listen("submission"),
            listen("submissions"),
            listen("imap"),
            listen("imaps"),
            listen("web"),
            listen("metrics"),
        ];
        for (what, at) in [("console", &found[5]), ("metrics face", &found[6])] {
            if let Some(at) = at
                && !at.ip().is_loopback()
            {
                let advice = "has no TLS of its own: put it behind a proxy, or on loopback";
                section.warn(at, format!("the {what} at {} {advice}", at.value));
            }
        }
        if !any {
            section.wrong_here("nothing to listen on".into(), "give at least one address");
        }
        section.close();
        let [smtp, submission, submissions, imap, imaps, web, metrics] = found.map(|at| at.map(|at| at.value));
        Self {
            smtp,
            submission,
            submissions,
            imap,
            imaps,
            web,
            metrics,
        }
    }
}
