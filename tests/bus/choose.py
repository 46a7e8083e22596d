"""Asks the portal to have a person choose a file, prints its path as the portal tells it, and what is in it."""

import urllib.parse

import dbus
from dbus.mainloop.glib import DBusGMainLoop
from gi.repository import GLib

DBusGMainLoop(set_as_default=True)
bus = dbus.SessionBus()
portal = bus.get_object("org.freedesktop.portal.Desktop", "/org/freedesktop/portal/desktop")
loop = GLib.MainLoop()
sender = bus.get_unique_name()[1:].replace(".", "_")
request = f"/org/freedesktop/portal/desktop/request/{sender}/choose"


def answered(response, results):
    print("response", int(response), flush=True)
    for uri in results.get("uris", []):
        path = urllib.parse.unquote(urllib.parse.urlparse(str(uri)).path)
        print("path", path, flush=True)
        try:
            with open(path) as file:
                print("content", file.read(), flush=True)
        except OSError as error:
            print("failed", error, flush=True)
    loop.quit()


bus.add_signal_receiver(answered, "Response", "org.freedesktop.portal.Request", path=request)
options = dbus.Dictionary({"handle_token": "choose"}, signature="sv")
handle = portal.OpenFile("", "Choose for the test", options, dbus_interface="org.freedesktop.portal.FileChooser")
print("asked", handle == request, flush=True)
GLib.timeout_add_seconds(40, loop.quit)
loop.run()
