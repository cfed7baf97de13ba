//! The allow list over HTTP: fetched on time and conditionally, verified before use, never older, kept for the next start.

#![cfg(test)]

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;
use vaguemestre::clock::Clock;
use vaguemestre::pki::{
    Authority, AuthorityOptions, ExpectedSigner, Identity, Issuer, KeyKind, Names, Profile, Request, Subject,
    TrustStore, trust_bundle,
};
use vaguemestre::sync::{FetchOptions, Fetcher, ListError, ListFeed, ListOptions, Reach, Renewed, Staleness, sha256};
use vaguemestre::trust::{AdmissionError, AllowListDocument, ListedDomain, SignaturePolicy, Transform, sign, write};

/// What the authority's server answers, and what it was asked.
#[derive(Default)]
struct Site {
    list: Vec<u8>,
    checksum: Option<String>,
    is_down: bool,
    full_answers: usize,
}

struct Space {
    folder: TempDir,
    authority: Authority,
    signer: Identity,
    store: Arc<TrustStore>,
    site: Arc<Mutex<Site>>,
    url: String,
}

fn at() -> Timestamp {
    "2026-11-21T10:00:00Z".parse().unwrap()
}

fn hours(count: i64) -> Timestamp {
    at() + SignedDuration::from_hours(count)
}

fn minutes(count: i64) -> Timestamp {
    at() + SignedDuration::from_mins(count)
}

fn authority(folder: &Path) -> (Authority, Identity) {
    let options = AuthorityOptions {
        base_url: "http://127.0.0.1:8080".to_owned(),
        key: Some(KeyKind::EcdsaP256),
        ..AuthorityOptions::default()
    };
    let authority = Authority::create_or_open(folder, options, at()).unwrap();
    let request = Request {
        profile: Profile::OrgSign,
        subject: Subject {
            common_name: "Liste".to_owned(),
            structure: "399999999900017".to_owned(),
            organisation: "AGENCE".to_owned(),
            state: "Paris (75)".to_owned(),
            country: "FR".to_owned(),
        },
        names: Names::default(),
        key: None,
        validity_days: Some(2),
    };
    let signer = authority.issue(&request, at()).unwrap().identity().unwrap();
    (authority, signer)
}

fn list(generated: Timestamp, domains: &[&str]) -> String {
    let entry = |domain: &&str| ListedDomain {
        domain: domain.parse().unwrap(),
        description: String::new(),
        certificate: "CN=smtp.b.fr,OU=399999999900017,O=REGION B,ST=Paris (75),C=FR"
            .parse()
            .unwrap(),
        responsible_contact: String::new(),
        support_contact: String::new(),
        updated: generated,
    };
    write(&AllowListDocument {
        generated,
        entries: domains.iter().map(entry).collect(),
    })
}

impl Space {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (authority, signer) = authority(&folder.path().join("authority"));
        let crl = |issuer| authority.crl(issuer, at()).unwrap();
        let store = TrustStore::from_pem(trust_bundle(&authority).as_bytes())
            .unwrap()
            .with_crl(&crl(Issuer::Root))
            .unwrap()
            .with_crl(&crl(Issuer::Intermediate))
            .unwrap();
        let site = Arc::new(Mutex::new(Site::default()));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/liste.xml", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer).with_state(Arc::clone(&site));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self {
            folder,
            authority,
            signer,
            store: Arc::new(store),
            site,
            url,
        }
    }

    fn options(&self) -> ListOptions {
        ListOptions {
            file: None,
            url: Some((self.url.clone(), self.folder.path().join("kept"))),
            signature: SignaturePolicy::Require,
            signer: ExpectedSigner {
                common_name: Some("Liste".to_owned()),
                structure: Some("399999999900017".to_owned()),
            },
            period: Duration::from_hours(1),
            warn_age: Duration::from_hours(24),
            alarm_age: Duration::from_hours(72),
        }
    }

    fn feed(&self) -> ListFeed {
        ListFeed::new(self.options())
    }

    fn signed(&self, generated: Timestamp, domains: &[&str]) -> String {
        sign(&list(generated, domains), &self.signer, Transform::Filter2, generated).unwrap()
    }

    fn publish(&self, list: &str) {
        let mut site = self.site.lock().unwrap();
        site.list = list.as_bytes().to_vec();
        site.checksum = Some(format!("{}  liste.xml\n", sha256(list.as_bytes())));
    }

    async fn renew(&self, feed: &mut ListFeed, now: Timestamp) -> Result<Renewed, ListError> {
        let options = FetchOptions {
            reach: Reach::Loopback,
            ..FetchOptions::default()
        };
        let fetcher = Fetcher::new(Some(&self.store), &Clock::manual(now), options).unwrap();
        feed.renew(Some(&fetcher), &self.store, now).await
    }

    /// How often the list was sent whole.
    fn sent(&self) -> usize {
        self.site.lock().unwrap().full_answers
    }

    fn kept(&self) -> PathBuf {
        self.folder.path().join("kept/list.xml")
    }
}

