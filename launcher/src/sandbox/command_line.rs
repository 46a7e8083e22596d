//! What ps(1) and everybody else reads in /proc/PID/cmdline of a process that pack made without executing a program: by
//! itself it would be the launcher's, with the app's arguments and paths of the host's.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

/// More than execve(2) takes for all arguments together, in bytes.
const LONGEST: usize = 8 << 20;

/// Overwrites the calling process's command line with `text`, cut to its length. Its place in memory stands in fields 48
/// and 49 of /proc/self/stat (proc_pid_stat(5)); the memory is the process's own copy.
///
/// # Errors
/// The kernel's, where /proc is not there or the process is not dumpable any more.
pub(crate) fn overwrite(text: &str) -> io::Result<()> {
    let mut stat = [0; 1024];
    let length = File::open("/proc/self/stat")?.read(&mut stat)?;
    let stat = String::from_utf8_lossy(&stat[..length]);
    // The second field, in parentheses, may hold spaces and parentheses; the third follows the last one.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let field = |number: usize| -> io::Result<u64> {
        let text = fields.split_ascii_whitespace().nth(number - 3).unwrap_or_default();
        text.parse().map_err(|_| io::ErrorKind::InvalidData.into())
    };
    let (start, end) = (field(48)?, field(49)?);
    let mut line = vec![0; usize::try_from(end.saturating_sub(start)).unwrap_or_default().min(LONGEST)];
    for (place, letter) in line.iter_mut().zip(text.bytes()) {
        *place = letter;
    }
    // Without a zero at the end the kernel shows what lies behind it, the environment (get_mm_cmdline in fs/proc/base.c).
    if let Some(last) = line.last_mut() {
        *last = 0;
    }
    File::options().write(true).open("/proc/self/mem")?.write_all_at(&line, start)
}
