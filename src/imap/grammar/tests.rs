//! Tables of good and bad commands.

use jiff::civil;
use proptest::prelude::*;

use super::search::SEARCH_DEPTH_MAX;
use super::tree::*;
use super::*;
use crate::imap::request::Flags;

fn body(text: &str) -> Body {
    bytes(text.as_bytes())
}

fn bytes(text: &[u8]) -> Body {
    let line = [b"a ", text, b"\r\n"].concat();
    match parse(&line) {
        Ok(command) => {
            assert_eq!(command.tag, "a");
            command.body
        }
        Err(unread) => panic!("{}: {}", String::from_utf8_lossy(text), unread.error),
    }
}

fn error(text: &str) -> &'static str {
    let line = format!("a {text}\r\n");
    match parse(line.as_bytes()) {
        Err(unread) => {
            assert_eq!(unread.tag.as_deref(), Some("a"));
            unread.error.text()
        }
        Ok(command) => panic!("{text}: {command:?}"),
    }
}

fn name(text: &str) -> Name {
    Name(text.as_bytes().to_vec())
}

fn number(n: u32) -> End {
    End::Number(n.try_into().unwrap())
}

fn one(n: u32) -> Set {
    Set::Ranges(vec![(number(n), number(n))])
}

fn key(text: &str) -> SearchKey {
    match body(&format!("SEARCH {text}")) {
        Body::Search(search) => search.key,
        other => panic!("{other:?}"),
    }
}

fn items(text: &str) -> Vec<FetchItem> {
    match body(&format!("FETCH 1 {text}")) {
        Body::Fetch(fetch) => fetch.items,
        other => panic!("{other:?}"),
    }
}

#[test]
fn small_commands() {
    for (text, expected) in [
        ("capability", Body::Capability),
        ("NOOP  ", Body::Noop),
        ("LOGOUT", Body::Logout),
        ("STARTTLS", Body::StartTls),
        ("UNAUTHENTICATE", Body::Unauthenticate),
        ("NAMESPACE", Body::Namespace),
        ("IDLE", Body::Idle),
        ("CHECK", Body::Check),
        ("CLOSE", Body::Close),
        ("UNSELECT", Body::Unselect),
        ("EXPUNGE", Body::Expunge(None)),
        ("UID EXPUNGE 1", Body::Expunge(Some(one(1)))),
        ("ID NIL", Body::Id(None)),
        ("ID ()", Body::Id(Some(Vec::new()))),
        (
            "ID (\"name\" \"x\" \"os\" NIL)",
            Body::Id(Some(vec![(b"name".into(), Some(b"x".into())), (b"os".into(), None)])),
        ),
        (
            "ENABLE condstore UTF8=ACCEPT",
            Body::Enable(vec!["CONDSTORE".into(), "UTF8=ACCEPT".into()]),
        ),
        (
            "COMPRESS deflate",
            Body::Compress {
                mechanism: "DEFLATE".into(),
            },
        ),
    ] {
        assert_eq!(body(text), expected, "{text}");
    }
    assert_eq!(error("NONSENSE"), "unknown command");
    assert_eq!(error("UID NOOP"), "unknown command after UID");
    assert_eq!(error("NOOP x"), "expected the end of the command");
    assert_eq!(error("\"NOOP\""), "expected a command");
    assert_eq!(error("ENABLE"), "expected a space");
    assert_eq!(error("ID (\"name\")"), "expected a space");
}

#[test]
fn tags() {
    assert_eq!(parse(b"a.1[]} NOOP\r\n").unwrap().tag, "a.1[]}");
    for bad in ["", "+ NOOP", "a+ NOOP", "\"a\" NOOP", "* NOOP", " NOOP", "é NOOP"] {
        assert_eq!(parse(format!("{bad}\r\n").as_bytes()).unwrap_err().tag, None, "{bad}");
    }
    assert_eq!(parse(b"a\r\n").unwrap_err().tag.as_deref(), Some("a"));
}

