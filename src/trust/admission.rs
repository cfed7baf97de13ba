//! Which list may take the place of the one in force: signed as required, not older, not from the future.

use std::sync::Arc;

use jiff::Timestamp;

use crate::policy::Refusal;

use super::AllowList;
use super::parse::{AllowListError, Mode, Parsed, Skipped};
use super::signature::{CLOCK_TOLERANCE, SignatureError, Signer, verify};

/// Whether a list has to be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignaturePolicy {
    /// Unsigned is refused.
    Require,
    /// Unsigned is taken, since whoever put it there is trusted. One that is signed must verify all the same.
    AcceptUnsigned,
}

/// The list in force, and the only way to replace it.
#[derive(Clone, Debug)]
pub struct HeldList {
    signature: SignaturePolicy,
    list: Option<Arc<AllowList>>,
}

/// A list that was admitted.
#[derive(Clone, Debug)]
pub struct Admitted {
    /// In force from now on.
    pub list: Arc<AllowList>,
    /// What of it could not be used.
    pub skipped: Vec<Skipped>,
    /// Who signed it; none when it is not signed.
    pub signer: Option<Signer>,
}

/// Why an offered list does not replace the one in force, which stays.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdmissionError {
    /// Its signature, or that it has none.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// It is no allow list.
    #[error(transparent)]
    List(#[from] AllowListError),
    /// Made before the one in force.
    #[error("the allow list was made at {offered}, before the one in force ({held}): not going back")]
    Older {
        /// `DateDeGeneration` of the list offered.
        offered: Timestamp,
        /// That of the list in force.
        held: Timestamp,
    },
    /// Made later than now.
    #[error(
        "the allow list was made at {generated}, in the future of this machine, whose clock says {now}: check the clock"
    )]
    FromTheFuture {
        /// `DateDeGeneration`.
        generated: Timestamp,
        /// Our time.
        now: Timestamp,
    },
}

impl HeldList {
    /// No list yet.
    pub fn new(signature: SignaturePolicy) -> Self {
        Self::holding(signature, None)
    }

    /// A list that was admitted before, if any.
    pub fn holding(signature: SignaturePolicy, list: Option<Arc<AllowList>>) -> Self {
        Self { signature, list }
    }

    /// The list in force.
    pub fn list(&self) -> Option<&Arc<AllowList>> {
        self.list.as_ref()
    }

    /// Takes a list into force if it may be; otherwise nothing changes. `judge` says whether a signer is the authority's. Entries that
    /// cannot be read are left out and reported: the real list, signed, holds some.
    ///
    /// # Errors
    /// See [`AdmissionError`].
    pub fn offer(
        &mut self,
        xml: &[u8],
        now: Timestamp,
        judge: impl FnOnce(&Signer) -> Result<(), Refusal>,
    ) -> Result<Admitted, AdmissionError> {
        let (parsed, signer) = self.read(xml, now, judge)?;
        let generated = parsed.list.generated();
        if generated > now.saturating_add(CLOCK_TOLERANCE).unwrap_or(Timestamp::MAX) {
            return Err(AdmissionError::FromTheFuture { generated, now });
        }
        if let Some(held) = self.list.as_ref().map(|list| list.generated())
            && generated < held
        {
            return Err(AdmissionError::Older {
                offered: generated,
                held,
            });
        }
        let list = Arc::new(parsed.list);
        self.list = Some(Arc::clone(&list));
        Ok(Admitted {
            list,
            skipped: parsed.skipped,
            signer,
        })
    }

    fn read(
        &self,
        xml: &[u8],
        now: Timestamp,
        judge: impl FnOnce(&Signer) -> Result<(), Refusal>,
    ) -> Result<(Parsed, Option<Signer>), AdmissionError> {
        match (verify(xml, Mode::Salvage, now, judge), self.signature) {
            (Ok(verified), _) => {
                let signer = verified.signer().clone();
                Ok((verified.into_parsed(), Some(signer)))
            }
            // Not well-formed covers the published copy, cut before its signature: the reader of lists says what it makes of it.
            (Err(SignatureError::Missing | SignatureError::Document(_)), SignaturePolicy::AcceptUnsigned) => {
                Ok((AllowList::parse(xml, Mode::Salvage)?, None))
            }
            (Err(error), _) => Err(error.into()),
        }
    }
}
