"""Keeps an SMTP session open while the allow list changes under it: the session keeps its verdict, new ones get the new."""
import json
import os
import select
import signal
import smtplib
import ssl
import sys
import time

ask = json.load(sys.stdin)
context = ssl.create_default_context(cafile=ask["authority"])
context.load_cert_chain(ask["certificate"], ask["key"])


def connect():
    peer = smtplib.SMTP("localhost", ask["port"], timeout=20)
    peer.ehlo("peer.test")
    peer.starttls(context=context)
    peer.ehlo("peer.test")
    return peer


def verdict():
    with connect() as peer:
        return peer.mail(ask["from"])[0]


def reloaded(text, wanted):
    with open(ask["list"] + ".new", "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(ask["list"] + ".new", ask["list"])
    os.kill(ask["pid"], signal.SIGHUP)
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if verdict() == wanted:
            return True
        select.select([], [], [], 0.05)
    return False


held = connect()
before = held.mail(ask["from"])[0]
changed = reloaded(ask["lists"][0], 550)
after = [held.rcpt(ask["to"])[0], held.data(ask["message"].encode())[0], held.mail(ask["from"])[0], held.quit()[0]]
json.dump({"before": before, "changed": changed, "held": after, "back": reloaded(ask["lists"][1], 250)}, sys.stdout)
