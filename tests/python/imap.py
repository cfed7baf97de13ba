"""A working day with imaplib, each command with what it must answer.

Standard input: {"tls": "starttls" | "implicit", "port", "ca", "user", "password", "certificate", "key",
"messages": [hexadecimal, ...]}. With a certificate, logs in by EXTERNAL.
"""

import imaplib
import json
import re
import ssl
import sys


def connect(task):
    context = ssl.create_default_context(cafile=task["ca"])
    if task.get("certificate"):
        context.load_cert_chain(task["certificate"], task["key"])
    if task["tls"] == "implicit":
        session = imaplib.IMAP4_SSL("127.0.0.1", task["port"], ssl_context=context, timeout=60)
    else:
        session = imaplib.IMAP4("127.0.0.1", task["port"], timeout=60)
        assert "LOGINDISABLED" in session.capabilities, session.capabilities
        assert session._simple_command("LOGIN", "a", "b")[0] == "NO"
        session.starttls(ssl_context=context)
    return session


def log_in(session, task):
    if task.get("certificate"):
        assert "AUTH=EXTERNAL" in session.capabilities, session.capabilities
        ok(session.authenticate("EXTERNAL", lambda challenge: task["user"].encode()))
    elif task["tls"] == "implicit":
        ok(session.login(task["user"], task["password"]))
    else:
        answer = f"\0{task['user']}\0{task['password']}".encode()
        ok(session.authenticate("PLAIN", lambda challenge: answer))


def ok(answer):
    status, data = answer
    assert status == "OK", answer
    return data


def names(lines):
    return {re.search(rb'"/" (?:"([^"]*)"|(\S+))$', line).expand(rb"\1\2").decode() for line in lines if line}


def folders(session):
    before = names(ok(session.list()))
    assert {"INBOX"} <= before, before
    assert b'"/"' in ok(session.namespace())[0]
    ok(session.create("Dossiers"))
    ok(session.create("Dossiers/2026"))
    ok(session.create('"Dossiers/Caf&AOk-s"'))
    assert names(ok(session.list('""', '"Dossiers/%"'))) == {"Dossiers/2026", "Dossiers/Caf&AOk-s"}
    ok(session.rename("Dossiers", "Archives2"))
    now = names(ok(session.list()))
    assert now - before == {"Archives2", "Archives2/2026", "Archives2/Caf&AOk-s"}, now
    assert session.create("Archives2")[0] == "NO"
    assert session.select("Absent")[0] == "NO"
    ok(session.subscribe("Archives2/2026"))
    assert names(ok(session.lsub())) >= {"Archives2/2026"}
    ok(session.unsubscribe("Archives2/2026"))
    assert "Archives2/2026" not in names(ok(session.lsub()))
    ok(session.delete('"Archives2/Caf&AOk-s"'))
    assert names(ok(session.list('""', '"Archives2/*"'))) == {"Archives2/2026"}


def appended(session, folder, messages):
    for number, message in enumerate(messages):
        flags = [None, r"(\Seen)", r"(\Flagged $Forwarded)", r"(\Draft \Answered)"][number % 4]
        data = ok(session.append(folder, flags, '"01-Nov-2026 10:00:00 +0100"', message))
        assert re.search(rb"APPENDUID \d+ %d\]" % (number + 1), data[0]), data
    status = ok(session.status(folder, "(MESSAGES UIDNEXT UNSEEN UIDVALIDITY RECENT)"))[0].decode()
    assert f"MESSAGES {len(messages)} " in status + " ", status
    assert f"UIDNEXT {len(messages) + 1}" in status, status


def fetched(session, messages):
    for number, message in enumerate(messages):
        (head, body), *_ = ok(session.fetch(str(number + 1), "(UID RFC822.SIZE INTERNALDATE BODY.PEEK[])"))
        assert body == message, (number, head)
        assert b"RFC822.SIZE %d" % len(message) in head, head
        assert b'INTERNALDATE "01-Nov-2026' in head or b'INTERNALDATE " 1-Nov-2026' in head, head
        header, text = parts(message)
        assert literal(session, number, "BODY.PEEK[HEADER]") == header, number
        assert literal(session, number, "BODY.PEEK[TEXT]") == text, number
        assert literal(session, number, "BODY.PEEK[]<10.20>") == message[10:30], number
        fields = literal(session, number, "BODY.PEEK[HEADER.FIELDS (SUBJECT)]")
        found = re.search(rb"^Subject: .*\r\n", header, re.M)
        assert fields == (found.group() if found else b"") + b"\r\n", (number, fields)
    assert len(ok(session.fetch("1:*", "(FLAGS)"))) == len(messages)
    assert len(ok(session.fetch("1:*", "(ENVELOPE BODYSTRUCTURE BODY)"))) >= len(messages)
    ok(session.fetch("1:*", "FULL"))
    assert ok(session.fetch("1", "(BODY.PEEK[9.9])"))


