"""A whole session of Thunderbird, without a screen, on a box of a sandbox that is raised for it.

Arguments: the program `vaguemestre`, a folder for everything that is written. Thunderbird logs in, lists the folders, synchronises an INBOX of
500 messages and keeps them offline, flags, moves, deletes, appends to Sent, and is told by IDLE of what another client does; after each step
imaplib looks at the box, and what it finds must be what Thunderbird holds.
"""

import hashlib
import imaplib
import json
import os
import ssl
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../python"))

import corpus
from marionette import Thunderbird

OPERATOR, USER, PASSWORD = "chu", "urgences@chu-demo.mssante.fr", "sandbox"
PREFERENCES = {
    "mail.server.default.check_new_mail": True,
    "mail.server.default.login_at_startup": True,
    # Everything that is kept is the message as it came: one file each.
    "mail.serverDefaultStoreContractID": "@mozilla.org/msgstore/maildirstore;1",
}
FOLDER = "Été & œufs"
# The same in modified UTF-7.
NAMES = {FOLDER: "&AMk-t&AOk- &- &AVM-ufs"}
SENT = b"From: Urgences <urgences@chu-demo.mssante.fr>\r\nTo: x@lilas.mssante.fr\r\nSubject: envoi\r\nMessage-ID: <envoi@chu>\r\n\r\nBonjour\r\n"
# Thunderbird says IDLE two seconds after its last command.
BEFORE_IDLE_SECONDS = 3
# Longest wait for something that happens by itself.
PATIENCE_SECONDS = 10


class Step:
    """Says what was done, and how long it took."""

    def __init__(self, text):
        self.text = text

    def __enter__(self):
        self.begun = time.monotonic()

    def __exit__(self, kind, *_):
        if kind is None:
            print(f"{time.monotonic() - self.begun:6.2f} s  {self.text}", flush=True)


class Sandbox:
    def __init__(self, program, folder):
        ready = os.path.join(folder, "ready.json")
        words = [program, "up", "--free-ports", "--data", os.path.join(folder, "sandbox"), "--ready-file", ready]
        self.process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        end = time.monotonic() + 60
        while not os.path.exists(ready):
            assert time.monotonic() < end and self.process.poll() is None, "no sandbox"
            time.sleep(0.1)
        with open(ready) as file:
            told = json.load(file)
        self.ca = told["ca"]
        faces = [one for one in told["endpoints"] if one["operator"] == OPERATOR and one["face"] == "imaps"]
        self.port = int(faces[0]["address"].rpartition(":")[2])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(30)


def ok(answer):
    assert answer[0] == "OK", answer
    return answer[1]


def digest(message):
    """Thunderbird ends a message that has no end of line with one."""
    return hashlib.sha256(message if message.endswith(b"\r\n") else message + b"\r\n").hexdigest()


class Box:
    """The same box seen by imaplib."""

    def __init__(self, sandbox):
        context = ssl.create_default_context(cafile=sandbox.ca)
        self.session = imaplib.IMAP4_SSL("localhost", sandbox.port, ssl_context=context, timeout=60)
        ok(self.session.login(USER, PASSWORD))

    def bring(self, folder, messages):
        for message in messages:
            ok(self.session.append(f'"{folder}"', None, '"01-Nov-2026 10:00:00 +0000"', message))

    def held(self, folder):
        """{uid: [SHA-256, flags and keywords]}"""
        (count,) = ok(self.session.select(f'"{NAMES.get(folder, folder)}"', readonly=True))
        held = {}
        for part in ok(self.session.uid("FETCH", "1:*", "(UID FLAGS BODY.PEEK[])")) if int(count) else []:
            if isinstance(part, tuple):
                words = part[0].decode().replace("(", " ").replace(")", " ").split()
                flags = words[words.index("FLAGS") + 1 : words.index("BODY[]")]
                flags = {word for word in flags if word.startswith(("\\", "$"))} - {"\\Recent"}
                held[words[words.index("UID") + 1]] = [digest(part[1]), sorted(flags)]
        return held

    def store(self, folder, uids, change, flags):
        ok(self.session.select(f'"{folder}"'))
        ok(self.session.uid("STORE", ",".join(map(str, uids)), change, f"({flags})"))


def same(bird, box, name):
    """Thunderbird's offline copy of a folder and the box hold the same messages, byte for byte, with the same flags."""
    held = bird.run("return post.held(args[0])", name)
    theirs = {uid: [text, sorted({*flags} | {word for word in words if word.startswith("$")})] for uid, (text, flags, words) in held.items()}
    ours = box.held(name)
    wrong = {uid: (theirs.get(uid), ours.get(uid)) for uid in {*theirs, *ours} if theirs.get(uid) != ours.get(uid)}
    assert not wrong, (name, len(wrong), dict(list(wrong.items())[:3]))
    return len(ours)


def uids(bird, name):
    return bird.run("return post.headers(args[0]).map(header => header.messageKey)", name)


