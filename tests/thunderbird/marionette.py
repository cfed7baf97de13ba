"""Drives Thunderbird from outside: starts it without a screen, and runs JavaScript in its main window over Marionette.

The protocol is JSON with its length in front: [0, id, command, parameters], answered by [1, id, error, result].
"""

import json
import os
import socket
import subprocess
import time

PROGRAM = "/usr/lib/thunderbird/thunderbird-bin"
# Seconds for Thunderbird to start, and for one script, on a loaded machine.
LIMIT = 60

PREFERENCES = {
    "app.update.enabled": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "mail.provider.suppress_dialog_on_startup": True,
    "mail.rights.version": 1,
    "mail.shell.checkDefaultClient": False,
    "mailnews.start_page.enabled": False,
    "network.connectivity-service.enabled": False,
    "toolkit.telemetry.enabled": False,
}

SCRIPT = """
const done = arguments[arguments.length - 1];
const parameters = [...arguments].slice(0, -1);
(async (...args) => { %s })(...parameters).then(value => done({ value }), error => done({ error: `${error}\\n${error?.stack}` }));
"""


class Thunderbird:
    """One that runs on a new profile in `folder`, and believes the authority in the file `ca`. A context manager."""

    def __init__(self, folder, ca, preferences):
        self.profile = os.path.join(folder, "profile")
        self.log = os.path.join(folder, "thunderbird.log")
        os.makedirs(self.profile)
        database = f"sql:{self.profile}"
        subprocess.run(["certutil", "-N", "-d", database, "--empty-password"], check=True)
        subprocess.run(["certutil", "-A", "-d", database, "-n", "authority", "-t", "C,,", "-i", ca], check=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        with open(os.path.join(self.profile, "user.js"), "w") as file:
            for name, value in (PREFERENCES | preferences | {"marionette.port": port}).items():
                file.write(f"user_pref({json.dumps(name)}, {json.dumps(value)});\n")
        words = [PROGRAM, "--headless", "--marionette", "--remote-allow-system-access", "--no-remote", "--profile", self.profile]
        with open(self.log, "w") as log:
            environment = os.environ | {"HOME": folder, "MOZ_HEADLESS": "1"}
            self.process = subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT, env=environment)
        try:
            self.connection, self.buffer, self.commands = self.connect(port), b"", 0
            self.receive()
            self.command("WebDriver:NewSession", capabilities={"alwaysMatch": {}})
            self.command("Marionette:SetContext", value="chrome")
            self.command("WebDriver:SetTimeouts", script=LIMIT * 1000)
        except BaseException:
            self.stop()
            raise

    def connect(self, port):
        end = time.monotonic() + LIMIT
        while True:
            try:
                return socket.create_connection(("127.0.0.1", port), timeout=2 * LIMIT)
            except OSError:
                if time.monotonic() > end or self.process.poll() is not None:
                    raise
                time.sleep(0.1)

    def receive(self):
        while b":" not in self.buffer:
            self.more()
        length, _, self.buffer = self.buffer.partition(b":")
        while len(self.buffer) < int(length):
            self.more()
        message, self.buffer = self.buffer[: int(length)], self.buffer[int(length) :]
        return json.loads(message)

    def more(self):
        data = self.connection.recv(1 << 16)
        assert data, "Thunderbird has left"
        self.buffer += data

    def command(self, name, **parameters):
        self.commands += 1
        message = json.dumps([0, self.commands, name, parameters]).encode()
        self.connection.sendall(b"%d:%b" % (len(message), message))
        _, number, error, result = self.receive()
        assert number == self.commands and error is None, (name, error)
        return result

    def run(self, script, *args):
        """What a script returns: the body of an asynchronous function; `args` are its parameters."""
        # In one sandbox for all scripts: what one leaves on globalThis the next finds there.
        place = {"sandbox": "system", "newSandbox": False}
        result = self.command("WebDriver:ExecuteAsyncScript", script=SCRIPT % script, args=args, **place)["value"]
        assert "error" not in result, result["error"]
        return result.get("value")

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
