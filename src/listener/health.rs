//! What stands in an operator's way: faults, which take it out of service, and warnings, which wait for somebody to look. Readiness and
//! metrics show them; whoever finds one reports it here, and takes it back when it is over.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

/// Faults and warnings of one operator, and when the certificates it shows end.
#[derive(Debug, Default)]
pub struct Health(Mutex<Findings>);

/// All of them at one moment.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// By check: why traffic should go elsewhere.
    pub faults: BTreeMap<&'static str, String>,
    /// By part: what did not work, while something older goes on working.
    pub warnings: BTreeMap<&'static str, String>,
    /// By face: when the certificate shown there ends.
    pub certificates: BTreeMap<&'static str, Timestamp>,
}

/// The checks of readiness that others report; what the store says is asked at each look.
pub const CHECKS: [&str; 3] = ["listeners", "allow-list", "store"];

impl Health {
    /// Reports what stands in the way of `check`, or that nothing does any more.
    pub fn report(&self, check: &'static str, problem: Option<String>) {
        replace(&mut self.lock().faults, check, problem);
    }

    /// The same for something that can wait.
    pub fn warn(&self, part: &'static str, problem: Option<String>) {
        replace(&mut self.lock().warnings, part, problem);
    }

    /// A face shows another certificate.
    pub fn shows(&self, face: &'static str, until: Timestamp) {
        self.lock().certificates.insert(face, until);
    }

    /// All of it.
    pub fn findings(&self) -> Findings {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Findings> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn replace(found: &mut BTreeMap<&'static str, String>, key: &'static str, problem: Option<String>) {
    match problem {
        Some(problem) => {
            found.insert(key, problem);
        }
        None => {
            found.remove(key);
        }
    }
}
