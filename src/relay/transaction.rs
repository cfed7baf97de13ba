//! What is said of a message to a peer: the envelope of a group of items, with the parameters that its sender gave.

use super::order::Group;
use super::text::Text;
use crate::smtp::client::Transaction;
use crate::smtp::command::Body;
use crate::store::StoreError;

/// The transaction for a group. What the peer does not offer, [`crate::smtp::client`] leaves out where that changes nothing for the
/// message (SIZE, DSN), and refuses otherwise: a text of 8 bits is never recoded, since that would break signatures and documents whose
/// fingerprint travels beside them.
pub(super) async fn transaction(group: &Group, text: &Text) -> Result<Transaction, StoreError> {
    let sender = group.items.first().and_then(|item| item.sender.clone());
    let shared = group.parameters.first().cloned().unwrap_or_default();
    let addresses_are_ascii = group
        .items
        .iter()
        .map(|item| &item.recipient)
        .chain(&sender)
        .all(|address| address.as_str().is_ascii());
    let mut mail = shared.mail_from(sender, text.size_bytes());
    // What the sender said of the text is not taken on trust, either way. Clients often send 8 bits without saying so, and the next hop
    // must know; and what turns out to be plain ASCII may go to a peer that knows neither 8BITMIME nor SMTPUTF8 (RFC 6531 §3.4).
    if text.is_ascii().await? {
        mail.body = mail.body.filter(|body| *body == Body::SevenBit);
        mail.utf8 &= !addresses_are_ascii;
    } else {
        mail.body = Some(Body::EightBitMime);
    }
    // Each recipient has its own NOTIFY and ORCPT.
    let recipients = group.items.iter().zip(&group.parameters);
    let recipients = recipients.map(|(item, parameters)| parameters.rcpt_to(item.recipient.clone()));
    Ok(Transaction {
        mail,
        recipients: recipients.collect(),
    })
}
