"""The plan of two clients for software that is not Python. Standard input: {"server", "folder", "keeper", "shared", "views", "files": path}.

Writes the messages to files; standard output: the same object with "folders", "messages": [path, …], "flags", "work", and "large":
how many above 900,000 bytes stay in the folder.
"""

import json
import os
import sys

from pair import Plan

task = json.load(sys.stdin)
plan = Plan(task["folder"], task["keeper"], task["shared"])
paths = [os.path.join(task["files"], f"{number:04}.eml") for number in range(len(plan.messages))]
for path, message in zip(paths, plan.messages):
    with open(path, "wb") as file:
        file.write(message)
stays = [message for number, message in enumerate(plan.messages) if (plan.kept(number) or [""])[0] == plan.folder]
task |= {
    "large": len([message for message in stays if len(message) > 900_000]),
    "folders": plan.folders(), "messages": paths, "flags": [plan.flags(number) for number in range(len(paths))],
    "work": [plan.work(client) for client in (0, 1)],
}
json.dump(task, sys.stdout)
