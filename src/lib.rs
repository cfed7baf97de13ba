//! Vaguemestre plays a whole MSSanté trust space for tests, or stands as one gateway/operator inside one.
//!
//! ```text
//!   vaguemestre up                                 vaguemestre serve --config F
//!   space: authority, allow list, zone,            app::gateway: one operator whose
//!   N operators, patient space                     authority is elsewhere
//!            \_____________ app::Operator ______________/
//!                 |                        |
//!   listener ── accept, TLS, drivers    relay ── route, prove the peer, send
//!      | questions            | bytes      | outcomes
//!   trust, policy          smtp, imap    queue ── schedule, fate
//!   (verdicts, pure)       (machines)
//!      \______ mailbox, queue, indicator, journal ______/
//!                          |
//!              store: one transaction, one sync
//! ```
//!
//! Both ways to run are one code path: `up` is `serve` for several operators plus the roles of the authority. Operators talk to each
//! other only by SMTP over mutual TLS on loopback ports.
//!
//! # What must always be true
//! 1. 250 means durable *and* counted: bytes, rows, journal record and counters are in one synced transaction before the reply.
//! 2. Nobody outside the trust space: a message enters, and leaves, only with proof of the peer ([`trust::TrustedSender`],
//!    [`trust::TrustedRecipient`]). Never in clear, no fallback.
//! 3. No open relay, no impersonation: the envelope sender and `From` are boxes of the login.
//! 4. A session keeps the snapshot it began with; a reload never installs something unverified.
//! 5. Every refusal has a stable [`policy::Reason`], a reply code, one line to act on, and a journal record.
//! 6. Queue items are leased and settled once; an automatic message never triggers another.
//! 7. UIDs only grow; UIDVALIDITY never changes by accident.
//! 8. Every wait has a limit, every buffer a maximum.
//! 9. Logs and journal never hold bodies, subjects, secrets or an INS.
//! 10. Time comes from [`clock`]; months are civil months in Europe/Paris.
//!
//! # Where to start reading
//! A message comes in: [`listener`] (its `reception` and `submission` desks), then `listener/commit.rs`, then [`store::Acceptance`].
//! It goes out: [`relay`], then [`queue::settle`]. It is read: [`imap::Session`] with [`mailbox::BoxSession`]. It is counted:
//! [`indicator::attribute`] and [`indicator::enter`]. The sandbox is put together in [`space::raise`] and changed by [`space::Keeper`]; [`sync`]
//! fetches lists and revocation data, [`lab`] plays bad certificates against servers and clients. `tests/layers.rs` holds the walls
//! between modules, `docs/architecture.md` the reasons.

pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod directory;
pub mod dns;
pub mod identity;
pub mod imap;
pub mod indicator;
pub mod journal;
pub mod lab;
pub mod listener;
pub mod mailbox;
pub mod message;
pub mod metrics;
pub mod pki;
pub mod policy;
pub mod queue;
pub mod relay;
pub mod sasl;
pub mod selftest;
pub mod smtp;
pub mod space;
pub mod store;
pub mod sync;
pub mod trust;
pub mod web;
