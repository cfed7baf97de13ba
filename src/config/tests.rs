//! The two files as users meet them: the good ones are good, and each mistake is found, placed and explained.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use toml::de::{DeTable, DeValue};

use super::*;
use crate::directory::{Attachment, BoxState, BoxType};
use crate::identity::{Address, SubjectDn};

fn default_space() -> Space {
    match Space::default_space() {
        Ok((space, warnings)) => {
            assert_eq!(warnings, []);
            space
        }
        Err(errors) => panic!("{errors}"),
    }
}

fn example() -> Gateway {
    match Gateway::parse(Gateway::EXAMPLE_TEXT, "config/gateway.toml") {
        Ok((gateway, warnings)) => {
            assert_eq!(warnings, []);
            gateway
        }
        Err(errors) => panic!("{errors}"),
    }
}

fn space_errors(text: &str) -> String {
    Space::parse(text, "space.toml").map_or_else(|errors| errors.to_string(), |_| String::new())
}

fn gateway_errors(text: &str) -> String {
    Gateway::parse(text, "gateway.toml").map_or_else(|errors| errors.to_string(), |_| String::new())
}

fn subject(text: &str) -> SubjectDn {
    text.parse().unwrap()
}

fn address(text: &str) -> Address {
    text.parse().unwrap()
}

/// One operator with everything, small enough to see at a glance.
const SMALL: &str = r#"[space]
name = "small"

[[operator]]
key = "lilas"
name = "OPERATEUR DES LILAS"
structure = "99999999900017"
department = "Rhône (69)"
domains = ["lilas.mssante.fr"]

[[operator.host]]
name = "mx.lilas.localhost"

[[operator.entity]]
finess = "990000010"
name = "ASSOCIATION LES LILAS"

[[operator.establishment]]
finess = "990000028"
entity = "990000010"
name = "EHPAD Les Lilas"

[[operator.person]]
rpps = "01990000018"
family_name = "BRIARD"
given_name = "Jeanne"
profession = "infirmier"

[[operator.box]]
address = "jeanne.briard@lilas.mssante.fr"
type = "PER"
label = "Jeanne BRIARD"
holder = "01990000018"

[[operator.box]]
address = "dui@lilas.mssante.fr"
type = "APP"
label = "DUI"
entity = "990000010"
counts_for = "990000028"

[[operator.login]]
name = "dui"
kind = "certificate"
boxes = ["dui@lilas.mssante.fr"]

[[operator.login]]
name = "jeanne"
kind = "password"
password = "sandbox"
boxes = ["jeanne.briard@lilas.mssante.fr"]

[[operator.box]]
address = "Postmaster@lilas.mssante.fr"
type = "ORG"
label = "Exploitation"
entity = "990000010"
"#;

/// A peer that the user runs, to be added to [`SMALL`].
const PEER: &str = r#"
[[operator]]
key = "voisin"
name = "OPERATEUR VOISIN"
structure = "990000283"
department = "Ain (01)"
kind = "external"
domains = ["voisin.mssante.fr"]

[[operator.host]]
name = "mx.voisin.localhost"
reach = "127.0.0.1:2525"
issue = true
"#;

/// The patient space, to be added to [`SMALL`].
const PATIENTS: &str = r#"
[[operator]]
key = "patient"
name = "ESPACE PATIENT"
structure = "990000275"
department = "Paris (75)"
domains = ["patient.mssante.fr"]

[[operator.host]]
name = "mx.patient.localhost"

[[operator.patient]]
ins = "279035121518989"
family_name = "PAT-TROIS"
given_name = "DOMINIQUE"
"#;

#[test]
fn the_default_space_holds_what_the_sandbox_plays() {
    let space = default_space();
    let keys: Vec<&str> = space.operators.iter().map(|operator| operator.key.as_str()).collect();
    assert_eq!(keys, ["lilas", "chu", "ville", "region", "patient"]);
    assert!(space.web.ip().is_loopback() && !space.allow_remote);

    let lilas = space.operator("lilas").unwrap();
    assert_eq!(lilas.directory.entities.len(), 1);
    assert_eq!(lilas.directory.establishments.len(), 3);
    let Side::Local { hosts, clients } = &space.operator("chu").unwrap().side else {
        panic!("the hospital is ours");
    };
    let listening: Vec<String> = hosts
        .iter()
        .map(|host| format!("{} {}", host.name, host.listen))
        .collect();
    assert_eq!(
        listening,
        ["mx1.chu.localhost 127.0.0.1:12025", "mx2.chu.localhost 127.0.0.1:12026"]
    );
    assert_eq!(clients.submission.port(), 12_587);
    assert_eq!(clients.submissions.port(), 12_465);
    assert_eq!(clients.imap.port(), 12_143);
    assert_eq!(clients.imaps.port(), 12_993);
    let patient = space.operator("patient").unwrap();
    assert_eq!(patient.size_bytes_max, 25_000_000);
    assert_eq!(
        patient.patients[0].address(),
        &address("279035121518989@patient.mssante.fr")
    );
}

#[test]
fn every_operator_of_a_space_sends_and_limits_as_the_space_says() {
    let text = Space::DEFAULT_TEXT.replace("[limits]", "[limits]\nrecipients_max = 150\nconnections_max = 0");
    let text = text.replace("retry = [\"2s\"", "resolvers = []\nretry = [\"3s\"");
    let errors = space_errors(&text);
    assert!(errors.contains("`limits.connections_max`"), "{errors}");
    // A sandbox has a zone of its own.
    assert!(errors.contains("unknown key `resolvers` in [relay]"), "{errors}");
    let good = text.replace("connections_max = 0", "").replace("resolvers = []", "");
    let (space, _) = Space::parse(&good, "space.toml").unwrap();
    assert_eq!(space.limits.recipients_max, 150);
    assert_eq!(space.attempts.retry.first(), Some(&Duration::from_secs(3)));
    // A space that says nothing has the defaults of a gateway.
    let silent: String = text.split("[relay]").next().unwrap().to_owned() + text.split("[limits]").nth(1).unwrap();
    let (space, _) = Space::parse(
        &silent.replace("recipients_max = 150\nconnections_max = 0", ""),
        "space.toml",
    )
    .unwrap();
    assert_eq!(space.attempts.retry.first(), Some(&Duration::from_mins(1)));
    assert_eq!(space.limits, Limits::default());
}

