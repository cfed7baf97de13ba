//! The index against a model of what it must find, whatever is added, removed and merged, and on damaged files.

use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::*;

/// What a folder holds, for comparison.
type Model = Vec<(u32, String)>;

fn trigrams(text: &str) -> Vec<u32> {
    text.as_bytes()
        .windows(3)
        .map(|w| u32::from_be_bytes([0, w[0], w[1], w[2]]))
        .collect()
}

fn wanted(needle: &str) -> Wanted {
    let sought = needle.as_bytes().to_vec();
    Wanted {
        trigrams: trigrams(needle),
        holds: Arc::new(move |text| memchr::memmem::find(text, &sought).is_some()),
    }
}

fn message(uid: u32) -> MessageKey {
    MessageKey(1000 + i64::from(uid))
}

fn indexed(uid: u32, text: &str) -> Indexed {
    Indexed {
        uid,
        message: message(uid),
        text: text.as_bytes().to_vec(),
        is_complete: !text.contains("cut"),
        facts: format!("facts of {uid}").into_bytes(),
    }
}

fn asked(model: &Model) -> Vec<Asked> {
    let ask = |&(uid, _): &(u32, String)| Asked {
        uid,
        message: message(uid),
    };
    model.iter().map(ask).collect()
}

fn upto(uid: u32) -> Progress {
    Progress { uid, modseq: 1 }
}

async fn add(index: &SearchIndex, folder: FolderKey, texts: &[(u32, String)], more: bool) {
    let messages: Vec<Indexed> = texts.iter().map(|(uid, text)| indexed(*uid, text)).collect();
    let last = texts.last().map_or(0, |(uid, _)| *uid);
    index.add(folder, messages, upto(last), more).await.unwrap();
}

/// Each needle finds what a look at every text finds; what is unknown was cut, is long, or was never indexed.
async fn check(index: &SearchIndex, folder: FolderKey, model: &Model, needles: &[&str]) {
    let wanted: Vec<Wanted> = needles.iter().map(|needle| wanted(needle)).collect();
    let found = index.find(folder, asked(model), wanted).await.unwrap();
    for (needle, hits) in needles.iter().zip(&found.hits) {
        let expected: Vec<u32> = (0..)
            .zip(model)
            .filter(|(position, (_, text))| text.contains(needle) && !found.unknown.contains(position))
            .map(|(position, _)| position)
            .collect();
        assert_eq!(hits, &expected, "{needle:?}");
    }
    for position in found.unknown {
        let (_, text) = &model[position as usize];
        assert!(text.contains("cut") || text.len() > 16 * 1024, "{text:?}");
    }
}

