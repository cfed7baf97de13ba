"""Two imapclients at once on one box, then its extensions one by one.

Standard input: {"server": {"port", "ca", "user", "password"}, "folder", "keeper", "views": [path, path]}. Its keeper is "maildir": imaplib, below it,
ends every line with CR LF.
"""

import base64
import json
import ssl
import sys
from datetime import datetime

from imapclient import IMAPClient
from imapclient.exceptions import IMAPClientError

import corpus
from pair import Plan, both, digest


QUOTA_KIB = 100 * 1024


def connect(task):
    context = ssl.create_default_context(cafile=task["ca"])
    session = IMAPClient("127.0.0.1", task["port"], ssl_context=context, timeout=100)
    session.login(task["user"], task["password"])
    return session


def bring(session, plan, client):
    """Brings in its half of the messages, the small ones together."""
    when = datetime(2026, 11, 1, 10)
    for number in range(client, len(plan.messages), 2):
        answer = session.append(plan.folder, plan.messages[number], plan.flags(number), when)
        assert b"APPENDUID" in answer, answer


def content(session, folder):
    """UID to digest and flags."""
    session.select_folder(folder, readonly=True)
    found = session.fetch("1:*", ["FLAGS", "RFC822.SIZE", "INTERNALDATE", "BODY.PEEK[]"])
    for uid, data in found.items():
        assert len(data[b"BODY[]"]) == data[b"RFC822.SIZE"], uid
    text = lambda data: [digest(data[b"BODY[]"]), sorted({flag.decode() for flag in data[b"FLAGS"]} - {"\\Recent"})]
    return {str(uid): text(data) for uid, data in found.items()}


def do(session, uids, step):
    what, numbers, word = step
    chosen = [uids[number] for number in numbers]
    # In pieces, so that the two come between one another.
    for start in range(0, len(chosen), 7):
        piece = chosen[start : start + 7]
        if what == "add":
            session.add_flags(piece, [word])
        elif what == "remove":
            session.remove_flags(piece, [word], silent=True)
        elif what == "move":
            session.move(piece, word)
        else:
            session.delete_messages(piece)
            session.expunge(piece)  # UID EXPUNGE


def followed(session, uids):
    """What it was told of, while it worked, is what is there."""
    session.noop()
    return {uids[uid] for uid in session.search("ALL")}


def extensions(session, other, plan):
    have = {name.decode() for name in session.capabilities()}
    for name in ["IDLE", "MOVE", "UIDPLUS", "NAMESPACE", "SPECIAL-USE", "ID", "SORT", "THREAD=REFERENCES", "QUOTA", "ACL", "ENABLE", "CONDSTORE"]:
        assert name in have, have
    assert session.namespace().personal[0] == ("", "/")
    assert session.id_({"name": "essai"})
    assert session.find_special_folder(b"\\Sent") == "Sent"
    special = {name: flags for flags, _, name in session.list_folders()}
    assert b"\\Trash" in special["Trash"] and b"\\Drafts" in special["Drafts"], special
    assert session.enable("CONDSTORE") == [b"CONDSTORE"]
    session.select_folder(plan.folder, readonly=True)
    session.create_folder(plan.folder + "/Copie")
    session.copy("1:*", plan.folder + "/Copie")
    plan.folder += "/Copie"
    told = session.select_folder(plan.folder)
    assert told[b"EXISTS"] == len(session.search()) and told[b"HIGHESTMODSEQ"] > 0, told
    searches(session, plan)
    changes(session, told[b"HIGHESTMODSEQ"])
    access(session, plan)
    waits(session, other, plan)
    names(session, plan)


def searches(session, plan):
    every = session.search("ALL")
    assert sorted(session.search("SEEN") + session.search("UNSEEN")) == every
    assert session.search(["KEYWORD", "$Travail"]) == session.search(["NOT", "UNKEYWORD", "$Travail"]) != []
    stays = [number for number in range(len(plan.messages)) if plan.kept(number) and number % 10 not in (0, 1, 5)]
    large = [number for number in stays if len(plan.messages[number]) > 900_000]
    assert len(session.search(["LARGER", 900_000])) == len(large) >= len(corpus.BIG)
    assert session.search(["SUBJECT", "hôpital"], "UTF-8") == session.search(["HEADER", "Subject", "hôpital"], "UTF-8") != []
    assert session.search(["SINCE", datetime(2026, 11, 1), "BEFORE", datetime(2026, 11, 2)]) == every
    sizes = session.fetch(every, ["RFC822.SIZE"])
    by_size = session.sort(["REVERSE SIZE"])
    assert [sizes[uid][b"RFC822.SIZE"] for uid in by_size] == sorted((data[b"RFC822.SIZE"] for data in sizes.values()), reverse=True)
    assert sorted(session.sort("SUBJECT")) == every
    flat = lambda tree: [uid for one in tree for uid in (flat(one) if isinstance(one, tuple) else [one])]
    threads = session.thread("REFERENCES")
    assert sorted(flat(threads)) == every and len(threads) < len(every)
    assert sorted(flat(session.thread("ORDEREDSUBJECT"))) == every
    shown = session.fetch(every, ["ENVELOPE", "BODYSTRUCTURE", "PREVIEW", "EMAILID", "SAVEDATE"])
    for uid, data in shown.items():
        assert set(data) >= {b"ENVELOPE", b"BODYSTRUCTURE", b"PREVIEW", b"EMAILID", b"SAVEDATE"}, (uid, data)
    assert len({data[b"EMAILID"] for data in shown.values()}) == len(every)
    binary(session, session.search(["HEADER", "Content-Type", "boundary=\"gros\""]))