#[test]
fn logging_in() {
    let login = |user: &[u8], password: &[u8]| Body::Login {
        user: user.into(),
        password: Secret(password.into()),
    };
    assert_eq!(body("LOGIN jean@chu.fr s"), login(b"jean@chu.fr", b"s"));
    assert_eq!(body("LOGIN \"a \\\"b\\\\\" \"\""), login(b"a \"b\\", b""));
    assert_eq!(body("login {3}\r\na b {2+}\r\n \r"), login(b"a b", b" \r"));
    assert_eq!(bytes(b"LOGIN \"\xe9\" \"\xc3\xa9\""), login(b"\xe9", b"\xc3\xa9"));
    assert_eq!(error("LOGIN a"), "expected a space");
    assert_eq!(error("LOGIN a \"b"), "a quoted string does not end");
    assert_eq!(error("LOGIN a \"\\b\""), "only \" and \\ are quoted with \\");
    assert_eq!(error("LOGIN a {9}\r\nb"), "a literal is not complete");
    assert_eq!(error("LOGIN a {1}\r\n\0"), "NUL may stand only in a literal8");
    assert_eq!(error("LOGIN a é"), "expected a password");
    assert!(!format!("{:?}", body("LOGIN a s3cret")).contains("s3cret"));

    let authenticate = |initial: Option<&[u8]>| Body::Authenticate {
        mechanism: "PLAIN".into(),
        initial: initial.map(|i| Secret(i.into())),
    };
    assert_eq!(body("AUTHENTICATE plain"), authenticate(None));
    assert_eq!(body("AUTHENTICATE PLAIN ="), authenticate(Some(b"")));
    assert_eq!(body("AUTHENTICATE PLAIN AGEAYg=="), authenticate(Some(b"\0a\0b")));
    assert_eq!(
        error("AUTHENTICATE PLAIN AGEAYg="),
        "the initial response is not base64"
    );
}

#[test]
fn sets() {
    let set = |text: &str| match body(&format!("COPY {text} x")) {
        Body::Copy { set, .. } => set,
        other => panic!("{other:?}"),
    };
    assert_eq!(set("7"), one(7));
    assert_eq!(set("$"), Set::Saved);
    assert_eq!(
        set("1:3,*,5:*"),
        Set::Ranges(vec![
            (number(1), number(3)),
            (End::Last, End::Last),
            (number(5), End::Last)
        ])
    );
    assert_eq!(set("*:4294967295"), Set::Ranges(vec![(End::Last, number(u32::MAX))]));
    assert_eq!(error("COPY 0 x"), "0 cannot stand here");
    assert_eq!(error("COPY 4294967296 x"), "a number is too large");
    assert_eq!(error("COPY 1, x"), "expected a message number");
    assert_eq!(error("COPY 1: x"), "expected a message number");
    assert_eq!(error("COPY $,1 x"), "expected a space");
    assert_eq!(
        body("UID MOVE 1 \"Sent Items\""),
        Body::Move {
            numbering: Numbering::Uid,
            set: one(1),
            to: name("Sent Items")
        }
    );
}

#[test]
fn selecting() {
    let select = |text: &str| match body(text) {
        Body::Select { parameters, .. } => parameters,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        body("EXAMINE INBOX"),
        Body::Select {
            folder: name("INBOX"),
            read_only: true,
            parameters: SelectParameters::default()
        }
    );
    assert!(select("SELECT INBOX (CONDSTORE)").condstore);
    let plain = Qresync {
        uid_validity: 67_890_007,
        modseq: 90_060_115_194_045_000,
        known_uids: None,
        matched: None,
    };
    assert_eq!(
        select("SELECT INBOX (QRESYNC (67890007 90060115194045000))").qresync,
        Some(plain.clone())
    );
    assert_eq!(
        select("SELECT INBOX (QRESYNC (67890007 90060115194045000 41,43:47 (1,2 3,4)) CONDSTORE)").qresync,
        Some(Qresync {
            known_uids: Some(vec![(number(41), number(41)), (number(43), number(47))]),
            matched: Some((
                vec![(number(1), number(1)), (number(2), number(2))],
                vec![(number(3), number(3)), (number(4), number(4))]
            )),
            ..plain.clone()
        })
    );
    assert!(
        select("SELECT INBOX (QRESYNC (1 2 (1 1)))")
            .qresync
            .unwrap()
            .matched
            .is_some()
    );
    assert_eq!(error("SELECT INBOX (QRESYNC (0 1))"), "0 cannot stand here");
    assert_eq!(
        error("SELECT INBOX (QRESYNC (1 0))"),
        "a modification sequence is not 0"
    );
    assert_eq!(
        error("SELECT INBOX (QRESYNC (1 9223372036854775808))"),
        "a number is too large"
    );
    assert_eq!(error("SELECT INBOX (QRESYNC (1 1 1:*))"), "* cannot stand in this set");
    assert_eq!(error("SELECT INBOX (CONDSTORE CONDSTORE)"), "a parameter comes twice");
    assert_eq!(error("SELECT INBOX (X)"), "unknown parameter of SELECT");
    assert_eq!(error("SELECT INBOX ()"), "expected a parameter of SELECT");
}

