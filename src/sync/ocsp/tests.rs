//! A responder over HTTP that counts its questions, and what sessions make of it.

use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::routing::post;
use tokio::net::TcpListener;

use super::*;
use crate::pki::ocsp::OcspReply;
use crate::pki::{
    Authority, AuthorityOptions, Fault, Issued, Issuer, KeyKind, Names, Profile, Request, RevocationMethod,
    RevocationPolicy, RevocationReason, Subject,
};
use crate::sync::{FetchOptions, Reach};

struct Scene {
    authority: Arc<Authority>,
    fault: Arc<ArcSwap<Option<Fault>>>,
    asked: Arc<AtomicUsize>,
    clock: Clock,
    _folder: tempfile::TempDir,
}

impl Scene {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::manual("2026-11-21T10:00:00Z".parse().unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let options = AuthorityOptions {
            base_url: format!("http://{}", listener.local_addr().unwrap()),
            key: Some(KeyKind::EcdsaP256),
            ..AuthorityOptions::default()
        };
        let authority = Arc::new(Authority::create_or_open(folder.path(), options, clock.now()).unwrap());
        let scene = Self {
            authority,
            fault: Arc::default(),
            asked: Arc::default(),
            clock,
            _folder: folder,
        };
        let (authority, fault, asked, clock) = (
            Arc::clone(&scene.authority),
            Arc::clone(&scene.fault),
            Arc::clone(&scene.asked),
            scene.clock.clone(),
        );
        let path = Url::parse(&scene.authority.ocsp_url()).unwrap().path().to_owned();
        let answer = move |request: Bytes| async move {
            asked.fetch_add(1, Ordering::SeqCst);
            match authority.ocsp(&request, clock.now(), **fault.load()) {
                OcspReply::Answer { der, .. } => (StatusCode::OK, der),
                OcspReply::Unreachable => (StatusCode::SERVICE_UNAVAILABLE, Vec::new()),
            }
        };
        tokio::spawn(async move { axum::serve(listener, Router::new().route(&path, post(answer))).await });
        scene
    }

    fn fault(&self, fault: Option<Fault>) {
        self.fault.store(Arc::new(fault));
    }

    fn asked(&self) -> usize {
        self.asked.swap(0, Ordering::SeqCst)
    }

    fn trust(&self, method: RevocationMethod) -> TrustStore {
        let certificate = |issuer| vec![self.authority.certificate(issuer).clone()];
        TrustStore::new(certificate(Issuer::Root), certificate(Issuer::Intermediate))
            .unwrap()
            .with_revocation(RevocationPolicy {
                method,
                ..RevocationPolicy::default()
            })
    }

    fn issue(&self) -> Issued {
        let request = Request {
            profile: Profile::ServSsl,
            subject: Subject {
                common_name: "smtp.chu.fr".to_owned(),
                structure: "1990000010".to_owned(),
                organisation: "CHU DES COLLINES".to_owned(),
                state: "Rhône (69)".to_owned(),
                country: "FR".to_owned(),
            },
            names: Names::default(),
            key: Some(KeyKind::EcdsaP256),
            validity_days: None,
        };
        self.authority.issue(&request, self.clock.now()).unwrap()
    }

    fn responders(&self, options: ResponderOptions) -> Responders {
        let fetch = FetchOptions {
            connect: options.wait,
            total: options.wait,
            bytes_max: 100_000,
            reach: Reach::Loopback,
        };
        Responders::new(Fetcher::new(None, &self.clock, fetch).unwrap(), options)
    }

    async fn judge(&self, responders: &Responders, trust: &TrustStore, issued: &Issued) -> Option<Reason> {
        let verdict = responders.judge(trust, &issued.chain, Usage::Client, &self.clock).await;
        verdict.err().map(|refusal| refusal.reason)
    }
}

#[tokio::test]
async fn a_session_asks_once_and_the_next_ones_know() {
    let scene = Scene::new().await;
    let issued = scene.issue();
    let trust = scene.trust(RevocationMethod::Ocsp);
    let responders = scene.responders(ResponderOptions::default());
    assert_eq!(scene.judge(&responders, &trust, &issued).await, None);
    assert_eq!(scene.asked(), 2, "leaf and intermediate");
    assert_eq!(scene.judge(&responders, &trust, &issued).await, None);
    assert_eq!(scene.asked(), 0);
    // Revoked: known when the answer is asked for again.
    let why = RevocationReason::KeyCompromise;
    scene.authority.revoke(&issued.serial, why, scene.clock.now()).unwrap();
    assert_eq!(scene.judge(&responders, &trust, &issued).await, None);
    scene.clock.advance(SignedDuration::from_mins(61));
    assert_eq!(
        scene.judge(&responders, &trust, &issued).await,
        Some(Reason::CertificateRevoked)
    );
}

