//! SEARCH, SORT and THREAD as transcripts, and the promise that an index changes nothing but the time they take.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::*;
use crate::mailbox::care::search_index;
use crate::mailbox::{Indexer, IndexerOptions};
use crate::store::sqlite::search::SearchIndex;
use crate::store::sqlite::verify::Depth;
use crate::store::sqlite::{Options as StoreOptions, SqliteStore};

const THREE: &str = "From: Zoe <zoe@x.fr>\r\nTo: Bob <b@x.fr>\r\nSubject: Re: one\r\nMessage-ID: <3@x>\r\nReferences: <1@x>\r\n\
                     Date: Sat, 21 Nov 2026 08:00:00 +0000\r\n\r\nThird aiguille\r\n";
const FOUR: &str = "From: alice@x.fr\r\nTo: c@x.fr\r\nSubject: one\r\nMessage-ID: <1@x>\r\n\r\nFourth\r\n";

async fn filled() -> (Mailboxes, Client) {
    let (_, mailboxes) = world();
    let mut c = Client::selected(&mailboxes).await;
    for message in [ONE, TWO, THREE, FOUR] {
        c.append(message).await;
    }
    (mailboxes, c)
}

#[tokio::test]
async fn results_are_told_as_the_client_asks() {
    let (_, mut c) = filled().await;
    assert_eq!(
        c.say("a SEARCH RETURN () SUBJECT one").await,
        "* ESEARCH (TAG \"a\") ALL 1,3:4\r\na OK searched\r\n"
    );
    assert_eq!(
        c.say("b UID SEARCH RETURN (MIN MAX COUNT ALL) FROM x.fr").await,
        "* ESEARCH (TAG \"b\") UID MIN 3 MAX 4 COUNT 2 ALL 3:4\r\nb OK searched\r\n"
    );
    assert_eq!(
        c.say("c SEARCH RETURN (MIN MAX COUNT ALL) TEXT nowhere").await,
        "* ESEARCH (TAG \"c\") COUNT 0\r\nc OK searched\r\n"
    );
    assert_eq!(
        c.say("d UID SEARCH RETURN (PARTIAL -1:-2) ALL").await,
        "* ESEARCH (TAG \"d\") UID PARTIAL (-1:-2 3:4)\r\nd OK searched\r\n"
    );
    assert_eq!(
        c.say("e SEARCH RETURN (PARTIAL 9:12 COUNT) ALL").await,
        "* ESEARCH (TAG \"e\") PARTIAL (9:12 NIL) COUNT 4\r\ne OK searched\r\n"
    );
    assert_eq!(
        c.say("f SEARCH NOT TEXT nowhere").await,
        "* SEARCH 1 2 3 4\r\nf OK searched\r\n"
    );
}

#[tokio::test]
async fn imap4rev2_always_has_the_extended_answer() {
    let (_, mut c) = filled().await;
    let enabled = c.say("a ENABLE IMAP4rev2").await;
    assert_eq!(enabled, "* ENABLED IMAP4rev2\r\na OK done\r\n");
    assert_eq!(
        c.say("b SEARCH SUBJECT one").await,
        "* ESEARCH (TAG \"b\") ALL 1,3:4\r\nb OK searched\r\n"
    );
    assert_eq!(
        c.say("c SEARCH TEXT nowhere").await,
        "* ESEARCH (TAG \"c\")\r\nc OK searched\r\n"
    );
}

