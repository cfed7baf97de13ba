"""Mail hosts of other operators, each on its port, that behave as the file named in "how" says when a connection comes:
takes, busy (421 at once), refuses (550 at RCPT), mute (takes the whole message, then waits until "go-on" is there to say 250).
What happens goes out as lines: "PORT visited", "PORT mute", "PORT answered", "PORT took COUNT SUBJECT"."""
import json
import os
import socketserver
import ssl
import sys
import threading
import time

LOCK = threading.Lock()


class Gone(Exception):
    """This host has nothing more to say."""


class Talk(socketserver.BaseRequestHandler):
    def tell(self, *words):
        with LOCK:
            print(self.server.host["port"], *words, flush=True)

    def say(self, *lines):
        self.stream.sendall("".join(line + "\r\n" for line in lines).encode())

    def hear(self):
        line = self.file.readline()
        if not line:
            raise Gone
        return line.decode("utf-8", "replace").rstrip("\r\n")

    def secure(self, stream):
        self.stream, self.file = stream, stream.makefile("rb")

    def handle(self):
        self.secure(self.request)
        self.tell("visited")
        with open(self.server.host["how"], encoding="utf-8") as file:
            self.how = file.read().strip()
        self.recipients = 0
        try:
            if self.how == "busy":
                self.say("421 4.3.2 too busy")
                raise Gone
            self.say("220 host.test ESMTP")
            while True:
                self.answer(self.hear())
        except (Gone, OSError):
            pass

    def answer(self, line):
        verb = line.split(" ")[0].split(":")[0].upper()
        if verb == "EHLO":
            plain = isinstance(self.stream, ssl.SSLSocket)
            return self.say("250 host.test") if plain else self.say("250-host.test", "250 STARTTLS")
        if verb == "STARTTLS":
            self.say("220 go")
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.server.host["certificate"], self.server.host["key"])
            return self.secure(context.wrap_socket(self.stream, server_side=True))
        if verb == "MAIL":
            self.recipients = 0
        if verb == "RCPT":
            if self.how == "refuses":
                return self.say("550 5.1.1 no such box")
            self.recipients += 1
        if verb == "DATA":
            return self.take() if self.recipients else self.say("503 5.5.1 no recipient")
        if verb == "QUIT":
            self.say("221 bye")
            raise Gone
        return self.say("250 ok")

    def take(self):
        self.say("354 go")
        subject = ""
        while (line := self.hear()) != ".":
            if line.startswith("Subject: "):
                subject = line.removeprefix("Subject: ")
        if self.how == "mute":
            self.tell("mute")
            deadline = time.monotonic() + 60
            while not os.path.exists(self.server.host["go-on"]) and time.monotonic() < deadline:
                time.sleep(0.02)
            self.say("250 taken")
            self.tell("answered")
            return None
        self.tell("took", self.recipients, subject)
        return self.say("250 taken")


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 50


for one in json.load(sys.stdin):
    server = Server(("127.0.0.1", one["port"]), Talk)
    server.host = one
    threading.Thread(target=server.serve_forever).start()
print("ready", flush=True)
