//! Short ways to say what a promise is about.

use std::sync::Arc;

use jiff::Timestamp;
use vaguemestre::identity::Address;
use vaguemestre::store::{
    Acceptance, Accepted, BoxKey, Content, Delivery, Flags, FolderKey, FolderRow, JournalRow, NewMessage, Once,
    Outgoing, Room, Store, StoreError,
};

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

pub(crate) fn address(text: &str) -> Address {
    text.parse().unwrap()
}

/// That many seconds after a fixed moment.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_795_000_000 + seconds).unwrap()
}

/// The INBOX of a box made for it.
pub(crate) async fn inbox(store: &dyn Store, local: &str) -> FolderKey {
    folder(store, local, "INBOX").await
}

/// A folder of a box, both made when missing.
pub(crate) async fn folder(store: &dyn Store, local: &str, name: &str) -> FolderKey {
    let owner = address(&format!("{local}@ehpad-lilas.mssante.fr"));
    store.ensure_box(&owner, &[(name, None)]).await.unwrap();
    find(store, local, name).await.unwrap().key
}

pub(crate) async fn owner(store: &dyn Store, local: &str) -> BoxKey {
    let owner = address(&format!("{local}@ehpad-lilas.mssante.fr"));
    store.find_box(&owner).await.unwrap()
}

pub(crate) async fn find(store: &dyn Store, local: &str, name: &str) -> Option<FolderRow> {
    let folders = store.folders(owner(store, local).await).await.unwrap();
    folders.into_iter().find(|row| row.name == name)
}

pub(crate) fn message(content: &[u8]) -> NewMessage {
    NewMessage {
        content: Content::Memory(Arc::new(content.to_vec())),
        lead: b"Return-Path: <a@b.fr>\r\n".to_vec(),
        summary: None,
    }
}

pub(crate) fn delivery(folder: FolderKey) -> Delivery {
    Delivery {
        folder,
        flags: Flags::default(),
        internal_date: at(0),
        saved: None,
        once: None,
        room: Room::IfNotFull,
    }
}

/// A delivery that is recognised until that many seconds after the fixed moment, made at that other one.
pub(crate) fn once(folder: FolderKey, key: u8, (now, until): (i64, i64)) -> Delivery {
    Delivery {
        internal_date: at(now),
        once: Some(Once {
            key: [key; 32],
            until: at(until),
        }),
        ..delivery(folder)
    }
}

pub(crate) fn to_folders(content: &[u8], folders: &[FolderKey]) -> Acceptance {
    Acceptance {
        message: Some(message(content)),
        deliveries: folders.iter().copied().map(delivery).collect(),
        ..Acceptance::default()
    }
}

pub(crate) fn to_recipients(content: &[u8], recipients: &[(&str, i64)]) -> Acceptance {
    Acceptance {
        message: Some(message(content)),
        outgoing: recipients.iter().map(|(to, due)| outgoing(to, *due)).collect(),
        ..Acceptance::default()
    }
}

pub(crate) fn outgoing(recipient: &str, due: i64) -> Outgoing {
    Outgoing {
        sender: Some(address("DUI@ehpad-lilas.mssante.fr")),
        recipient: address(recipient),
        due: at(due),
        expires: at(due + 86_400),
        parameters: r#"{"ret":"HDRS"}"#.into(),
        session: "s1".into(),
    }
}

pub(crate) async fn deliver(store: &dyn Store, content: &[u8], folder: FolderKey) -> Accepted {
    store.accept(to_folders(content, &[folder])).await.unwrap()
}

pub(crate) fn record(event: &str, seconds: i64, session: &str) -> JournalRow {
    JournalRow {
        sequence: 0,
        at: at(seconds),
        event: event.into(),
        session: session.into(),
        reason: String::new(),
        detail: "{}".into(),
    }
}

pub(crate) async fn uids(store: &dyn Store, folder: FolderKey) -> Vec<u32> {
    let entries = store.entries(folder, 0).await.unwrap();
    entries.iter().map(|entry| entry.uid).collect()
}

pub(crate) fn is_not_found<T>(result: &Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::NotFound { .. }))
}

/// Bytes that tell where they are.
pub(crate) fn pattern(length: usize) -> Vec<u8> {
    (0..length)
        .map(|i| u8::try_from((i / 7 + i / 4096) % 251).unwrap())
        .collect()
}
