//! Lists over HTTP, kept on disk.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use tokio::net::TcpListener;

use super::*;
use crate::clock::Clock;
use crate::pki::{Authority, AuthorityOptions, Issuer, KeyKind, RevocationReason};
use crate::sync::{FetchOptions, Reach};

type Files = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

struct Scene {
    authority: Authority,
    files: Files,
    base: String,
    clock: Clock,
    folder: tempfile::TempDir,
}

impl Scene {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::manual("2026-11-21T10:00:00Z".parse().unwrap());
        let options = AuthorityOptions {
            key: Some(KeyKind::EcdsaP256),
            ..AuthorityOptions::default()
        };
        let authority = Authority::create_or_open(&folder.path().join("authority"), options, clock.now()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let files = Files::default();
        let file = |State(files): State<Files>, uri: Uri| async move {
            match files.lock().unwrap().get(uri.path()) {
                Some(bytes) => (StatusCode::OK, bytes.clone()),
                None => (StatusCode::NOT_FOUND, Vec::new()),
            }
        };
        let router = Router::new().fallback(file).with_state(Arc::clone(&files));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self {
            authority,
            files,
            base,
            clock,
            folder,
        }
    }

    fn publish(&self, path: &str, bytes: Vec<u8>) {
        self.files.lock().unwrap().insert(path.to_owned(), bytes);
    }

    fn trust(&self) -> TrustStore {
        let certificate = |issuer| vec![self.authority.certificate(issuer).clone()];
        TrustStore::new(certificate(Issuer::Root), certificate(Issuer::Intermediate)).unwrap()
    }

    fn feed(&self, paths: &[&str]) -> CrlFeed {
        CrlFeed::new(CrlOptions {
            urls: paths.iter().map(|path| format!("{}{path}", self.base)).collect(),
            period: Duration::from_hours(1),
            folder: self.folder.path().join("kept"),
        })
    }

    async fn renew(&self, feed: &mut CrlFeed, trust: &TrustStore) -> CrlRound {
        let options = FetchOptions {
            reach: Reach::Loopback,
            ..FetchOptions::default()
        };
        let fetcher = Fetcher::new(None, &self.clock, options).unwrap();
        feed.renew(&fetcher, trust, self.clock.now()).await
    }

    fn crl(&self) -> Vec<u8> {
        self.authority.crl(Issuer::Intermediate, self.clock.now()).unwrap()
    }
}

fn with(trust: &TrustStore, round: &CrlRound) -> TrustStore {
    let add = |trust: TrustStore, der: &Vec<u8>| trust.with_crl(der).unwrap();
    round.lists.iter().fold(trust.clone(), add)
}

#[tokio::test]
async fn lists_are_fetched_when_due_and_kept_for_a_start_without_network() {
    let scene = Scene::new().await;
    let trust = scene.trust();
    scene.publish("/a.crl", scene.crl());
    let mut feed = scene.feed(&["/a.crl"]);
    let round = scene.renew(&mut feed, &trust).await;
    assert!(round.errors.is_empty(), "{:?}", round.errors);
    let end = with(&trust, &round).next_crl_update();
    assert!(end.is_some());
    // Not due again for an hour.
    assert!(scene.renew(&mut feed, &trust).await.lists.is_empty());
    let due = feed.next_due().unwrap();
    assert_eq!(scene.clock.now().duration_until(due), SignedDuration::from_hours(1));
    feed.ask_now();
    assert_eq!(scene.renew(&mut feed, &trust).await.lists.len(), 1);
    // Another process, no network.
    scene.files.lock().unwrap().clear();
    let mut next = scene.feed(&["/a.crl"]);
    assert_eq!(next.restore(&trust).next_crl_update(), end);
    let round = scene.renew(&mut next, &trust).await;
    assert!(matches!(
        round.errors.as_slice(),
        [CrlFeedError::Fetch(FetchError::Status { status: 404, .. })]
    ));
    // What failed is tried again before the hour is over.
    assert!(scene.clock.now().duration_until(next.next_due().unwrap()) <= SignedDuration::from_mins(5));
}

#[tokio::test]
async fn a_delta_may_come_before_the_list_that_it_continues() {
    let scene = Scene::new().await;
    let trust = scene.trust();
    let complete = scene.crl();
    scene.publish("/complete.crl", complete.clone());
    let why = RevocationReason::KeyCompromise;
    let serial = scene.authority.issued()[0].serial.clone();
    scene.authority.revoke(&serial, why, scene.clock.now()).unwrap();
    scene.clock.advance(SignedDuration::from_mins(1));
    let delta = scene
        .authority
        .delta_crl(Issuer::Intermediate, scene.clock.now())
        .unwrap();
    scene.publish("/delta.crl", delta.clone());
    let mut feed = scene.feed(&["/delta.crl", "/complete.crl"]);
    let round = scene.renew(&mut feed, &trust).await;
    assert!(round.errors.is_empty(), "{:?}", round.errors);
    assert_eq!(round.lists, [complete, delta]);
    let kept = feed.restore(&trust);
    assert_eq!(kept.next_crl_update(), with(&trust, &round).next_crl_update());
}

#[tokio::test]
async fn what_does_not_verify_is_neither_used_nor_kept() {
    let (scene, stranger) = (Scene::new().await, Scene::new().await);
    let trust = scene.trust();
    let good = scene.crl();
    let mut damaged = good.clone();
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    for bad in [
        damaged,
        stranger.crl(),
        b"<html>maintenance</html>".to_vec(),
        Vec::new(),
    ] {
        scene.publish("/a.crl", bad);
        let mut feed = scene.feed(&["/a.crl"]);
        let round = scene.renew(&mut feed, &trust).await;
        assert!(round.lists.is_empty());
        let error = round.errors[0].to_string();
        assert!(error.contains("/a.crl"), "{error}");
        assert_eq!(feed.restore(&trust).next_crl_update(), None);
    }
    // The last good one stays when a bad one comes.
    scene.publish("/a.crl", good);
    let mut feed = scene.feed(&["/a.crl"]);
    let held = with(&trust, &scene.renew(&mut feed, &trust).await);
    scene.publish("/a.crl", b"nothing".to_vec());
    feed.ask_now();
    assert!(scene.renew(&mut feed, &held).await.lists.is_empty());
    assert_eq!(feed.restore(&trust).next_crl_update(), held.next_crl_update());
}

#[tokio::test]
async fn a_list_about_to_end_is_asked_for_before_its_period() {
    let scene = Scene::new().await;
    let trust = scene.trust();
    scene.publish("/a.crl", scene.crl());
    let mut feed = scene.feed(&["/a.crl"]);
    let held = with(&trust, &scene.renew(&mut feed, &trust).await);
    let end = held.next_crl_update().unwrap();
    scene
        .clock
        .advance(scene.clock.now().duration_until(end) - SignedDuration::from_mins(30));
    assert!(scene.renew(&mut feed, &held).await.errors.is_empty());
    assert_eq!(feed.next_due(), Some(end));
}
