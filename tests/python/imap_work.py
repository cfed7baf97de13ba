"""Changes a folder with imaplib: fills it with messages when there are some, else flags, unflags and removes what it holds.

Standard input: {"port", "ca", "user", "password", "folder", "messages": [hexadecimal, ...]}.
"""

import imaplib
import json
import ssl
import sys

FLAGS = ["", r"\Seen", r"\Flagged \Seen", r"\Answered", r"\Draft"]


def ok(answer):
    status, data = answer
    assert status == "OK", answer
    return data


task = json.load(sys.stdin)
context = ssl.create_default_context(cafile=task["ca"])
session = imaplib.IMAP4_SSL("127.0.0.1", task["port"], ssl_context=context, timeout=60)
session.login(task["user"], task["password"])
folder = task["folder"]
if "messages" in task:
    ok(session.create(folder))
    for number, message in enumerate(task["messages"]):
        ok(session.append(folder, f"({FLAGS[number % 5]})", None, bytes.fromhex(message)))
else:
    ok(session.select(folder))
    uids = ok(session.uid("SEARCH", "ALL"))[0].split()
    for index, uid in enumerate(uids):
        if index % 10 == 5:
            ok(session.uid("STORE", uid, "+FLAGS", r"(\Deleted)"))
        elif index % 10 == 6:
            ok(session.uid("STORE", uid, "FLAGS", r"(\Answered \Seen)"))
        elif index % 10 == 7:
            ok(session.uid("STORE", uid, "-FLAGS", r"(\Seen)"))
    ok(session.expunge())
session.logout()
