"""Reads an autoconfiguration document as a mail client does: one line for each server, in the order of preference."""
import sys
import xml.etree.ElementTree as ET

provider = ET.fromstring(sys.stdin.buffer.read()).find("emailProvider")
for server in provider.findall("incomingServer") + provider.findall("outgoingServer"):
    ways = ",".join(way.text for way in server.findall("authentication"))
    words = [server.get("type"), *(server.findtext(name) for name in ("hostname", "port", "socketType")), ways]
    print(*words, server.findtext("username"))