#[test]
fn everybody_in_the_default_space_is_invented_and_has_a_right_key() {
    for operator in default_space().operators {
        let directory = &operator.directory;
        let structures = directory.entities.iter().map(|entity| &entity.finess);
        for finess in structures.chain(directory.establishments.iter().map(|found| &found.finess)) {
            assert!(finess.as_str().starts_with("99") && finess.key_matches(), "{finess}");
        }
        for person in &directory.people {
            assert!(person.rpps.as_str().starts_with("0199") && person.rpps.key_matches());
        }
        for patient in &operator.patients {
            assert!(patient.ins.key_matches(), "{patient:?}");
        }
        match &operator.structure {
            Structure::Finess(finess) => assert!(finess.key_matches(), "{finess}"),
            Structure::Siret(siret) => assert!(siret.key_matches(), "{siret}"),
        }
    }
}

#[test]
fn the_directory_of_the_lilas_tells_what_each_message_counts_for() {
    let space = default_space();
    let lilas = space.operator("lilas").unwrap();
    let dui = subject("CN=dui-ehpad");
    let directory = lilas
        .directory(|login| (login.name == "dui-ehpad").then(|| dui.clone()))
        .unwrap();

    let noreply = directory.find(&address("noreply@ehpad-lilas.mssante.fr")).unwrap();
    assert_eq!(noreply.box_type, BoxType::Applicative);
    let counted = |mailbox: &str| match &directory.find(&address(mailbox)).unwrap().attachment {
        Attachment::Entity { counts_for, .. } => counts_for.as_ref().map(ToString::to_string),
        other => panic!("{other:?}"),
    };
    assert_eq!(counted("noreply@ehpad-lilas.mssante.fr").as_deref(), Some("990000028"));
    assert_eq!(counted("dui@lilas.mssante.fr"), None);
    assert_eq!(
        directory.boxes_of_certificate(&dui),
        [address("noreply@ehpad-lilas.mssante.fr")]
    );
    // Its certificate is not issued: it opens nothing.
    assert!(directory.boxes_of_certificate(&subject("CN=dui-lilas")).is_empty());
    let jeanne = directory
        .password_login("Jeanne.Briard@ssiad-lilas.mssante.fr")
        .unwrap();
    assert!(jeanne.password.matches("sandbox") && !jeanne.password.matches("Sandbox"));

    let ehpad = directory.establishment(&"990000028".parse().unwrap()).unwrap();
    assert_eq!(ehpad.people_in("2026-11"), Some(84));
    assert_eq!(ehpad.people_in("2027-01"), Some(80));
    let foyer = directory.establishment(&"990000044".parse().unwrap()).unwrap();
    assert_eq!(foyer.people_in("2026-11"), None);
}

#[test]
fn a_certificate_is_issued_to_the_legal_entity_of_the_first_box() {
    let (space, _) = Space::parse(SMALL, "space.toml").unwrap();
    let login = &space.operators[0].directory.logins[0];
    let LoginKind::Certificate { certificate, .. } = &login.kind else {
        panic!("{login:?}");
    };
    let expected = LoginCertificate::Issued {
        organisation: "ASSOCIATION LES LILAS".into(),
        structure: Structure::Finess("990000010".parse().unwrap()),
    };
    assert_eq!(*certificate, expected);
}

#[test]
fn every_operator_of_the_default_space_makes_a_directory() {
    let space = default_space();
    for operator in &space.operators {
        let directory = operator
            .directory(|login| Some(subject(&format!("CN={}", login.name))))
            .unwrap();
        assert_eq!(
            directory.boxes().count(),
            operator.directory.boxes.len() + operator.patients.len()
        );
    }
    let patients = space.operator("patient").unwrap().directory(|_| None).unwrap();
    let closed = patients.find(&address("218059999900116@patient.mssante.fr")).unwrap();
    assert_eq!((closed.box_type, closed.state), (BoxType::Patient, BoxState::Closed));
}

#[test]
fn a_peer_of_the_users_own_has_hosts_but_no_listener() {
    let (space, warnings) = Space::parse(&format!("{SMALL}{PEER}"), "space.toml").unwrap();
    assert_eq!(warnings, []);
    let peer = space.operator("voisin").unwrap();
    assert!(!peer.is_local());
    let Side::External { hosts } = &peer.side else {
        panic!("{peer:?}");
    };
    assert_eq!(hosts[0].reach.to_string(), "127.0.0.1:2525");
    assert_eq!(hosts[0].certificate, HostCertificate::Issued);
    let named = PEER.replace("issue = true", "subject = \"CN=mx.voisin.localhost\"");
    let (space, _) = Space::parse(&format!("{SMALL}{named}"), "space.toml").unwrap();
    let Side::External { hosts } = &space.operators[1].side else {
        panic!("{space:?}");
    };
    assert!(matches!(hosts[0].certificate, HostCertificate::Subject(_)));
}

