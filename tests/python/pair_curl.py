"""Two curls at once on one box: each brings in its half, does its work, and reads everything back.

Standard input: {"server": {"port", "ca", "user", "password"}, "files": path, "folder", "folders", "messages": [path, …], "flags", "work",
"views": [path, path]}, as pair_plan.py writes it.
"""

import json
import os
import re
import subprocess
import sys

from pair import digest

# Seconds for one run, on a loaded machine.
LIMIT = 100


def quoted(text):
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


class Curl:
    """What one curl is to do over one connection."""

    def __init__(self, task, client):
        self.task, self.at = task, os.path.join(task["files"], f"curl{client}")
        self.transfers = []

    def ask(self, folder, **options):
        server = self.task["server"]
        options |= {"url": f"imaps://localhost:{server['port']}/{folder}", "user": f"{server['user']}:{server['password']}", "cacert": server["ca"]}
        self.transfers.append("\n".join(f"{name.replace('_', '-')} = {quoted(value)}" for name, value in options.items()))

    def start(self):
        with open(self.at, "w") as file:
            file.write("\nnext\n".join(self.transfers))
        self.transfers = []
        words = ["curl", "--silent", "--show-error", "--fail-early", "--config", self.at]
        return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def run(*curls):
    """Runs them at once; what each was told."""
    running = [curl.start() for curl in curls if curl.transfers]
    told = [one.communicate(timeout=LIMIT) for one in running]
    assert [one.returncode for one in running] == [0] * len(running), told
    return [output.decode() for output, _ in told]


def bring(task, curls):
    for folder in task["folders"]:
        curls[0].ask("", request=f"CREATE {folder}")
    run(curls[0])
    for number, path in enumerate(task["messages"]):
        curls[number % 2].ask(task["folder"], upload_file=path)
    run(*curls)


def look(curl, folder):
    """UID to flags."""
    # In pieces: curl 7.88 counts what is left of its buffer again with each line, and refuses long answers.
    for start in range(1, 1000, 50):
        curl.ask(folder, request=f"UID FETCH {start}:{start + 49} (FLAGS)")
    lines = re.findall(r"\(UID (\d+) FLAGS \(([^)]*)\)\)", run(curl)[0])
    return {uid: sorted(set(flags.split()) - {"\\Recent"}) for uid, flags in lines}


def read(task, curl, client):
    """{folder: {uid: [digest, flags]}}"""
    held = {folder: look(curl, folder) for folder in task["folders"]}
    where = lambda folder, uid: f"{task['files']}/{client}.{task['folders'].index(folder)}.{uid}"
    for folder in task["folders"]:
        for uid in held[folder]:
            curl.ask(f"{folder};UID={uid}", output=where(folder, uid))
    yield  # both are ready
    for folder, messages in held.items():
        for uid, flags in messages.items():
            with open(where(folder, uid), "rb") as file:
                messages[uid] = [digest(file.read()), flags]
    yield held


def both_read(task, curls):
    reading = [read(task, curl, client) for client, curl in enumerate(curls)]
    for one in reading:
        next(one)
    run(*curls)
    return [next(one) for one in reading]


def work(task, curls, uids):
    """The flags that a message comes with are given here: curl brings all in as seen."""
    for flags in {tuple(flags) for flags in task["flags"]}:
        chosen = [number for number, own in enumerate(task["flags"]) if tuple(own) == flags]
        curls[0].ask(task["folder"], request=f"UID STORE {','.join(uids[number] for number in chosen)} FLAGS.SILENT ({' '.join(flags)})")
    run(curls[0])
    for curl, steps in zip(curls, task["work"]):
        for what, numbers, word in steps:
            for start in range(0, len(numbers), 7):
                chosen = ",".join(uids[number] for number in numbers[start : start + 7])
                if what == "move":
                    curl.ask(task["folder"], request=f"UID MOVE {chosen} {word}")
                elif what == "expunge":
                    curl.ask(task["folder"], request=f"UID STORE {chosen} +FLAGS.SILENT (\\Deleted)")
                    curl.ask(task["folder"], request=f"UID EXPUNGE {chosen}")
                else:
                    curl.ask(task["folder"], request=f"UID STORE {chosen} {'+' if what == 'add' else '-'}FLAGS ({word})")
    run(*curls)


def main(task):
    curls = [Curl(task, client) for client in (0, 1)]
    bring(task, curls)
    number = {}
    for index, path in enumerate(task["messages"]):
        with open(path, "rb") as file:
            number[digest(file.read())] = index
    first = both_read(task, curls)[0]
    uids = {number[text]: uid for uid, (text, _) in first[task["folder"]].items()}
    assert len(uids) == len(number), "what was brought in reads as it was"
    work(task, curls, uids)
    # To read a message with curl is to set \\Seen: it is taken back where it was not.
    views = both_read(task, curls)
    for folder, messages in views[0].items():
        unseen = [uid for uid, (_, flags) in messages.items() if "\\Seen" not in flags]
        curls[0].ask(folder, request=f"UID STORE {','.join(unseen)} -FLAGS.SILENT (\\Seen)")
    run(curls[0])
    for path, view in zip(task["views"], views):
        with open(path, "w") as file:
            json.dump(view, file)


main(json.load(sys.stdin))
