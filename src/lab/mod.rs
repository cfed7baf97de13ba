//! The certificate laboratory: plays named certificate defects, and the audit peers of the trust space, against software under test.
//!
//! One table, `certs/defects.toml`, names each defect, says what it would cost to let it pass, what each face must do, and the change
//! to make to a good certificate. [`Catalogue`] reads it, [`Forge`] makes what it describes from the keys of a sandbox's authority, so
//! that what comes out is wrong for the stated reason and for no other. Tests, `vaguemestre certlab` and `docs/catalogue.md` all come
//! from that table.

pub mod audit;
pub mod audit_mail;
pub mod audit_material;
pub mod audit_server;
mod catalogue;
mod forge;
mod page;
pub mod play;
pub mod play_prepared;
pub mod probe;
pub mod probe_hello;
mod probe_line;
mod recipe;
pub mod serve;
mod serve_tls;
pub mod serve_visit;

pub use catalogue::{Catalogue, CatalogueError, Defect, Face, Group, Outcome, SecondJudge, Side};
pub use forge::{Entry, Forge, ForgeError, Forged, Holder, Offer, ServiceFault, Standing};
pub use recipe::Recipe;
