"""How long a message takes whose end is written apart from the rest, when TCP is left to gather small writes (Nagle) and when it is not.

Standard input: {"imaps", "submissions": ports, "ca", "user", "password", "count"}. Standard output: {"imap" | "smtp": [gathered, apart]},
milliseconds per message.
"""

import imaplib
import json
import smtplib
import socket
import ssl
import sys
import time

task = json.load(sys.stdin)
context = ssl.create_default_context(cafile=task["ca"])
# The names of servers are another test.
context.check_hostname = False
MESSAGE = b"From: <%b>\r\nSubject: essai\r\n\r\nBonjour\r\n" % task["user"].encode()


def imap():
    session = imaplib.IMAP4_SSL("127.0.0.1", task["imaps"], ssl_context=context, timeout=40)
    session.login(task["user"], task["password"])
    return session.sock, lambda: session.append("Drafts", None, None, MESSAGE)[0] == "OK"


def smtp():
    session = smtplib.SMTP_SSL("localhost", task["submissions"], context=context, timeout=40)
    session.login(task["user"], task["password"])

    def send():
        session.mail(task["user"])
        session.rcpt(task["user"])
        session.docmd("DATA")
        session.send(MESSAGE)
        session.send(b".\r\n")
        return session.getreply()[0] == 250

    return session.sock, send


def milliseconds(connect, no_delay):
    connection, send = connect()
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, no_delay)
    begun = time.monotonic()
    for _ in range(task["count"]):
        assert send()
    return (time.monotonic() - begun) * 1000 / task["count"]


json.dump({connect.__name__: [milliseconds(connect, no_delay) for no_delay in (0, 1)] for connect in (imap, smtp)}, sys.stdout)
