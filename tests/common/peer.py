"""One mail by SMTP over STARTTLS with Python's smtplib; what to do comes as JSON on standard input, every reply goes out as JSON."""
import json
import smtplib
import ssl
import sys

ask = json.load(sys.stdin)
context = ssl.create_default_context(cafile=ask["authority"])
if ask.get("certificate"):
    context.load_cert_chain(ask["certificate"], ask["key"])
replies = []


def told(stage, reply):
    replies.append({"stage": stage, "code": reply[0], "text": reply[1].decode("utf-8", "replace")})
    return reply[0] < 400


def talk(peer):
    if not told("ehlo", peer.ehlo("peer.test")):
        return
    if ask.get("tls", True):
        if not told("starttls", peer.starttls(context=context)):
            return
        if not told("ehlo", peer.ehlo("peer.test")):
            return
    if ask.get("user"):
        if not told("auth", peer.login(ask["user"], ask["password"])):
            return
    if not told("mail", peer.mail(ask["from"], ask.get("mail_options", ()))):
        return
    taken = [told("rcpt", peer.rcpt(one, ask.get("rcpt_options", ()))) for one in ask["to"]]
    if any(taken):
        told("data", peer.data(ask["message"].encode("utf-8")))


try:
    with smtplib.SMTP("localhost", ask["port"], timeout=20) as connected:
        talk(connected)
except (smtplib.SMTPException, OSError) as error:
    code = getattr(error, "smtp_code", 0)
    text = getattr(error, "smtp_error", None) or f"{type(error).__name__}: {error}".encode()
    told("broken", (code or 999, text))
json.dump(replies, sys.stdout)
