"""Plays SMTP dialogues with smtplib.

Standard input: {"port", "tls": "starttls" | "implicit" | "none", "ca", "certificate", "key", "steps": [[verb, ...], ...]}.
Standard output: the reply to each step as a line "code text".
"""

import json
import smtplib
import ssl
import sys
from email.message import EmailMessage


def connect(task):
    context = ssl.create_default_context(cafile=task["ca"])
    if task.get("certificate"):
        context.load_cert_chain(task["certificate"], task["key"])
    if task["tls"] == "implicit":
        return smtplib.SMTP_SSL("127.0.0.1", task["port"], "dui.example", timeout=60, context=context)
    session = smtplib.SMTP("127.0.0.1", task["port"], "dui.example", timeout=60)
    session.ehlo()
    if task["tls"] == "starttls":
        session.starttls(context=context)
    return session


def login(session, mechanism, user, password="", initial_response=True):
    session.ehlo_or_helo_if_needed()
    session.user, session.password = user, password
    answer = {
        "PLAIN": session.auth_plain,
        "LOGIN": session.auth_login,
        "EXTERNAL": lambda challenge=None: user,
    }[mechanism]
    return session.auth(mechanism, answer, initial_response_ok=initial_response)


def outcome(refused):
    return next(iter(refused.values())) if refused else (250, b"sent")


def raw(session, octets, replies):
    """Sends bytes as they are, then reads that many replies: the code of the last, the texts of all."""
    session.sock.sendall(bytes.fromhex(octets))
    told = [session.getreply() for _ in range(replies)]
    return told[-1][0], b" | ".join(b"%d %s" % reply for reply in told)


def attached(sender, recipients, subject, attachment_bytes):
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = sender, ", ".join(recipients), subject
    message.set_content("Bonjour,\n\nle document est joint. À bientôt.\n")
    content = bytes(number * 7 % 251 for number in range(attachment_bytes))
    message.add_attachment(content, maintype="application", subtype="pdf", filename="compte rendu é.pdf")
    return message


def step(session, verb, *rest):
    if verb == "AUTH":
        return login(session, *rest)
    if verb == "SAY":
        return session.docmd(*rest)
    if verb == "DATA":
        return session.data(rest[0])
    if verb == "SEND":
        sender, recipients, content, *options = rest
        return outcome(session.sendmail(sender, recipients, bytes.fromhex(content), *options))
    if verb == "ATTACH":
        sender, recipients, subject, size = rest
        return outcome(session.send_message(attached(sender, recipients, subject, size)))
    if verb == "LEAVE":
        session.close()
        sys.exit()
    if verb == "RAW":
        return raw(session, *rest)
    raise ValueError(verb)


def reply(error):
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return next(iter(error.recipients.values()))
    if isinstance(error, smtplib.SMTPResponseException):
        return error.smtp_code, error.smtp_error
    raise error


task = json.load(sys.stdin)
session = connect(task)
for words in task["steps"]:
    try:
        code, text = step(session, *words)
    except smtplib.SMTPException as error:
        code, text = reply(error)
    print(code, text.decode().replace("\n", " / "), flush=True)
session.quit()
