//! `IMAP4rev1` (RFC 3501) and `IMAP4rev2` (RFC 9051), the server's side, without sockets, clock or store: bytes and answers in, bytes and
//! questions out.
//!
//! [`Session`] owns the protocol, the selected folder as the client knows it, and nothing else. Its driver moves bytes and answers
//! questions; `mailbox::BoxSession` answers all of them but [`Request::Authenticate`]:
//!
//! ```text
//! let mut session = Session::new(options);           // the greeting is its first Write
//! let mut boxes = mailboxes.session();               // mailbox::BoxSession
//! loop {
//!     if boxes.has_news() { session.changed(); }     // cheap: looks at a watch
//!     match session.step() {
//!         Step::Write(bytes) => timeout(write_max, io.write_all(&bytes)).await??,
//!         Step::Read => match timeout(idle_max, io.read(&mut buffer)).await {
//!             Ok(0) => return,
//!             Ok(n) => session.feed(&buffer[..n]),
//!             Elapsed => session.end(Ending::Idle),  // writes BYE, then Close
//!         },
//!         Step::Idle => select! {                    // RFC 2177: input or news, whichever comes first
//!             n = io.read(&mut buffer) => session.feed(&buffer[..n]),
//!             () = boxes.news() => session.changed(),
//!             () = sleep(idle_max) => session.end(Ending::Idle),
//!             () = shutdown.cancelled() => session.end(Ending::Shutdown),
//!         },
//!         Step::Ask(Request::Authenticate(credentials)) => session.answer(login(credentials)), // Answer::Boxes or Refused
//!         Step::Ask(request) => { let answer = boxes.perform(request, clock.now()).await; session.answer(answer) }
//!         Step::StartTls => { io = accept(io).await?; session.tls_started(certificate) }
//!         Step::Close => return,
//!     }
//! }
//! ```
//!
//! Never true: a question while another is open; input read while output waits; an untagged EXPUNGE during FETCH, STORE or SEARCH.
//! Deliberately absent: anything a client was not told in CAPABILITY.

mod capability;
#[cfg(any(test, fuzzing))]
mod check;
mod command;
mod contents;
mod credentials;
mod entries;
mod facts;
mod flags;
mod folder;
mod frame;
#[cfg(fuzzing)]
pub mod fuzzing;
mod grammar;
mod keywords;
mod listing;
mod mime;
mod names;
mod refused;
mod render;
mod request;
mod search;
mod section;
mod session;
mod sort;
mod subject;
mod text;
mod thread;
mod utf7;
mod view;
mod wire;

pub use contents::Contents;
pub use facts::Facts;
pub use keywords::Keywords;
pub use mime::preview::{PREVIEW_LOOK_BYTES, preview};
pub use render::{Summariser, summarise};
pub use request::{
    Accessor, Annotated, Annotation, Answer, Begins, Bytes, CopyMode, Credentials, Entry, FlagChange, Flags, Folder,
    FolderHandle, Loaded, MessageHandle, News, Password, Refused, Request, Rights, Room, Selected, Sought, SpoolHandle,
    Status, Summary, Survey, Surveyed, Upload, What,
};
pub use session::{Certificate, Ending, Noted, Options, Security, Session, Step, Tokens};
pub use text::{Searchable, TextKey, searchable, searchable_header};
