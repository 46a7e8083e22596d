//! A control group made by the launcher itself, where a folder of them is the user's own.
//!
//! A process may be moved by whoever may write to the group that both places have above them, and a group passes its
//! controllers on only if no process is in itself (cgroups(7), "no internal processes"): so the new group is made in the
//! nearest one above the launcher's that the user may write to and that passes on what is needed.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use pack_schemas::limits::Limits;

/// Where the second version of control groups is mounted: alone, or beside the first.
const MOUNTS: &[&str] = &["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
/// The length of a period of processor time, in millionths of a second (the kernel's own default).
const PERIOD: u64 = 100_000;

/// A group. It is removed when this is dropped, which the kernel refuses while a process is in it.
#[derive(Debug)]
pub(crate) struct Group {
    folder: PathBuf,
}

impl Group {
    /// Makes a group with limits; nothing where it cannot be made, or not with all of them.
    pub(crate) fn make(limits: &Limits, name: &str) -> Option<Group> {
        let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
        let own = own_group(&groups)?;
        let mount = MOUNTS.iter().map(Path::new).find(|mount| mount.join("cgroup.procs").is_file())?;
        let own = mount.join(own.trim_start_matches('/'));
        let parents = own.ancestors().take_while(|parent| parent.starts_with(mount));
        parents.into_iter().find_map(|parent| Group::make_in(parent, limits, name))
    }

    fn make_in(parent: &Path, limits: &Limits, name: &str) -> Option<Group> {
        let passed_on = fs::read_to_string(parent.join("cgroup.subtree_control")).ok()?;
        let has = |controller: &str| passed_on.split_ascii_whitespace().any(|name| name == controller);
        let wanted = [
            ("memory", limits.memory.is_some()),
            ("cpu", limits.cpu.is_some()),
            ("pids", limits.tasks.is_some()),
        ];
        for (controller, _) in wanted.iter().filter(|(controller, wanted)| *wanted && !has(controller)) {
            write(&parent.join("cgroup.subtree_control"), &format!("+{controller}")).ok()?;
        }
        sweep(parent);
        let group = Group { folder: parent.join(name) };
        fs::create_dir(&group.folder).ok()?;
        group.limit(limits).ok()?;
        Some(group)
    }

    fn limit(&self, limits: &Limits) -> io::Result<()> {
        if let Some(memory) = limits.memory {
            write(&self.folder.join("memory.max"), &memory.bytes().to_string())?;
        }
        if let Some(cpu) = limits.cpu {
            let share = u64::from(cpu.percent()) * PERIOD / 100;
            write(&self.folder.join("cpu.max"), &format!("{share} {PERIOD}"))?;
        }
        match limits.tasks {
            Some(_) => write(&self.folder.join("pids.max"), &limits.tasks().to_string()),
            None => Ok(()),
        }
    }

    /// Moves a process into the group.
    pub(crate) fn place(&self, process: u32) -> io::Result<()> {
        write(&self.folder.join("cgroup.procs"), &process.to_string())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // What the app left running is being ended; the next launch takes the folder away.
        let _ = fs::remove_dir(&self.folder);
    }
}

/// Takes away the groups of launchers that were killed. The kernel refuses that where a process is in one.
fn sweep(parent: &Path) {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let is_ours = |name: &str| name.starts_with("app-pack-") && name.ends_with(".scope");
    for entry in entries.filter(|entry| entry.file_name().to_str().is_some_and(is_ours)) {
        // One that was just made has no process yet.
        let is_old = entry
            .metadata()
            .and_then(|found| found.modified())
            .is_ok_and(|made| made.elapsed().is_ok_and(|age| age > std::time::Duration::from_secs(60)));
        if is_old {
            let _ = fs::remove_dir(entry.path());
        }
    }
}

/// The group of the second version in /proc/self/cgroup.
fn own_group(list: &str) -> Option<&str> {
    let path = list.lines().find_map(|line| line.strip_prefix("0::"))?;
    // One that is not below the namespace's own root cannot be named from here.
    (path.starts_with('/') && !path.contains("/..")).then_some(path)
}

/// These files are written in one piece, and not made where they are not there.
fn write(path: &Path, text: &str) -> io::Result<()> {
    File::options().write(true).open(path)?.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_group_is_that_of_the_second_version() {
        assert_eq!(own_group("4:memory:/x\n0::/user.slice/a\n"), Some("/user.slice/a"));
        assert_eq!(own_group("0::/\n"), Some("/"));
        for list in ["", "4:memory:/x\n", "0::/../outside\n", "0::\n"] {
            assert_eq!(own_group(list), None, "{list:?}");
        }
    }
}