#[tokio::test]
async fn a_result_can_be_saved_and_used() {
    let (_, mut c) = filled().await;
    assert_eq!(
        c.say("a SEARCH $").await,
        "* SEARCH\r\na OK searched\r\n",
        "empty at first"
    );
    assert_eq!(c.say("b SEARCH RETURN (SAVE) SUBJECT one").await, "b OK searched\r\n");
    assert_eq!(
        c.say("c UID SEARCH UID $ FROM x.fr").await,
        "* SEARCH 3 4\r\nc OK searched\r\n"
    );
    assert_eq!(
        c.say("d FETCH $ UID").await,
        "* 1 FETCH (UID 1)\r\n* 3 FETCH (UID 3)\r\n* 4 FETCH (UID 4)\r\nd OK fetched\r\n"
    );
    assert_eq!(
        c.say("e SEARCH RETURN (SAVE MIN) $").await,
        "* ESEARCH (TAG \"e\") MIN 1\r\ne OK searched\r\n"
    );
    assert_eq!(
        c.say("f SEARCH NOT $").await,
        "* SEARCH 2 3 4\r\nf OK searched\r\n",
        "only the one that was told"
    );
    c.say("g SEARCH RETURN (SAVE) ALL").await;
    c.say("h STORE 1 +FLAGS.SILENT (\\Deleted)").await;
    assert_eq!(c.say("i EXPUNGE").await, "* 1 EXPUNGE\r\ni OK expunged\r\n");
    assert_eq!(c.say("j SEARCH $").await, "* SEARCH 1 2 3\r\nj OK searched\r\n");
    assert_eq!(
        c.say("k SEARCH RETURN (SAVE) CHARSET KOI8-R ALL").await,
        "k NO [BADCHARSET (US-ASCII UTF-8)] unknown charset\r\n"
    );
    assert_eq!(
        c.say("l SEARCH $").await,
        "* SEARCH\r\nl OK searched\r\n",
        "a search that fails leaves nothing"
    );
    c.say("l SEARCH RETURN (SAVE) ALL").await;
    assert_eq!(
        c.say("l SORT RETURN (SAVE) (SUBJECT) KOI8-R ALL").await,
        "l NO [BADCHARSET (US-ASCII UTF-8)] unknown charset\r\n"
    );
    assert_eq!(
        c.say("l SEARCH $").await,
        "* SEARCH\r\nl OK searched\r\n",
        "nor does a sort"
    );
    c.say("m SEARCH RETURN (SAVE) ALL").await;
    c.say("n SELECT INBOX").await;
    assert_eq!(
        c.say("o SEARCH $").await,
        "* SEARCH\r\no OK searched\r\n",
        "nor does a folder selected anew"
    );
}

#[tokio::test]
async fn messages_are_sorted_and_threaded() {
    let (_, mut c) = filled().await;
    let utf8 = |keys: &str| format!("a SORT ({keys}) UTF-8 ALL");
    assert_eq!(c.say(&utf8("SUBJECT")).await, "* SORT 1 3 4 2\r\na OK searched\r\n");
    assert_eq!(
        c.say(&utf8("REVERSE SUBJECT FROM")).await,
        "* SORT 2 1 4 3\r\na OK searched\r\n"
    );
    assert_eq!(c.say(&utf8("SIZE")).await, "* SORT 1 4 2 3\r\na OK searched\r\n");
    assert_eq!(c.say(&utf8("DISPLAYFROM")).await, "* SORT 1 4 2 3\r\na OK searched\r\n");
    assert_eq!(c.say(&utf8("DATE")).await, "* SORT 2 3 1 4\r\na OK searched\r\n");
    assert_eq!(
        c.say("b UID SORT (REVERSE ARRIVAL) US-ASCII FROM x.fr").await,
        "* SORT 3 4\r\nb OK searched\r\n"
    );
    assert_eq!(
        c.say("d UID SORT RETURN (COUNT MIN MAX PARTIAL 2:3) (REVERSE SUBJECT) UTF-8 ALL")
            .await,
        "* ESEARCH (TAG \"d\") UID COUNT 4 MIN 2 MAX 4 PARTIAL (2:3 1,3)\r\nd OK searched\r\n"
    );
    assert_eq!(
        c.say("e THREAD REFERENCES UTF-8 ALL").await,
        "* THREAD (2)((1)(4 3))\r\ne OK threaded\r\n"
    );
    assert_eq!(
        c.say("f UID THREAD ORDEREDSUBJECT UTF-8 NOT UID 1").await,
        "* THREAD (2)(3 4)\r\nf OK threaded\r\n"
    );
    assert_eq!(
        c.say("g THREAD REFERENCES UTF-8 TEXT nowhere").await,
        "* THREAD\r\ng OK threaded\r\n"
    );
    assert_eq!(
        c.say("h THREAD REFS UTF-8 ALL").await,
        "h BAD unknown threading algorithm\r\n"
    );
    assert_eq!(
        c.say("i SORT (SUBJECT) KOI8-R ALL").await,
        "i NO [BADCHARSET (US-ASCII UTF-8)] unknown charset\r\n"
    );
}

