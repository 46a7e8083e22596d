//! Device nodes that match a pattern, and are of a kind.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use pack_schemas::interface::DeviceKind;

use crate::host::read_small;

/// Most nodes that one pattern may find.
const NODES_MOST: usize = 256;
/// Longest file of /sys that is looked into.
const DESCRIPTION_LIMIT: u64 = 8 << 10;

/// Absolute paths of the nodes, and of the folders, that match a pattern; sorted.
pub fn find(pattern: &str, only: Option<DeviceKind>) -> Vec<String> {
    let mut found = vec![String::new()];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        found = match part.split_once('*') {
            None => found.into_iter().map(|folder| format!("{folder}/{part}")).collect(),
            Some((before, after)) => {
                found.iter().flat_map(|folder| names(folder, before, after)).take(NODES_MOST).collect()
            }
        };
    }
    found.retain(|path| is_wanted(Path::new(path), only));
    found.sort();
    found
}

fn names(folder: &str, before: &str, after: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let matches = |name: &String| {
        name.strip_prefix(before)
            .and_then(|rest| rest.strip_suffix(after))
            .is_some_and(|rest| !rest.is_empty())
    };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).filter(matches);
    names.map(|name| format!("{folder}/{name}")).collect()
}

/// Device nodes and folders of them; a link, which could lead anywhere, is neither.
fn is_wanted(path: &Path, only: Option<DeviceKind>) -> bool {
    let Ok(found) = fs::symlink_metadata(path) else { return false };
    let kind = found.file_type();
    let is_device = kind.is_char_device() || kind.is_block_device();
    match only {
        None => is_device || kind.is_dir(),
        Some(only) => kind.is_char_device() && is_of_kind(found.rdev(), only),
    }
}

fn is_of_kind(number: u64, kind: DeviceKind) -> bool {
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    let folder = Path::new("/sys/dev/char").join(format!("{major}:{minor}")).join("device");
    match kind {
        DeviceKind::SecurityKey => read_small(&folder.join("report_descriptor"), DESCRIPTION_LIMIT)
            .is_some_and(|descriptor| is_security_key(&descriptor)),
        DeviceKind::Joystick => read_small(&folder.join("capabilities/key"), DESCRIPTION_LIMIT)
            .is_some_and(|keys| is_joystick(&String::from_utf8_lossy(&keys))),
    }
}

/// Whether a report descriptor has the usage page 0xF1D0: a global item of two bytes, tag 0x06 (HID 1.11, 6.2.2.7).
fn is_security_key(descriptor: &[u8]) -> bool {
    let mut rest = descriptor;
    while let Some((prefix, data)) = rest.split_first() {
        let length = match prefix {
            0xfe => 2 + usize::from(data.first().copied().unwrap_or(0)), // A long item (6.2.2.3).
            prefix => [0, 1, 2, 4][usize::from(prefix & 3)],
        };
        if *prefix == 0x06 && data.starts_with(&[0xd0, 0xf1]) {
            return true;
        }
        rest = data.get(length..).unwrap_or_default();
    }
    false
}

/// Whether a bitmap of keys, words in hexadecimal with the highest first, has a joystick's or game pad's buttons
/// (BTN_JOYSTICK 0x120 to 0x12f, BTN_GAMEPAD 0x130 to 0x13f) and none of a keyboard's letters (KEY_Q 16 to KEY_M 50).
fn is_joystick(keys: &str) -> bool {
    let words: Vec<u64> =
        keys.split_whitespace().rev().map(|word| u64::from_str_radix(word, 16).unwrap_or(0)).collect();
    let has = |bit: usize| words.get(bit / 64).is_some_and(|word| word >> (bit % 64) & 1 == 1);
    (0x120..0x140).any(has) && !(16..=50).any(has)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_found_by_pattern() {
        assert_eq!(find("/dev/nul*", None), ["/dev/null"]);
        assert_eq!(find("/dev/zero", None), ["/dev/zero"]);
        assert!(find("/dev/no-such-*", None).is_empty());
        assert!(find("/etc/host*", None).is_empty(), "files are no devices");
        assert!(find("/dev/std*", None).is_empty(), "links are no devices");
        assert!(find("/dev/nul*", Some(DeviceKind::Joystick)).is_empty());
    }

    #[test]
    fn a_security_key_is_known_by_its_usage_page() {
        assert!(is_security_key(&[0x06, 0xd0, 0xf1, 0x09, 0x01, 0xa1, 0x01]));
        assert!(is_security_key(&[0x05, 0x01, 0x06, 0xd0, 0xf1]));
        for other in [
            &[][..],
            &[0x05, 0x01, 0x09, 0x06],
            &[0x06, 0xd0],
            &[0x27, 0x06, 0xd0, 0xf1, 0x00],
            &[0xfe, 0xff],
        ] {
            assert!(!is_security_key(other), "{other:x?}");
        }
    }

    #[test]
    fn a_joystick_has_its_buttons_and_no_letters() {
        // BTN_SOUTH is 0x130: bit 48 of the fifth word.
        assert!(is_joystick("1000000000000 0 0 0 0\n"));
        assert!(!is_joystick("1000000000000 0 0 0 10000\n"), "a keyboard with a button");
        assert!(!is_joystick("fffffffffffffffe"));
        assert!(!is_joystick("") && !is_joystick("x y z"));
    }
}