async fn answer(State(site): State<Arc<Mutex<Site>>>, uri: Uri, headers: HeaderMap) -> Response {
    let mut site = site.lock().unwrap();
    if site.is_down {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    if uri.path() == "/checksum" {
        return match &site.checksum {
            Some(checksum) => checksum.clone().into_response(),
            None => StatusCode::NOT_FOUND.into_response(),
        };
    }
    let tag = format!("\"{}\"", sha256(&site.list));
    if headers
        .get(header::IF_NONE_MATCH)
        .is_some_and(|known| known == tag.as_str())
    {
        return StatusCode::NOT_MODIFIED.into_response();
    }
    site.full_answers += 1;
    ([(header::ETAG, tag)], site.list.clone()).into_response()
}

/// What refused a list.
#[track_caller]
fn refusal(renewed: Result<Renewed, ListError>) -> String {
    match renewed {
        Err(ListError::Admission { source, .. }) => source.to_string(),
        Err(error) => error.to_string(),
        Ok(renewed) => panic!("{renewed:?}"),
    }
}

#[tokio::test]
async fn a_list_is_asked_for_once_per_period_and_sent_once_per_version() {
    let space = Space::new().await;
    space.publish(&space.signed(at(), &["a.fr"]));
    let mut feed = space.feed();
    assert!(matches!(space.renew(&mut feed, at()).await, Ok(Renewed::List(_))));
    assert!(matches!(space.renew(&mut feed, minutes(59)).await, Ok(Renewed::NotDue)));
    assert!(matches!(
        space.renew(&mut feed, minutes(60)).await,
        Ok(Renewed::Unchanged)
    ));
    feed.ask_now();
    assert!(matches!(
        space.renew(&mut feed, minutes(61)).await,
        Ok(Renewed::Unchanged)
    ));
    assert_eq!(space.sent(), 1);
    space.publish(&space.signed(hours(2), &["a.fr", "b.fr"]));
    assert!(matches!(space.renew(&mut feed, hours(3)).await, Ok(Renewed::List(_))));
    assert_eq!((space.sent(), feed.list().unwrap().domain_count()), (2, 2));
}

#[tokio::test]
async fn whatever_may_not_be_used_leaves_the_last_good_list_in_force_and_on_disk() {
    let space = Space::new().await;
    let good = space.signed(hours(1), &["a.fr"]);
    space.publish(&good);
    let mut feed = space.feed();
    space.renew(&mut feed, hours(1)).await.unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let (_, stranger) = authority(elsewhere.path());
    let of_stranger = sign(&list(hours(2), &["a.fr"]), &stranger, Transform::Filter2, hours(2)).unwrap();
    let newer = space.signed(hours(2), &["a.fr", "b.fr"]);
    for (offered, reason) in [
        (list(hours(2), &["evil.fr"]), "is not signed"),
        (newer.replace("b.fr", "c.fr"), "was altered after it was signed"),
        (of_stranger, "certificate-untrusted"),
        (space.signed(at(), &["a.fr", "b.fr"]), "before the one in force"),
        (space.signed(hours(30), &["a.fr"]), "future of this machine"),
        (newer[..newer.len() / 2].to_owned(), "cannot be verified"),
        (newer[..newer.len() - 30].to_owned(), "cannot be verified"),
        ("<html><body>maintenance</body></html>".to_owned(), "its root is not"),
        (String::new(), "cannot be verified"),
    ] {
        space.publish(&offered);
        feed.ask_now();
        let said = refusal(space.renew(&mut feed, hours(3)).await);
        assert!(said.contains(reason), "{reason}: {said}");
        assert_eq!(feed.list().unwrap().generated(), hours(1), "{reason}");
        assert_eq!(std::fs::read_to_string(space.kept()).unwrap(), good, "{reason}");
    }
    space.publish(&newer);
    // After a failure, the next attempt does not wait for the whole period.
    assert!(matches!(
        space.renew(&mut feed, hours(3) + SignedDuration::from_mins(2)).await,
        Ok(Renewed::List(_))
    ));
    assert_eq!(std::fs::read_to_string(space.kept()).unwrap(), newer);
}

#[tokio::test]
async fn the_checksum_beside_the_list_is_heeded_when_there_is_one() {
    let space = Space::new().await;
    let signed = space.signed(at(), &["a.fr"]);
    let mut feed = space.feed();
    for checksum in [
        None,
        Some("<html>no such page</html>".to_owned()),
        Some(sha256(signed.as_bytes()).to_uppercase()),
    ] {
        space.publish(&signed);
        space.site.lock().unwrap().checksum = checksum;
        feed = space.feed();
        assert!(matches!(space.renew(&mut feed, at()).await, Ok(Renewed::List(_))));
    }
    space.publish(&space.signed(hours(1), &["b.fr"]));
    space.site.lock().unwrap().checksum = Some(sha256(signed.as_bytes()));
    feed.ask_now();
    let error = space.renew(&mut feed, hours(1)).await.unwrap_err();
    assert!(matches!(&error, ListError::Checksum { .. }), "{error}");
    assert_eq!(feed.list().unwrap().generated(), at());
}

#[tokio::test]
async fn a_restart_without_network_goes_on_with_the_last_good_list_even_when_its_signer_has_ended() {
    let space = Space::new().await;
    space.publish(&space.signed(at(), &["a.fr"]));
    space.renew(&mut space.feed(), at()).await.unwrap();
    space.site.lock().unwrap().is_down = true;
    // The signer's certificate lasts two days.
    let later = hours(24 * 3);
    let mut feed = space.feed();
    assert!(feed.list().is_none());
    let admitted = feed.restore(&space.store, later).await.unwrap().unwrap();
    assert_eq!(admitted.list.domain_count(), 1);
    let error = space.renew(&mut feed, later).await.unwrap_err();
    assert!(error.to_string().contains("503"), "{error}");
    assert_eq!(feed.staleness(later), Staleness::Alarm(SignedDuration::from_hours(72)));
    // What was kept is not believed blindly.
    let altered = std::fs::read_to_string(space.kept()).unwrap().replace("a.fr", "e.fr");
    std::fs::write(space.kept(), altered).unwrap();
    assert!(space.feed().restore(&space.store, later).await.unwrap().is_none());
}

#[tokio::test]
async fn a_restart_does_not_open_the_door_to_an_older_list() {
    let space = Space::new().await;
    space.publish(&space.signed(hours(2), &["a.fr"]));
    space.renew(&mut space.feed(), hours(2)).await.unwrap();
    space.publish(&space.signed(at(), &["a.fr", "gone.fr"]));
    let mut feed = space.feed();
    feed.restore(&space.store, hours(3)).await.unwrap();
    let error = space.renew(&mut feed, hours(3)).await.unwrap_err();
    let ListError::Admission { source, .. } = error else {
        panic!("{error}")
    };
    assert!(matches!(source, AdmissionError::Older { .. }));
}

#[tokio::test]
async fn a_list_that_cannot_be_refreshed_is_told_late_then_far_too_late_and_stays() {
    let space = Space::new().await;
    space.publish(&space.signed(at(), &["a.fr"]));
    let mut feed = space.feed();
    assert_eq!(feed.staleness(hours(100)), Staleness::Fresh);
    space.renew(&mut feed, at()).await.unwrap();
    assert_eq!(feed.staleness(hours(23)), Staleness::Fresh);
    assert_eq!(
        feed.staleness(hours(24)),
        Staleness::Late(SignedDuration::from_hours(24))
    );
    space.site.lock().unwrap().is_down = true;
    assert!(space.renew(&mut feed, hours(25)).await.is_err());
    assert_eq!(
        feed.staleness(hours(72)),
        Staleness::Alarm(SignedDuration::from_hours(72))
    );
    assert!(feed.list().is_some());
    // The server says that nothing changed: that is fresh again.
    space.site.lock().unwrap().is_down = false;
    assert!(matches!(
        space.renew(&mut feed, hours(73)).await,
        Ok(Renewed::Unchanged)
    ));
    assert_eq!(feed.staleness(hours(74)), Staleness::Fresh);
}

#[tokio::test]
async fn a_file_is_read_again_when_it_changes_and_seeds_a_url_that_never_answered() {
    let space = Space::new().await;
    let file = space.folder.path().join("list.xml");
    std::fs::write(&file, space.signed(at(), &["a.fr"])).unwrap();
    let with_file = |url| ListOptions {
        file: Some(file.clone()),
        url,
        ..space.options()
    };
    let mut feed = ListFeed::new(with_file(None));
    assert!(feed.restore(&space.store, at()).await.unwrap().is_some());
    assert!(matches!(
        feed.renew(None, &space.store, at()).await,
        Ok(Renewed::Unchanged)
    ));
    std::fs::write(&file, space.signed(minutes(1), &["a.fr", "b.fr"])).unwrap();
    assert!(matches!(
        feed.renew(None, &space.store, minutes(1)).await,
        Ok(Renewed::List(_))
    ));
    std::fs::remove_file(&file).unwrap();
    let error = feed.renew(None, &space.store, minutes(2)).await.unwrap_err();
    assert!(error.to_string().contains("list.xml"), "{error}");
    assert_eq!(feed.list().unwrap().domain_count(), 2);

    std::fs::write(&file, space.signed(at(), &["a.fr"])).unwrap();
    space.site.lock().unwrap().is_down = true;
    let mut feed = ListFeed::new(with_file(space.options().url));
    assert!(feed.restore(&space.store, at()).await.unwrap().is_some());
    assert!(space.renew(&mut feed, at()).await.is_err());
    assert_eq!(feed.list().unwrap().domain_count(), 1);
    assert!(space.authority.issued().len() > 1);
}
