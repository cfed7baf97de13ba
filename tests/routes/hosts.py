"""Mail hosts that behave as they are told, each on its port; every message taken goes out as a line "PORT SUBJECT"."""
import json
import socketserver
import ssl
import sys
import threading

LOCK = threading.Lock()


class Gone(Exception):
    """This host has nothing more to say."""


class Talk(socketserver.BaseRequestHandler):
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
        self.how = self.server.host["how"]
        try:
            self.greet()
            while True:
                self.answer(self.hear())
        except (Gone, OSError):
            pass

    def greet(self):
        if self.how.startswith("greets "):
            self.say(self.how.removeprefix("greets "))
            raise Gone
        self.say("220 host.test ESMTP")

    def answer(self, line):
        verb = line.split(" ")[0].split(":")[0].upper()
        refused = self.how.split(" ", 1)
        if verb == refused[0]:
            return self.say(refused[1])
        if verb == "EHLO":
            plain = self.how == "no STARTTLS" or isinstance(self.stream, ssl.SSLSocket)
            return self.say("250 host.test") if plain else self.say("250-host.test", "250 STARTTLS")
        if verb == "STARTTLS":
            return self.start_tls()
        if verb == "DATA":
            return self.take()
        if verb == "QUIT":
            self.say("221 bye")
            raise Gone
        return self.say("250 ok")

    def start_tls(self):
        self.say("220 go")
        if self.how == "speaks no TLS":
            self.stream.sendall(b"this is not TLS at all, whatever was promised\r\n")
            raise Gone
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.server.host["certificate"], self.server.host["key"])
        self.secure(context.wrap_socket(self.stream, server_side=True))

    def take(self):
        self.say("354 go")
        subject = ""
        while (line := self.hear()) != ".":
            if line.startswith("Subject: "):
                subject = line.removeprefix("Subject: ")
        if self.how == "vanishes":
            self.stream.close()
            raise Gone
        if self.how.startswith("message "):
            return self.say(self.how.removeprefix("message "))
        with LOCK:
            print(self.server.host["port"], subject, flush=True)
        return self.say("250 taken")


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


for one in json.load(sys.stdin):
    server = Server(("127.0.0.1", one["port"]), Talk)
    server.host = one
    threading.Thread(target=server.serve_forever).start()
print("ready", flush=True)
