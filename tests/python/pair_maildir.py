"""Two copies of a box in Maildir folders, kept by mbsync or offlineimap, and changed between synchronisations as mail readers do.

Standard input: {"server": {"port", "ca", "user", "password"}, "tool": "mbsync" | "offlineimap", "files": path, "folder", "keeper",
"views": [path, path]}.
"""

import json
import os
import subprocess
import sys

from pair import Plan, digest

# Seconds for one run, on a loaded machine.
LIMIT = 100

LETTERS = {"\\Seen": "S", "\\Flagged": "F", "\\Answered": "R", "\\Draft": "D", "\\Deleted": "T"}
FLAGS = {letter: flag for flag, letter in LETTERS.items()}


def files(maildir):
    """Path and letters of each."""
    for part in ("cur", "new"):
        for name in sorted(os.listdir(os.path.join(maildir, part))):
            yield os.path.join(maildir, part, name), name.partition(":2,")[2]


def read(path):
    """With the lines of the wire. offlineimap leaves them so in a multipart that has no parts."""
    with open(path, "rb") as file:
        return file.read().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def write(maildir, number, letters, text):
    """Files are as old as the plan's day, so that readers show that day."""
    path = os.path.join(maildir, "cur", f"1795000000.{number}.host:2,{letters}")
    with open(path, "wb") as file:
        file.write(text.replace(b"\r\n", b"\n"))
    os.utime(path, (1795000000, 1795000000))


def make(task, plan, client):
    for folder in plan.folders():
        for part in ("cur", "new", "tmp"):
            os.makedirs(os.path.join(mail(task, client), folder, part))


def fill(task, plan, client):
    for number in range(client, len(plan.messages), 2):
        letters = "".join(sorted(LETTERS[flag] for flag in plan.flags(number)))
        write(os.path.join(mail(task, client), plan.folder), number, letters, plan.messages[number])


def work(task, plan, client):
    maildir = os.path.join(mail(task, client), plan.folder)
    there = {plan.number[digest(read(path))]: (path, letters) for path, letters in files(maildir)}
    assert len(there) == len(plan.messages), f"{len(there)} of the messages have come"
    for what, numbers, word in plan.work(client):
        for number in numbers:
            path, letters = there[number]
            if what == "expunge":
                os.remove(path)
            elif what == "move":
                write(os.path.join(mail(task, client), word), number, letters, read(path))
                os.remove(path)
            else:
                changed = set(letters) | {LETTERS[word]} if what == "add" else set(letters) - {LETTERS[word]}
                name = os.path.basename(path).partition(":2,")[0]
                os.rename(path, os.path.join(maildir, "cur", f"{name}:2,{''.join(sorted(changed))}"))


def view(task, plan, client):
    shown = lambda folder: [
        [digest(read(path)), sorted(FLAGS[letter] for letter in letters)] for path, letters in files(os.path.join(mail(task, client), folder))
    ]
    with open(task["views"][client], "w") as file:
        json.dump({folder: shown(folder) for folder in plan.folders()}, file)


def mail(task, client):
    return os.path.join(task["files"], str(client), "mail")


MBSYNC = """IMAPAccount box
Host localhost
Port {port}
User {user}
Pass {password}
SSLType IMAPS
SystemCertificates no
CertificateFile {ca}
PipelineDepth 20

IMAPStore far
Account box

MaildirStore near
Path {at}/mail/
Inbox {at}/mail/INBOX
SubFolders Verbatim

Channel all
Far :far:
Near :near:
Patterns {folder} {folder}/A {folder}/B
Sync All
Create Both
Remove None
Expunge Both
SyncState *
CopyArrivalDate yes
"""

OFFLINEIMAP = """[general]
accounts = box
metadata = {at}/state
maxsyncaccounts = 1

[Account box]
localrepository = near
remoterepository = far

[Repository near]
type = Maildir
localfolders = {at}/mail
sep = /

[Repository far]
type = IMAP
remotehost = localhost
remoteport = {port}
remoteuser = {user}
remotepass = {password}
ssl = yes
sslcacertfile = {ca}
folderfilter = lambda name: name.startswith('{folder}')
"""

TOOLS = {"mbsync": (MBSYNC, ["mbsync", "--quiet", "--config"], ["all"]), "offlineimap": (OFFLINEIMAP, ["offlineimap", "-o", "-u", "quiet", "-c"], [])}


def synchronise(task, *clients):
    """Runs it for these copies at once."""
    settings, words, more = TOOLS[task["tool"]]
    running = []
    for client in clients:
        at = os.path.join(task["files"], str(client))
        with open(os.path.join(at, "settings"), "w") as file:
            file.write(settings.format(at=at, folder=task["folder"], **task["server"]))
        command = [*words, os.path.join(at, "settings"), *more]
        environment = os.environ | {"HOME": at}
        running.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT))
    told = [one.communicate(timeout=LIMIT)[0].decode(errors="replace") for one in running]
    assert [one.returncode for one in running] == [0] * len(clients), "\n".join(told)[-8000:]


def main(task):
    plan = Plan(task["folder"], task["keeper"], shared=False)
    each = lambda do: [do(task, plan, client) for client in (0, 1)]
    each(make)
    # One makes the folders: two that make the same at once, and one of them is told that it exists.
    synchronise(task, 0)
    each(fill)
    synchronise(task, 0, 1)
    synchronise(task, 0, 1)
    each(work)
    synchronise(task, 0, 1)
    synchronise(task, 0, 1)
    each(view)


main(json.load(sys.stdin))
