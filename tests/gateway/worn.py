"""Keeps an SMTP session busy, and an IMAP session waiting, until the gateway ends them for their age."""
import json
import smtplib
import socket
import ssl
import sys
import time

ask = json.load(sys.stdin)
peers = ssl.create_default_context(cafile=ask["authority"])
peers.load_cert_chain(ask["certificate"], ask["key"])
accepted, ending = 0, None


def data():
    try:
        return peer.data(ask["message"].encode())
    except smtplib.SMTPDataError as error:
        return error.smtp_code, error.smtp_error


peer = smtplib.SMTP("localhost", ask["port"], timeout=20)
peer.ehlo("peer.test")
peer.starttls(context=peers)
peer.ehlo("peer.test")
end = time.monotonic() + 30
while ending is None and time.monotonic() < end:
    for step in (lambda: peer.mail(ask["from"]), lambda: peer.rcpt(ask["to"]), data):
        code, text = step()
        if code == 421:
            # Before a text has begun, it may come at any command.
            ending = f"{code} {text.decode()}"
            break
        assert code == 250, (code, text)
    else:
        accepted += 1

people = ssl.create_default_context(cafile=ask["authority"])
with socket.create_connection(("localhost", ask["imaps"]), timeout=20) as tcp:
    with people.wrap_socket(tcp, server_hostname="localhost") as box:
        lines = box.makefile("rb")
        lines.readline()
        box.sendall(f'a LOGIN "{ask["to"]}" "{ask["password"]}"\r\n'.encode())
        said = lines.readline()
        while not said.startswith(b"a "):
            said = lines.readline()
        # Nothing more is asked: what comes is the server's own doing.
        bye = lines.read()
json.dump({"accepted": accepted, "ending": ending, "login": said.decode(), "bye": bye.decode()}, sys.stdout)
