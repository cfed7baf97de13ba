"""Two doveadms at once on one box, through Dovecot's IMAP client (imapc): messages imported, flagged, moved, expunged, backed up.

Standard input: {"server": {"port", "ca", "user", "password"}, "folder", "keeper", "files": path, "home": a folder that Dovecot may write to,
"root": [word, …] in front of what only root may run, "settings": path, "views": [path, path]}.
"""

import json
import os
import subprocess
import sys

from pair import Plan, digest, server

# Seconds for one run, on a loaded machine.
LIMIT = 100

LETTERS = {"\\Seen": "S", "\\Flagged": "F", "\\Answered": "R", "\\Draft": "D", "\\Deleted": "T"}
FLAGS = {letter: flag for flag, letter in LETTERS.items()}


def doveadm(task, *lines):
    """Runs them at once."""
    words = lambda line: [*task["root"], "doveadm", "-c", task["settings"], *line[0].split(), "-u", task["server"]["user"], *line[1:]]
    running = [subprocess.Popen(words(line), stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for line in lines]
    told = [one.communicate(timeout=LIMIT)[0].decode(errors="replace") for one in running]
    assert [one.returncode for one in running] == [0] * len(lines), "\n".join(told)[-8000:]


def fill(task, plan, client):
    """A Maildir with this client's half, which Dovecot may read."""
    near = os.path.join(task["files"], f"near{client}")
    for part in ("cur", "new", "tmp"):
        os.makedirs(os.path.join(near, plan.folder, part))
    for number in range(client, len(plan.messages), 2):
        letters = "".join(sorted(LETTERS[flag] for flag in plan.flags(number)))
        with open(os.path.join(near, plan.folder, "cur", f"1795000000.{number}.host:2,{letters}"), "wb") as file:
            file.write(plan.messages[number].replace(b"\r\n", b"\n"))
    subprocess.run(["chmod", "-R", "a+rwX", near], check=True)
    return f"maildir:{near}:LAYOUT=fs"


def line(plan, uids, step):
    what, numbers, word = step
    chosen = ["mailbox", plan.folder, "uid", ",".join(uids[number] for number in numbers)]
    return {
        "add": ["flags add", word, *chosen],
        "remove": ["flags remove", word, *chosen],
        "move": ["move", word, *chosen],
        "expunge": ["expunge", *chosen],
    }[what]


def shown(maildir):
    """Digest and flags of its messages."""
    for part in ("cur", "new"):
        for name in os.listdir(os.path.join(maildir, part)):
            with open(os.path.join(maildir, part, name), "rb") as file:
                text = file.read().replace(b"\n", b"\r\n")
            yield [digest(text), sorted(FLAGS[letter] for letter in name.partition(":2,")[2])]


def main(task):
    plan = Plan(task["folder"], task["keeper"], shared=False)
    near = [fill(task, plan, client) for client in (0, 1)]
    doveadm(task, ["mailbox create", *plan.folders()])
    doveadm(task, *(["import", location, "", "all"] for location in near))
    held = server(task["server"], [plan.folder])[plan.folder]
    uids = {plan.number[text]: uid for uid, (text, _) in held.items()}
    for steps in zip(plan.work(0), plan.work(1)):
        doveadm(task, *(line(plan, uids, step) for step in steps))
    copies = [os.path.join(task["home"], f"copy{client}") for client in (0, 1)]
    for folder in plan.folders():
        doveadm(task, *(["backup", "-m", folder, f"maildir:{copy}:LAYOUT=fs"] for copy in copies))
    subprocess.run([*task["root"], "chmod", "-R", "a+rX", task["home"]], check=True)
    for copy, path in zip(copies, task["views"]):
        with open(path, "w") as file:
            json.dump({folder: list(shown(os.path.join(copy, folder))) for folder in plan.folders()}, file)


main(json.load(sys.stdin))
