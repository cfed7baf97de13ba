//! What a client reads of folders, byte for byte: lists, figures, quotas, rights, annotations.

use super::super::*;
use super::{Client, ONE, world};

/// Has a client say lines, and compares what it hears.
async fn talk(client: &mut Client, lines: &[(&str, &str)]) {
    for (said, heard) in lines {
        assert_eq!(client.say(said).await, *heard, "{said}");
    }
}

#[tokio::test]
async fn folders_are_listed_with_their_use_and_children() {
    let (_, mailboxes) = world();
    let mut c = Client::new(&mailboxes).await;
    talk(
        &mut c,
        &[
            ("a LIST \"\" \"\"", "* LIST (\\Noselect) \"/\" \"\"\r\na OK done\r\n"),
            (
                "b LIST \"\" *",
                "* LIST (\\HasNoChildren) \"/\" INBOX\r\n* LIST (\\HasNoChildren \\Archive) \"/\" Archive\r\n\
                 * LIST (\\HasNoChildren \\Drafts) \"/\" Drafts\r\n* LIST (\\HasNoChildren \\Junk) \"/\" Junk\r\n\
                 * LIST (\\HasNoChildren \\Sent) \"/\" Sent\r\n* LIST (\\HasNoChildren \\Trash) \"/\" Trash\r\nb OK done\r\n",
            ),
            (
                "c CREATE \"&AMk-t&AOk-/2026/\"",
                "c OK [MAILBOXID (F1008)] created\r\n",
            ),
            (
                "d CREATE &AMk-t&AOk-",
                "d NO [ALREADYEXISTS] a folder of that name exists already\r\n",
            ),
            (
                "e LIST \"&AMk-t&AOk-/\" %",
                "* LIST (\\HasNoChildren) \"/\" &AMk-t&AOk-/2026\r\ne OK done\r\n",
            ),
            ("f DELETE &AMk-t&AOk-", "f OK deleted\r\n"),
            (
                "g LIST \"\" &AMk-%",
                "* LIST (\\Noselect \\HasChildren) \"/\" &AMk-t&AOk-\r\ng OK done\r\n",
            ),
            (
                "g LIST \"\" (&AMk-%)",
                "* LIST (\\NonExistent \\HasChildren) \"/\" &AMk-t&AOk-\r\ng OK done\r\n",
            ),
            (
                "h DELETE &AMk-t&AOk-",
                "h NO [HASCHILDREN] there are folders below that name, and none of that name\r\n",
            ),
            ("i RENAME &AMk-t&AOk- &AMk-&-", "i OK renamed\r\n"),
            ("j LIST \"\" *2026", "* LIST (\\HasNoChildren) \"/\" &AMk-&-/2026\r\nj OK done\r\n"),
            ("k DELETE Nowhere", "k NO [NONEXISTENT] no such folder\r\n"),
            ("l DELETE INBOX", "l NO [CANNOT] INBOX cannot be deleted\r\n"),
            ("m RENAME Sent Sent/Old", "m NO [CANNOT] a folder cannot go into itself\r\n"),
            ("n RENAME Junk Spam", "n OK renamed\r\n"),
            ("o CREATE a//b", "o NO [CANNOT] not a folder name\r\n"),
            ("p CREATE \"&bad\"", "p NO [CANNOT] not a folder name\r\n"),
            ("q CREATE &AGE-", "q NO [CANNOT] not a folder name\r\n"),
            ("r RENAME Trash INBOX", "r NO [ALREADYEXISTS] a folder of that name exists already\r\n"),
            ("s NAMESPACE", "* NAMESPACE ((\"\" \"/\")) NIL NIL\r\ns OK done\r\n"),
        ],
    )
    .await;
}