#[test]
fn folders() {
    assert_eq!(body("DELETE {3}\r\na b"), Body::Delete(name("a b")));
    assert_eq!(
        body("RENAME a \"\""),
        Body::Rename {
            from: name("a"),
            to: name("")
        }
    );
    assert_eq!(
        body("CREATE Envoy&AOk-s (USE (\\Sent \\Archive))"),
        Body::Create {
            folder: name("Envoy&AOk-s"),
            special_uses: vec!["\\Sent".into(), "\\Archive".into()]
        }
    );
    assert_eq!(error("CREATE a (USES (\\Sent))"), "unknown parameter of CREATE");
    assert_eq!(
        body("LSUB a %"),
        Body::Lsub {
            reference: name("a"),
            pattern: b"%".into()
        }
    );
}

#[test]
fn lists_and_figures_of_folders() {
    let list = |text: &str| match body(text) {
        Body::List(list) => list,
        other => panic!("{other:?}"),
    };
    let basic = list("LIST \"\" %/*]");
    assert_eq!((basic.patterns, basic.extended), (vec![b"%/*]".to_vec()], false));
    let full = list(
        "LIST (SUBSCRIBED RECURSIVEMATCH) \"\" (\"a\" b*) RETURN (CHILDREN STATUS (MESSAGES SIZE) SPECIAL-USE MYRIGHTS)",
    );
    assert_eq!(
        full.selection,
        [ListSelection::Subscribed, ListSelection::RecursiveMatch]
    );
    assert_eq!(full.patterns, [b"a".to_vec(), b"b*".to_vec()]);
    assert_eq!(
        full.returns,
        [
            ListReturn::Children,
            ListReturn::Status(vec![StatusItem::Messages, StatusItem::Size]),
            ListReturn::SpecialUse,
            ListReturn::MyRights
        ]
    );
    assert!(full.extended);
    assert!(list("LIST () \"\" %").extended);
    assert!(list("LIST \"\" % RETURN ()").extended);
    assert_eq!(
        error("LIST (RECURSIVEMATCH) \"\" %"),
        "RECURSIVEMATCH goes with SUBSCRIBED or SPECIAL-USE"
    );
    assert_eq!(error("LIST (X) \"\" %"), "unknown selection option");
    assert_eq!(error("LIST \"\" % RETURN (X)"), "unknown return option");
    assert_eq!(error("LIST \"\""), "expected a space");
    assert_eq!(error("LIST \"\" ()"), "expected a pattern");
    assert_eq!(
        body("STATUS x(MESSAGES HIGHESTMODSEQ DELETED APPENDLIMIT MAILBOXID )"),
        Body::Status {
            folder: name("x"),
            items: vec![
                StatusItem::Messages,
                StatusItem::HighestModseq,
                StatusItem::Deleted,
                StatusItem::AppendLimit,
                StatusItem::MailboxId
            ]
        }
    );
    assert_eq!(error("STATUS x ()"), "expected a status item");
    assert_eq!(error("STATUS x MESSAGES"), "expected (");
}

#[test]
fn appending() {
    let head = |flags: Vec<Flag>, date: Option<&str>, content| AppendHead {
        flags,
        date: date.map(|d| d.parse().unwrap()),
        content,
    };
    assert_eq!(
        body("APPEND INBOX {310}\r\n"),
        Body::Append {
            folder: name("INBOX"),
            messages: vec![head(vec![], None, Content::Text)]
        }
    );
    assert_eq!(
        body(
            "APPEND {2}\r\nab (\\seen $Forwarded) \" 5-Nov-2026 09:08:07 +0100\" {310+}\r\n \"05-Nov-2026 23:59:60 -0000\" ~{3}\r\n () UTF8 (~{9}\r\n)"
        ),
        Body::Append {
            folder: name("ab"),
            messages: vec![
                head(
                    vec![Flag::System(Flags::SEEN), Flag::Keyword("$Forwarded".into())],
                    Some("2026-11-05T08:08:07Z"),
                    Content::Text
                ),
                head(vec![], Some("2026-11-05T23:59:59Z"), Content::Binary),
                head(vec![], None, Content::Utf8),
            ]
        }
    );
    assert_eq!(
        body("UID REPLACE 7 Drafts (\\Draft \\Recent \\Odd) {1}\r\n"),
        Body::Replace {
            numbering: Numbering::Uid,
            message: number(7),
            folder: name("Drafts"),
            head: head(
                vec![Flag::System(Flags::DRAFT), Flag::Recent, Flag::Unknown("\\Odd".into())],
                None,
                Content::Text
            )
        }
    );
    assert!(matches!(
        body("REPLACE * x {1}\r\n"),
        Body::Replace { message: End::Last, .. }
    ));
    assert_eq!(error("APPEND INBOX"), "expected a space");
    assert_eq!(error("APPEND INBOX \"text\""), "expected digits of a date");
    assert_eq!(
        error("APPEND INBOX \"31-Feb-2026 09:08:07 +0100\" {1}"),
        "expected a date as 1-Feb-2026"
    );
    assert_eq!(error("APPEND INBOX \"01-Feb-2026 24:08:07 +0100\" {1}"), "no such time");
    assert_eq!(
        error("APPEND INBOX \"01-Feb-2026 09:08:07 +0160\" {1}"),
        "expected a time zone as +0100"
    );
    assert_eq!(error("APPEND INBOX UTF8 ({1}\r\n)"), "expected a literal8");
}

