"""What is read of messages of every shape: here, in Dovecot, and by Python's email package.

Standard input: {"ours": {"port", "ca", "user", "password"}, "dovecot": {"port", "user", "password"}}. Every difference must be one that
EXPECTED names with its reason, and each of those must be there.
"""

import email
import email.policy
import json
import re
import socket
import ssl
import sys

import shapes


class Client:
    """IMAP as bytes."""

    def __init__(self, server):
        plain = socket.create_connection(("127.0.0.1", server["port"]), timeout=60)
        if "ca" in server:
            context = ssl.create_default_context(cafile=server["ca"])
            plain = context.wrap_socket(plain, server_hostname="localhost")
        self.socket = plain
        self.input = plain.makefile("rb")
        self.count = 0
        self.input.readline()
        self.ask(b"LOGIN " + server["user"].encode() + b" " + server["password"].encode())

    def ask(self, command, literal=None, status=b"OK"):
        self.count += 1
        tag = b"a%d" % self.count
        if literal is not None:
            command += b" {%d+}\r\n" % len(literal) + literal
        self.socket.sendall(tag + b" " + command + b"\r\n")
        answers = []
        while True:
            answer = self.answer()
            if answer.startswith(tag + b" "):
                assert answer.split()[1] == status, (command[:200], answer)
                return answers
            answers.append(answer)

    def answer(self):
        whole = b""
        while True:
            line = self.input.readline()
            assert line, "the server left"
            whole += line
            announced = re.search(rb"\{(\d+)\}\r\n$", line)
            if not announced:
                return whole
            whole += self.input.read(int(announced[1]))  # a literal, or a literal8

    def fetch(self, number, items):
        for answer in self.ask(b"FETCH %d (%s)" % (number, items)):
            if b" FETCH (" in answer[:40]:
                parsed = Parser(answer[answer.index(b"FETCH (") + 6 :]).value()
                return dict(zip([name.upper() for name in parsed[::2]], parsed[1::2]))
        raise AssertionError(items)


class Parser:
    """Reads an IMAP value strictly: lists, NIL as None, strings as bytes, numbers as int, other atoms as str."""

    def __init__(self, text):
        self.text, self.at = text, 0

    def value(self):
        byte = self.text[self.at : self.at + 1]
        if byte == b"(":
            return self.list()
        if byte == b'"':
            found = re.compile(rb'"((?:[^"\\\r\n\0]|\\["\\])*)"').match(self.text, self.at)
            assert found, self.text[self.at : self.at + 80]
            assert not re.search(rb"[\x80-\xff]", found[1]), found[1]
            self.at = found.end()
            return re.sub(rb"\\(.)", rb"\1", found[1])
        if byte in (b"{", b"~"):
            found = re.compile(rb"(~?)\{(\d+)\}\r\n").match(self.text, self.at)
            start = found.end()
            self.at = start + int(found[2])
            assert self.at <= len(self.text) and (found[1] or b"\0" not in self.text[start : self.at])
            return self.text[start : self.at]
        found = re.compile(rb"[^ ()\"{\r\n\[]+(\[[^\]]*\])?(<\d+>)?").match(self.text, self.at)
        assert found, self.text[self.at : self.at + 80]
        self.at = found.end()
        atom = found[0].decode()
        return None if atom == "NIL" else int(atom) if atom.isdigit() else atom

    def list(self):
        self.at += 1
        found = []
        while self.text[self.at : self.at + 1] != b")":
            if self.text[self.at : self.at + 1] == b" ":
                assert found, "a space after a parenthesis"
                self.at += 1
            found.append(self.value())
        self.at += 1
        return found


def parts(body, number=()):
    """Each part of a BODY structure with its number."""
    if isinstance(body[0], list):
        for index, child in enumerate([item for item in body if isinstance(item, list) and isinstance(item[0], (list, bytes))][:count(body)], 1):
            yield from parts(child, number + (index,))
        if number:
            yield number, "multipart", body
        return
    here = number or (1,)
    yield here, "message" if is_message(body) else "leaf", body
    if is_message(body):
        inner = body[8]
        if isinstance(inner[0], list):
            yield from (found for found in parts(inner, here) if found[0] != here)
        else:
            yield from parts(inner, here + (1,))


