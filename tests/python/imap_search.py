"""SEARCH, SORT and THREAD here and in Dovecot, on the same mail.

Standard input: {"ours": {"port", "ca", "user", "password"}, "dovecot": {"port", "user", "password"}, "messages": [hexadecimal, ...]}.
Every command has the same untagged answers from both.
"""

import json
import socket
import ssl
import sys
import time


def conversation(number, subject, references=b"", date=b"", sender=b"", to=b"a@b.fr", body=b"corps"):
    head = b"Message-ID: <%s@conversation>\r\nSubject: %s\r\nTo: %s\r\n" % (number, subject, to)
    if references:
        head += b"References: " + b" ".join(b"<%s@conversation>" % one for one in references.split()) + b"\r\n"
    if date:
        head += b"Date: " + date + b"\r\n"
    if sender:
        head += b"From: " + sender + b"\r\n"
    return head + b"Content-Type: text/plain; charset=utf-8\r\n\r\n" + body + b"\r\n"


CONVERSATIONS = [
    conversation(b"a", b"bilan", date=b"Fri, 20 Nov 2026 10:00:00 +0100", sender=b"Zoe <a@x.fr>"),
    conversation(b"b", b"Re: bilan", b"a", b"Fri, 20 Nov 2026 09:00:00 -0500", b"alice@x.fr", body="été".encode()),
    conversation(b"c", b"Re: bilan (fwd)", b"a b", b"Fri, 20 Nov 2026 23:59:59 -1100", b"=?utf-8?Q?=C3=89lise?= <e@x.fr>"),
    conversation(b"d", b"[liste] Re: [liste] autre", b"gone", b"Thu, 19 Nov 2026 10:00:00 +0000", b"Bob <b@x.fr>"),
    conversation(b"e", b"autre", b"gone", b"Thu, 19 Nov 2026 11:00:00 +0000", b"bob@y.fr", b"Zed <z@x.fr>"),
    conversation(b"f", b"=?utf-8?B?UsOpc3VsdGF0?=", date=b"Wed, 18 Nov 2026 11:00:00 +0000", sender=b"c@x.fr", to=b"Ann <q@x.fr>"),
    conversation(b"g", b"Fwd: =?iso-8859-1?Q?R=E9sultat?=", date=b"Wed, 18 Nov 2026 12:00:00 +0000", sender=b"d@x.fr"),
    conversation(b"h", b"seul", b"h", b"Tue, 17 Nov 2026 12:00:00 +0000", b"d@x.fr", b"d@x.fr, c@x.fr"),
    conversation(b"i", b"boucle un", b"j", b"Mon, 16 Nov 2026 12:00:00 +0000", b"d@x.fr"),
    conversation(b"j", b"boucle deux", b"i", b"Mon, 16 Nov 2026 13:00:00 +0000", b"d@x.fr"),
    conversation(b"k", b"Re: orphelin", b"x y z", b"Sun, 15 Nov 2026 13:00:00 +0000", b"d@x.fr"),
    conversation(b"l", b"Re: orphelin", b"x y", b"Sun, 15 Nov 2026 12:00:00 +0000", b"d@x.fr"),
]

