//! Reading, verifying and asking a list of the size of the real one: `cargo bench --bench allow_list [-- FILE]`.
//!
//! FILE is an allow list, signed or not; without it a made-up list of 6,554 entries, 5,002 domains and 392 certificates is used. Prints
//! the median of several runs in milliseconds; the look-up in nanoseconds, for a list as it is and for one ten times as long.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    reason = "a benchmark measures, prints and stops when something fails"
)]

use std::time::{Duration, Instant};

use jiff::Timestamp;
use vaguemestre::identity::{Domain, SubjectDn};
use vaguemestre::pki::{Authority, AuthorityOptions, KeyKind, Names, Profile, Request, Subject};
use vaguemestre::trust::{AllowList, AllowListDocument, ListedDomain, Mode, Transform, sign, verify, write};

const RUNS: usize = 11;
const ENTRIES: usize = 6_554;
const DOMAINS: usize = 5_002;
const CERTIFICATES: usize = 392;

fn main() {
    let now: Timestamp = "2026-11-21T10:00:00Z".parse().unwrap();
    let given = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let xml = match given {
        Some(file) => std::fs::read(file).unwrap(),
        None => made_up(1, now).into_bytes(),
    };
    let list = AllowList::parse(&xml, Mode::Salvage).unwrap().list;
    println!(
        "{} bytes, {} entries, {} domains",
        xml.len(),
        list.entries().len(),
        list.domain_count()
    );
    report("read and index", || AllowList::parse(&xml, Mode::Salvage).unwrap());

    let folder = tempfile::tempdir().unwrap();
    let options = AuthorityOptions {
        base_url: "http://127.0.0.1:8080".to_owned(),
        key: Some(KeyKind::EcdsaP256),
        ..AuthorityOptions::default()
    };
    let authority = Authority::create_or_open(folder.path(), options, now).unwrap();
    let signer = authority.issue(&signer(), now).unwrap().identity().unwrap();
    let text = write(&AllowListDocument {
        generated: list.generated().min(now),
        entries: list.entries().to_vec(),
    });
    report("sign", || sign(&text, &signer, Transform::Filter2, now).unwrap());
    let signed = sign(&text, &signer, Transform::Filter2, now).unwrap();
    report("verify, read and index", || {
        verify(signed.as_bytes(), Mode::Salvage, now, |_| Ok(())).unwrap()
    });

    let ten_times = AllowList::parse(made_up(10, now).as_bytes(), Mode::Strict)
        .unwrap()
        .list;
    for (name, list) in [("look-up", &list), ("look-up, ten times as many", &ten_times)] {
        let asked: Vec<(Domain, SubjectDn)> = list
            .entries()
            .iter()
            .step_by(7)
            .map(|entry| (entry.domain.clone(), entry.certificate.clone()))
            .collect();
        let median = median(|| {
            asked
                .iter()
                .filter(|(domain, peer)| list.vouch_sender(domain, peer).is_ok())
                .count()
        });
        println!("{name:<28} {:>9.0} ns", median.as_nanos() as f64 / asked.len() as f64);
    }
}

fn report<T>(name: &str, work: impl FnMut() -> T) {
    println!("{name:<28} {:>9.1} ms", median(work).as_secs_f64() * 1000.0);
}

fn median<T>(mut work: impl FnMut() -> T) -> Duration {
    let mut times: Vec<Duration> = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            let made = work();
            let taken = start.elapsed();
            drop(made);
            taken
        })
        .collect();
    times.sort();
    times[RUNS / 2]
}

fn made_up(times: usize, now: Timestamp) -> String {
    let entry = |place: usize| ListedDomain {
        domain: format!("etablissement-{}.mssante.fr", place % (DOMAINS * times))
            .parse()
            .unwrap(),
        description: "Établissement d'hébergement pour personnes âgées dépendantes & soins".to_owned(),
        certificate: certificate(place % (CERTIFICATES * times)),
        responsible_contact: "01 00 00 00 00, responsable@example.org".to_owned(),
        support_contact: "01 00 00 00 00, support@example.org".to_owned(),
        updated: now,
    };
    write(&AllowListDocument {
        generated: now,
        entries: (0..ENTRIES * times).map(entry).collect(),
    })
}

fn certificate(place: usize) -> SubjectDn {
    format!("CN=smtp-{place}.exemple.fr,OU=1{place:09},O=GROUPEMENT HOSPITALIER {place},ST=Rhône (69),C=FR")
        .parse()
        .unwrap()
}

fn signer() -> Request {
    Request {
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
        validity_days: None,
    }
}
