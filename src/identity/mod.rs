//! Values of the field that cannot be malformed: their constructors are the only way in, and an error names the input.

mod address;
mod domain;
mod finess;
mod ins;
mod luhn;
mod rpps;
mod siret;
mod subject_dn;

pub use address::{Address, AddressError, POSTMASTER};
pub use domain::{Domain, DomainError};
pub use finess::{Finess, FinessError};
pub use ins::{Ins, InsError};
pub use rpps::{Rpps, RppsError};
pub use siret::{Siret, SiretError};
pub use subject_dn::{DnAttribute, SubjectDn, SubjectDnError};
