"""Reads INBOX by IMAP over TLS with Python's imaplib and takes each message apart with Python's email; JSON in, JSON out."""
import email
import email.policy
import imaplib
import json
import ssl
import sys

ask = json.load(sys.stdin)
context = ssl.create_default_context(cafile=ask["authority"])
found = []


def seen(raw):
    message = email.message_from_bytes(raw, policy=email.policy.default)
    mail = {
        "raw": raw.decode("utf-8", "replace"),
        "subject": str(message["Subject"] or ""),
        "from": str(message["From"] or ""),
        "return_path": str(message["Return-Path"] or ""),
        "auto_submitted": str(message["Auto-Submitted"] or ""),
        "type": message.get_content_type(),
        "report_type": message.get_param("report-type", ""),
        "text": "",
        "status": [],
        "original": "",
        "defects": [str(defect) for part in message.walk() for defect in part.defects],
    }
    for part in message.walk():
        kind = part.get_content_type()
        if kind == "text/plain" and not mail["text"]:
            mail["text"] = part.get_content()
        elif kind == "message/delivery-status":
            mail["status"] = [{k.lower(): str(v) for k, v in block.items()} for block in part.get_payload()]
        elif kind in ("text/rfc822-headers", "message/rfc822"):
            mail["original"] = str(part.get_payload())
    return mail


with imaplib.IMAP4_SSL("localhost", ask["port"], ssl_context=context, timeout=20) as box:
    box.login(ask["user"], ask["password"])
    box.select("INBOX", readonly=True)
    numbers = box.search(None, "ALL")[1][0].split()
    for number in numbers:
        found.append(seen(box.fetch(number, "(BODY.PEEK[])")[1][0][1]))
json.dump(found, sys.stdout)