#[test]
fn the_literals_that_are_messages_are_known() {
    for (text, expected) in [
        ("a APPEND INBOX {310}\r\n", Some(Content::Text)),
        ("a APPEND \"x y\" (\\Seen) ~{310+}\r\n", Some(Content::Binary)),
        ("a APPEND x UTF8 (~{310+}\r\n", Some(Content::Utf8)),
        ("a APPEND {5}\r\nINBOX {310+}\r\n", Some(Content::Text)),
        ("a APPEND x {3}\r\n (\\Seen) {4}\r\n", Some(Content::Text)),
        ("a APPEND x UTF8 (~{3}\r\n) ~{4}\r\n", Some(Content::Binary)),
        ("a UID REPLACE 4 x {4}\r\n", Some(Content::Text)),
        ("a replace 4 x {4}\r\n", Some(Content::Text)),
        ("a APPEND {5}\r\n", None),
        ("a REPLACE 4 {5}\r\n", None),
        ("a UID APPEND x {5}\r\n", None),
        ("a LOGIN {5}\r\n", None),
        ("a APPEND x foo {5}\r\n", None),
        ("a APPEND x UTF8 {5}\r\n", None),
        ("APPEND x {5}\r\n", None),
    ] {
        assert_eq!(message_follows(text.as_bytes()), expected, "{text}");
    }
}

#[test]
fn search_keys() {
    let not = |key| SearchKey::Not(Box::new(key));
    let day = civil::date(2026, 2, 1);
    for (text, expected) in [
        ("ALL", SearchKey::And(vec![])),
        ("1:*", SearchKey::Numbers(Set::Ranges(vec![(number(1), End::Last)]))),
        ("$", SearchKey::Numbers(Set::Saved)),
        ("UID $", SearchKey::Uids(Set::Saved)),
        ("unseen", not(SearchKey::System(Flags::SEEN))),
        ("KEYWORD $Junk", SearchKey::Keyword("$Junk".into())),
        ("UNKEYWORD x", not(SearchKey::Keyword("x".into()))),
        ("FROM \"a b\"", SearchKey::Header(b"FROM".into(), b"a b".into())),
        (
            "HEADER Message-ID {3}\r\n<1>",
            SearchKey::Header(b"Message-ID".into(), b"<1>".into()),
        ),
        ("BODY \"\"", SearchKey::Body(vec![])),
        ("TEXT \"été\"", SearchKey::Text("été".into())),
        ("LARGER 4294967296", SearchKey::Larger(4_294_967_296)),
        ("SINCE 1-Feb-2026", SearchKey::Internal(When::Since, day)),
        ("SENTON \"01-feb-2026\"", SearchKey::Sent(When::On, day)),
        ("SAVEDBEFORE 1-Feb-2026", SearchKey::Saved(When::Before, day)),
        ("SAVEDATESUPPORTED", SearchKey::SaveDateSupported),
        ("OLDER 60", SearchKey::Older(60)),
        ("MODSEQ 0", SearchKey::Modseq(0)),
        (
            "MODSEQ \"/flags/\\\\draft\" all 620162338",
            SearchKey::Modseq(620_162_338),
        ),
        ("EMAILID M6d99", SearchKey::EmailId("M6d99".into())),
        (
            "OR NOT NEW (OLD RECENT)",
            SearchKey::Or(
                Box::new(not(SearchKey::New)),
                Box::new(SearchKey::And(vec![SearchKey::Old, SearchKey::Recent])),
            ),
        ),
        ("SEEN  ", SearchKey::System(Flags::SEEN)),
        ("(SEEN)", SearchKey::System(Flags::SEEN)),
    ] {
        assert_eq!(key(text), expected, "{text}");
    }
    for (text, expected) in [
        ("", "expected a search key"),
        ("SINCE 30-Feb-2026", "expected a date as 1-Feb-2026"),
        ("SINCE 1-2-2026", "expected a date as 1-Feb-2026"),
        ("OLDER 0", "0 cannot stand here"),
        ("NONSENSE", "unknown search key"),
        ("()", "expected a search key"),
        ("OR SEEN", "expected a space"),
        ("FROM été", "expected a text to search for"),
        ("SMALLER x", "expected a number"),
        ("MODSEQ \"/flags/x\" some 1", "expected priv, shared or all"),
    ] {
        assert_eq!(error(&format!("SEARCH {text}")), expected, "{text}");
    }
}

