//! Whatever sequence of lists is offered to an operator, no certificate ever speaks for a domain that the last accepted list does not
//! give it: the model is a set of pairs, the system is the real way in, the real look-ups and a session that keeps its snapshot.

#![cfg(test)]

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use vaguemestre::identity::{Domain, SubjectDn};
use vaguemestre::pki::{
    Authority, AuthorityOptions, ExpectedSigner, Identity, Issuer, KeyKind, Names, Profile, Request, Subject,
    TrustStore, trust_bundle,
};
use vaguemestre::sync::{ListFeed, ListOptions};
use vaguemestre::trust::{AllowList, AllowListDocument, ListedDomain, SignaturePolicy, Transform, sign, write};

const DOMAINS: [&str; 4] = ["a.mssante.fr", "b.mssante.fr", "c.mssante.fr", "x.a.mssante.fr"];
const CERTIFICATES: [&str; 4] = [
    "CN=smtp-1.chu.fr,OU=1990000010,O=CHU,ST=Paris (75),C=FR",
    "CN=smtp-2.chu.fr,OU=1990000010,O=CHU,ST=Paris (75),C=FR",
    // The same CN, another structure.
    "CN=smtp-1.chu.fr,OU=1990000028,O=CHU,ST=Paris (75),C=FR",
    "CN=smtp.region.fr,OU=399999999900017,O=REGION,ST=Paris (75),C=FR",
];

/// A domain and a certificate, by their places above.
type Pair = (usize, usize);

/// What happens to the list at the authority, or to what is offered in its name.
#[derive(Clone, Debug)]
enum Step {
    /// The authority lists one more pair.
    Add(Pair),
    /// It takes one away.
    Remove(Pair),
    /// It moves a domain to one certificate.
    Move(Pair),
    /// It publishes what it has, signed.
    Publish,
    /// Somebody offers a list of the past, with the authority's signature.
    Replay(prop::sample::Index),
    /// Somebody offers a list with one more pair, unsigned.
    Unsigned(Pair),
    /// Somebody changes a published list on its way.
    Altered(Pair),
    /// Somebody cuts the signature off the last published list, and adds a pair.
    Stripped(Pair),
    /// Somebody else of the same authority signs a list with one more pair.
    OtherSigner(Pair),
    /// A stranger signs one.
    Stranger(Pair),
    /// It arrives in halves.
    Cut(prop::sample::Index),
    /// A session begins.
    Connect,
}

fn pair() -> impl Strategy<Value = Pair> {
    (0..DOMAINS.len(), 0..CERTIFICATES.len())
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => pair().prop_map(Step::Add),
        2 => pair().prop_map(Step::Remove),
        1 => pair().prop_map(Step::Move),
        4 => Just(Step::Publish),
        1 => any::<prop::sample::Index>().prop_map(Step::Replay),
        1 => pair().prop_map(Step::Unsigned),
        1 => pair().prop_map(Step::Altered),
        1 => pair().prop_map(Step::Stripped),
        1 => pair().prop_map(Step::OtherSigner),
        1 => pair().prop_map(Step::Stranger),
        1 => any::<prop::sample::Index>().prop_map(Step::Cut),
        2 => Just(Step::Connect),
    ]
}

/// Keys are slow to make: once for all sequences.
struct Keys {
    _folders: [TempDir; 2],
    store: Arc<TrustStore>,
    signer: Identity,
    other: Identity,
    stranger: Identity,
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let open = |folder: &TempDir| {
        let options = AuthorityOptions {
            base_url: "http://127.0.0.1:8080".to_owned(),
            key: Some(KeyKind::EcdsaP256),
            ..AuthorityOptions::default()
        };
        Authority::create_or_open(folder.path(), options, start()).unwrap()
    };
    let (ours, theirs) = (open(&folders[0]), open(&folders[1]));
    let signer = |authority: &Authority, name: &str| {
        let subject = Subject {
            common_name: name.to_owned(),
            structure: "399999999900017".to_owned(),
            organisation: "AGENCE".to_owned(),
            state: "Paris (75)".to_owned(),
            country: "FR".to_owned(),
        };
        let request = Request {
            profile: Profile::OrgSign,
            subject,
            names: Names::default(),
            key: None,
            validity_days: None,
        };
        authority.issue(&request, start()).unwrap().identity().unwrap()
    };
    let crl = |issuer| ours.crl(issuer, start()).unwrap();
    let store = TrustStore::from_pem(trust_bundle(&ours).as_bytes())
        .unwrap()
        .with_crl(&crl(Issuer::Root))
        .unwrap()
        .with_crl(&crl(Issuer::Intermediate))
        .unwrap();
    Keys {
        signer: signer(&ours, "Liste"),
        other: signer(&ours, "Autre"),
        stranger: signer(&theirs, "Liste"),
        store: Arc::new(store),
        _folders: folders,
    }
});

fn start() -> Timestamp {
    "2026-11-21T10:00:00Z".parse().unwrap()
}

fn list(pairs: &BTreeSet<Pair>, generated: Timestamp) -> String {
    let entry = |(domain, certificate): &Pair| ListedDomain {
        domain: DOMAINS[*domain].parse().unwrap(),
        description: String::new(),
        certificate: CERTIFICATES[*certificate].parse().unwrap(),
        responsible_contact: String::new(),
        support_contact: String::new(),
        updated: generated,
    };
    write(&AllowListDocument {
        generated,
        entries: pairs.iter().map(entry).collect(),
    })
}

/// What every session must hold to: the pairs of the list in force when it began.
struct Session {
    snapshot: Arc<AllowList>,
    allowed: BTreeSet<Pair>,
}