def count(body):
    found = 0
    while found < len(body) and isinstance(body[found], list):
        found += 1
    return found


def is_message(body):
    return isinstance(body[0], bytes) and body[0].upper() == b"MESSAGE" and body[1].upper() in (b"RFC822", b"GLOBAL") and len(body) > 8 and isinstance(body[8], list)


def folded(body):
    """A structure with the words whose case means nothing in capitals."""
    if isinstance(body[0], list):
        children = count(body)
        rest = body[children:]
        return [folded(child) for child in body[:children]] + [rest[0].upper()] + extension(rest[1:], parameters_first=True)
    out = [body[0].upper(), body[1].upper(), parameters(body[2]), body[3], body[4], body[5].upper(), body[6]]
    rest = body[7:]
    if is_message(body):
        out += [rest[0], folded(rest[1]), rest[2]]
        rest = rest[3:]
    elif out[0] == b"TEXT":
        out.append(rest[0])
        rest = rest[1:]
    return out + extension(rest, parameters_first=False)


def extension(rest, parameters_first):
    if not rest:
        return []
    rest = list(rest)
    if parameters_first:
        rest[0] = parameters(rest[0])
    if rest[1]:
        rest[1] = [rest[1][0].upper(), parameters(rest[1][1])]
    return rest


def parameters(found):
    if found is None:
        return None
    return [item.upper() if index % 2 == 0 else item for index, item in enumerate(found)]


SECTIONS = [
    b"HEADER", b"TEXT", b"", b"HEADER.FIELDS (Subject FROM x-none)", b"HEADER.FIELDS.NOT (Subject To Received)",
    b"1", b"1.MIME", b"9", b"1.1.1.1.1.1",
]
ABSENT = {"9", "1.1.1.1.1.1"}
PARTIALS = [b"<0.10>", b"<5.1>", b"<3.100000>", b"<999999.5>"]


def read(client, number):
    """Everything there is to be read of a message, by name."""
    found = client.fetch(number, b"ENVELOPE BODY BODYSTRUCTURE RFC822.SIZE")
    out = {"SIZE": found["RFC822.SIZE"], "ENVELOPE": found["ENVELOPE"], "BODY": folded(found["BODY"])}
    out["BODYSTRUCTURE"] = folded(found["BODYSTRUCTURE"])
    sections = list(SECTIONS)
    for at, kind, _ in list(parts(found["BODY"]))[:40]:
        name = b".".join(b"%d" % step for step in at)
        sections += [name, name + b".MIME"]
        if kind == "message":
            sections += [name + b".HEADER", name + b".TEXT", name + b".HEADER.FIELDS (subject)", name + b".HEADER.FIELDS.NOT (subject)"]
    for section in dict.fromkeys(sections):
        asked = b"BODY.PEEK[" + section + b"]"
        out[section.decode()] = next(iter(client.fetch(number, asked).values()))
    for section in (b"", b"TEXT", b"1"):
        for partial in PARTIALS:
            found = client.fetch(number, b"BODY.PEEK[" + section + b"]" + partial)
            out[(section + partial).decode()] = next(iter(found.values()))
    return out


def check_itself(name, message, found):
    """What needs no peer: sections make the whole, sizes and lines are those of the bytes."""
    assert found[""] == message, name
    assert found["SIZE"] == len(message), name
    assert found["HEADER"] + found["TEXT"] == message, name
    for partial in PARTIALS:
        first, length = (int(n) for n in partial[1:-1].split(b"."))
        for section in ("", "TEXT", "1"):
            whole = found[section]
            expected = None if whole is None else whole[first : first + length]
            assert found[section + partial.decode()] == expected, (name, section, partial)
    for at, kind, body in list(parts(found["BODY"]))[:40]:
        section = ".".join(str(step) for step in at)
        content = found[section]
        assert content is not None, (name, section)
        if kind != "multipart":
            assert body[6] == len(content), (name, section, body[6], len(content))
        if kind == "message":
            assert found[section + ".HEADER"] + found[section + ".TEXT"] == content, (name, section)
        if kind == "message" or kind == "leaf" and body[0] == b"TEXT":
            lines = body[9] if kind == "message" else body[7]
            assert lines == content.count(b"\n"), (name, section, lines)


