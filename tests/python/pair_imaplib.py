"""Two imaplib sessions at once on one box, then what only commands written by hand reach: METADATA, ACL, BINARY, MULTIAPPEND, REPLACE, …

Standard input: {"server": {"port", "ca", "user", "password"}, "folder", "keeper", "views": [path, path]}. Its keeper is "maildir": imaplib
ends every line with CR LF.
"""

import base64
import imaplib
import json
import re
import ssl
import sys

import corpus
from pair import Plan, both, ok, read

WHEN = '"01-Nov-2026 10:00:00 +0000"'


def connect(task):
    context = ssl.create_default_context(cafile=task["ca"])
    session = imaplib.IMAP4_SSL("127.0.0.1", task["port"], ssl_context=context, timeout=100)
    ok(session.login(task["user"], task["password"]))
    return session


def bring(session, plan, client):
    for number in range(client, len(plan.messages), 2):
        ok(session.append(f'"{plan.folder}"', f"({' '.join(plan.flags(number))})", WHEN, plan.messages[number]))


def do(session, uids, step):
    what, numbers, word = step
    chosen = [uids[number] for number in numbers]
    # In pieces, so that the two come between one another.
    for start in range(0, len(chosen), 7):
        piece = ",".join(chosen[start : start + 7])
        if what in ("add", "remove"):
            ok(session.uid("STORE", piece, "+FLAGS" if what == "add" else "-FLAGS.SILENT", f"({word})"))
        elif what == "move":
            ok(session.uid("MOVE", piece, f'"{word}"'))
        else:
            ok(session.uid("STORE", piece, "+FLAGS", "(\\Deleted)"))
            ok(session.uid("EXPUNGE", piece))


def told(session, name):
    """The untagged responses of that name since the last time, as one text."""
    parts = session.response(name)[1] or []
    pieces = [part for one in parts if one is not None for part in (one if isinstance(one, tuple) else [one])]
    return b" ".join(pieces).decode()


def ask(session, name, *words):
    """A command that imaplib has no method for: what it says of it."""
    typ, data = session.xatom(name, *words)
    assert typ == "OK", (name, words, data)
    return data


def refused(session, name, *words):
    typ, data = session.xatom(name, *words)
    assert typ == "NO", (name, words, data)
    return data[0].decode()


def annotations(session, other, folder):
    """RFC 5464: what one session writes the other of the same person reads; NIL takes it away."""
    box, long = f'"{folder}"', "x" * 1000
    ask(session, "SETMETADATA", box, f'(/private/comment "a \\"voir\\"" /shared/comment "service" /private/vendor/essai/long "{long}")')
    ask(session, "GETMETADATA", box, "(/private/comment /shared/comment)")
    said = told(session, "METADATA")
    assert '/private/comment "a \\"voir\\""' in said and '/shared/comment "service"' in said, said
    ask(other, "GETMETADATA", "(DEPTH infinity)", box, "(/private)")
    said = told(other, "METADATA")
    assert "/private/comment" in said and long in said and "/shared" not in said, said
    ask(session, "SETMETADATA", '""', '(/private/vendor/essai "boite")')
    ask(other, "GETMETADATA", '""', "/private/vendor/essai")
    assert '"boite"' in told(other, "METADATA")
    (said,) = ask(session, "GETMETADATA", "(MAXSIZE 10)", box, "/private/vendor/essai/long")
    assert b"[METADATA LONGENTRIES 1000]" in said, said
    said = refused(session, "SETMETADATA", box, f'(/private/comment "{long * 17}")')
    assert "[METADATA MAXSIZE 16384]" in said, said
    ask(session, "SETMETADATA", box, "(/private/comment NIL)")
    ask(other, "GETMETADATA", box, "(/private/comment /shared/comment)")
    said = told(other, "METADATA")
    assert "/private/comment NIL" in said and '"service"' in said, said


def rights(session, user, folder):
    box = f'"{folder}"'
    ok(session.getacl(box))
    ok(session.myrights(box))
    ask(session, "LISTRIGHTS", box, user)
    assert user in (said := told(session, "LISTRIGHTS")), said
    assert ok(session.namespace()) == [b'(("" "/")) NIL NIL']