def parts(message):
    if message.startswith(b"\r\n"):
        return b"\r\n", message[2:]
    end = message.index(b"\r\n\r\n") + 4
    return message[:end], message[end:]


def literal(session, number, item):
    data = ok(session.fetch(str(number + 1), f"({item})"))
    for part in data:
        if isinstance(part, tuple):
            return part[1]
    quoted = re.search(rb'\] ?(?:<\d+>)? "(.*)"', data[0])
    return quoted.group(1) if quoted else b""


def flagged(session):
    assert rb"\Seen" not in ok(session.fetch("1", "(FLAGS)"))[0]
    ok(session.fetch("1", "(BODY[TEXT])"))
    assert rb"\Seen" in ok(session.fetch("1", "(FLAGS)"))[0]
    assert rb"\Flagged" in ok(session.store("1", "+FLAGS", r"(\Flagged Perso)"))[0]
    assert ok(session.store("1", "-FLAGS.SILENT", "(Perso)")) == [None]
    assert b"Perso" not in ok(session.fetch("1", "(FLAGS)"))[0]
    assert session.uid("STORE", "1", "FLAGS", r"(\Seen)")[0] == "OK"


def searched(session, count):
    def hits(*keys):
        return [int(word) for word in ok(session.search(None, *keys))[0].split()]

    assert hits("ALL") == list(range(1, count + 1))
    assert hits("SUBJECT", '"corpus 1"')[0] == 2
    assert hits("TEXT", '"au fond"'), "nested"
    assert hits("BODY", '"absent de partout"') == []
    assert sorted(hits("SEEN") + hits("UNSEEN")) == list(range(1, count + 1))
    assert hits("OR", "FLAGGED", "DRAFT") == sorted({*hits("FLAGGED"), *hits("DRAFT")})
    assert hits("LARGER", "50000") == [n + 1 for n in range(count) if n % 12 == 11]
    assert hits("SINCE", "1-Nov-2026", "BEFORE", "2-Nov-2026") == list(range(1, count + 1))
    assert hits("HEADER", "Message-ID", "corpus.4@") == [5]
    assert hits("NOT", "UID", "1:3") == list(range(4, count + 1))
    assert ok(session.uid("SEARCH", "UID", "2:3"))[0] == b"2 3"
    session.literal = "été".encode()
    assert session.search("UTF-8", "BODY")[0] == "OK"
    assert session.search("KLINGON", "ALL")[0] == "NO"


def moved(session, count):
    ok(session.copy("1:2", "Archives2/2026"))
    status, data = session.uid("MOVE", "3", "Archives2/2026")
    assert status == "OK", data
    assert session.response("EXPUNGE") == ("EXPUNGE", [b"3"])
    assert f"MESSAGES {count - 1}" in ok(session.status("INBOX/imaplib", "(MESSAGES)"))[0].decode()
    assert "MESSAGES 3" in ok(session.status("Archives2/2026", "(MESSAGES)"))[0].decode()
    assert session.copy("1", "Absent")[0] == "NO"
    assert "TRYCREATE" in str(session.untagged_responses) or session.response("TRYCREATE")
    ok(session.store("1", "+FLAGS", r"(\Deleted)"))
    assert ok(session.expunge()) == [b"1"]
    ok(session.store("1,2", "+FLAGS", r"(\Deleted)"))
    uid = ok(session.uid("SEARCH", "DELETED"))[0].split()
    ok(session.uid("EXPUNGE", uid[0].decode()))
    assert ok(session.uid("SEARCH", "DELETED"))[0].split() == uid[1:]
    ok(session.close())


task = json.load(sys.stdin)
messages = [bytes.fromhex(text) for text in task["messages"]]
session = connect(task)
log_in(session, task)
assert {"IMAP4REV1", "UIDPLUS", "IDLE", "MOVE", "NAMESPACE", "SPECIAL-USE", "LITERAL+"} <= {
    name.decode().upper() if isinstance(name, bytes) else name.upper() for name in ok(session.capability())[0].split()
}
folders(session)
ok(session.create("INBOX/imaplib"))
appended(session, "INBOX/imaplib", messages)
assert ok(session.select("INBOX/imaplib")) == [b"%d" % len(messages)]
fetched(session, messages)
flagged(session)
searched(session, len(messages))
moved(session, len(messages))
ok(session.delete("INBOX/imaplib"))
ok(session.delete("Archives2/2026"))
ok(session.delete("Archives2"))
session.logout()