fn random() -> TestRunner {
    TestRunner::new_with_rng(Config::default(), TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

fn below(runner: &mut TestRunner, limit: u32) -> u32 {
    use proptest::prelude::Rng;
    runner.rng().next_u32() % limit
}

fn text(runner: &mut TestRunner) -> String {
    const WORDS: [&str; 12] = [
        "bilan", "compte", "rendu", "aiguille", "é", "a", "xyz", "lettre", "de", "liaison", "cut", "urgence",
    ];
    let words = 1 + below(runner, 12);
    let word = |runner: &mut TestRunner| match below(runner, 40) {
        0 => "cut",
        other => WORDS[other as usize % 10],
    };
    (0..words).map(|_| word(runner)).collect::<Vec<_>>().join(" ")
}

const NEEDLES: [&str; 10] = [
    "aiguille",
    "bil",
    "te ren",
    "é",
    "a",
    "",
    "liaison a",
    "nowhere",
    "xyz",
    "urgences",
];

#[tokio::test]
async fn whatever_was_added_removed_and_merged_a_search_finds_what_a_look_at_every_text_finds() {
    let folder = tempfile::tempdir().unwrap();
    let index = SearchIndex::open(folder.path()).unwrap();
    let mut runner = random();
    let key = FolderKey(3);
    let mut model = Model::new();
    let mut next = 1;
    for round in 0..30 {
        let new: Model = (0..below(&mut runner, 120))
            .map(|_| {
                next += 1 + below(&mut runner, 3);
                (next, text(&mut runner))
            })
            .collect();
        add(&index, key, &new, round % 3 == 0).await;
        model.extend(new);
        let mut gone = Vec::new();
        let limit = if round == 20 { 2 } else { 20 };
        model.retain(|(uid, _)| {
            let goes = below(&mut runner, limit) == 0;
            if goes {
                gone.push(*uid);
            }
            !goes
        });
        index.remove(key, gone, upto(next)).await.unwrap();
        check(&index, key, &model, &NEEDLES).await;
    }
    let size = index.size().await.unwrap();
    assert_eq!(size.documents, model.len() as u64);
    assert!(
        size.segments > 0 && size.segments < 12 && size.pending < 128,
        "{size:?}"
    );
    let uids: Vec<u32> = model.iter().map(|(uid, _)| *uid).collect();
    assert_eq!(index.uids(key).await.unwrap(), uids);
}

#[tokio::test]
async fn many_small_batches_become_few_segments() {
    let folder = tempfile::tempdir().unwrap();
    let index = SearchIndex::open(folder.path()).unwrap();
    let mut model = Model::new();
    for batch in 0..80_u32 {
        let new: Model = (1..=16)
            .map(|n| (batch * 16 + n, format!("number {batch} and {n}")))
            .collect();
        add(&index, FolderKey(1), &new, false).await;
        model.extend(new);
    }
    let size = index.size().await.unwrap();
    assert_eq!((size.segments, size.documents), (3, 1280), "1,024 and twice 128");
    check(&index, FolderKey(1), &model, &["number 79", "and 16", "ber", "0 a"]).await;
}

#[tokio::test]
async fn another_message_under_a_known_uid_is_not_known() {
    let folder = tempfile::tempdir().unwrap();
    let index = SearchIndex::open(folder.path()).unwrap();
    add(&index, FolderKey(1), &[(1, "one".into()), (2, "two".into())], false).await;
    let other = vec![
        Asked {
            uid: 1,
            message: MessageKey(7),
        },
        Asked {
            uid: 2,
            message: message(2),
        },
        Asked {
            uid: 3,
            message: message(3),
        },
    ];
    let found = index
        .find(FolderKey(1), other.clone(), vec![wanted("o")])
        .await
        .unwrap();
    assert_eq!((found.hits, found.unknown), (vec![vec![1]], vec![0, 2]));
    let facts = index.facts(FolderKey(1), other).await.unwrap();
    assert_eq!(facts, [None, Some(b"facts of 2".to_vec()), None]);
}

#[tokio::test]
async fn folders_are_apart_and_forgotten_alone() {
    let folder = tempfile::tempdir().unwrap();
    let index = SearchIndex::open(folder.path()).unwrap();
    let many: Model = (1..200).map(|uid| (uid, "word".to_owned())).collect();
    let (one, other) = (FolderKey(1), FolderKey(2));
    add(&index, one, &many, false).await;
    add(&index, other, &many, false).await;
    index.forget(one).await.unwrap();
    let found = index.find(one, asked(&many), vec![wanted("word")]).await.unwrap();
    assert_eq!((found.hits[0].len(), found.unknown.len()), (0, 199));
    check(&index, other, &many, &["word"]).await;
    let progress = index.progress().await.unwrap();
    assert_eq!(progress.into_iter().collect::<Vec<_>>(), [(other, upto(199))]);
}

#[tokio::test]
async fn a_long_text_is_a_candidate_only_if_its_trigrams_are_there() {
    let folder = tempfile::tempdir().unwrap();
    let index = SearchIndex::open(folder.path()).unwrap();
    let long = format!("{} needle", "hay ".repeat(5000));
    let mut model: Model = (1..=128).map(|uid| (uid, "short".to_owned())).collect();
    model[5].1 = long;
    add(&index, FolderKey(1), &model, false).await;
    let found = |needle: &'static str| {
        let asked = asked(&model);
        let index = &index;
        async move { index.find(FolderKey(1), asked, vec![wanted(needle)]).await.unwrap() }
    };
    assert_eq!(found("needle").await.unknown, [5]);
    assert_eq!(found("nowhere").await.unknown, [] as [u32; 0]);
    assert!(
        index.size().await.unwrap().text_bytes < 1000,
        "the long text was not kept"
    );
}

#[tokio::test]
async fn an_index_that_is_damaged_or_lost_is_built_anew() {
    let folder = tempfile::tempdir().unwrap();
    let texts = [(1, "one".to_owned())];
    let index = SearchIndex::open(folder.path()).unwrap();
    add(&index, FolderKey(1), &texts, false).await;
    index.close().await;
    drop(index);
    let kept = SearchIndex::open(folder.path()).unwrap();
    assert_eq!(kept.progress().await.unwrap().len(), 1, "kept over a restart");
    drop(kept);
    std::fs::write(folder.path().join("search.db"), "no database at all, for certain").unwrap();
    let index = SearchIndex::open(folder.path()).unwrap();
    assert!(index.progress().await.unwrap().is_empty());
    add(&index, FolderKey(1), &texts, false).await;
    check(&index, FolderKey(1), &texts.to_vec(), &["one"]).await;
    drop(index);
    SearchIndex::discard(folder.path()).unwrap();
    SearchIndex::discard(folder.path()).unwrap();
    assert!(!folder.path().join("search.db").exists());
}
