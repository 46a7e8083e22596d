//! A transient scope of the user's systemd manager (org.freedesktop.systemd1(5)).
//!
//! It is asked over its private socket, where no message bus stands between. Whether the process has come into the scope is
//! seen in /proc, each time that the manager tells of something: it announces the end of the job to whoever is connected there.

use std::fs;
use std::io;
use std::time::Duration;

use pack_schemas::plan::Plan;

use crate::dbus::{Address, Call, CallError, Connection, Writer};

/// A connection to the manager.
#[derive(Debug)]
pub(crate) struct Manager {
    connection: Connection,
}

impl Manager {
    /// Connects; nothing where no manager listens, or where it counts processes in another namespace, so that a number of
    /// ours would be another process there.
    pub(crate) fn connect(socket: &str, patience: Duration) -> Option<Manager> {
        let address = Address::Path(socket.to_owned());
        let connection = Connection::open_direct(&address, patience).ok()?;
        connection.sees_our_processes().then_some(Manager { connection })
    }

    /// Puts a process into a new scope with the limits of `plan`.
    pub(crate) fn place(&mut self, process: u32, unit: &str, plan: &Plan) -> Result<(), CallError> {
        let body = start_transient_unit(process, unit, plan);
        self.connection.call(&Call {
            destination: "org.freedesktop.systemd1",
            path: "/org/freedesktop/systemd1",
            interface: "org.freedesktop.systemd1.Manager",
            method: "StartTransientUnit",
            signature: "ssa(sv)a(sa(sv))",
            body: &body,
        })?;
        while !is_in(process, unit)? {
            self.connection.wait_for_anything()?;
        }
        Ok(())
    }
}

/// Whether a process is in the control group of a unit, by any of its hierarchies.
fn is_in(process: u32, unit: &str) -> io::Result<bool> {
    let groups = fs::read_to_string(format!("/proc/{process}/cgroup"))?;
    Ok(groups.lines().any(|line| line.rsplit('/').next() == Some(unit)))
}

/// The value of a property of a unit.
enum Value<'a> {
    Text(&'a str),
    Number(u64),
    Processes(&'a [u32]),
}

fn start_transient_unit(process: u32, unit: &str, plan: &Plan) -> Vec<u8> {
    let limits = &plan.limits;
    let description = format!("{} (pack)", plan.package);
    // Of each second, in millionths.
    let share = limits.cpu.map(|cpu| u64::from(cpu.percent()) * 10_000);
    let processes = [process];
    let properties = [
        ("Description", Some(Value::Text(&description))),
        ("Slice", Some(Value::Text("app.slice"))),
        // Nothing of it stays when it has ended, however it ended.
        ("CollectMode", Some(Value::Text("inactive-or-failed"))),
        ("PIDs", Some(Value::Processes(&processes))),
        ("TasksMax", Some(Value::Number(limits.tasks().into()))),
        ("MemoryMax", limits.memory.map(|memory| Value::Number(memory.bytes()))),
        ("CPUQuotaPerSecUSec", share.map(Value::Number)),
    ];
    let mut body = Writer::default();
    body.text(unit).text("fail").array(8, |list| {
        for (name, value) in properties {
            let Some(value) = value else { continue };
            list.structure(|property| {
                property.text(name);
                write_value(property, &value);
            });
        }
    });
    body.array(8, |_| {});
    body.bytes().to_vec()
}

fn write_value(property: &mut Writer, value: &Value<'_>) {
    match value {
        Value::Text(text) => property.variant("s", |writer| {
            writer.text(text);
        }),
        Value::Number(number) => property.variant("t", |writer| {
            writer.long_number(*number);
        }),
        Value::Processes(processes) => property.variant("au", |writer| {
            writer.array(4, |list| {
                for process in *processes {
                    list.number(*process);
                }
            });
        }),
    };
}
