//! What an operator counts about itself, for a monitoring system: counters, levels and distributions, named in one [`CATALOGUE`], recorded
//! through a [`Meter`] and written in the text format of Prometheus by [`render`].
//!
//! Labels are words of the program (`&'static str`), never of a peer: no address, no domain, no name of a person can become one, and
//! their number is bounded. What a metric means is in the catalogue, which `docs/operations.md` repeats and a test compares.
//!
//! ```
//! use std::time::Duration;
//! use vaguemestre::metrics::{Meter, render};
//!
//! let meter = Meter::new("lilas");
//! meter.accepted("smtp", 4_096);
//! meter.relayed("delivered", Some(Duration::from_millis(12)));
//! let page = render(&[meter]);
//! assert!(page.contains(r#"vaguemestre_messages_accepted_total{operator="lilas",face="smtp"} 1"#));
//! ```

mod catalogue;
mod meter;
mod render;

pub use catalogue::{CATALOGUE, Family, Kind, Metric};
pub use meter::{Meter, Open, Traffic};
pub use render::render;
