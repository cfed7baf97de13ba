"""Two mutts, or two neomutts, at once on one box: each tags what its work names, and flags, moves and deletes it.

Standard input: {"server": {"port", "ca", "user", "password"}, "tool": "mutt" | "neomutt", "files": path, "folder", "keeper",
"views": [path, path]}. imaplib brings the messages in, each on the day that tells what happens to it: that is what is tagged by.
"""

import imaplib
import json
import os
import ssl
import subprocess
import sys

from pair import Plan, digest, ok

# Seconds for one run, on a loaded machine.
LIMIT = 100

# What the work tags: the day of the month that messages of this role came on.
DAYS = [10 + role for role in range(10)]

SETTINGS = """set ssl_ca_certificates_file = "{ca}"
set imap_pass = {password}
set folder = "{url}/"
set spoolfile = "{url}/INBOX"
set header_cache = "{at}/headers"
set message_cachedir = "{at}/bodies"
set sort = mailbox-order
set ssl_starttls = yes
set confirmappend = no
set confirmcreate = no
set delete = yes
set quit = yes
set move = no
set wait_key = no
set mark_old = no
set ssl_verify_host = yes
set imap_condstore = yes
set imap_qresync = yes
set mbox_type = maildir
set maildir_trash = no
"""


def bring(task, plan):
    context = ssl.create_default_context(cafile=task["server"]["ca"])
    session = imaplib.IMAP4_SSL("127.0.0.1", task["server"]["port"], ssl_context=context, timeout=LIMIT)
    ok(session.login(task["server"]["user"], task["server"]["password"]))
    for folder in plan.folders():
        ok(session.create(folder))
    for number, message in enumerate(plan.messages):
        day = f'"{DAYS[number % 10]}-Nov-2026 12:00:00 +0000"'
        ok(session.append(plan.folder, f"({' '.join(plan.flags(number))})", day, message))
    session.logout()


def roles(numbers):
    """The pattern that tags these messages."""
    found = sorted({number % 10 for number in numbers})
    return "|".join(f"~r {DAYS[role]}/11/2026-{DAYS[role]}/11/2026" for role in found)


def keys(plan, client, steps):
    """What is typed: a tag pattern, then a command for all that is tagged; then the folder is written and left."""
    typed = ""
    for what, numbers, word in plan.work(client)[steps]:
        typed += f"<untag-pattern>~A<enter><tag-pattern>{roles(numbers)}<enter><tag-prefix>"
        typed += {
            "move": f"<save-message>={word}<enter>",
            "expunge": "<delete-message>",
            "add": {"\\Flagged": "<set-flag>!", "\\Answered": "<set-flag>r", "\\Seen": "<clear-flag>N"}.get(word, ""),
            "remove": "<set-flag>N",
        }[what]
    return typed + "<sync-mailbox><quit>"


def copy(task, client, folder):
    return os.path.join(task["files"], str(client), folder.replace("/", "."))


def cached(task, plan, client):
    """{folder: {uid: [digest, None]}}: the bodies as they were fetched. What goes to a Maildir gets fields of mutt's own."""
    (server,) = os.scandir(os.path.join(task["files"], str(client), "bodies"))
    held = {}
    for folder in plan.folders():
        held[folder] = {}
        for entry in os.scandir(os.path.join(server.path, folder)):
            if entry.is_file():
                with open(entry.path, "rb") as file:
                    held[folder][entry.name.partition("-")[2]] = [digest(file.read().replace(b"\n", b"\r\n")), None]
    return held


def copying(plan, task, client):
    """Everything in each folder goes to a Maildir."""
    typed = ""
    for folder in plan.folders():
        typed += f"<change-folder>={folder}<enter><untag-pattern>~A<enter><tag-pattern>~A<enter><tag-prefix><copy-message>{copy(task, client, folder)}<enter>"
    return typed + "<exit>"


def start(task, client, typed):
    server, at = task["server"], os.path.join(task["files"], str(client))
    for name in (at, f"{at}/headers", f"{at}/bodies"):
        os.makedirs(name, exist_ok=True)
    url = f"imaps://{server['user'].replace('@', '%40')}@localhost:{server['port']}"
    settings = os.path.join(at, "settings")
    with open(settings, "w") as file:
        file.write(SETTINGS.format(url=url, at=at, **server) + f"push '{typed}'\n")
    command = f"{task['tool']} -n -F {settings} -f {url}/{task['folder']}"
    # On a terminal that nobody looks at.
    words = ["script", "--quiet", "--return", "--command", command, os.path.join(at, "screen")]
    environment = os.environ | {"TERM": "vt100", "HOME": at, "LANG": "C.UTF-8", "TZ": "UTC"}
    return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=environment)


def run(task, clients, typed):
    """These, at once."""
    running = [start(task, client, typed(client)) for client in clients]
    codes = [one.wait(timeout=LIMIT) for one in running]
    for client in clients:
        with open(os.path.join(task["files"], str(client), "screen"), "rb") as file:
            screen = file.read()
        assert not any(codes), screen[-3000:]


def main(task):
    # To say that a message is answered is to have read it.
    plan = Plan(task["folder"], task["keeper"], shared=False, read=[4])
    bring(task, plan)
    # First both mark the same messages, one after the other: a mutt that hears of the other's mark before it has written its own may forget it.
    for client in (0, 1):
        run(task, [client], lambda client: keys(plan, client, slice(0, 1)))
    run(task, [0, 1], lambda client: keys(plan, client, slice(1, None)))
    run(task, [0, 1], lambda client: copying(plan, task, client))
    for client, path in enumerate(task["views"]):
        with open(path, "w") as file:
            json.dump(cached(task, plan, client), file)


main(json.load(sys.stdin))
