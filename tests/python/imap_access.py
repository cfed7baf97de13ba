"""Delegates, limits and boxes that change state, seen by imaplib while the gateway reads its configuration again.

Standard input: {"port", "ca", "pid", "configuration": path, "texts": {name: text}, "box", "holder": [user, password], "delegate": [...]}.
Standard output: one JSON object, what was told at each point.
"""

import imaplib
import json
import os
import re
import signal
import ssl
import sys

task = json.load(sys.stdin)
context = ssl.create_default_context(cafile=task["ca"])
told = {}


def connect():
    return imaplib.IMAP4_SSL("127.0.0.1", task["port"], ssl_context=context, timeout=60)


def log_in(login, box):
    """A session of a login on a box, or what the server says."""
    session = connect()
    user, password = task[login]
    try:
        session.authenticate("PLAIN", lambda _: f"{box}\0{user}\0{password}".encode())
        return session
    except imaplib.IMAP4.error as error:
        session.shutdown()
        return str(error)


def become(name):
    """Has the gateway use another configuration."""
    with open(task["configuration"], "w") as file:
        file.write(task["texts"][name])
    os.kill(task["pid"], signal.SIGHUP)


def idle(session):
    session.send(b"i IDLE\r\n")
    assert session.readline().startswith(b"+"), "IDLE"


def farewell(session):
    """The BYE that a session is ended with."""
    while True:
        line = session.readline()
        assert line, "the connection was closed without a word"
        if line.startswith(b"* BYE"):
            return line.decode()


def letter(subject):
    return f"From: <a@b.fr>\r\nSubject: {subject}\r\n\r\nBonjour\r\n".encode()


box = task["box"]

# The holder and a delegate in one box, each as itself.
holder, delegate = log_in("holder", box), log_in("delegate", box)
told["rights"] = [session.myrights("INBOX")[1][0].decode() for session in (holder, delegate)]
told["acl"] = holder.getacl("INBOX")[1][0].decode()
told["acl for a delegate"] = delegate.getacl("INBOX")[0]
told["setacl"] = holder.setacl("INBOX", "x", "lr")[1][0].decode()
assert holder.append("INBOX", None, None, letter("un"))[0] == "OK"
assert delegate.select("INBOX")[1] == [b"1"]
assert delegate.store("1", "+FLAGS", "\\Seen")[0] == "OK"
assert holder.xatom("SETMETADATA", "INBOX", '(/private/comment "mine")')[0] == "OK"
assert delegate.xatom("GETMETADATA", "INBOX", "/private/comment")[0] == "OK"
told["private"] = [line.decode() for line in delegate.untagged_responses.pop("METADATA")]

# LOGIN opens the delegate's own box; a box of nobody's is refused.
own = connect()
own.login(*task["delegate"])
told["own"] = own.myrights("INBOX")[1][0].decode()
own.logout()
told["foreign"] = log_in("holder", "delegue@clinique.mssante.fr")

# Two sessions for each login on each box, and one more.
second = log_in("holder", box)
told["third"] = log_in("holder", box)
second.logout()
again = log_in("holder", box)
assert not isinstance(again, str), again
again.logout()

# Suspended while one waits and another rests.
idle(delegate)
holder.select("INBOX")
become("suspended")
told["idle"] = farewell(delegate)
told["resting"] = farewell(holder)
holder = log_in("holder", box)
try:
    holder.select("INBOX")
    told["read only"] = False
except imaplib.IMAP4.readonly:
    told["read only"] = True
holder.select("INBOX", readonly=True)
assert holder.fetch("1", "(BODY.PEEK[TEXT])")[1][0][1] == b"Bonjour\r\n"
told["append"] = holder.append("INBOX", None, None, letter("deux"))[1][0].decode()
told["create"] = holder.create("Neuf")[1][0].decode()
told["rights when suspended"] = holder.myrights("INBOX")[1][0].decode()

# In use again.
idle(holder)
become("active")
told["resumed"] = farewell(holder)
holder, delegate = log_in("holder", box), log_in("delegate", box)
assert holder.append("INBOX", None, None, letter("deux"))[0] == "OK"
assert delegate.select("INBOX")[1] == [b"2"]

# Access taken away: the delegate goes, the holder stays.
idle(delegate)
become("without")
told["withdrawn"] = farewell(delegate)
told["refused"] = log_in("delegate", box)
assert holder.noop()[0] == "OK"

# Closed.
idle(holder)
become("closed")
told["closed"] = farewell(holder)
told["gone"] = log_in("holder", box)

print(json.dumps(told))