#[test]
fn ten_mistakes_in_a_space_come_back_at_once_with_their_lines() {
    let bad = SMALL
        .replace("name = \"small\"", "name = \"small\"\nallow_remot = true")
        .replace("structure = \"99999999900017\"", "structure = \"99999999900018\"")
        .replace("department = \"Rhône (69)\"\n", "")
        .replace(
            "name = \"mx.lilas.localhost\"",
            "name = \"mx.lilas.localhost\"\npreference = \"ten\"",
        )
        .replace("entity = \"990000010\"\nname", "entity = \"990000044\"\nname")
        .replace("rpps = \"01990000018\"", "rpps = \"0199000001\"")
        .replace("type = \"PER\"", "type = \"PERS\"")
        .replace(
            "address = \"dui@lilas.mssante.fr\"",
            "address = \"dui@lilas.mssante.fr\"\nstate = true",
        )
        .replace(
            "kind = \"certificate\"\nboxes = [",
            "kind = \"certificate\"\nboxes = [\"no@lilas.mssante.fr\", ",
        )
        .replace("password = \"sandbox\"", "password = 12");
    insta::assert_snapshot!(space_errors(&bad), @r#"
    space.toml:3:1: unknown key `allow_remot` in [space]; did you mean `allow_remote`?
    space.toml:5:1: key `operator.department` is missing; add it
    space.toml:8:13: `operator.structure`: 99999999900018 has a wrong key: its last digit does not follow from the others; check it; 99999999900017 would be right
    space.toml:13:14: `operator.host.preference`: is a text; write a whole number, without quotes
    space.toml:21:10: legal entity 990000044 is not declared; add an [[entity]] section with this number
    space.toml:25:8: `operator.person.rpps`: "0199000001" is not an RPPS number: expected 11 digits; write something like "01990000018"
    space.toml:32:8: `operator.box.type`: "PERS" is not known; did you mean "PER"? Known: "PER", "ORG", "APP"
    space.toml:38:9: `operator.box.state`: is true or false; write one of the words it knows between quotes
    space.toml:47:10: the login opens no@lilas.mssante.fr, which is not declared; add a [[box]] section with this address to the same operator, or remove it here
    space.toml:52:12: `operator.login.password`: is not usable; write a text between quotes, on one line
    "#);
}

#[test]
fn fifteen_mistakes_in_a_gateway_come_back_at_once_with_their_lines() {
    let bad = r#"[operator]
hots = "mx.lilas.example"
domains = ["lilas.mssante.fr", "lilas..fr"]
size_max = "25 Mo"

[data]
folder = 3

[listen]
smtp = "0.0.0.0"
imap = "0.0.0.0:143"
imaps = "0.0.0.0:143"

[tls]
certificate = "a.pem"
key = "a.key"
client_key = "b.key"

[trust]
ca = []
allow_list = "list.xml"
missing_revocation = "ignore"
reload = "5"

[relay]
retry = ["5m", "1m"]
expiry = "90d"

[limits]
recipients_max = 10
connections_max = -1
"#;
    insta::assert_snapshot!(gateway_errors(bad), @r#"
    gateway.toml:1:1: key `operator.host` is missing; add it
    gateway.toml:2:1: unknown key `hots` in [operator]; did you mean `host`?
    gateway.toml:3:32: `operator.domains`: "lilas..fr" is not a domain name: labels of letters, digits and inner hyphens, separated by dots; write something like "ehpad-lilas.mssante.fr"
    gateway.toml:4:12: `operator.size_max`: "25 Mo" is not a size; write a whole number with a unit (B, kB, MB, GB of 1000, KiB, MiB, GiB of 1024): "25 MiB"
    gateway.toml:7:10: `data.folder`: is a whole number; write a path between quotes
    gateway.toml:10:8: `listen.smtp`: "0.0.0.0" is not an IP address with a port; write something like "0.0.0.0:25" or "[::]:25"
    gateway.toml:12:9: address 0.0.0.0:143 (`imaps`) is declared twice; remove one of the two; the other is on line 11
    gateway.toml:14:1: `client_certificate` and `client_key` go together; give both, or neither
    gateway.toml:20:6: `trust.ca` is empty; name at least one
    gateway.toml:22:22: `trust.missing_revocation`: "ignore" is not known; write one of "accept", "refuse"
    gateway.toml:23:10: `trust.reload`: "5" is not a duration; write numbers with a unit (ms, s, m, h, d): "30s", "5m", "1h30m", "2d"
    gateway.toml:26:16: `relay.retry` has a wait shorter than the one before; order the waits from the shortest to the longest
    gateway.toml:27:10: `relay.expiry` is "90d", out of range; give something from "1m" to "30d"
    gateway.toml:30:18: `limits.recipients_max` is 10, out of range; give something from 100 to 10000
    gateway.toml:31:19: `limits.connections_max`: -1 is out of range; write a whole number from 0 to 4294967295
    "#);
}

#[test]
fn a_file_that_is_not_toml_is_reported_the_same_way() {
    insta::assert_snapshot!(space_errors("[space]\nname = \"a\nweb = 1\n[space]\n"), @r#"
    space.toml:2:10: not valid TOML: invalid basic string, expected `"`; correct the syntax
    space.toml:4:2: not valid TOML: duplicate key; correct the syntax
    "#);
}

/// What is changed in a good file, and what the only complaint then says.
type Mistake = (&'static str, &'static str, &'static str);

/// Mistakes in [`SMALL`] with [`PEER`] and [`PATIENTS`].
const SPACE_MISTAKES: &[Mistake] = &[
    ("[space]\nname = \"small\"\n", "", "section [space] is missing"),
    ("name = \"small\"", "name = \"Small One\"", "cannot name files"),
    ("name = \"small\"", "name = \"small\"\nport_base = 80", "out of range"),
    (
        "name = \"small\"",
        "name = \"small\"\nweb = 11587",
        "port 11587 (`submission`) is declared twice",
    ),
    (
        "name = \"small\"",
        "name = \"small\"\naddress = \"localhost\"",
        "not an IP address",
    ),
    (
        "key = \"voisin\"",
        "key = \"lilas\"",
        "operator lilas is declared twice",
    ),
    (
        "[\"voisin.mssante.fr\"]",
        "[\"LILAS.mssante.fr\"]",
        "domain lilas.mssante.fr is declared twice",
    ),
    ("[\"voisin.mssante.fr\"]", "[]", "`operator.domains` is empty"),
    (
        "domains = [\"patient.mssante.fr\"]",
        "domains = [\"patient.mssante.fr\"]\npostmaster = \"279035121518989@patient.mssante.fr\"",
        "box 2790…989@patient.mssante.fr is not declared",
    ),
    (
        "kind = \"external\"",
        "kind = \"external\"\npostmaster = \"dui@lilas.mssante.fr\"",
        "unknown key `postmaster`",
    ),
    (
        "[\"voisin.mssante.fr\"]",
        "\"voisin.mssante.fr\"",
        "`operator.domains` is a text",
    ),
    (
        "mx.voisin.localhost",
        "mx.lilas.localhost",
        "host mx.lilas.localhost is declared twice",
    ),
    ("issue = true\n", "", "one of `issue = true` and `subject`"),
    (
        "issue = true\n",
        "issue = true\nsubject = \"CN=a\"\n",
        "one of `issue = true` and `subject`",
    ),
    ("reach = \"127.0.0.1:2525\"\n", "", "`operator.host.reach` is missing"),
    (
        "reach = \"127.0.0.1:2525\"\n",
        "reach = \"127.0.0.1:2525\"\nsmtp = 25\n",
        "unknown key `smtp`",
    ),
    (
        "key = \"lilas\"",
        "key = \"lilas\"\nkind = \"locale\"",
        "did you mean \"local\"?",
    ),
    (
        "\n[[operator.host]]\nname = \"mx.lilas.localhost\"\n",
        "",
        "the operator has no MX host",
    ),
    ("name = \"OPERATEUR DES LILAS\"\n", "", "`operator.name` is missing"),
    ("name = \"EHPAD Les Lilas\"\n", "name = \" \"\n", "is empty"),
    (
        "name = \"EHPAD Les Lilas\"\n",
        "name = \"E\"\npeople = { \"2026-13\" = 1 }\n",
        "\"2026-13\" is not a month",
    ),
    (
        "name = \"EHPAD Les Lilas\"\n",
        "name = \"E\"\npeople = 84\n",
        "`operator.establishment.people` is a whole",
    ),
    (
        "name = \"EHPAD Les Lilas\"\n",
        "name = \"E\"\npeople = { \"2026-11\" = -1 }\n",
        "-1 is out of range",
    ),
    (
        "[[operator.person]]",
        "[[operator.person]]\nrpps = \"01990000018\"\nfamily_name = \"B\"\ngiven_name = \"J\"\nprofession = \"infirmier\"\n[[operator.person]]",
        "person 01990000018 is declared twice",
    ),
    (
        "[[operator.login]]",
        "[[operator.box]]\naddress = \"a@chu.mssante.fr\"\ntype = \"ORG\"\nlabel = \"A\"\nentity = \"990000010\"\n[[operator.login]]",
        "none of this operator's domains",
    ),
    (
        "holder = \"01990000018\"",
        "holder = \"01990000026\"",
        "person 01990000026 is not declared",
    ),
    ("holder = \"01990000018\"\n", "", "belongs to nobody"),
    (
        "entity = \"990000010\"\ncounts_for = \"990000028\"\n",
        "",
        "belongs to nobody",
    ),
    (
        "entity = \"990000010\"\ncounts_for",
        "establishment = \"990000028\"\ncounts_for",
        "counts_for without entity",
    ),
    (
        "\ncounts_for = \"990000028\"",
        "\nestablishment = \"990000028\"",
        "to an establishment and to a legal entity",
    ),
    (
        "\ncounts_for = \"990000028\"",
        "\ncounts_for = \"990000036\"",
        "establishment 990000036 is not declared",
    ),
    (
        "entity = \"990000010\"\ncounts_for",
        "entity = \"990000044\"\ncounts_for",
        "legal entity 990000044 is not declared",
    ),
    (
        "\ncounts_for = \"990000028\"",
        "\nholder = \"01990000018\"",
        "only a PER box has a holder",
    ),
    ("name = \"jeanne\"", "name = \"dui\"", "login dui is declared twice"),
    ("name = \"jeanne\"", "name = \"../jeanne\"", "cannot name files"),
    ("password = \"sandbox\"\n", "", "`operator.login.password` is missing"),
    (
        "kind = \"certificate\"",
        "kind = \"certificate\"\nentity = \"990000044\"",
        "legal entity 990000044 is not",
    ),
    (
        "kind = \"certificate\"",
        "kind = \"certificate\"\nsubject = \"CN=a\"",
        "unknown key `subject`",
    ),
    ("kind = \"certificate\"\n", "", "`operator.login.kind` is missing"),
    (
        "boxes = [\"dui@lilas.mssante.fr\"]",
        "boxes = [\"jeanne.briard@lilas.mssante.fr\"]",
        "no structure to be issued to",
    ),
    (
        "boxes = [\"dui@lilas.mssante.fr\"]",
        "boxes = []",
        "`operator.login.boxes` is empty",
    ),
    (
        "boxes = [\"dui@lilas.mssante.fr\"]",
        "boxes = [\"du@lilas.mssante.fr\"]",
        "opens du@lilas.mssante.fr",
    ),
    (
        "domains = [\"patient.mssante.fr\"]",
        "domains = [\"patients.mssante.fr\"]",
        "not the domain patient.mssante.fr",
    ),
    ("ins = \"279035121518989\"", "ins = \"27903512151898\"", "not an INS"),
    (
        "given_name = \"DOMINIQUE\"\n",
        "",
        "`operator.patient.given_name` is missing",
    ),
    (
        "[[operator.patient]]",
        "[operator.patient]",
        "`operator.patient` is a section",
    ),
];

#[test]
fn each_check_of_a_space_refuses_its_mistake_and_nothing_else() {
    let good = format!("{SMALL}{PEER}{PATIENTS}");
    assert_eq!(space_errors(&good), "");
    for (from, to, complaint) in SPACE_MISTAKES {
        assert!(good.contains(from), "{from:?} is not in the good file");
        let errors = space_errors(&good.replacen(from, to, 1));
        assert!(
            errors.contains(complaint),
            "{to:?} should give {complaint:?}, gave:\n{errors}"
        );
        assert_eq!(
            errors.lines().count(),
            1,
            "{to:?} gave more than one complaint:\n{errors}"
        );
    }
}

#[test]
fn a_port_that_does_not_exist_is_refused_and_one_that_is_written_is_taken() {
    let high = SMALL.replace("name = \"small\"", "name = \"small\"\nport_base = 64000");
    let errors = space_errors(&high);
    assert!(errors.contains("no port for `imaps`: 65993 is not one"), "{errors}");
    assert!(space_errors(&SMALL.replace("domains", "imaps = 0\ndomains")).contains("no port for `imaps`"));
    let written = high.replace(
        "domains",
        "imaps = 2993\nimap = 2143\nsubmission = 2587\nsubmissions = 2465\ndomains",
    );
    assert_eq!(space_errors(&written), "");
}

#[test]
fn one_mistake_is_not_reported_again_where_it_is_referred_to() {
    for (from, to) in [
        ("address = \"dui@lilas.mssante.fr\"", "address = \"dui\""),
        ("rpps = \"01990000018\"", "rpps = \"01990000019\""),
        ("name = \"ASSOCIATION LES LILAS\"\n", ""),
        ("name = \"EHPAD Les Lilas\"\n", ""),
        ("domains = [\"lilas.mssante.fr\"]\n", ""),
    ] {
        let errors = space_errors(&SMALL.replacen(from, to, 1));
        assert_eq!(errors.lines().count(), 1, "{from:?}:\n{errors}");
    }
}

#[test]
fn nothing_is_declared_twice_whichever_operator_does() {
    let other = |text: &str| {
        text.replace("\"lilas\"", "\"chu\"")
            .replace("lilas.localhost", "chu.localhost")
            .replace("[\"lilas.mssante.fr\"]", "[\"chu.mssante.fr\"]")
            .replace("[space]\nname = \"small\"\n", "")
    };
    let apart = other(SMALL).replace("@lilas.mssante.fr", "@chu.mssante.fr");
    // Two operators may know the same structures and people.
    assert_eq!(space_errors(&format!("{SMALL}{apart}")), "");

    let moved = apart.replace(
        "[[operator.establishment]]\nfiness = \"990000028\"\nentity = \"990000010\"",
        "[[operator.entity]]\nfiness = \"990000044\"\nname = \"X\"\n[[operator.establishment]]\nfiness = \"990000028\"\nentity = \"990000044\"",
    );
    let errors = space_errors(&format!("{SMALL}{moved}"));
    assert!(
        errors.contains("establishment 990000028 belongs to entity 990000010 on line 19 and to 990000044"),
        "{errors}"
    );

    let both = SMALL.replacen("finess = \"990000028\"", "finess = \"990000010\"", 1);
    assert!(space_errors(&both).contains("both a legal entity (EJ) and an establishment (EG)"));

    let twice = SMALL.replace("address = \"dui@", "address = \"Jeanne.Briard@");
    let errors = space_errors(&twice);
    assert!(
        errors.contains(
            "box Jeanne.Briard@lilas.mssante.fr is declared twice; remove one of the two; the other is on line 30"
        ),
        "{errors}"
    );

    let users = SMALL.replace(
        "kind = \"certificate\"\nboxes",
        "kind = \"password\"\npassword = \"x\"\nuser = \"JEANNE.briard@lilas.mssante.fr\"\nboxes",
    );
    assert!(space_errors(&users).contains("is declared twice"));
}

#[test]
fn what_is_odd_but_playable_is_a_warning() {
    let warnings = |text: &str| -> Vec<String> {
        let (_, warnings) = Space::parse(text, "space.toml").unwrap();
        warnings.iter().map(ToString::to_string).collect()
    };
    let published = format!("{SMALL}{PATIENTS}").replace("279035121518989", "223042545611404");
    let [postmaster, ins] = &warnings(&published)[..] else {
        panic!("two warnings");
    };
    assert!(postmaster.contains("postmaster at patient.mssante.fr"), "{postmaster}");
    assert!(ins.contains("wrong key") && !ins.contains("223042545611404"), "{ins}");
    let open = SMALL.replace("name = \"small\"", "name = \"small\"\naddress = \"0.0.0.0\"");
    assert!(warnings(&open)[0].starts_with("space.toml:3:11: warning: 0.0.0.0 is not a loopback"));
    let long = SMALL.replace("label = \"DUI\"", &format!("label = \"{}\"", "D".repeat(76)));
    assert_eq!(warnings(&long).len(), 1);
    let fits = SMALL.replace("label = \"DUI\"", &format!("label = \"{}\"", "D".repeat(75)));
    assert_eq!(warnings(&fits).len(), 0);
}

#[test]
fn the_example_gateway_is_good_and_its_values_are_the_documented_ones() {
    let gateway = example();
    assert_eq!(gateway.host.as_str(), "mx.lilas.example");
    assert_eq!(gateway.size_bytes_max, 25 << 20);
    assert_eq!(gateway.data_folder, Path::new("/var/lib/vaguemestre"));
    assert_eq!(gateway.tls.server.certificate, Path::new("config/tls/server.pem"));
    assert_eq!(gateway.listen.smtp.unwrap().port(), 25);
    assert_eq!(gateway.relay.routes[0].hosts.len(), 2);
    assert_eq!(gateway.limits, Limits::default());
    let directory = gateway
        .directory(|login| Some(subject(&format!("CN={}", login.name))))
        .unwrap();
    assert_eq!(directory.boxes().count(), 3);
    let noreply = [address("noreply@ehpad-lilas.mssante.fr")];
    assert_eq!(directory.boxes_of_certificate(&subject("CN=dui-secours")), noreply);
}

#[test]
fn a_gateway_that_says_only_what_is_required_gets_the_documented_defaults() {
    let text = r#"
        [operator]
        host = "mx.lilas.example"
        domains = ["ehpad-lilas.mssante.fr"]
        [data]
        folder = "/var/lib/vaguemestre"
        [listen]
        smtp = "127.0.0.1:2525"
        [tls]
        certificate = "tls/server.pem"
        key = "tls/server.key"
        [trust]
        ca = ["trust/ca.pem"]
        allow_list = "trust/allow-list.xml"
    "#;
    let (gateway, warnings) = Gateway::parse(text, "config/gateway.toml").unwrap();
    assert_eq!(warnings.len(), 1, "postmaster has a test of its own: {warnings:?}");
    let documented = example();
    let bare = Relay {
        routes: Vec::new(),
        ..documented.relay
    };
    assert_eq!(gateway.relay, bare);
    assert_eq!(gateway.limits, documented.limits);
    assert_eq!(gateway.size_bytes_max, documented.size_bytes_max);
    assert_eq!(gateway.tls, documented.tls);
    assert_eq!(gateway.trust.revocation, documented.trust.revocation);
    assert_eq!(gateway.trust.reload, Duration::from_mins(1));
    assert_eq!(gateway.listen.web, None);
}

/// Mistakes in the example of a gateway.
const GATEWAY_MISTAKES: &[Mistake] = &[
    ("host = \"mx.lilas.example\"", "", "`operator.host` is missing"),
    (
        "\"ssiad-lilas.mssante.fr\"]",
        "\"EHPAD-lilas.mssante.fr\"]",
        "domain ehpad-lilas.mssante.fr is declared twice",
    ),
    (
        "size_max = \"25 MiB\"",
        "size_max = \"1 KiB\"",
        "`operator.size_max` is \"1 KiB\", out of range; give something from \"64 KiB\" to \"1 GiB\"",
    ),
    ("size_max = \"25 MiB\"", "size_max = 25", "is a whole number"),
    (
        "postmaster = \"soins@",
        "postmaster = \"soin@",
        "box soin@ehpad-lilas.mssante.fr is not declared; name a box of this operator that somebody reads",
    ),
    ("postmaster = \"soins@", "postmaster = \"@", "`operator.postmaster`"),
    (
        "label = \"Soins EHPAD Les Lilas\"",
        "label = \"Soins EHPAD Les Lilas\"\nstate = \"closed\"",
        "box soins@ehpad-lilas.mssante.fr is closed for good; name a box of this operator that takes mail",
    ),
    ("folder = \"/var/lib/vaguemestre\"", "folder = \"\"", "is not a path"),
    (
        "imaps = \"0.0.0.0:993\"",
        "imaps = \"0.0.0.0:143\"",
        "address 0.0.0.0:143 (`imaps`) is declared twice",
    ),
    ("#client_certificate", "client_certificate", "go together"),
    ("#client_key", "client_key", "go together"),
    ("version_min = \"1.2\"", "version_min = \"1.1\"", "\"1.1\" is not known"),
    ("ca = [\"trust/ca.pem\"]", "ca = []", "`trust.ca` is empty"),
    (
        "missing_revocation = \"refuse\"",
        "missing_revocation = \"refused\"",
        "did you mean \"refuse\"?",
    ),
    (
        "reload = \"1m\"",
        "reload = \"0s\"",
        "`trust.reload` is \"0ms\", out of range",
    ),
    (
        "retry = [\"1m\", \"5m\",",
        "retry = [\"6m\", \"5m\",",
        "shorter than the one before",
    ),
    ("retry = [\"1m\",", "retry = [\"10ms\",", "below one second"),
    ("expiry = \"2d\"", "expiry = \"2 days\"", "is not a duration"),
    ("port = 25", "port = 0", "`relay.port` is 0, out of range"),
    ("port = 25", "port = 65536", "65536 is out of range"),
    (
        "#resolvers = [\"192.0.2.53:53\"]",
        "resolvers = [\"192.0.2.53\"]",
        "not an IP address with a port",
    ),
    ("allow_remote = true", "allow_remote = \"true\"", "is a text"),
    (
        "[\"mx1.chu.example:25\"",
        "[\"mx1.chu.example\"",
        "not a host with a port",
    ),
    (
        "recipients_max = 100",
        "recipients_max = 99",
        "out of range; give something from 100 to 10000",
    ),
    (
        "subject = \"CN=dui-ehpad",
        "#subject = \"CN=dui-ehpad",
        "needs one of `subject` and `certificate`",
    ),
    ("[listen]", "[listens]", "section [listen] is missing"),
];

#[test]
fn each_check_of_a_gateway_refuses_its_mistake_and_nothing_else() {
    let good = Gateway::EXAMPLE_TEXT;
    assert_eq!(gateway_errors(good), "");
    for (from, to, complaint) in GATEWAY_MISTAKES {
        assert!(good.contains(from), "{from:?} is not in the example");
        let errors = gateway_errors(&good.replacen(from, to, 1));
        assert!(
            errors.contains(complaint),
            "{to:?} should give {complaint:?}, gave:\n{errors}"
        );
        let allowed = if *to == "[listens]" { 2 } else { 1 };
        assert_eq!(
            errors.lines().count(),
            allowed,
            "{to:?} gave other complaints:\n{errors}"
        );
    }
}

#[test]
fn a_risky_gateway_is_warned_about() {
    let warned = |from: &str, to: &str| {
        let (_, warnings) = Gateway::parse(&Gateway::EXAMPLE_TEXT.replacen(from, to, 1), "gateway.toml").unwrap();
        warnings.len()
    };
    assert_eq!(
        warned("missing_revocation = \"refuse\"", "missing_revocation = \"accept\""),
        1
    );
    assert_eq!(warned("web = \"127.0.0.1:8080\"", "web = \"0.0.0.0:8080\""), 1);
    assert_eq!(warned("web = \"127.0.0.1:8080\"", "web = \"[::1]:8080\""), 0);
}

#[test]
fn domains_whose_postmaster_nobody_reads_are_warned_about() {
    let warned = |from: &str, to: &str| -> Vec<String> {
        assert!(Gateway::EXAMPLE_TEXT.contains(from), "{from}");
        let (_, warnings) = Gateway::parse(&Gateway::EXAMPLE_TEXT.replacen(from, to, 1), "gateway.toml").unwrap();
        warnings.iter().map(ToString::to_string).collect()
    };
    let named = "postmaster = \"soins@ehpad-lilas.mssante.fr\"\n";
    assert_eq!(
        warned(named, ""),
        [
            "gateway.toml:10:1: warning: nobody reads what is written to postmaster at ehpad-lilas.mssante.fr, ssiad-lilas.mssante.fr, and it \
          is refused; RFC 5321 §4.5.1 wants it taken: name a box under `postmaster`"
        ]
    );
    assert_eq!(warned(named, named), [""; 0]);
    // A box of that name reads its own domain's mail.
    let own = "[[box]]\naddress = \"POSTMASTER@ssiad-lilas.mssante.fr\"\ntype = \"ORG\"\nlabel = \"Exploitation\"\nentity = \"990000010\"\n";
    let text = Gateway::EXAMPLE_TEXT.replacen(named, "", 1);
    let (_, warnings) = Gateway::parse(&format!("{text}\n{own}"), "gateway.toml").unwrap();
    assert_eq!(warnings.len(), 1);
    assert!(
        warnings[0]
            .to_string()
            .contains("at ehpad-lilas.mssante.fr, and it is refused"),
        "{warnings:?}"
    );
    // So does every operator of the default space.
    for operator in default_space().operators {
        let directory = operator.directory(|_| None).unwrap();
        for domain in &operator.domains {
            let to = address(&format!("PostMaster@{domain}"));
            assert!(directory.receiver(&to).is_some(), "{to}");
        }
    }
}

/// The example with its optional keys turned on.
fn with_optional_keys(text: &str) -> String {
    let turn_on = |line: &str| match line.strip_prefix('#') {
        Some(rest) if rest.starts_with(|c: char| c.is_ascii_lowercase()) => rest.to_owned(),
        _ => line.to_owned(),
    };
    text.lines().map(turn_on).collect::<Vec<_>>().join("\n")
}

/// Every key path of a file; the keys of `people` are months, hence data.
fn paths(table: &DeTable<'_>, prefix: &str, found: &mut BTreeSet<String>) {
    for (key, value) in table {
        let path = format!("{prefix}{}", key.get_ref());
        found.insert(path.clone());
        let prefix = format!("{path}.");
        match value.get_ref() {
            DeValue::Table(inner) if !path.ends_with("people") => paths(inner, &prefix, found),
            DeValue::Array(items) => {
                for inner in items.iter().filter_map(|item| match item.get_ref() {
                    DeValue::Table(inner) => Some(inner),
                    _ => None,
                }) {
                    paths(inner, &prefix, found);
                }
            }
            _ => {}
        }
    }
}

#[test]
fn the_example_documents_every_key_that_is_known_and_no_other() {
    let text = with_optional_keys(Gateway::EXAMPLE_TEXT);
    let mut known = BTreeSet::new();
    let read = reader::read(&text, "gateway.toml", |root| {
        let gateway = Gateway::read(root);
        known = root.known();
        gateway
    });
    assert!(read.is_ok(), "{}", read.unwrap_err());
    let mut documented = BTreeSet::new();
    paths(DeTable::parse(&text).unwrap().get_ref(), "", &mut documented);
    assert_eq!(known, documented);
}

#[test]
fn every_key_of_the_example_is_explained_where_it_first_appears() {
    let lines: Vec<&str> = Gateway::EXAMPLE_TEXT.lines().collect();
    let mut explained: BTreeMap<String, bool> = BTreeMap::new();
    let mut section = "";
    for (index, line) in lines.iter().enumerate() {
        if line.starts_with('[') {
            section = line.trim_matches(['[', ']']);
        }
        let bare = line.strip_prefix('#').unwrap_or(line);
        let Some((key, _)) = bare.split_once(" = ") else {
            continue;
        };
        if key.is_empty() || !key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') {
            continue;
        }
        let above = index > 0 && lines[index - 1].starts_with("# ");
        explained.entry(format!("{section}.{key}")).or_insert(above);
    }
    let bare: Vec<_> = explained.iter().filter(|(_, above)| !**above).collect();
    assert!(explained.len() > 60 && bare.is_empty(), "no comment above {bare:?}");
}

#[test]
fn an_unknown_key_is_found_in_every_section() {
    let headers = |text: &str| text.lines().filter(|line| line.starts_with('[')).count();
    let with_stray = |text: &str, nth: usize| {
        let mut seen = 0;
        let lines = text.lines().map(|line| {
            seen += usize::from(line.starts_with('['));
            let here = line.starts_with('[') && seen == nth + 1;
            if here {
                format!("{line}\nzebra = 1")
            } else {
                line.to_owned()
            }
        });
        lines.collect::<Vec<_>>().join("\n")
    };
    let space = format!("{SMALL}{PEER}{PATIENTS}");
    for nth in 0..headers(&space) {
        let errors = space_errors(&with_stray(&space, nth));
        assert_eq!(
            errors.matches("unknown key `zebra`").count(),
            1,
            "section {nth}: {errors}"
        );
    }
    for nth in 0..headers(Gateway::EXAMPLE_TEXT) {
        let errors = gateway_errors(&with_stray(Gateway::EXAMPLE_TEXT, nth));
        assert_eq!(
            errors.matches("unknown key `zebra`").count(),
            1,
            "section {nth}: {errors}"
        );
    }
}

#[test]
fn the_files_that_a_gateway_names_are_checked_apart() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let text = Gateway::EXAMPLE_TEXT.replace("/var/lib/vaguemestre", data.to_str().unwrap());
    let config = folder.path().join("gateway.toml");
    std::fs::write(&config, text).unwrap();
    let (gateway, _) = Gateway::load(&config).unwrap();

    let missing = gateway.verify_files().unwrap_err();
    let keys: Vec<&str> = missing
        .errors()
        .iter()
        .map(|error| error.problem.split('`').nth(1).unwrap())
        .collect();
    assert_eq!(
        keys,
        [
            "tls.certificate",
            "tls.key",
            "trust.ca",
            "trust.crl",
            "trust.allow_list",
            "login.certificate"
        ]
    );
    let at = &missing.errors()[0].place;
    assert_eq!(
        Gateway::EXAMPLE_TEXT.lines().nth(at.line - 1),
        Some("certificate = \"tls/server.pem\"")
    );

    for file in [
        "tls/server.pem",
        "tls/server.key",
        "trust/ca.pem",
        "trust/aci.crl",
        "trust/allow-list.xml",
        "logins/dui-secours.pem",
    ] {
        let path = folder.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "x").unwrap();
    }
    assert_eq!(gateway.verify_files(), Ok(()));

    std::fs::write(folder.path().join("tls/server.key"), "").unwrap();
    std::fs::write(&data, "x").unwrap();
    let errors = gateway.verify_files().unwrap_err().to_string();
    assert!(
        errors.contains("server.key is empty") && errors.contains("data is a file"),
        "{errors}"
    );
}

#[test]
fn a_file_that_cannot_be_read_is_reported_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let missing = Space::load(&folder.path().join("none.toml")).unwrap_err().to_string();
    assert!(missing.contains("none.toml:1:1: cannot be read"), "{missing}");
    assert!(
        Space::load(folder.path())
            .unwrap_err()
            .to_string()
            .contains("is a folder")
    );
    let latin = folder.path().join("latin.toml");
    std::fs::write(&latin, b"[space]\nname = \"\xe9\"").unwrap();
    assert!(Gateway::load(&latin).unwrap_err().to_string().contains("is not UTF-8"));
    std::fs::write(&latin, SMALL).unwrap();
    assert!(Space::load(&latin).is_ok());
}