#[test]
fn search_options() {
    let search = |text: &str| match body(text) {
        Body::Search(search) => search,
        other => panic!("{other:?}"),
    };
    assert_eq!(search("SEARCH ALL").returns, None);
    assert_eq!(search("SEARCH RETURN () ALL").returns, Some(vec![]));
    let full = search("UID SEARCH RETURN (MIN MAX COUNT SAVE PARTIAL -1:-100) CHARSET utf-8 SEEN");
    assert_eq!(full.numbering, Numbering::Uid);
    assert_eq!(full.charset.as_deref(), Some("UTF-8"));
    assert_eq!(
        full.returns.unwrap(),
        [
            SearchReturn::Min,
            SearchReturn::Max,
            SearchReturn::Count,
            SearchReturn::Save,
            SearchReturn::Partial(-1, -100)
        ]
    );
    assert_eq!(
        error("SEARCH RETURN (PARTIAL 1:2 ALL) ALL"),
        "PARTIAL stands alone, without ALL"
    );
    assert_eq!(
        error("SEARCH RETURN (PARTIAL 1:-2) ALL"),
        "both ends must count from the same side"
    );
    assert_eq!(error("SEARCH RETURN (X) ALL"), "unknown search return option");
    match body("SORT RETURN (COUNT) (REVERSE DATE SUBJECT DISPLAYFROM) UTF-8 ALL") {
        Body::Sort { criteria, search } => {
            assert_eq!(criteria.len(), 3);
            assert_eq!((criteria[0].key, criteria[0].reverse), (SortKey::Date, true));
            assert_eq!(search.returns, Some(vec![SearchReturn::Count]));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(error("SORT (X) UTF-8 ALL"), "unknown sort key");
    assert_eq!(error("SORT () UTF-8 ALL"), "expected a sort key");
    assert_eq!(error("SORT (DATE) UTF-8"), "expected a space");
    assert!(
        matches!(body("UID THREAD references US-ASCII 1:5 SEEN"), Body::Thread { algorithm, .. } if algorithm == "REFERENCES")
    );
}

#[test]
fn searches_nest_deep_but_not_without_end() {
    let nested = |depth: usize| {
        [
            format!("SEARCH {}ALL{}", "(".repeat(depth), ")".repeat(depth)),
            format!("SEARCH {}SEEN", "NOT ".repeat(depth)),
            format!("SEARCH {}SEEN", "OR SEEN ".repeat(depth)),
        ]
    };
    for text in nested(SEARCH_DEPTH_MAX) {
        body(&text);
    }
    for text in nested(SEARCH_DEPTH_MAX + 1).into_iter().chain(nested(30_000)) {
        assert_eq!(error(&text), "search keys nested too deep");
    }
    const { assert!(SEARCH_DEPTH_MAX >= 64) };
}

#[test]
fn fetch_items() {
    let section = |part: &[u32], text| Section {
        part: part.iter().map(|&n| n.try_into().unwrap()).collect(),
        text,
    };
    let whole = |peek, partial| FetchItem::Section {
        section: section(&[], SectionText::Whole),
        partial,
        peek,
    };
    let part = |part: &[u32], text, peek| FetchItem::Section {
        section: section(part, text),
        partial: None,
        peek,
    };
    let ten = 10.try_into().unwrap();
    assert_eq!(
        items("FAST"),
        [FetchItem::Flags, FetchItem::InternalDate, FetchItem::Size]
    );
    assert_eq!(items("all").len(), 4);
    assert_eq!(items("FULL").len(), 5);
    assert_eq!(items("BODY"), [FetchItem::Body]);
    assert_eq!(
        items("(BODY BODY[] BODY.PEEK[]<3.10>)"),
        [FetchItem::Body, whole(false, None), whole(true, Some((3, ten)))]
    );
    assert_eq!(
        items(
            "(BODY.PEEK[HEADER.FIELDS (From \"To\")] BODY[1.2.HEADER.FIELDS.NOT(X)] body[4.mime] BODY[1] BODY[TEXT] BODY[2.TEXT])"
        ),
        [
            part(&[], SectionText::HeaderFields(vec![b"From".into(), b"To".into()]), true),
            part(&[1, 2], SectionText::HeaderFieldsNot(vec![b"X".into()]), false),
            part(&[4], SectionText::Mime, false),
            part(&[1], SectionText::Whole, false),
            part(&[], SectionText::Text, false),
            part(&[2], SectionText::Text, false),
        ]
    );
    let numbers = vec![1.try_into().unwrap(), 2.try_into().unwrap()];
    assert_eq!(
        items(
            "(BINARY[1.2]<0.10> BINARY.PEEK[] BINARY.SIZE[1.2] PREVIEW (LAZY) PREVIEW EMAILID THREADID SAVEDATE MODSEQ)"
        ),
        [
            FetchItem::Binary {
                part: numbers.clone(),
                partial: Some((0, ten)),
                peek: false
            },
            FetchItem::Binary {
                part: vec![],
                partial: None,
                peek: true
            },
            FetchItem::BinarySize { part: numbers },
            FetchItem::Preview { lazy: true },
            FetchItem::Preview { lazy: false },
            FetchItem::EmailId,
            FetchItem::ThreadId,
            FetchItem::SaveDate,
            FetchItem::Modseq,
        ]
    );
}

#[test]
fn what_cannot_be_fetched() {
    for (text, expected) in [
        ("", "expected what to fetch"),
        ("()", "expected what to fetch"),
        ("X", "unknown data item"),
        ("BODY.PEEK", "expected ["),
        ("BODY[MIME]", "MIME goes with a part number"),
        ("BODY[1.]", "expected what follows the dot"),
        ("BODY[0]", "0 cannot stand here"),
        ("BODY[]<0.0>", "0 cannot stand here"),
        ("BODY[]<0.9223372036854775808>", "a number is too large"),
        ("BODY[1 ]", "expected . or ]"),
        ("BODY[HEADER.FIELDS ()]", "expected the name of a field"),
        ("BODY[]<1.0>", "0 cannot stand here"),
        ("BODY[]<1>", "expected . and a length"),
        ("BINARY[TEXT]", "expected a part number and ]"),
        ("(FLAGS", "expected a space or )"),
        ("FLAGS UID", "expected ("),
    ] {
        assert_eq!(error(&format!("FETCH 1 {text}")), expected, "{text}");
    }
}

#[test]
fn fetch_modifiers_and_store() {
    match body("UID FETCH 1:* (FLAGS) (CHANGEDSINCE 9223372036854775807 VANISHED PARTIAL 1:50)") {
        Body::Fetch(fetch) => assert_eq!(
            (fetch.changed_since, fetch.vanished, fetch.partial),
            (Some(9_223_372_036_854_775_807), true, Some((1, 50)))
        ),
        other => panic!("{other:?}"),
    }
    assert!(matches!(body("FETCH 1 PREVIEW (CHANGEDSINCE 1)"), Body::Fetch(f) if f.changed_since == Some(1)));
    assert_eq!(
        error("FETCH 1 FLAGS (CHANGEDSINCE 0)"),
        "a modification sequence is not 0"
    );
    assert_eq!(
        error("UID FETCH 1 FLAGS (VANISHED)"),
        "VANISHED goes with UID FETCH and CHANGEDSINCE"
    );
    assert_eq!(
        error("FETCH 1 FLAGS (CHANGEDSINCE 1 VANISHED)"),
        "VANISHED goes with UID FETCH and CHANGEDSINCE"
    );
    assert_eq!(
        error("FETCH 1 FLAGS (CHANGEDSINCE 1 CHANGEDSINCE 1)"),
        "a fetch modifier comes twice"
    );
    let store = |text: &str| match body(text) {
        Body::Store(store) => store,
        other => panic!("{other:?}"),
    };
    let bare = store("STORE 1 +FLAGS \\Seen Work");
    assert_eq!(bare.change, StoreChange::Add);
    assert_eq!(bare.flags, [Flag::System(Flags::SEEN), Flag::Keyword("Work".into())]);
    let full = store("UID STORE $ (UNCHANGEDSINCE 0) -FLAGS.SILENT ()");
    assert_eq!(
        (full.set, full.unchanged_since, full.change, full.silent),
        (Set::Saved, Some(0), StoreChange::Remove, true)
    );
    assert_eq!(store("STORE 1 FLAGS (\\Deleted)").change, StoreChange::Replace);
    assert_eq!(error("STORE 1 FLAGS"), "expected a space");
    assert_eq!(error("STORE 1 *FLAGS x"), "expected FLAGS");
    assert_eq!(error("STORE 1 FLAGS (\\)"), "expected a flag");
    assert_eq!(error("STORE 1 (X 1) FLAGS ()"), "unknown store modifier");
}

#[test]
fn rights_quotas_and_metadata() {
    let a = || name("a");
    for (text, expected) in [
        ("GETACL a", Body::GetAcl(a())),
        ("MYRIGHTS a", Body::MyRights(a())),
        (
            "SETACL a jean@chu.fr +lrs",
            Body::SetAcl {
                folder: a(),
                identifier: b"jean@chu.fr".into(),
                rights: b"+lrs".into(),
            },
        ),
        (
            "DELETEACL a \"-x\"",
            Body::DeleteAcl {
                folder: a(),
                identifier: b"-x".into(),
            },
        ),
        (
            "LISTRIGHTS a anyone",
            Body::ListRights {
                folder: a(),
                identifier: b"anyone".into(),
            },
        ),
        ("GETQUOTA \"\"", Body::GetQuota { root: vec![] }),
        ("GETQUOTAROOT a", Body::GetQuotaRoot(a())),
        (
            "SETQUOTA \"\" (STORAGE 512 message 9)",
            Body::SetQuota {
                root: vec![],
                limits: vec![("STORAGE".into(), 512), ("MESSAGE".into(), 9)],
            },
        ),
        (
            "GETMETADATA (MAXSIZE 1024 DEPTH infinity) \"\" (/shared /private)",
            Body::GetMetadata {
                folder: name(""),
                max_size: Some(1024),
                depth: Depth::Infinity,
                entries: vec![b"/shared".into(), b"/private".into()],
            },
        ),
        (
            "GETMETADATA a (DEPTH 1) (/shared/comment)",
            Body::GetMetadata {
                folder: a(),
                max_size: None,
                depth: Depth::One,
                entries: vec![b"/shared/comment".into()],
            },
        ),
        (
            "SETMETADATA a (/private/comment NIL /shared/x ~{2}\r\n\0\r)",
            Body::SetMetadata {
                folder: a(),
                entries: vec![
                    (b"/private/comment".into(), None),
                    (b"/shared/x".into(), Some(b"\0\r".into())),
                ],
            },
        ),
    ] {
        assert_eq!(body(text), expected, "{text}");
    }
}

#[test]
fn what_is_no_quota_and_no_metadata() {
    assert_eq!(
        error("SETQUOTA x (STORAGE 99999999999999999999)"),
        "a number is too large"
    );
    assert_eq!(error("GETMETADATA a shared"), "the name of an entry begins with /");
    assert_eq!(error("SETMETADATA a (/private/comment)"), "expected a space");
}

#[test]
fn notifications() {
    assert_eq!(body("NOTIFY NONE"), Body::Notify(None));
    assert_eq!(
        body(
            "NOTIFY SET STATUS (selected (MessageNew (UID BODY.PEEK[]) MessageExpunge)) \
             (subtree (a \"b\") NONE) (personal (MailboxName Odd))"
        ),
        Body::Notify(Some(Notify {
            status: true,
            groups: vec![
                NotifyGroup {
                    folders: NotifyFolders::Selected,
                    events: vec![
                        NotifyEvent::MessageNew(items("(UID BODY.PEEK[])")),
                        NotifyEvent::MessageExpunge
                    ],
                },
                NotifyGroup {
                    folders: NotifyFolders::Subtree(vec![name("a"), name("b")]),
                    events: vec![],
                },
                NotifyGroup {
                    folders: NotifyFolders::Personal,
                    events: vec![NotifyEvent::MailboxName, NotifyEvent::Unknown("ODD".into())],
                },
            ]
        }))
    );
    assert_eq!(error("NOTIFY"), "expected a space");
    assert_eq!(error("NOTIFY SET"), "expected a space");
    assert_eq!(error("NOTIFY SET (odd NONE)"), "unknown kind of folders");
    assert_eq!(error("NOTIFY SET (selected)"), "expected a space");
}

/// Writes a search key as a client would.
fn printed(key: &SearchKey) -> String {
    let quoted = |text: &[u8]| {
        format!(
            "\"{}\"",
            String::from_utf8_lossy(text).replace('\\', "\\\\").replace('"', "\\\"")
        )
    };
    let day = |date: &civil::Date| date.strftime("%d-%b-%Y").to_string();
    match key {
        SearchKey::And(keys) if keys.is_empty() => "ALL".into(),
        SearchKey::And(keys) => format!("({})", keys.iter().map(printed).collect::<Vec<_>>().join(" ")),
        SearchKey::Or(one, other) => format!("OR {} {}", printed(one), printed(other)),
        SearchKey::Not(key) => format!("NOT {}", printed(key)),
        SearchKey::Numbers(set) => written(set),
        SearchKey::Uids(set) => format!("UID {}", written(set)),
        SearchKey::System(bit) => match *bit {
            Flags::SEEN => "SEEN".into(),
            _ => "DRAFT".into(),
        },
        SearchKey::Keyword(keyword) => format!("KEYWORD {keyword}"),
        SearchKey::Larger(bytes) => format!("LARGER {bytes}"),
        SearchKey::Sent(When::Before, date) => format!("SENTBEFORE {}", day(date)),
        SearchKey::Internal(_, date) => format!("SINCE {}", day(date)),
        SearchKey::Header(name, text) => format!("HEADER {} {}", quoted(name), quoted(text)),
        SearchKey::Body(text) => format!("BODY {{{}+}}\r\n{}", text.len(), String::from_utf8_lossy(text)),
        SearchKey::Modseq(modseq) => format!("MODSEQ {modseq}"),
        SearchKey::Older(seconds) => format!("OLDER {seconds}"),
        other => panic!("not made here: {other:?}"),
    }
}

fn written(set: &Set) -> String {
    let end = |end: &End| match end {
        End::Number(number) => number.to_string(),
        End::Last => "*".into(),
    };
    match set {
        Set::Saved => "$".into(),
        Set::Ranges(ranges) => {
            let range = |(from, to): &(End, End)| format!("{}:{}", end(from), end(to));
            ranges.iter().map(range).collect::<Vec<_>>().join(",")
        }
    }
}

fn some_set() -> impl Strategy<Value = Set> {
    let end = || prop_oneof![(1..=u32::MAX).prop_map(number), Just(End::Last)];
    prop_oneof![
        Just(Set::Saved),
        prop::collection::vec((end(), end()), 1..5).prop_map(Set::Ranges)
    ]
}

fn some_key() -> impl Strategy<Value = SearchKey> {
    let date = || (1970_i16..2100, 1_i8..=12, 1_i8..=28).prop_map(|(y, m, d)| civil::date(y, m, d));
    let text = || "[a-zé\"\\\\ ]{0,8}".prop_map(String::into_bytes);
    let leaf = prop_oneof![
        some_set().prop_map(SearchKey::Numbers),
        some_set().prop_map(SearchKey::Uids),
        prop::sample::select(vec![Flags::SEEN, Flags::DRAFT]).prop_map(SearchKey::System),
        "[$a-z]{1,8}".prop_map(SearchKey::Keyword),
        (0..=u64::MAX / 2).prop_map(SearchKey::Larger),
        (0..=u64::MAX / 2).prop_map(SearchKey::Modseq),
        (1..=u32::MAX).prop_map(SearchKey::Older),
        date().prop_map(|d| SearchKey::Sent(When::Before, d)),
        date().prop_map(|d| SearchKey::Internal(When::Since, d)),
        (text(), text()).prop_map(|(name, text)| SearchKey::Header(name, text)),
        "[a-z\r\n(){}]{0,20}".prop_map(|text| SearchKey::Body(text.into_bytes())),
        Just(SearchKey::And(Vec::new())),
    ];
    leaf.prop_recursive(6, 40, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 2..5).prop_map(SearchKey::And),
            inner.clone().prop_map(|key| SearchKey::Not(Box::new(key))),
            (inner.clone(), inner).prop_map(|(one, other)| SearchKey::Or(Box::new(one), Box::new(other))),
        ]
    })
}

