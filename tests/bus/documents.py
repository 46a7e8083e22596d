"""Gives documents to apps, as the portal's dialogs do. On the host.

usage: documents.py FILE APP…     prints the document's id
"""

import os
import sys

import dbus

bus = dbus.SessionBus()
documents = dbus.Interface(
    bus.get_object("org.freedesktop.portal.Documents", "/org/freedesktop/portal/documents"),
    "org.freedesktop.portal.Documents",
)
file = os.open(sys.argv[1], os.O_PATH)
document = documents.Add(dbus.types.UnixFd(file), False, False)
for app in sys.argv[2:]:
    documents.GrantPermissions(document, app, ["read", "write"])
print(document)