#[tokio::test]
async fn dates_ages_and_sequences_of_changes_are_keys() {
    let (_, mut c) = filled().await;
    // TWO was sent on the 20th in its own zone; ONE and FOUR have no date.
    assert_eq!(
        c.say("a SEARCH SENTON 20-Nov-2026").await,
        "* SEARCH 2\r\na OK searched\r\n"
    );
    assert_eq!(
        c.say("b SEARCH NOT SENTBEFORE 1-Jan-2030").await,
        "* SEARCH 1 4\r\nb OK searched\r\n"
    );
    assert_eq!(
        c.say("c SEARCH OR SENTSINCE 21-Nov-2026 BODY Hello").await,
        "* SEARCH 1 3\r\nc OK searched\r\n"
    );
    assert_eq!(
        c.say("d SEARCH YOUNGER 60").await,
        "* SEARCH 1 2 3 4\r\nd OK searched\r\n"
    );
    assert_eq!(c.say("e SEARCH OLDER 1").await, "* SEARCH\r\ne OK searched\r\n");
    assert_eq!(
        c.say("f SEARCH MODSEQ 4").await,
        "* SEARCH 3 4 (MODSEQ 5)\r\nf OK searched\r\n"
    );
    assert_eq!(
        c.say("g SEARCH RETURN (MIN) MODSEQ 4").await,
        "* ESEARCH (TAG \"g\") MIN 3 MODSEQ 4\r\ng OK searched\r\n"
    );
    assert_eq!(c.say("h SEARCH MODSEQ 999").await, "* SEARCH\r\nh OK searched\r\n");
    assert_eq!(c.say("i SEARCH THREADID T1").await, "* SEARCH\r\ni OK searched\r\n");
}

#[tokio::test]
async fn messages_are_found_by_their_names_and_by_when_they_came() {
    let (_, mut c) = filled().await;
    let told = c.say("a FETCH 2 EMAILID").await;
    let name = told.split(['(', ')']).nth(2).unwrap();
    let found = |tag: &str| format!("* SEARCH 2\r\n{tag} OK searched\r\n");
    assert_eq!(c.say(&format!("b SEARCH EMAILID {name}")).await, found("b"));
    assert_eq!(c.say("c SEARCH EMAILID M999").await, "* SEARCH\r\nc OK searched\r\n");
    let all = |tag: &str| format!("* SEARCH 1 2 3 4\r\n{tag} OK searched\r\n");
    assert_eq!(c.say("d SEARCH SAVEDATESUPPORTED").await, all("d"));
    assert_eq!(c.say("e SEARCH SAVEDSINCE 1-Jan-2020").await, all("e"));
    assert_eq!(
        c.say("f SEARCH SAVEDBEFORE 1-Jan-2020").await,
        "* SEARCH\r\nf OK searched\r\n"
    );
}

#[tokio::test]
async fn an_empty_text_is_everywhere_and_an_empty_header_text_where_the_field_is() {
    let (_, mut c) = filled().await;
    assert_eq!(
        c.say("a SEARCH TEXT \"\" BODY \"\"").await,
        "* SEARCH 1 2 3 4\r\na OK searched\r\n"
    );
    assert_eq!(
        c.say("b SEARCH HEADER X-TUID \"\"").await,
        "* SEARCH 1\r\nb OK searched\r\n"
    );
    assert_eq!(
        c.say("c SEARCH HEADER Date \"\"").await,
        "* SEARCH 2 3\r\nc OK searched\r\n"
    );
    let e_acute = "d SEARCH CHARSET UTF-8 SUBJECT {9+}\r\nRÉSULT";
    assert!(
        c.say(&e_acute.replace("{9+}", "{7+}"))
            .await
            .starts_with("* SEARCH 2\r\n")
    );
    c.session.feed(b"e SEARCH CHARSET UTF-8 SUBJECT {1+}\r\n\xE9");
    assert_eq!(c.say("").await, "e BAD the text is not in that charset\r\n");
}

