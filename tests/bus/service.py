"""A service on a message bus: has the names given to it, and answers every call with what was called.

usage: service.py session|system NAME…

The method Emit(path, interface, signal) has it send that signal.
"""

import sys

import dbus
import dbus.lowlevel
from dbus.mainloop.glib import DBusGMainLoop
from gi.repository import GLib

DBusGMainLoop(set_as_default=True)
bus = dbus.SessionBus() if sys.argv[1] == "session" else dbus.SystemBus()


def answer(connection, message):
    if message.get_type() != dbus.lowlevel.MESSAGE_TYPE_METHOD_CALL:
        return dbus.lowlevel.HANDLER_RESULT_NOT_YET_HANDLED
    if message.get_member() == "Emit":
        path, interface, member = message.get_args_list()
        connection.send_message(dbus.lowlevel.SignalMessage(path, interface, member))
    reply = dbus.lowlevel.MethodReturnMessage(message)
    reply.append(f"answered {message.get_interface()}.{message.get_member()}")
    connection.send_message(reply)
    return dbus.lowlevel.HANDLER_RESULT_HANDLED


bus.add_message_filter(answer)
for name in sys.argv[2:]:
    assert bus.request_name(name) == dbus.bus.REQUEST_NAME_REPLY_PRIMARY_OWNER, name
GLib.MainLoop().run()
