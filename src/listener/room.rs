//! Whether a box of this operator has room, asked at RCPT: the only moment at which one recipient can be refused alone.

use super::visitor::Visitor;
use crate::policy::Refusal;
use crate::policy::inbound::{self, BoxStanding};
use crate::smtp::RcptTo;

impl Visitor {
    /// Refuses a recipient whose box is full. Boxes without a quota cost nothing; a store that cannot tell is asked again at the end of the
    /// data, in the transaction that delivers.
    pub(super) async fn has_room(&self, to: &RcptTo) -> Result<(), Refusal> {
        let Some(address) = self.address_of(to) else {
            return Ok(());
        };
        let Some(mailbox) = self.snapshot.directory.receiver(&address) else {
            return Ok(());
        };
        let Some(inbox) = self.snapshot.inboxes.get(&mailbox.address) else {
            return Ok(());
        };
        if self.snapshot.directory.quota_of(&mailbox.address).is_none() {
            return Ok(());
        }
        match self.parts.store.usage(*inbox).await {
            Ok(usage) if usage.is_full() => inbound::takes_mail(&address, Some(BoxStanding::Full)),
            Ok(_) => Ok(()),
            Err(error) => {
                tracing::debug!(%error, "the room in a box is not known");
                Ok(())
            }
        }
    }
}