def check_email(message, found):
    """The same leaves as Python's email package sees, where it is no guess."""
    mail = email.message_from_bytes(message, policy=email.policy.compat32)
    if mail.defects or any(part.defects for part in mail.walk()):
        return []
    if any(part.get_content_maintype() == "message" and part.get_content_subtype() != "rfc822" for part in mail.walk()):
        return []  # every message/* is read as a message there
    theirs = [part for part in mail.walk() if not part.is_multipart()]
    ours = [(at, body) for at, kind, body in parts(found["BODY"]) if kind == "leaf"]
    if len(ours) > 35:
        return []
    problems = []
    if len(theirs) != len(ours):
        problems.append(f"email: {len(theirs)} leaves, not {len(ours)}")
    for part, (at, body) in zip(theirs, ours):
        section = ".".join(str(step) for step in at)
        if part.get_content_type().upper() != (body[0] + b"/" + body[1]).decode():
            problems.append(f"email: {section} is {part.get_content_type()}, not {body[:2]}")
        text = part._payload  # as it stands: get_payload() decodes 8-bit text
        if isinstance(text, str):
            text = text.encode("ascii", "surrogateescape")
            if text != found[section]:
                problems.append(f"email: {section} {text[:60]!r}, not {found[section][:60]!r}")
    return problems


EXPECTED = json.load(open(__file__.replace("mime_peers.py", "mime_peers.json")))


def main():
    task = json.load(sys.stdin)
    ours, dovecot = Client(task["ours"]), Client(task["dovecot"])
    cases = shapes.shapes()
    for client in (ours, dovecot):
        client.ask(b"CREATE Formes")
        for _, message in cases:
            client.ask(b"APPEND Formes", message)
    for _, message in shapes.ALONE:
        ours.ask(b"APPEND Formes", message)
    for client in (ours, dovecot):
        client.ask(b"SELECT Formes")
    differences = {}
    for number, (name, message) in enumerate(cases, 1):
        mine, theirs = read(ours, number), read(dovecot, number)
        check_itself(name, message, mine)
        found = {}
        for item in dict.fromkeys([*mine, *theirs]):
            if item in ABSENT and mine[item] is None:
                continue  # Dovecot says "" of a part that does not exist, NIL is what RFC 9051 has for nothing
            if mine.get(item, "absent") != theirs.get(item, "absent"):
                found[item] = (repr(mine.get(item, "absent"))[:1000], repr(theirs.get(item, "absent"))[:1000])
        for problem in check_email(message, mine):
            found[problem] = ("", "")
        if found:
            differences[name] = found
    for number, (name, message) in enumerate(shapes.ALONE, len(cases) + 1):
        check_itself(name, message, read(ours, number))
    if task.get("show") == 2:
        print(json.dumps({name: {"why": EXPECTED.get(name, {}).get("why", "?"), "items": sorted(found)} for name, found in differences.items()}, indent=1))
        return
    if task.get("show"):
        for name, found in differences.items():
            for item, (mine, theirs) in found.items():
                print(f"{name} | {item}\n   ours {mine}\n   them {theirs}")
        return
    for name in {*differences, *EXPECTED}:
        found, expected = differences.get(name, {}), EXPECTED.get(name, {"items": []})
        assert sorted(found) == sorted(expected["items"]), (name, found, expected)
    binary(ours, len(cases))
    print(len(cases), "shapes,", len(differences), "with differences")


def binary(client, number):
    """The last shape is large: its file decoded by the server, whole and in part, is the one that was encoded."""
    content = shapes.LARGE
    found = client.fetch(number, b"BINARY.PEEK[2] BINARY.SIZE[2] BINARY.PEEK[2]<1000.17> PREVIEW EMAILID")
    assert found["BINARY[2]"] == content and found["BINARY.SIZE[2]"] == len(content)
    assert found["BINARY[2]<1000>"] == content[1000:1017]
    assert found["PREVIEW"] == b"un deux", found["PREVIEW"]
    assert re.fullmatch(r"M[0-9]+", found["EMAILID"][0]), found["EMAILID"]
    assert client.fetch(number, b"PREVIEW (LAZY)")["PREVIEW"] == b"un deux"


main()