/// A store on disk with one folder, seen by a session with an index and by one without.
struct Twins {
    indexer: Indexer,
    with: Client,
    without: Client,
}

impl Twins {
    async fn new(folder: &std::path::Path) -> Self {
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(folder, StoreOptions::default()).unwrap());
        let notify = Notify::default();
        let index = Arc::new(SearchIndex::open(folder).unwrap());
        let without = Mailboxes::new(Arc::clone(&store), notify.clone());
        let with = without.clone().with_index(Arc::clone(&index));
        let options = IndexerOptions {
            message_bytes_max: 600,
            ..IndexerOptions::default()
        };
        Self {
            indexer: Indexer::new(store, index, notify, options),
            with: Client::selected(&with).await,
            without: Client::selected(&without).await,
        }
    }

    async fn compare(&mut self, command: &str) {
        self.with.say("n NOOP").await;
        self.without.say("n NOOP").await;
        assert_eq!(
            self.with.say(command).await,
            self.without.say(command).await,
            "{command}"
        );
    }
}

#[tokio::test]
async fn an_index_that_says_something_else_is_found_and_filled_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut twins = Twins::new(folder.path()).await;
    for n in 0..140 {
        twins
            .with
            .append(&format!("Subject: lettre {n}\r\n\r\nmot{n}\r\n"))
            .await;
    }
    twins.indexer.catch_up().await.unwrap();
    let store = twins.with.boxes.store_for_tests();
    let checked = async |depth| search_index(store.as_ref(), folder.path(), depth).await.unwrap();
    assert_eq!(checked(Depth::Bytes).await, None);
    for (damage, is_in_rows, what) in [
        (
            "UPDATE fact SET message = message + 1 WHERE key = (SELECT max(key) FROM fact)",
            true,
            "another message",
        ),
        (
            "UPDATE fact SET facts = x'00' WHERE key = (SELECT min(key) FROM fact)",
            false,
            "something else",
        ),
        (
            "UPDATE text SET text = x'41' WHERE key = (SELECT min(key) FROM text)",
            false,
            "something else",
        ),
        (
            "DELETE FROM posting WHERE trigram = (SELECT min(trigram) FROM posting)",
            true,
            "would not be found",
        ),
        ("DROP TABLE text", true, "no such table"),
    ] {
        let db = rusqlite::Connection::open(folder.path().join("search.db")).unwrap();
        db.execute_batch(damage).unwrap();
        drop(db);
        let found = checked(Depth::Bytes).await.unwrap();
        assert!(found.contains(what), "{damage}: {found}");
        assert_eq!(checked(Depth::Rows).await.is_some(), is_in_rows, "{damage}");
        SearchIndex::reset(folder.path()).unwrap();
        let marks = store.folder_marks().await.unwrap();
        twins
            .with
            .boxes
            .notify_for_tests()
            .index_emptied(marks.into_iter().map(|(key, _)| key));
        twins.indexer.follow_touched().await.unwrap();
        assert_eq!(checked(Depth::Bytes).await, None, "{damage}");
        twins.compare("a SEARCH TEXT mot7").await;
    }
    // A file that is no database, and none at all.
    let other = tempfile::tempdir().unwrap();
    assert_eq!(
        search_index(store.as_ref(), other.path(), Depth::Rows).await.unwrap(),
        None
    );
    std::fs::write(other.path().join("search.db"), vec![7; 20_000]).unwrap();
    assert!(
        search_index(store.as_ref(), other.path(), Depth::Rows)
            .await
            .unwrap()
            .is_some()
    );
}

fn words() -> impl Strategy<Value = String> {
    let word = proptest::sample::select(vec![
        "bilan",
        "aiguille",
        "é",
        "É",
        "a",
        "ab",
        "compte rendu",
        "=?x",
        "re: ",
        "[l] ",
    ]);
    proptest::collection::vec(word, 0..5).prop_map(|words| words.join(" "))
}