#[tokio::test]
async fn subscriptions_are_kept_by_name() {
    let (_, mailboxes) = world();
    let mut c = Client::new(&mailboxes).await;
    talk(
        &mut c,
        &[
            ("a SUBSCRIBE Later/x", "a OK done\r\n"),
            ("b LSUB \"\" L*", "* LSUB () \"/\" Later/x\r\nb OK done\r\n"),
            ("c LSUB \"\" L%", "* LSUB (\\Noselect) \"/\" Later\r\nc OK done\r\n"),
            ("d LIST \"\" L*", "d OK done\r\n"),
            (
                "e LIST (SUBSCRIBED) \"\" L*",
                "* LIST (\\NonExistent \\Subscribed \\HasNoChildren) \"/\" Later/x\r\ne OK done\r\n",
            ),
            ("f UNSUBSCRIBE Junk", "f OK done\r\n"),
            ("g LSUB \"\" J*", "g OK done\r\n"),
            ("h DELETE Trash", "h OK deleted\r\n"),
            ("i LSUB \"\" T*", "* LSUB () \"/\" Trash\r\ni OK done\r\n"),
            (
                "j LIST (SUBSCRIBED RECURSIVEMATCH) \"\" L%",
                "* LIST (\\NonExistent \\HasNoChildren) \"/\" Later (\"CHILDINFO\" (\"SUBSCRIBED\"))\r\nj OK done\r\n",
            ),
            ("k UNSUBSCRIBE Later/x", "k OK done\r\n"),
            ("l LSUB \"\" L*", "l OK done\r\n"),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_list_brings_figures_rights_and_annotations_along() {
    let (_, mailboxes) = world();
    let mut c = Client::selected(&mailboxes).await;
    c.append(ONE).await;
    talk(
        &mut c,
        &[
            ("a SETMETADATA Sent (/shared/Color \"#f00\")", "a OK done\r\n"),
            (
                "b LIST () \"\" (INBOX S% Nowhere) RETURN (SUBSCRIBED STATUS (MESSAGES SIZE) MYRIGHTS METADATA (/shared/color))",
                "* LIST (\\Subscribed \\HasNoChildren) \"/\" INBOX\r\n* STATUS INBOX (MESSAGES 1 SIZE 50)\r\n\
                 * MYRIGHTS INBOX lrswipkxtea\r\n* METADATA INBOX (/shared/color NIL)\r\n\
                 * LIST (\\Subscribed \\HasNoChildren \\Sent) \"/\" Sent\r\n* STATUS Sent (MESSAGES 0 SIZE 0)\r\n\
                 * MYRIGHTS Sent lrswipkxtea\r\n* METADATA Sent (/shared/color \"#f00\")\r\nb OK done\r\n",
            ),
            (
                "c LIST (SPECIAL-USE) \"\" % RETURN (SPECIAL-USE)",
                "* LIST (\\HasNoChildren \\Archive) \"/\" Archive\r\n* LIST (\\HasNoChildren \\Drafts) \"/\" Drafts\r\n\
                 * LIST (\\HasNoChildren \\Junk) \"/\" Junk\r\n* LIST (\\HasNoChildren \\Sent) \"/\" Sent\r\n\
                 * LIST (\\HasNoChildren \\Trash) \"/\" Trash\r\nc OK done\r\n",
            ),
            (
                "d LIST (SUBSCRIBED SPECIAL-USE) \"\" T%",
                "* LIST (\\Subscribed \\HasNoChildren \\Trash) \"/\" Trash\r\nd OK done\r\n",
            ),
            ("e LIST (REMOTE) \"\" In%", "* LIST (\\HasNoChildren) \"/\" INBOX\r\ne OK done\r\n"),
            ("f LIST () \"\" (\"\")", "f OK done\r\n"),
            (
                "g STATUS INBOX (DELETED DELETED-STORAGE MAILBOXID APPENDLIMIT)",
                "* STATUS INBOX (DELETED 0 DELETED-STORAGE 0 MAILBOXID (F1001) APPENDLIMIT 5000)\r\ng OK done\r\n",
            ),
        ],
    )
    .await;
    assert!(c.say("h STORE 1 +FLAGS (\\Deleted)").await.ends_with("h OK stored\r\n"));
    let heard = c.say("i STATUS INBOX (DELETED DELETED-STORAGE)").await;
    assert_eq!(heard, "* STATUS INBOX (DELETED 1 DELETED-STORAGE 50)\r\ni OK done\r\n");
    assert!(c.say("j LIST (RECURSIVEMATCH) \"\" %").await.starts_with("j BAD "));
    let long = format!("k LIST \"\" (\"{}\" INBOX)", "a*".repeat(3000));
    assert_eq!(
        c.say(&long).await,
        "* LIST (\\HasNoChildren) \"/\" INBOX\r\nk OK done\r\n"
    );
    // Asked twice is asked once; what is only above what was asked has no figures.
    talk(
        &mut c,
        &[
            ("l CREATE a/b", "l OK [MAILBOXID (F1008)] created\r\n"),
            ("m SUBSCRIBE a/b", "m OK done\r\n"),
            (
                "n LIST (SUBSCRIBED SUBSCRIBED RECURSIVEMATCH) \"\" a RETURN (STATUS (MESSAGES))",
                "* LIST (\\HasChildren) \"/\" a (\"CHILDINFO\" (\"SUBSCRIBED\"))\r\nn OK done\r\n",
            ),
            ("o LIST \"a\" (\"\")", "o OK done\r\n"),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_folder_is_created_with_its_special_use() {
    let (_, mailboxes) = world();
    let mut c = Client::new(&mailboxes).await;
    let refused = |tag: &str| format!("{tag} NO [USEATTR] no folder can be given that special use\r\n");
    assert_eq!(c.say("a CREATE x (USE (\\Sent))").await, refused("a"), "there is one");
    assert_eq!(c.say("b CREATE x (USE (\\All))").await, refused("b"));
    assert_eq!(c.say("c CREATE x (USE (\\Sent \\Junk))").await, refused("c"));
    talk(
        &mut c,
        &[
            ("d DELETE Sent", "d OK deleted\r\n"),
            ("e CREATE Envoi (USE (\\sent))", "e OK [MAILBOXID (F1007)] created\r\n"),
            (
                "f LIST (SPECIAL-USE) \"\" E*",
                "* LIST (\\HasNoChildren \\Sent) \"/\" Envoi\r\nf OK done\r\n",
            ),
            ("g RENAME Envoi Sortie", "g OK renamed\r\n"),
            (
                "h LIST \"\" Sortie RETURN (STATUS (MAILBOXID))",
                "* LIST (\\HasNoChildren \\Sent) \"/\" Sortie\r\n* STATUS Sortie (MAILBOXID (F1007))\r\nh OK done\r\n",
            ),
            ("i CREATE y (USE ())", "i OK [MAILBOXID (F1008)] created\r\n"),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_quota_is_shown_where_there_is_one() {
    let (_, mailboxes) = world();
    let mut c = Client::selected(&mailboxes).await;
    talk(
        &mut c,
        &[
            ("a GETQUOTAROOT INBOX", "* QUOTAROOT INBOX\r\na OK done\r\n"),
            ("b GETQUOTA box", "b NO [NONEXISTENT] no such quota root\r\n"),
        ],
    )
    .await;
    let limit = [("jean@chu.fr".parse().unwrap(), Some(4096 + 100))];
    mailboxes.set_quotas(&limit).await.unwrap();
    c.append(ONE).await;
    talk(
        &mut c,
        &[
            (
                "c GETQUOTAROOT \"not made\"",
                "* QUOTAROOT \"not made\" box\r\n* QUOTA box (STORAGE 1 4)\r\nc OK done\r\n",
            ),
            ("d GETQUOTA box", "* QUOTA box (STORAGE 1 4)\r\nd OK done\r\n"),
            ("e GETQUOTA \"\"", "e NO [NONEXISTENT] no such quota root\r\n"),
            (
                "f SETQUOTA box (STORAGE 9)",
                "f NO [NOPERM] quotas are set by the operator\r\n",
            ),
            ("g SETQUOTA other ()", "g NO [NONEXISTENT] no such quota root\r\n"),
        ],
    )
    .await;
    let long = "x".repeat(4200);
    let heard = c.say(&format!("h APPEND INBOX {{{}+}}\r\n{long}", long.len())).await;
    assert_eq!(heard, "h NO [OVERQUOTA] the box is full\r\n");
}

#[tokio::test]
async fn rights_are_read_and_not_changed() {
    let (_, mailboxes) = world();
    let mut c = Client::new(&mailboxes).await;
    let set = "NO [NOPERM] who may open a box is set by the operator, in its directory\r\n";
    talk(
        &mut c,
        &[
            ("a MYRIGHTS INBOX", "* MYRIGHTS INBOX lrswipkxtea\r\na OK done\r\n"),
            (
                "b GETACL INBOX",
                "* ACL INBOX jean@chu.fr lrswipkxtea \"Anne Martin\" lrswipkxte\r\nb OK done\r\n",
            ),
            (
                "c LISTRIGHTS INBOX \"Anne Martin\"",
                "* LISTRIGHTS INBOX \"Anne Martin\" lrswipkxte\r\nc OK done\r\n",
            ),
            (
                "d LISTRIGHTS INBOX anyone",
                "* LISTRIGHTS INBOX anyone \"\"\r\nd OK done\r\n",
            ),
            ("e SETACL INBOX \"Anne Martin\" lr", &format!("e {set}")),
            ("f DELETEACL INBOX \"Anne Martin\"", &format!("f {set}")),
            ("g MYRIGHTS Nowhere", "g NO [NONEXISTENT] no such folder\r\n"),
            ("h SETACL Nowhere x lr", "h NO [NONEXISTENT] no such folder\r\n"),
        ],
    )
    .await;
}

#[tokio::test]
async fn annotations_are_listed_by_what_they_are_below() {
    let (_, mailboxes) = world();
    let mut c = Client::new(&mailboxes).await;
    let bad = "c BAD an entry is below /private/ or /shared/, in ASCII, without * and %\r\n";
    talk(
        &mut c,
        &[
            (
                "a SETMETADATA INBOX (/private/comment \"mine\" /shared/comment \"ours\" /shared/comment/deep \"\")",
                "a OK done\r\n",
            ),
            (
                "b GETMETADATA (DEPTH infinity) INBOX (/Shared /private/none)",
                "* METADATA INBOX (/shared/comment \"ours\" /shared/comment/deep \"\")\r\nb OK done\r\n",
            ),
            (
                "b GETMETADATA (DEPTH 1) INBOX (/private /shared)",
                "* METADATA INBOX (/private/comment \"mine\" /shared/comment \"ours\")\r\nb OK done\r\n",
            ),
            ("c GETMETADATA INBOX /shared", bad),
            ("c SETMETADATA INBOX (/shared \"x\")", bad),
            ("c GETMETADATA (DEPTH 1) INBOX /sharedx", bad),
        ],
    )
    .await;
}

#[tokio::test]
async fn annotations_are_kept_of_a_person_or_of_all() {
    let (_, mailboxes) = world();
    let mut c = Client::new(&mailboxes).await;
    let terms = |person: &str| Terms {
        person: person.into(),
        ..Terms::default()
    };
    c.boxes.set_terms(terms("jean"));
    let mut other = Client::new(&mailboxes).await;
    other.boxes.set_terms(terms("anne"));
    talk(
        &mut c,
        &[
            (
                "a SETMETADATA INBOX (/private/Comment \"mine\" /shared/comment {4+}\r\nours /shared/comment/deep \"\")",
                "a OK done\r\n",
            ),
            (
                "b GETMETADATA INBOX (/shared/comment /private/comment /private/none)",
                "* METADATA INBOX (/shared/comment \"ours\" /private/comment \"mine\" /private/none NIL)\r\nb OK done\r\n",
            ),
            (
                "d GETMETADATA (DEPTH 1 MAXSIZE 3) INBOX /shared/comment",
                "* METADATA INBOX (/shared/comment/deep \"\")\r\nd OK [METADATA LONGENTRIES 4] done\r\n",
            ),
            ("e SETMETADATA \"\" (/private/vendor/x \"y\")", "e OK done\r\n"),
            (
                "f GETMETADATA \"\" /private/vendor/x",
                "* METADATA \"\" (/private/vendor/x \"y\")\r\nf OK done\r\n",
            ),
            (
                "g SETMETADATA \"\" (/shared/admin \"mailto:x\")",
                "g NO [NOPERM] what is shared of the whole box is set by the operator\r\n",
            ),
            ("h SETMETADATA Nowhere (/private/x \"y\")", "h NO [NONEXISTENT] no such folder\r\n"),
            ("i SETMETADATA INBOX (/shared/comment NIL)", "i OK done\r\n"),
            ("j RENAME Sent Out", "j OK renamed\r\n"),
        ],
    )
    .await;
    talk(
        &mut other,
        &[(
            "a GETMETADATA (DEPTH infinity) INBOX (/private/comment /shared/comment)",
            "* METADATA INBOX (/shared/comment/deep \"\")\r\na OK done\r\n",
        )],
    )
    .await;
    let long = format!("k SETMETADATA INBOX (/private/x {{16385+}}\r\n{})", "x".repeat(16385));
    assert_eq!(
        c.say(&long).await,
        "k NO [METADATA MAXSIZE 16384] the value is too long\r\n"
    );
    for number in 0..100 {
        let line = format!("l SETMETADATA Trash (/private/n{number} \"x\")");
        assert_eq!(c.say(&line).await, "l OK done\r\n");
    }
    let heard = c.say("m SETMETADATA Trash (/private/more \"x\")").await;
    assert_eq!(heard, "m NO [METADATA TOOMANY] too many annotations\r\n");
}

#[tokio::test]
async fn a_suspended_box_is_read_and_not_changed() {
    let (_, mailboxes) = world();
    let mut holder = Client::selected(&mailboxes).await;
    holder.append(ONE).await;
    let mut c = Client::new(&mailboxes).await;
    c.boxes.set_terms(Terms {
        access: Access::Read,
        ..Terms::default()
    });
    assert!(c.say("a SELECT INBOX").await.ends_with("a OK [READ-ONLY] selected\r\n"));
    assert!(c.say("b FETCH 1 BODY[TEXT]").await.contains("Hello"));
    let text = "NO [UNAVAILABLE] the box is suspended: it can be read, and not changed\r\n";
    for (tag, line) in [
        ("c", "CREATE x"),
        ("d", "DELETE Sent"),
        ("e", "RENAME Sent x"),
        ("f", "SUBSCRIBE x"),
        ("g", "COPY 1 Sent"),
        ("h", "SETMETADATA INBOX (/private/x \"y\")"),
        ("i", "APPEND INBOX {1+}\r\nx"),
    ] {
        assert_eq!(c.say(&format!("{tag} {line}")).await, format!("{tag} {text}"), "{line}");
    }
    for line in ["STORE 1 +FLAGS (\\Deleted)", "EXPUNGE", "MOVE 1 Sent"] {
        assert!(c.say(&format!("j {line}")).await.contains("j NO "), "{line}");
    }
    assert_eq!(c.say("k CLOSE").await, "k OK closed\r\n");
    assert!(
        holder.say("l NOOP").await.contains("l OK "),
        "others are not told of anything"
    );
}

#[tokio::test]
async fn folders_are_bounded_in_number_depth_and_name() {
    let (_, mailboxes) = world();
    let mut c = Client::new(&mailboxes).await;
    c.boxes.set_terms(Terms {
        limits: FolderLimits {
            folders_max: 8,
            levels_max: 2,
            name_bytes_max: 10,
        },
        ..Terms::default()
    });
    let limit = |tag: &str| format!("{tag} NO [LIMIT] too large or too many\r\n");
    assert_eq!(c.say("a CREATE a/b/c").await, limit("a"));
    assert_eq!(c.say("b CREATE aaaaaaaaaaa").await, limit("b"));
    assert!(c.say("c CREATE a/b").await.starts_with("c OK"));
    assert_eq!(c.say("d CREATE x").await, limit("d"));
    assert_eq!(c.say("e RENAME a x/y").await, limit("e"), "a child would be too deep");
    assert!(c.say("f RENAME a z").await.starts_with("f OK"));
    assert_eq!(c.say("g SUBSCRIBE aaaaaaaaaaa").await, limit("g"));
}

#[tokio::test]
async fn the_selected_folder_is_closed_by_its_deletion_whatever_name_it_has_by_then() {
    let (_, mailboxes) = world();
    let mut a = Client::new(&mailboxes).await;
    let mut b = Client::new(&mailboxes).await;
    a.say("a CREATE Projet").await;
    a.say("b SELECT Projet").await;
    b.say("c RENAME Projet Actes").await;
    b.say("d CREATE Projet").await;
    talk(
        &mut a,
        &[
            ("e DELETE Projet", "e OK deleted\r\n"),
            ("f CHECK", "f OK checked\r\n"),
            (
                "g DELETE Actes",
                "* OK [CLOSED] the selected folder is deleted\r\ng OK deleted\r\n",
            ),
            ("h CHECK", "h BAD select a folder first\r\n"),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_folder_that_was_deleted_meanwhile_can_be_closed() {
    let (_, mailboxes) = world();
    let mut a = Client::new(&mailboxes).await;
    let mut b = Client::new(&mailboxes).await;
    a.say("a CREATE Projet").await;
    a.say("b SELECT Projet").await;
    b.say("c DELETE Projet").await;
    talk(
        &mut a,
        &[
            ("d CLOSE", "d OK closed\r\n"),
            ("e CHECK", "e BAD select a folder first\r\n"),
        ],
    )
    .await;
    a.say("f CREATE Projet").await;
    a.say("g SELECT Projet").await;
    b.say("h DELETE Projet").await;
    let heard = a.say("i FETCH 1:* FLAGS").await;
    assert!(
        heard.starts_with("* BYE [UNAVAILABLE] the selected folder was deleted"),
        "{heard}"
    );
}
