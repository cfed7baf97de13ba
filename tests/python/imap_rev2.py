"""IMAP4rev2 (RFC 9051) by imaplib: ENABLE, names in UTF-8, and answers that the older standard does not have.

Standard input: {"port", "ca", "user", "password", "message": hexadecimal}.
"""

import imaplib
import json
import ssl
import sys

task = json.load(sys.stdin)
context = ssl.create_default_context(cafile=task["ca"])
message = bytes.fromhex(task["message"])


def ok(answer):
    assert answer[0] == "OK", answer
    return answer[1]


session = imaplib.IMAP4_SSL("127.0.0.1", task["port"], ssl_context=context, timeout=60)
assert "IMAP4REV2" in session.capabilities and "IMAP4REV1" in session.capabilities, session.capabilities
ok(session.login(task["user"], task["password"]))
session._get_capabilities()  # those after login
before = ok(session.capability())
ok(session.enable("IMAP4rev2"))
assert session.untagged_responses.pop("ENABLED") == [b"IMAP4rev2"]
assert ok(session.capability()) == before, "ENABLE changes no capability"

session._encoding = "utf-8"  # RFC 9051 §5.1: names as they are
ok(session.create('"Rév 2/Été"'))
ok(session.append('"Rév 2/Été"', r"(\Flagged)", None, message))
ok(session.select('"Rév 2/Été"'))
told = session.untagged_responses
assert told["EXISTS"] == [b"1"], told
assert "RECENT" not in told and "UNSEEN" not in told, told
assert told["LIST"] == ['(\\HasNoChildren) "/" "Rév 2/Été"'.encode()], told
assert ok(session.fetch("1", "(FLAGS)")) == [b"1 (FLAGS (\\Flagged))"]

session.untagged_responses.clear()
ok(session._simple_command("SEARCH", "FLAGGED"))
[found] = session.untagged_responses.pop("ESEARCH")
assert found.endswith(b") ALL 1"), found
ok(session._simple_command("SEARCH", "DELETED"))
[found] = session.untagged_responses.pop("ESEARCH")
assert found.startswith(b"(TAG ") and found.endswith(b")"), found

ok(session.store("1", "+FLAGS", r"(\Seen \Deleted)"))
assert ok(session.fetch("1", "(FLAGS)")) == [rb"1 (FLAGS (\Flagged \Deleted \Seen))"]
ok(session.expunge())
ok(session.unselect())
ok(session.delete('"Rév 2/Été"'))
ok(session.delete('"Rév 2"'))

# A session that does not ask for it is as before.
plain = imaplib.IMAP4_SSL("127.0.0.1", task["port"], ssl_context=context, timeout=60)
ok(plain.login(task["user"], task["password"]))
ok(plain.select("INBOX"))
assert "RECENT" in plain.untagged_responses and "LIST" not in plain.untagged_responses, plain.untagged_responses
assert ok(plain.search(None, "DELETED")) == [b""]
session.logout()
plain.logout()