def pieces(session, uids, plan):
    """BINARY, SEARCHRES, PARTIAL, a charset with a literal: imaplib takes what they return as it takes any FETCH or untagged response."""
    large = uids[next(number for number in corpus.BIG if plan.kept(number)[0] == plan.folder)]
    fetch = lambda what: ok(session.uid("FETCH", large, f"({what})"))[0]
    encoded, decoded, some = fetch("BODY.PEEK[2]"), fetch("BINARY.PEEK[2]"), fetch("BINARY.PEEK[2]<1000.500>")
    assert decoded[0].endswith(b"~{%d}" % len(decoded[1])), decoded[0]
    assert decoded[1] == base64.b64decode(encoded[1]) and some[1] == decoded[1][1000:1500]
    ask(session, "UID", "SEARCH", "RETURN", "(SAVE COUNT)", "ALL")
    count = int(re.search(r"COUNT (\d+)", told(session, "ESEARCH"))[1])
    assert len(ok(session.uid("FETCH", "$", "(FLAGS)"))) == count
    ask(session, "UID", "SEARCH", "RETURN", "(PARTIAL -1:-3)", "ALL")
    assert re.search(r"PARTIAL \(-1:-3 [\d:,]+\)", said := told(session, "ESEARCH")), said
    session.literal = "hôpital".encode()
    found = ok(session.search("UTF-8", "SUBJECT"))[0].split()
    assert 0 < len(found) < count
    by_size = ok(session.uid("SORT", "(REVERSE SIZE)", "UTF-8", "ALL"))[0].decode().split()
    assert len(by_size) == count and by_size[0] in [uids[number] for number in corpus.BIG]
    assert len(re.findall(rb"\d+", ok(session.uid("THREAD", "REFERENCES", "UTF-8", "ALL"))[0])) == count


def changes(session, other, folder):
    """REPLACE, and QRESYNC: what a session that was away is told."""
    box = f'"{folder}"'
    ok(session.create(box))
    for number in range(3):
        ok(session.append(box, None, WHEN, b"Subject: %d\r\n\r\nun\r\n" % number))
    ok(other.select(box))
    ok(session.unselect())
    ok(session.enable("QRESYNC"))
    ok(session.select(box))
    validity, since = (session.response(name)[1][0].decode() for name in ("UIDVALIDITY", "HIGHESTMODSEQ"))
    first, second, third = ok(session.uid("SEARCH", "ALL"))[0].decode().split()
    ok(session.unselect())
    ok(other.uid("STORE", first, "+FLAGS", "(\\Flagged)"))
    ok(other.uid("STORE", second, "+FLAGS", "(\\Deleted)"))
    ok(other.uid("EXPUNGE", second))
    other.literal = b"Subject: remplace\r\n\r\ndeux\r\n"
    ask(other, "UID", "REPLACE", third, box)
    told(session, "FETCH")
    ask(session, "SELECT", box, f"(QRESYNC ({validity} {since}))")
    session.state = "SELECTED"  # imaplib's own SELECT has no parameters
    assert f"(EARLIER) {second}:{third}" in (said := told(session, "VANISHED")), said
    said = told(session, "FETCH")
    assert re.search(rf"\(\\Flagged\) UID {first}\b", said) and said.count("MODSEQ") == 2, said
    assert ok(session.uid("FETCH", "*", "(BODY.PEEK[])"))[0][1] == b"Subject: remplace\r\n\r\ndeux\r\n"


def utf8(task, plan):
    """With UTF8=ACCEPT (RFC 6855) names are as they are, until the login ends (RFC 8437). imaplib would write APPEND's UTF8 wrong."""
    session = connect(task["server"])
    ok(session.enable("UTF8=ACCEPT"))
    ok(session.create(f'"{plan.folder}/Été œufs"'))
    named = lambda: b" ".join(ok(session.list(f'"{plan.folder}/"', "*")))
    assert "Été œufs".encode() in (said := named()), said
    ask(session, "UNAUTHENTICATE")
    session.state = "NONAUTH"
    ok(session.login(task["server"]["user"], task["server"]["password"]))
    assert b"&AMk-t&AOk- &AVM-ufs" in (said := named()), said
    session.logout()


def main(task):
    plan = Plan(task["folder"], task["keeper"])
    pair = [connect(task["server"]) for _ in range(2)]
    for folder in plan.folders():
        ok(pair[0].create(f'"{folder}"'))
        ok(pair[0].subscribe(f'"{folder}"'))
    assert len(ok(pair[1].lsub('""', f'"{plan.folder}*"'))) == len(plan.folders())
    both(lambda client: bring(pair[client], plan, client))
    uids = {plan.number[text]: uid for uid, (text, _) in read(pair[0], plan.folder)}
    for session in pair:
        ok(session.select(f'"{plan.folder}"'))
    both(lambda client: [do(pair[client], uids, step) for step in plan.work(client)])
    stays = {uid for number, uid in uids.items() if (plan.kept(number) or [""])[0] == plan.folder}
    for session, path in zip(pair, task["views"]):
        # What it was told of, while it worked, is what is there.
        ok(session.noop())
        assert {uid.decode() for uid in ok(session.uid("SEARCH", "ALL"))[0].split()} == stays
        ok(session.check())
        with open(path, "w") as file:
            json.dump({folder: dict(read(session, folder)) for folder in plan.folders()}, file)
    first, second = pair
    ok(first.select(f'"{plan.folder}"', readonly=True))
    annotations(first, second, plan.folder)
    rights(first, task["server"]["user"], plan.folder)
    pieces(first, uids, plan)
    changes(first, second, f"{plan.folder}/Suite")
    utf8(task, plan)
    for session in pair:
        session.logout()


main(json.load(sys.stdin))
