"""An IMAP session that stays open: selects INBOX, says so, and looks again when the file named in "again" appears."""
import imaplib
import json
import os
import ssl
import sys
import time

ask = json.load(sys.stdin)
context = ssl.create_default_context(cafile=ask["authority"])
box = imaplib.IMAP4_SSL("localhost", ask["port"], ssl_context=context)
box.login(ask["user"], ask["password"])
kind, before = box.select("INBOX")
assert kind == "OK", before
print("open", int(before[0]), flush=True)
deadline = time.monotonic() + 60
while not os.path.exists(ask["again"]):
    assert time.monotonic() < deadline, "nobody asked again"
    kind, said = box.noop()
    assert kind == "OK", said
    time.sleep(0.05)
kind, rows = box.search(None, "ALL")
assert kind == "OK", rows
print("still open", len(rows[0].split()), flush=True)
box.logout()