impl Session {
    fn check(&self) {
        for (place, name) in DOMAINS.iter().enumerate() {
            for (other, dn) in CERTIFICATES.iter().enumerate() {
                let domain: Domain = name.parse().unwrap();
                let certificate: SubjectDn = dn.parse().unwrap();
                let listed = self.allowed.contains(&(place, other));
                assert_eq!(
                    self.snapshot.vouch_sender(&domain, &certificate).is_ok(),
                    listed,
                    "{name} {dn}"
                );
                assert_eq!(
                    self.snapshot.vouch_recipient(&domain, &certificate).is_ok(),
                    listed,
                    "{name} {dn}"
                );
                let anywhere = self.allowed.iter().any(|(_, certificate)| *certificate == other);
                assert_eq!(self.snapshot.vouch_null_sender(&certificate).is_ok(), anywhere, "{dn}");
            }
        }
    }
}

/// The authority, whoever speaks in its name, and one operator.
struct World {
    now: Timestamp,
    /// What the authority means to list.
    wanted: BTreeSet<Pair>,
    /// All it ever published.
    published: Vec<(Timestamp, String, BTreeSet<Pair>)>,
    /// The last list accepted: the model.
    accepted: BTreeSet<Pair>,
    accepted_at: Timestamp,
    feed: ListFeed,
    sessions: Vec<Session>,
}

impl World {
    fn new() -> Self {
        let options = ListOptions {
            file: None,
            url: None,
            signature: SignaturePolicy::Require,
            signer: ExpectedSigner {
                common_name: Some("Liste".to_owned()),
                structure: Some("399999999900017".to_owned()),
            },
            period: Duration::from_hours(1),
            warn_age: Duration::from_hours(24),
            alarm_age: Duration::from_hours(72),
        };
        Self {
            now: start(),
            wanted: BTreeSet::new(),
            published: Vec::new(),
            accepted: BTreeSet::new(),
            accepted_at: Timestamp::MIN,
            feed: ListFeed::new(options),
            sessions: Vec::new(),
        }
    }

    fn with(&self, pair: Pair) -> BTreeSet<Pair> {
        self.wanted.iter().copied().chain([pair]).collect()
    }

    fn signed_by(&self, signer: &Identity, pairs: &BTreeSet<Pair>) -> String {
        sign(&list(pairs, self.now), signer, Transform::Enveloped, self.now).unwrap()
    }

    async fn offer(&mut self, xml: String) -> bool {
        let offered = (&KEYS.store, self.now);
        self.feed
            .admit(xml.into_bytes(), offered, "offered".to_owned())
            .await
            .is_ok()
    }

    async fn play(&mut self, step: &Step) {
        self.now += SignedDuration::from_secs(1);
        match step {
            Step::Add(pair) => {
                self.wanted.insert(*pair);
            }
            Step::Remove(pair) => {
                self.wanted.remove(pair);
            }
            Step::Move((domain, certificate)) => {
                self.wanted.retain(|(other, _)| other != domain);
                self.wanted.insert((*domain, *certificate));
            }
            Step::Publish => {
                let xml = self.signed_by(&KEYS.signer, &self.wanted);
                assert!(self.offer(xml.clone()).await, "the authority's own list is taken");
                (self.accepted, self.accepted_at) = (self.wanted.clone(), self.now);
                self.published.push((self.now, xml, self.wanted.clone()));
            }
            Step::Replay(which) if !self.published.is_empty() => {
                let (made, xml, pairs) = which.get(&self.published).clone();
                let taken = self.offer(xml).await;
                assert_eq!(taken, made >= self.accepted_at, "only the last one is taken twice");
                if taken {
                    self.accepted = pairs;
                }
            }
            Step::Unsigned(pair) => {
                let xml = list(&self.with(*pair), self.now);
                assert!(!self.offer(xml).await);
            }
            Step::Altered(pair) => {
                let xml = self.signed_by(&KEYS.signer, &self.with(*pair));
                let other = DOMAINS[(pair.0 + 1) % DOMAINS.len()];
                let altered = xml.replacen(&format!("<Nom>{}<", DOMAINS[pair.0]), &format!("<Nom>{other}<"), 1);
                assert!(altered != xml && !self.offer(altered).await);
            }
            Step::Stripped(pair) => {
                let xml = self.signed_by(&KEYS.signer, &self.with(*pair));
                let (list, _) = xml.split_once("<ds:Signature").unwrap();
                assert!(!self.offer(format!("{list}</ListeBlancheMSSante>")).await);
            }
            Step::OtherSigner(pair) => {
                let xml = self.signed_by(&KEYS.other, &self.with(*pair));
                assert!(!self.offer(xml).await);
            }
            Step::Stranger(pair) => {
                let xml = self.signed_by(&KEYS.stranger, &self.with(*pair));
                assert!(!self.offer(xml).await);
            }
            Step::Cut(place) => {
                let xml = self.signed_by(&KEYS.signer, &self.wanted);
                // Whatever is cut after the root ends nothing.
                let end = place.index(xml.trim_end().len());
                assert!(!self.offer(xml[..end].to_owned()).await);
            }
            Step::Connect | Step::Replay(_) => self.connect(),
        }
        self.connect();
        self.sessions.iter().for_each(Session::check);
    }

    /// A session that begins now keeps what is in force now.
    fn connect(&mut self) {
        self.sessions.extend(self.feed.list().map(|list| Session {
            snapshot: Arc::clone(list),
            allowed: self.accepted.clone(),
        }));
        // The oldest ones end.
        if self.sessions.len() > 4 {
            self.sessions.remove(0);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_sequence_of_lists_lets_an_unlisted_pair_exchange_a_message(steps in prop::collection::vec(step(), 1..20)) {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let mut world = World::new();
            for step in &steps {
                world.play(step).await;
            }
        });
    }
}
