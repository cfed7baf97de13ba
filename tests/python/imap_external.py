"""Logs in with SASL EXTERNAL over imaplib, and prints "OK" or what the server says.

Standard input: {"port", "ca", "authzid", "certificate", "key"}.
"""

import imaplib
import json
import ssl
import sys

task = json.load(sys.stdin)
context = ssl.create_default_context(cafile=task["ca"])
if task.get("certificate"):
    context.load_cert_chain(task["certificate"], task["key"])
session = imaplib.IMAP4_SSL("127.0.0.1", task["port"], ssl_context=context, timeout=60)
assert ("AUTH=EXTERNAL" in session.capabilities) == bool(task.get("certificate")), session.capabilities
try:
    print(session.authenticate("EXTERNAL", lambda challenge: task["authzid"].encode())[0])
except imaplib.IMAP4.error as error:
    print(error)
session.logout()
