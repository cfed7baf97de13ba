"""Everything in some folders of one box, read with imaplib.

Standard input: {"port", "ca", "user", "password", "folders": [name, ...]}.
Standard output: [{"folder", "uid", "flags": [...], "message": hexadecimal}, ...].
"""

import imaplib
import json
import re
import ssl
import sys


def dump(session, folder):
    status, data = session.select(f'"{folder}"', readonly=True)
    assert status == "OK", data
    _, found = session.uid("FETCH", "1:*", "(FLAGS BODY.PEEK[])")
    for part in found:
        if not isinstance(part, tuple):
            continue
        flags = re.search(rb"FLAGS \(([^)]*)\)", part[0]).group(1).decode().split()
        uid = int(re.search(rb"UID (\d+)", part[0]).group(1))
        kept = sorted(flag for flag in flags if flag != "\\Recent")
        yield {"folder": folder, "uid": uid, "flags": kept, "message": part[1].hex()}


task = json.load(sys.stdin)
context = ssl.create_default_context(cafile=task["ca"])
session = imaplib.IMAP4_SSL("127.0.0.1", task["port"], ssl_context=context, timeout=60)
session.login(task["user"], task["password"])
print(json.dumps([one for folder in task["folders"] for one in dump(session, folder)]))
session.logout()