#[tokio::test]
async fn sessions_at_the_same_time_ask_once() {
    let scene = Arc::new(Scene::new().await);
    let issued = scene.issue();
    let trust = scene.trust(RevocationMethod::CrlThenOcsp);
    let responders = scene.responders(ResponderOptions::default());
    let one = || scene.judge(&responders, &trust, &issued);
    let verdicts = tokio::join!(one(), one(), one(), one());
    assert_eq!(verdicts, (None, None, None, None));
    assert_eq!(scene.asked(), 2);
}

#[tokio::test]
async fn every_fault_of_a_responder_leaves_the_status_unknown_until_it_is_mended() {
    let scene = Scene::new().await;
    let issued = scene.issue();
    let trust = scene.trust(RevocationMethod::Ocsp);
    let responders = scene.responders(ResponderOptions::default());
    for fault in Fault::ALL {
        scene.fault(Some(fault));
        let verdict = scene.judge(&responders, &trust, &issued).await;
        assert_eq!(verdict, Some(Reason::RevocationUnknown), "{fault:?}");
        assert!(scene.asked() > 0);
        // Not asked again at once.
        scene.judge(&responders, &trust, &issued).await;
        assert_eq!(scene.asked(), 0, "{fault:?}");
        scene.clock.advance(SignedDuration::from_secs(11));
    }
    scene.fault(None);
    assert_eq!(scene.judge(&responders, &trust, &issued).await, None);
}

#[tokio::test]
async fn a_silent_responder_costs_a_bounded_wait() {
    let scene = Scene::new().await;
    let issued = scene.issue();
    let trust = scene.trust(RevocationMethod::Ocsp);
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let wait = Duration::from_millis(300);
    let responders = scene.responders(ResponderOptions {
        urls: vec![format!("http://{}/", silent.local_addr().unwrap())],
        wait,
        ..ResponderOptions::default()
    });
    let begun = tokio::time::Instant::now();
    assert_eq!(
        scene.judge(&responders, &trust, &issued).await,
        Some(Reason::RevocationUnknown)
    );
    assert!(begun.elapsed() < wait * 5, "{:?}", begun.elapsed());
    assert_eq!(
        scene.asked(),
        0,
        "the configured responder stands for those of certificates"
    );
}

#[tokio::test]
async fn only_allowed_hosts_are_asked_and_nobody_about_a_stranger() {
    let (scene, stranger) = (Scene::new().await, Scene::new().await);
    let trust = scene.trust(RevocationMethod::Ocsp);
    let hosts = |host: &str| {
        scene.responders(ResponderOptions {
            hosts: vec![host.to_owned()],
            ..ResponderOptions::default()
        })
    };
    let issued = scene.issue();
    let elsewhere = hosts("ocsp.esante.gouv.fr");
    assert_eq!(
        scene.judge(&elsewhere, &trust, &issued).await,
        Some(Reason::RevocationUnknown)
    );
    assert_eq!(scene.asked(), 0);
    assert_eq!(scene.judge(&hosts("127.0.0.1"), &trust, &issued).await, None);
    assert_eq!(scene.asked(), 2);
    // A certificate of another authority of the same names points to its own responder: nobody goes there.
    let foreign = stranger.issue();
    let responders = scene.responders(ResponderOptions::default());
    assert_eq!(
        scene.judge(&responders, &trust, &foreign).await,
        Some(Reason::CertificateUntrusted)
    );
    assert_eq!(stranger.asked(), 0);
}

#[tokio::test]
async fn a_list_that_can_tell_spares_the_question() {
    let scene = Scene::new().await;
    let issued = scene.issue();
    let mut trust = scene.trust(RevocationMethod::CrlThenOcsp);
    for issuer in [Issuer::Root, Issuer::Intermediate] {
        trust = trust
            .with_crl(&scene.authority.crl(issuer, scene.clock.now()).unwrap())
            .unwrap();
    }
    let responders = scene.responders(ResponderOptions::default());
    assert_eq!(scene.judge(&responders, &trust, &issued).await, None);
    assert_eq!(scene.asked(), 0);
    assert_eq!(scene.judge(&Responders::none(), &trust, &issued).await, None);
}
