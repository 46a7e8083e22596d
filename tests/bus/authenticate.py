"""Speaks the protocol by hand: says BEGIN in every way that a bus might take and a filter might miss (CVE-2018-6560), and
calls a method of a name right behind it. Prints what came back of each: `answered` only where the call went through.

usage: authenticate.py NAME PATH INTERFACE METHOD
"""

import os
import socket
import struct
import sys

name, path, interface, method = sys.argv[1:]


def text(value):
    return struct.pack("<I", len(value)) + value.encode() + b"\0"


def padded(value, to):
    return value + b"\0" * (-len(value) % to)


def call(serial, fields):
    body = b""
    for code, kind, value in fields:
        body = padded(body, 8) + bytes([code, 1]) + kind + b"\0"
        body = padded(body, 4) + text(value)
    head = b"l\1\0\1" + struct.pack("<III", 0, serial, len(body))
    return padded(head + body, 8)


def message(serial, destination, path, interface, method):
    return call(serial, [(1, b"o", path), (2, b"s", interface), (3, b"s", method), (6, b"s", destination)])


messages = message(1, "org.freedesktop.DBus", "/", "org.freedesktop.DBus", "Hello")
messages += message(2, name, path, interface, method)
user = str(os.getuid()).encode().hex().encode()
address = os.environ["DBUS_SESSION_BUS_ADDRESS"].removeprefix("unix:path=")
# The first is right: the filter has to refuse it by its rules, and the others in any way.
for begin in [
    b"BEGIN\r\n", b"BEGIN \r\n", b" BEGIN\r\n", b"BEGIN\t\r\n", b"\tBEGIN\r\n", b"BEGIN x\r\n", b"BEGIN\n", b"begin\r\n",
    b"BEGIN\0\r\n", b"\nBEGIN\r\n", b"\r\nBEGIN\r\n", b"BEGIN\r\nBEGIN\r\n", b"NEGOTIATE_UNIX_FD\r\nBEGIN \r\n",
]:
    for apart in [False, True]:
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        client.settimeout(0.5)
        client.connect(address)
        received = b""
        try:
            client.sendall(b"\0AUTH EXTERNAL " + user + b"\r\n")
            received = client.recv(1000)
            if apart:
                client.sendall(begin)
                client.sendall(messages)
            else:
                client.sendall(begin + messages)
            while more := client.recv(1000):
                received += more
        except OSError:
            pass
        client.close()
        print(repr(begin), apart, "answered" if b"answered" in received else "not", len(received), flush=True)
