"""Prints each signal that arrives within two seconds: sender's path, interface and name.

It asks for all, and then for each of the rules given, whether or not that is refused; what was refused is printed.
"""

import sys

import dbus
from dbus.mainloop.glib import DBusGMainLoop
from gi.repository import GLib

DBusGMainLoop(set_as_default=True)
bus = dbus.SessionBus()
bus.add_message_filter(
    lambda _, message: print("got", message.get_path(), message.get_interface(), message.get_member(), flush=True)
)
for rule in ["type='signal'"] + sys.argv[1:]:
    try:
        bus.add_match_string(rule)
        print("accepted", rule, flush=True)
    except dbus.DBusException as error:
        print("refused", rule, error.get_dbus_name(), flush=True)
print("listening", flush=True)
loop = GLib.MainLoop()
GLib.timeout_add(2000, loop.quit)
loop.run()
print("end", flush=True)