def binary(session, uids):
    """How large an attachment is, decoded by the server (RFC 3516). imapclient reads no literal8, so it is not asked for."""
    assert len(uids) == len(corpus.BIG)
    for uid, data in session.fetch(uids[:2], ["BODY.PEEK[2]", "BINARY.SIZE[2]"]).items():
        assert data[b"BINARY.SIZE[2]"] == len(base64.b64decode(data[b"BODY[2]"])) > 500_000, uid


def changes(session, since):
    one = session.search("ALL")[:1]
    session.add_flags(one, ["\\Flagged"])
    session.remove_flags(one, ["\\Flagged"])
    modified = session.fetch("1:*", ["FLAGS"], [f"CHANGEDSINCE {since}"])
    assert list(modified) == one and modified[one[0]][b"MODSEQ"][0] > since, modified
    assert session.search(["MODSEQ", since + 1]) == one


def access(session, plan):
    (named, (quota,)) = session.get_quota_root("INBOX")
    assert named.mailbox == "INBOX" and named.quota_roots == [quota.quota_root] and quota.resource == "STORAGE", (named, quota)
    assert quota.limit == QUOTA_KIB and 15_000 < quota.usage < QUOTA_KIB, quota
    assert quota in session.get_quota(plan.folder)
    acl = session.getacl(plan.folder)
    assert acl and all({*"lrswi"} <= {*rights.decode()} for _, rights in acl), acl


def waits(session, other, plan):
    """IDLE: the other brings a message in, flags it, removes it."""
    session.idle()
    other.select_folder(plan.folder)
    count = len(other.search())
    other.append(plan.folder, b"Subject: pendant\r\n\r\nIDLE\r\n")
    assert heard(session, lambda word: word[1:] == (b"EXISTS",) and word[0] == count + 1)
    last = other.search()[-1:]
    other.add_flags(last, ["\\Flagged"])
    assert heard(session, lambda word: word[1:2] == (b"FETCH",) and b"\\Flagged" in str(word).encode())
    other.delete_messages(last)
    other.expunge()
    assert heard(session, lambda word: word[1:] == (b"EXPUNGE",))
    session.idle_done()
    assert last[0] not in session.search()


def heard(session, wanted):
    for _ in range(20):
        words = session.idle_check(timeout=5)
        if any(wanted(word) for word in words):
            return True
    return False


def names(session, plan):
    name = f"{plan.folder}/Été & œufs"
    session.create_folder(name)
    assert [found for _, _, found in session.list_folders(plan.folder, "/%é*")] == [name]
    session.subscribe_folder(name)
    assert name in [found for _, _, found in session.list_sub_folders()]
    assert session.folder_status(name, ["MESSAGES", "UIDNEXT", "HIGHESTMODSEQ"])[b"MESSAGES"] == 0
    session.rename_folder(name, name + "!")
    assert session.folder_exists(name + "!") and not session.folder_exists(name)
    session.select_folder(name + "!")
    session.close_folder()
    session.unsubscribe_folder(name)
    session.delete_folder(name + "!")
    try:
        session.select_folder(name + "!")
        raise AssertionError("a deleted folder was selected")
    except IMAPClientError as error:
        assert "does not exist" in str(error) or "NONEXISTENT" in str(error), error


def main(task):
    plan = Plan(task["folder"], task["keeper"])
    pair = [connect(task["server"]) for _ in range(2)]
    for folder in plan.folders():
        pair[0].create_folder(folder)
    both(lambda client: bring(pair[client], plan, client))
    uids = {plan.number[text]: int(uid) for uid, (text, _) in content(pair[0], plan.folder).items()}
    numbers = {uid: number for number, uid in uids.items()}
    for session in pair:
        session.select_folder(plan.folder)
    told = [None, None]

    def work(client):
        for step in plan.work(client):
            do(pair[client], uids, step)

    both(work)
    for client, session in enumerate(pair):
        told[client] = followed(session, numbers)
    assert told[0] == told[1] == {number for number in numbers.values() if (plan.kept(number) or [""])[0] == plan.folder}
    for session, path in zip(pair, task["views"]):
        with open(path, "w") as file:
            json.dump({folder: content(session, folder) for folder in plan.folders()}, file)
    third = connect(task["server"])
    extensions(third, pair[0], plan)
    for session in [third, *pair]:
        session.logout()


main(json.load(sys.stdin))