fn message() -> impl Strategy<Value = String> {
    let kinds = proptest::sample::select(vec![
        "Content-Type: text/plain; charset=utf-8\r\n\r\nBODY\r\n",
        "Content-Type: text/html; charset=utf-8\r\n\r\n<p>BODY</p> &eacute;\r\n",
        "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nBODY=C3=A9 =\r\nab\r\n",
        "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nBODY\r\n--b\r\nContent-Type: a/b; name=aiguille.pdf\r\n\r\nBODY\r\n--b--\r\n",
        "Content-Type: message/rfc822\r\n\r\nSubject: bilan\r\n\r\nBODY\r\n",
        "\r\nBODY BODY BODY BODY BODY BODY BODY BODY BODY BODY BODY BODY BODY BODY BODY BODY BODY BODY BODY BODY\r\n",
    ]);
    (words(), words(), words(), kinds, 0_u8..6, 1_u8..28).prop_map(|(from, subject, body, kind, id, day)| {
        let date = if day % 4 == 0 {
            String::new()
        } else {
            format!("Date: {day} Nov 2026 01:00:00 +0000\r\n")
        };
        format!(
            "From: {from} <a{id}@x.fr>\r\nSubject: {subject}\r\nMessage-ID: <{id}@x>\r\nReferences: <{}@x>\r\n{date}{}",
            id / 2,
            kind.replace("BODY", &body)
        )
    })
}

fn key() -> impl Strategy<Value = String> {
    let text = || words().prop_map(|text| format!("{{{}+}}\r\n{text}", text.len()));
    let leaf = prop_oneof![
        text().prop_map(|text| format!("TEXT {text}")),
        text().prop_map(|text| format!("BODY {text}")),
        text().prop_map(|text| format!("SUBJECT {text}")),
        text().prop_map(|text| format!("FROM {text}")),
        text().prop_map(|text| format!("HEADER Content-Type {text}")),
        (1_u8..28).prop_map(|day| format!("SENTBEFORE {day}-Nov-2026")),
        (1_u8..40).prop_map(|uid| format!("UID {uid}:*")),
        Just("SEEN".to_owned()),
        Just("LARGER 300".to_owned()),
    ];
    leaf.prop_recursive(3, 8, 2, |inner| {
        prop_oneof![
            inner.clone().prop_map(|key| format!("NOT {key}")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("OR {a} {b}")),
            (inner.clone(), inner).prop_map(|(a, b)| format!("({a} {b})")),
        ]
    })
}

/// One step: what happens to the folder, then what is asked.
fn step() -> impl Strategy<Value = (Vec<String>, u8, bool, Vec<String>)> {
    (
        proptest::collection::vec(message(), 0..25),
        0_u8..8,
        any::<bool>(),
        proptest::collection::vec(key(), 1..6),
    )
}

#[test]
fn an_index_changes_no_result_at_any_moment() {
    let mut runner = TestRunner::new_with_rng(Config::default(), TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    for _ in 0..1 {
        let folder = tempfile::tempdir().unwrap();
        let mut twins = runtime.block_on(Twins::new(folder.path()));
        for round in 0..20 {
            let (messages, gone, indexes, keys) = step().new_tree(&mut runner).unwrap().current();
            runtime.block_on(async {
                for message in &messages {
                    twins.without.append(message).await;
                }
                if gone == 0 {
                    twins
                        .without
                        .say(&format!("s STORE {} +FLAGS.SILENT (\\Deleted)", round % 7 + 1))
                        .await;
                    twins.without.say("x EXPUNGE").await;
                }
                if indexes {
                    twins.indexer.catch_up().await.unwrap();
                }
                for key in &keys {
                    twins.compare(&format!("a UID SEARCH CHARSET UTF-8 {key}")).await;
                }
                twins
                    .compare(&format!("b UID SORT (SUBJECT FROM DATE) UTF-8 {}", keys[0]))
                    .await;
                twins.compare("c THREAD REFERENCES UTF-8 ALL").await;
            });
        }
    }
}