def session(bird, box, sandbox, folder):
    with open(os.path.join(os.path.dirname(__file__), "session.js")) as file:
        bird.run(file.read())
    with Step("logged in, folders listed"):
        bird.run("return post.open(...args)", USER, PASSWORD, sandbox.port)
    folders = dict(bird.run("return post.folders()"))
    print("         ", ", ".join(sorted(folders)))
    with Step("INBOX synchronised: headers"):
        bird.run("return post.update(...args)", "INBOX", corpus.COUNT)
    with Step("INBOX kept offline: bodies"):
        bird.run("return post.download('INBOX')")
    with Step("compared"):
        assert same(bird, box, "INBOX") == corpus.COUNT
    work(bird, box)
    idle(bird, box)


def work(bird, box):
    """Flags, moves, copies, appends, removes, each on other messages; UIDs are 1 to 500."""
    with Step("250 read, 50 starred, 25 labelled, 25 unread again"):
        mark = "post.folder('INBOX').%s(post.chosen('INBOX', args[0]), args[1])"
        bird.run(mark % "markMessagesRead", list(range(1, 251)), True)
        bird.run(mark % "markMessagesFlagged", list(range(1, 51)), True)
        bird.run(mark % "addKeywordsToMessages", list(range(51, 76)), "$label1")
        bird.run(mark % "markMessagesRead", list(range(1, 26)), False)
        until("flags are stored", lambda: flags(box, "INBOX") == expected())
    same(bird, box, "INBOX")
    with Step("folder made, 100 moved, 100 copied"):
        bird.run("return post.create(args[0])", FOLDER)
        bird.run("return post.copy(...args)", "INBOX", list(range(101, 201)), FOLDER, True)
        bird.run("return post.copy(...args)", "INBOX", list(range(201, 301)), FOLDER, False)
        bird.run("return post.update(...args)", FOLDER, 200)
        bird.run("return post.download(args[0])", FOLDER)
    assert same(bird, box, FOLDER) == 200 and same(bird, box, "INBOX") == corpus.COUNT - 100
    with Step("50 to the wastebasket"):
        bird.run("return post.remove(...args)", "INBOX", list(range(301, 351)))
        bird.run("return post.update(...args)", "Trash", 50)
        bird.run("return post.download('Trash')")
    assert same(bird, box, "Trash") == 50 and same(bird, box, "INBOX") == corpus.COUNT - 150
    with Step("a message written to Sent"):
        path = os.path.join(bird.profile, "sent.eml")
        with open(path, "wb") as file:
            file.write(SENT)
        bird.run("return post.append(...args)", path, "Sent")
        bird.run("return post.update('Sent', 1)")
        bird.run("return post.download('Sent')")
    assert same(bird, box, "Sent") == 1
    assert [text for text, _ in box.held("Sent").values()] == [digest(SENT)]


def flags(box, name):
    return {int(uid): words for uid, (_, words) in box.held(name).items()}


def expected():
    words = {uid: set() for uid in range(1, corpus.COUNT + 1)}
    for first, last, word in [(26, 250, "\\Seen"), (1, 50, "\\Flagged"), (51, 75, "$label1")]:
        for uid in range(first, last + 1):
            words[uid].add(word)
    return {uid: sorted(found) for uid, found in words.items()}


def until(what, probe):
    end = time.monotonic() + PATIENCE_SECONDS
    while not probe():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def idle(bird, box):
    """What another client does is seen without a question: Thunderbird waits in IDLE on the folder it shows."""
    bird.run("return post.update(...args)", "INBOX", corpus.COUNT - 150)
    time.sleep(BEFORE_IDLE_SECONDS)
    begun = bird.run("post.seen = post.until('a new message', () => post.headers('INBOX').length == args[0]).then(() => Date.now())", corpus.COUNT - 149)
    assert begun is None
    with Step("a new message told by IDLE"):
        told = time.time()
        box.bring("INBOX", [b"Subject: pendant\r\n\r\nIDLE\r\n"])
        print(f"          {bird.run('return post.seen') - told * 1000:.0f} ms from APPEND to the list of messages")
    with Step("a flag and a removal told by IDLE"):
        newest = max(uids(bird, "INBOX"))
        box.store("INBOX", [newest], "+FLAGS", "\\Flagged")
        bird.run("return post.until('the flag', () => post.chosen('INBOX', [args[0]])[0].isFlagged)", newest)
        box.store("INBOX", [newest], "+FLAGS", "\\Deleted")
        ok(box.session.expunge())
        bird.run("return post.until('the removal', () => post.headers('INBOX').length == args[0])", corpus.COUNT - 150)
    assert same(bird, box, "INBOX") == corpus.COUNT - 150


def main(program, folder):
    os.makedirs(folder)
    with Sandbox(program, folder) as sandbox:
        box = Box(sandbox)
        with Step(f"{corpus.COUNT} messages brought in"):
            box.bring("INBOX", corpus.messages(keeper="maildir"))
        with Step("Thunderbird started"):
            bird = Thunderbird(folder, sandbox.ca, PREFERENCES)
        with bird:
            session(bird, box, sandbox, folder)


main(*sys.argv[1:])
