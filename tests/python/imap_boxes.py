"""Reads INBOX of several boxes with imaplib.

Standard input: {"ca", "boxes": [{"port", "user", "password"}, ...]}.
Standard output: {user: [message in hexadecimal, ...]}.
"""

import imaplib
import json
import ssl
import sys


def messages(context, box):
    session = imaplib.IMAP4_SSL("127.0.0.1", box["port"], ssl_context=context, timeout=60)
    session.login(box["user"], box["password"])
    session.select("INBOX", readonly=True)
    _, found = session.uid("FETCH", "1:*", "(BODY.PEEK[])")
    session.logout()
    return [part[1].hex() for part in found if isinstance(part, tuple)]


task = json.load(sys.stdin)
context = ssl.create_default_context(cafile=task["ca"])
print(json.dumps({box["user"]: messages(context, box) for box in task["boxes"]}))
