"""Waits in IDLE (RFC 2177) on an imaplib session while smtplib sends a message to the box.

Standard input: {"ca", "imap", "smtp", "reader", "sender", "password", "message"}.
"""

import imaplib
import json
import smtplib
import ssl
import sys

LINES_MAX = 50

task = json.load(sys.stdin)
context = ssl.create_default_context(cafile=task["ca"])
# The timeout bounds each wait for a line.
reader = imaplib.IMAP4_SSL("127.0.0.1", task["imap"], ssl_context=context, timeout=30)
reader.login(task["reader"], task["password"])
count = int(reader.select("INBOX")[1][0])

tag = reader._new_tag()
reader.send(tag + b" IDLE\r\n")
assert reader.readline().startswith(b"+ "), "IDLE is not taken"

with smtplib.SMTP_SSL("127.0.0.1", task["smtp"], "poste.example", timeout=30, context=context) as sender:
    sender.login(task["sender"], task["password"])
    assert sender.sendmail(task["sender"], [task["reader"]], task["message"]) == {}

wanted = b"* %d EXISTS\r\n" % (count + 1)
assert any(reader.readline() == wanted for _ in range(LINES_MAX)), "no EXISTS came"
reader.send(b"DONE\r\n")
assert any(reader.readline().startswith(tag + b" OK") for _ in range(LINES_MAX)), "IDLE did not end"

_, found = reader.uid("SEARCH", "SUBJECT", '"pendant IDLE"')
assert len(found[0].split()) == 1, found
reader.logout()
