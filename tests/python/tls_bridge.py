"""Lends TLS to a program that has none: takes SMTP in clear, and says the same to a server after STARTTLS, with a client certificate.

Standard input: {"server": port, "ca", "certificate", "key"}, the last two or neither. Prints the port it listens on, and runs until it is
ended.
"""

import json
import socket
import ssl
import sys
import threading

task = json.load(sys.stdin)
context = ssl.create_default_context(cafile=task["ca"])
# The names of servers are another test.
context.check_hostname = False
if task.get("certificate"):
    context.load_cert_chain(task["certificate"], task["key"])


def reply(connection):
    text = b""
    while not text.endswith(b"\r\n") or text.splitlines()[-1][3:4] == b"-":
        text += connection.recv(4096)
    return text


def pump(source, target):
    while data := source.recv(1 << 16):
        target.sendall(data)
    try:
        target.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # The other direction was quicker.


def serve(client):
    server = socket.create_connection(("127.0.0.1", task["server"]))
    for connection in (client, server):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    greeting = reply(server)
    for command in (b"EHLO bridge.localhost\r\n", b"STARTTLS\r\n"):
        server.sendall(command)
        reply(server)
    server = context.wrap_socket(server)
    client.sendall(greeting)
    threading.Thread(target=pump, args=[client, server], daemon=True).start()
    pump(server, client)


with socket.create_server(("127.0.0.1", 0)) as door:
    print(door.getsockname()[1], flush=True)
    while True:
        threading.Thread(target=serve, args=[door.accept()[0]], daemon=True).start()
