"""Submits half a message by SMTP over STARTTLS and says "held"; then sends the rest once a file is there, or waits for what comes."""
import json
import os
import smtplib
import ssl
import sys
import time

ask = json.load(sys.stdin)
peer = smtplib.SMTP("localhost", ask["port"], timeout=60)
peer.ehlo("half.test")
peer.starttls(context=ssl.create_default_context(cafile=ask["authority"]))
peer.ehlo("half.test")
peer.login(ask["user"], ask["password"])
peer.mail(ask["user"])
peer.rcpt(ask["user"])
peer.putcmd("DATA")
peer.getreply()
head, tail = ask["message"].split("\r\n\r\n", 1)
peer.sock.sendall((head + "\r\n\r\nla moitie\r\n").encode())
print("held", flush=True)
while ask.get("go_on") and not os.path.exists(ask["go_on"]):
    time.sleep(0.02)
try:
    if ask.get("go_on"):
        peer.sock.sendall((tail + "\r\n.\r\n").encode())
        print(peer.getreply()[0], flush=True)
        code, text = peer.docmd("NOOP")
    else:
        code, text = peer.getreply()
    print(code, text.decode(), flush=True)
except (OSError, smtplib.SMTPException) as error:
    print("gone", error, flush=True)