SEARCHES = [
    b"ALL",
    b'SUBJECT "bilan"',
    b'SUBJECT "CORPUS 1"',
    b'FROM "x.fr" NOT SUBJECT "re:"',
    b'OR TO "zed" BODY "corps"',
    b'TEXT "corps"',
    b'TEXT "preambule"',
    b'BODY "bonjour"',
    b'HEADER References ""',
    b'HEADER Message-ID "corpus.4@"',
    b'HEADER X-Absent ""',
    # Dovecot gives a message without a Date the beginning of time; RFC 9051 §6.4.4 gives it no date at all.
    b'SENTBEFORE 20-Nov-2026 HEADER Date ""',
    b"SENTON 20-Nov-2026",
    b"SENTSINCE 20-Nov-2026",
    b"NOT SENTSINCE 20-Nov-2026",
    b"LARGER 1000 SMALLER 100000",
    b"UID 3:7,9 NOT 5",
    b"*",
    b"FLAGGED OR SEEN KEYWORD Label",
    b"YOUNGER 3600",
    b"OLDER 3600",
    b"NOT (OR UID 1:5 UID 10:*)",
]
IN_UTF8 = ["TEXT été", "BODY ÉTÉ", "SUBJECT résultat", "SUBJECT RÉSULTAT", "FROM élise", "SUBJECT re\u0301sultat", "BODY e"]
SORTS = [
    b"SUBJECT", b"REVERSE SUBJECT", b"DATE", b"REVERSE DATE", b"SIZE", b"FROM", b"TO", b"CC", b"DISPLAYFROM", b"DISPLAYTO",
    b"FROM REVERSE SUBJECT DATE", b"REVERSE SIZE SUBJECT",
]
RETURNS = [b"", b"MIN", b"MAX", b"COUNT", b"MIN MAX COUNT ALL", b"ALL COUNT"]


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

    def ask(self, command, literal=None):
        self.count += 1
        tag = b"a%d" % self.count
        if literal is not None:
            command += b" {%d+}\r\n" % len(literal) + literal
        self.socket.sendall(tag + b" " + command + b"\r\n")
        answers = []
        while True:
            line = self.input.readline()
            assert line, "the server left"
            if line.startswith(tag + b" "):
                assert line.split()[1] == b"OK", (command[:200], line)
                return answers
            answers.append(line)

    def result(self, command, literal=None):
        """Untagged answers to a search, without the tag and news of flags."""
        answers = self.ask(command, literal)
        kinds = (b"* SEARCH", b"* ESEARCH", b"* SORT", b"* THREAD")
        found = [line.rstrip() for line in answers if line.startswith(kinds)]
        return [line.replace(b'"a%d"' % self.count, b'"tag"') for line in found]


task = json.load(sys.stdin)
messages = CONVERSATIONS + [bytes.fromhex(text) for text in task["messages"]]
clients = {name: Client(task[name]) for name in ("ours", "dovecot")}
# The same here and there: messages without a Date are sorted by when they came.
began = time.time() - len(messages)
came = [time.strftime('"%d-%b-%Y %H:%M:%S +0000"', time.gmtime(began + place)).encode() for place in range(len(messages))]
for client in clients.values():
    client.ask(b"CREATE Recherche")
    for message, at in zip(messages, came):
        client.ask(b"APPEND Recherche " + at, message)
    client.ask(b"SELECT Recherche")
    client.ask(b"STORE 1,4,9 +FLAGS.SILENT (\\Flagged)")
    client.ask(b"STORE 2,4 +FLAGS.SILENT (Label)")
wrong = []


def as_sets(line):
    """The items of an ESEARCH response in one order."""
    words = line.split()
    if words[:2] == [b"*", b"ESEARCH"]:
        start = 5 if words[4:5] == [b"UID"] else 4
        pairs = sorted(zip(words[start::2], words[start + 1 :: 2]))
        return words[:start] + [word for pair in pairs for word in pair]
    return words


def compare(command, literal=None):
    results = {name: client.result(command, literal) for name, client in clients.items()}
    ours, theirs = ([as_sets(line) for line in results[name]] for name in ("ours", "dovecot"))
    if ours != theirs:
        wrong.append((command, literal, results))


def everything():
    for search in SEARCHES:
        compare(b"SEARCH " + search)
        compare(b"UID SEARCH " + search)
    for search in IN_UTF8:
        key, text = search.split(" ", 1)
        compare(b"SEARCH CHARSET UTF-8 " + key.encode(), text.encode())
    for sort in SORTS:
        compare(b"UID SORT (" + sort + b") UTF-8 1:12")
        compare(b"SORT (" + sort + b" ARRIVAL) US-ASCII NOT UID 3")
    for algorithm in (b"REFERENCES", b"ORDEREDSUBJECT"):
        compare(b"THREAD " + algorithm + b" UTF-8 1:12")
        compare(b"UID THREAD " + algorithm + b" UTF-8 2,4,8:12")
    for returns in RETURNS:
        compare(b"SEARCH RETURN (" + returns + b") 3:9")
        compare(b"UID SEARCH RETURN (" + returns + b') TEXT "absent de partout"')
        compare(b"UID SORT RETURN (" + returns + b") (SUBJECT) UTF-8 1:12")
    compare(b"SEARCH RETURN (SAVE) FLAGGED")
    compare(b"SEARCH $")
    compare(b"UID SEARCH RETURN (SAVE MIN MAX) ALL")
    compare(b"SEARCH UID $")


everything()
# Once more when the index has seen all of it.
time.sleep(2)
everything()
for command, literal, results in wrong:
    print(command, literal, results, file=sys.stderr)
assert not wrong, f"{len(wrong)} answers differ"
for client in clients.values():
    client.ask(b"CLOSE")
    client.ask(b"DELETE Recherche")
