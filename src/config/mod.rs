//! Configuration: raw TOML in, checked values out, one file per section.
//!
//! Two files are read: a [`Space`] (`config/sandbox.toml`, all operators of a sandbox) and a [`Gateway`] (`config/gateway.toml`, one
//! operator). Both share the directory sections. What must stay true: an unknown key is an error, every mistake of a file comes
//! back at once with its line and its remedy, and a value that comes out needs no further check. Nothing here opens a socket or
//! looks at the files a configuration names, except [`Gateway::verify_files`].

mod allow_list;
mod authority;
mod boxes;
mod declared;
mod directory;
mod error;
mod file;
mod gateway;
mod journal;
mod limits;
mod listen;
mod login;
mod operator;
mod patient;
mod postmaster;
mod reader;
mod relay;
mod retention;
mod revocation;
mod search;
mod sending;
mod space;
mod structure;
mod suggest;
mod tls;
mod trust;
mod value;

pub use allow_list::AllowListSource;
pub use authority::SpaceAuthority;
pub use boxes::DeclaredBox;
pub use directory::DirectorySection;
pub use error::{ConfigError, ConfigErrors, Place, Warning};
pub use gateway::Gateway;
pub use limits::{Limits, Timeouts};
pub use listen::Listen;
pub use login::{Login, LoginCertificate, LoginKind};
pub use operator::{ClientPorts, ExternalHost, HostCertificate, Leaving, LocalHost, Operator, Side, Standing};
pub use patient::Patient;
pub use relay::{Attempts, Relay, Route};
pub use retention::{Quota, Retention};
pub use revocation::Revocation;
pub use search::Search;
pub use space::Space;
pub use structure::Person;
pub use tls::{KeyPair, Tls};
pub use trust::Trust;
pub use value::{Host, HostPort, Structure};

#[cfg(test)]
mod tests;