#[test]
fn a_secret_shows_in_no_error_and_no_debug_output() {
    let bad = SMALL.replace("password = \"sandbox\"", "password = \"hush\\nhush\"\nuser = 1");
    assert!(!space_errors(&bad).contains("hush"));
    let (space, _) = Space::parse(&SMALL.replace("\"sandbox\"", "\"hushhush\""), "space.toml").unwrap();
    assert!(!format!("{space:?}").contains("hushhush"));
}

#[test]
fn an_absurd_file_gives_a_bounded_answer() {
    let many = format!("{SMALL}{}", "[[operator]]\n".repeat(5_000));
    let errors = Space::parse(&many, "space.toml").unwrap_err();
    assert!(errors.errors().len() <= 200);
    let deep = format!("a = {}", "[".repeat(50_000));
    assert!(Space::parse(&deep, "space.toml").is_err());
    let large = " ".repeat((16 << 20) + 1);
    assert!(Space::parse(&large, "space.toml").is_err());
}

/// A good file with some lines taken out, some doubled and some bytes changed.
fn mangled(text: &'static str) -> impl Strategy<Value = String> {
    let lines = text.lines().count();
    let removed = prop::collection::vec(0..lines, 0..6);
    let doubled = prop::collection::vec(0..lines, 0..3);
    let flipped = prop::collection::vec((0..text.len(), any::<u8>()), 0..8);
    (removed, doubled, flipped).prop_map(move |(removed, doubled, flipped)| {
        let mut bytes = text.as_bytes().to_vec();
        for (place, byte) in flipped {
            bytes[place] = byte;
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let kept = text.lines().enumerate().filter(|(line, _)| !removed.contains(line));
        let lines =
            kept.flat_map(|(line, content)| std::iter::repeat_n(content, 1 + usize::from(doubled.contains(&line))));
        lines.collect::<Vec<_>>().join("\n")
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_mangled_space_is_read_or_refused_but_never_panics(text in mangled(Space::DEFAULT_TEXT)) {
        if let Err(errors) = Space::parse(&text, "space.toml") {
            let lines = text.lines().count().max(1);
            prop_assert!(!errors.errors().is_empty());
            prop_assert!(errors.errors().iter().all(|error| (1..=lines + 1).contains(&error.place.line)));
            prop_assert!(errors.errors().is_sorted());
        }
    }

    #[test]
    fn a_mangled_gateway_is_read_or_refused_but_never_panics(text in mangled(Gateway::EXAMPLE_TEXT)) {
        if let Err(errors) = Gateway::parse(&text, "gateway.toml") {
            prop_assert!(!errors.errors().is_empty());
        }
    }

    #[test]
    fn any_text_is_answered(text in "\\PC{0,200}") {
        prop_assert!(Space::parse(&text, "space.toml").is_err());
        prop_assert!(Gateway::parse(&text, "gateway.toml").is_err());
    }
}
