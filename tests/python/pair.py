"""Two clients of one kind at work on one folder of one box: which messages there are, who does what with each, what must come of it.

As a program, looks at the box with imaplib afterwards. Standard input: {"server": {"port", "ca", "user", "password"}, "folder", "keeper",
"shared", "read", "views": [path, …]}: the box must hold what the plan says, and every view the same (a JSON file that a client wrote, either
{folder: {uid: [digest, flags, or null if it shows none]}} or, from clients that show no UID, {folder: [[digest, flags], …]}).
"""

import hashlib
import imaplib
import json
import re
import ssl
import sys
import threading

import corpus

# What happens to a message, by its number modulo 10: the folder it ends in, its flags more, its flags less. None: it is gone.
FLAGS = [[], ["\\Seen"], ["\\Flagged"], ["\\Answered", "\\Seen"]]


class Plan:
    """Who does what. `shared` clients know MOVE and keywords, so that both can take the same message in hand. Whatever else they do
    with a message, those of the roles in `read` are read by it."""

    def __init__(self, folder, keeper="wire", shared=True, read=()):
        self.folder, self.shared, self.read = folder, shared, read
        self.messages = corpus.messages(keeper=keeper)
        self.digests = [digest(text) for text in self.messages]
        self.number = {text: number for number, text in enumerate(self.digests)}
        assert len(self.number) == corpus.COUNT

    def folders(self):
        names = ["A", "B", "Commun"] if self.shared else ["A", "B"]
        return [self.folder, *(f"{self.folder}/{name}" for name in names)]

    def flags(self, number):
        """Those a message is brought in with."""
        return FLAGS[number // 10 % 4]

    def of(self, role, second=None):
        return [number for number in range(len(self.messages)) if number % 10 in (role, second)]

    def work(self, client):
        """The work of client 0 or 1: [what, numbers, flag or folder], in this order."""
        name = "AB"[client]
        steps = [
            ["add", self.of(4), ["\\Flagged", "\\Answered"][client]],
            ["move", self.of(client), f"{self.folder}/{name}"],
            ["add", self.of(7), "\\Seen"] if client == 0 else ["remove", self.of(8), "\\Seen"],
            ["expunge", self.of(2 + client, 6), ""],
        ]
        if self.shared:
            steps.insert(1, ["add", self.of(7, 9), "$Forwarded"] if client else ["add", self.of(9), "$Travail"])
            steps.insert(3, ["move", self.of(5), f"{self.folder}/Commun"])
        return steps

    def outcome(self):
        """What the box must hold: {folder: sorted [digest, sorted flags]}."""
        found = {folder: [] for folder in self.folders()}
        for number, text in enumerate(self.digests):
            kept = self.kept(number)
            if kept:
                folder, flags = kept
                found[folder].append([text, sorted(flags)])
        return {folder: sorted(messages) for folder, messages in found.items()}

    def kept(self, number):
        role, flags = number % 10, set(self.flags(number))
        if role in (2, 3, 6):
            return None
        if role in (0, 1):
            return f"{self.folder}/{'AB'[role]}", flags
        if role == 5 and self.shared:
            return f"{self.folder}/Commun", flags
        more = {4: {"\\Flagged", "\\Answered"}, 7: {"\\Seen"}}.get(role, set())
        if self.shared:
            more = more | {7: {"$Forwarded"}, 9: {"$Forwarded", "$Travail"}}.get(role, set())
        seen = {"\\Seen"} if role in self.read else set()
        return self.folder, (flags | more | seen) - ({"\\Seen"} if role == 8 else set())


def both(work):
    """Does it for client 0 and 1 at once."""
    failures = []

    def one(client):
        try:
            work(client)
        except BaseException as error:  # shown below, in the thread that the test waits for
            failures.append(error)

    threads = [threading.Thread(target=one, args=[client]) for client in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for failure in failures:
        raise failure


def digest(text):
    """mbsync writes a field of its own into what it brings in, to find it again: it does not count."""
    return hashlib.sha256(re.sub(rb"(?m)^X-TUID: \S+\r\n", b"", text)).hexdigest()


def ok(answer):
    assert answer[0] == "OK", answer
    return answer[1]


def server(task, folders):
    """What the box holds, read with imaplib: {folder: {uid: [digest, sorted flags]}}."""
    context = ssl.create_default_context(cafile=task["ca"])
    session = imaplib.IMAP4_SSL("127.0.0.1", task["port"], ssl_context=context, timeout=100)
    ok(session.login(task["user"], task["password"]))
    held = {folder: dict(read(session, folder)) for folder in folders}
    session.logout()
    return held


def read(session, folder):
    count = int(ok(session.select(f'"{folder}"', readonly=True))[0])
    messages = 0
    for part in ok(session.uid("FETCH", "1:*", "(FLAGS RFC822.SIZE BODY.PEEK[])")) if count else []:
        if isinstance(part, tuple):
            messages += 1
            assert int(re.search(rb"RFC822.SIZE (\d+)", part[0])[1]) == len(part[1]), part[0]
            flags = re.search(rb"FLAGS \(([^)]*)\)", part[0])[1].decode().split()
            yield re.search(rb"UID (\d+)", part[0])[1].decode(), [digest(part[1]), sorted(set(flags) - {"\\Recent"})]
    assert messages == count, (folder, messages, count)


def same(plan, held, wanted, who):
    """Fails with the first differences between what is held in a folder and what is wanted there."""
    assert set(held) == set(wanted), (who, sorted(held), sorted(wanted))
    for folder, messages in wanted.items():
        there = {tuple([text, *flags]) for text, flags in held[folder]}
        named = {tuple([text, *flags]) for text, flags in messages}
        show = lambda found: [(plan.number.get(text, text), flags) for text, *flags in sorted(found)[:5]]
        assert there == named, f"{who}, {folder}: only there {show(there - named)}, missing {show(named - there)}"
        assert len(held[folder]) == len(messages), f"{who}, {folder}: some are there twice"


def main(task):
    plan = Plan(task["folder"], task["keeper"], task["shared"], task["read"])
    held = server(task["server"], plan.folders())
    bare = {folder: list(messages.values()) for folder, messages in held.items()}
    same(plan, bare, plan.outcome(), "the server")
    for path in task["views"]:
        with open(path) as file:
            view = json.load(file)
        if all(isinstance(messages, dict) for messages in view.values()):
            for folder in plan.folders():
                seen = {uid: [text, held[folder].get(uid, [0, 0])[1] if flags is None else flags] for uid, (text, flags) in view[folder].items()}
                assert seen == held[folder], f"{path}, {folder}: UIDs differ"
        else:
            same(plan, view, bare, path)


if __name__ == "__main__":
    main(json.load(sys.stdin))
