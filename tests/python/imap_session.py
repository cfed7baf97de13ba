"""What imaplib has no method for, over its connection: COMPRESS=DEFLATE, MULTIAPPEND, REPLACE, UNAUTHENTICATE, and commands sent together.

Standard input: {"port", "ca", "user", "password", "messages": [hexadecimal, ...]}.
"""

import imaplib
import json
import ssl
import sys
import zlib

for name, states in [
    ("COMPRESS", ("AUTH", "SELECTED")),
    ("UNAUTHENTICATE", ("AUTH", "SELECTED")),
    ("REPLACE", ("SELECTED",)),
]:
    imaplib.Commands[name] = states


class Session(imaplib.IMAP4_SSL):
    """An imaplib session whose bytes may be deflated (RFC 4978)."""

    inflate = None
    ready = b""

    def compress(self):
        ok(self._simple_command("COMPRESS", "DEFLATE"))
        self.deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
        self.inflate = zlib.decompressobj(-15)
        self.unpacked = self.packed = 0

    def send(self, data):
        if self.inflate:
            data = self.deflate.compress(data) + self.deflate.flush(zlib.Z_SYNC_FLUSH)
        super().send(data)

    def more(self):
        packed = self.sock.recv(4096)
        assert packed, "the server closed"
        found = self.inflate.decompress(packed)
        self.packed, self.unpacked = self.packed + len(packed), self.unpacked + len(found)
        self.ready += found

    def read(self, size):
        if not self.inflate:
            return super().read(size)
        while len(self.ready) < size:
            self.more()
        found, self.ready = self.ready[:size], self.ready[size:]
        return found

    def readline(self):
        if not self.inflate:
            return super().readline()
        while b"\n" not in self.ready:
            self.more()
        line, _, self.ready = self.ready.partition(b"\n")
        return line + b"\n"


def ok(answer):
    assert answer[0] == "OK", answer
    return answer[1]


def say(session, data):
    """Sends bytes as they are; returns all lines up to the tagged answer of the last command."""
    session.send(data)
    last = data.rstrip(b"\r\n").rsplit(b"\r\n", 1)[-1].split(b" ")[0]
    lines = []
    while True:
        line = session.readline()
        lines.append(line)
        if line.startswith(last + b" "):
            return lines


def multiappend(session, messages):
    command = b"m1 APPEND Session"
    for index, message in enumerate(messages):
        # One that is asked for, then some that come at once.
        command += b' (\\Seen) "01-Feb-2026 10:00:00 +0100" {%d%s}\r\n' % (len(message), b"+" if index else b"")
        if index == 0:
            session.send(command)
            assert session.readline().startswith(b"+"), "leave to send"
            command = b""
        command += message
    session.send(command + b"\r\n")
    answer = session.readline()
    assert answer.startswith(b"m1 OK [APPENDUID ") and b" 1:%d]" % len(messages) in answer, answer
    # The second is empty: none is stored.
    session.send(b"m2 APPEND Session {1+}\r\nx {0+}\r\n\r\n")
    refused = session.readline()
    assert refused.startswith(b"m2 NO "), refused
    assert ok(session.status("Session", "(MESSAGES)")) == [b"Session (MESSAGES %d)" % len(messages)]


def read_back(session, messages):
    ok(session.select("Session"))
    found = ok(session.fetch("1:*", "(BODY.PEEK[])"))
    assert [item[1] for item in found if isinstance(item, tuple)] == messages


def main(task):
    context = ssl.create_default_context(cafile=task["ca"])
    session = Session("127.0.0.1", task["port"], ssl_context=context, timeout=60)
    messages = [bytes.fromhex(message) for message in task["messages"]]
    ok(session.login(task["user"], task["password"]))
    capabilities = ok(session.capability())[0].split()
    for name in [b"COMPRESS=DEFLATE", b"MULTIAPPEND", b"REPLACE", b"UNAUTHENTICATE", b"ENABLE", b"LITERAL+"]:
        assert name in capabilities, capabilities
    ok(session.create("Session"))
    multiappend(session, messages)
    read_back(session, messages)

    session.compress()
    read_back(session, messages)
    assert session.packed * 2 < session.unpacked, (session.packed, session.unpacked)
    assert session._simple_command("COMPRESS", "DEFLATE")[0] == "NO"
    # Commands sent together are answered in order.
    lines = say(session, b"p1 NOOP\r\np2 FETCH 1 (UID)\r\np3 NONSENSE\r\np4 NOOP\r\n")
    assert [line.split(b" ")[1] for line in lines if line[:1] == b"p"] == [b"OK", b"OK", b"BAD", b"OK"], lines

    lines = say(session, b"r1 REPLACE 1 Session (\\Draft) {5+}\r\nX: y\n\r\nr2 NOOP\r\n")
    answer = b"".join(lines)
    assert b"* OK [APPENDUID " in answer and b"* 1 EXPUNGE" in answer and b"r1 OK" in answer, lines
    assert len(ok(session.search(None, "ALL"))[0].split()) == len(messages)

    assert b"u1 OK [CAPABILITY " in b"".join(say(session, b"u1 UNAUTHENTICATE\r\n"))
    assert say(session, b"u2 SELECT Session\r\n")[-1].startswith(b"u2 BAD ")
    session.state = "NONAUTH"
    ok(session.login(task["user"], task["password"]))
    read_back(session, messages[1:] + [b"X: y\n"])
    session.logout()


main(json.load(sys.stdin))