proptest! {
    #[test]
    fn nothing_makes_it_panic(input in prop::collection::vec(any::<u8>(), 0..200)) {
        let _any = parse(&input);
        let _any = message_follows(&input);
    }

    #[test]
    fn a_search_written_down_is_read_back(wanted in some_key()) {
        prop_assert_eq!(key(&printed(&wanted)), wanted);
    }

    #[test]
    fn pieces_in_any_order_do_not_make_it_panic(
        verb in prop::sample::select(VERBS),
        pieces in prop::collection::vec(prop::sample::select(PIECES), 0..12),
    ) {
        let line = format!("a {verb} {}\r\n", pieces.concat());
        let _any = parse(line.as_bytes());
        let _any = message_follows(line.as_bytes());
    }
}

const VERBS: &[&str] = &[
    "SELECT",
    "LIST",
    "STATUS",
    "APPEND",
    "SEARCH",
    "UID SEARCH",
    "SORT",
    "THREAD",
    "FETCH",
    "UID FETCH",
    "STORE",
    "REPLACE",
    "GETMETADATA",
    "SETMETADATA",
    "NOTIFY",
    "ID",
    "SETQUOTA",
    "AUTHENTICATE",
    "CREATE",
];

const PIECES: &[&str] = &[
    " ",
    " ",
    " ",
    "(",
    ")",
    "1:*",
    "$",
    "INBOX",
    "\"x\"",
    "{1}\r\nx",
    "{3}\r\n",
    "~{3}\r\n",
    "BODY[1.HEADER.FIELDS (a)]",
    "BODY[",
    "<1.2>",
    "FLAGS",
    "RETURN",
    "OR",
    "NOT",
    "SEEN",
    "1-Feb-2026",
    "\" 1-Feb-2026 00:00:00 +0000\"",
    "-1:-2",
    "\\Seen",
    "QRESYNC",
    "18446744073709551616",
    "UTF8",
    "PREVIEW",
    "LAZY",
    "MessageNew",
    "SET",
    "/a",
    "*",
    "é",
];
