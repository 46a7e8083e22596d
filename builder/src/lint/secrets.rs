//! What nobody wants to publish: keys, passwords, tokens, histories. Known by name, and by the first bytes where a name
//! says little.

use super::checks::{PACK_KEY, PRIVATE_KEY, SECRET_FILE, VERSION_CONTROL};
use super::listing::{Entry, Kind, Listing};
use super::{Findings, shown, size_text};

/// How much of a file is read.
const START: usize = 8 << 10;
const LEAVE_OUT: &str = "leave it out with `prime: [-PATH]`, and change it if it was ever published";

/// A name, or the end of one, and what the file has to hold.
struct Pattern {
    names: &'static [&'static str],
    endings: &'static [&'static str],
    holds: fn(&[u8]) -> bool,
    what: &'static str,
}

static PATTERNS: &[Pattern] = &[
    Pattern {
        names: &[".env", ".env.local", ".env.production"],
        endings: &[],
        holds: assigns,
        what: "variables that are mostly secret",
    },
    Pattern {
        names: &[".netrc", "_netrc"],
        endings: &[],
        holds: |text| has(text, b"password"),
        what: "passwords of hosts",
    },
    Pattern {
        names: &[".npmrc"],
        endings: &[],
        holds: |text| has(text, b"_auth") || has(text, b"_password"),
        what: "a token of an npm registry",
    },
    Pattern {
        names: &[".pypirc"],
        endings: &[],
        holds: |text| has(text, b"password"),
        what: "a password of a Python index",
    },
    Pattern {
        names: &[".git-credentials"],
        endings: &[],
        holds: |text| has(text, b"://"),
        what: "passwords of git hosts",
    },
    Pattern {
        names: &["credentials"],
        endings: &[],
        holds: |text| has(text, b"aws_secret_access_key"),
        what: "a key of Amazon Web Services",
    },
    Pattern {
        names: &["credentials.toml"],
        endings: &[],
        holds: |text| has(text, b"token"),
        what: "a token of a crate registry",
    },
    Pattern {
        names: &[".dockercfg", "config.json"],
        endings: &[],
        holds: |text| has(text, b"\"auths\"") && has(text, b"\"auth\""),
        what: "passwords of container registries",
    },
    Pattern {
        names: &[".pgpass"],
        endings: &[],
        holds: |text| text.iter().filter(|byte| **byte == b':').count() >= 4,
        what: "passwords of databases",
    },
    Pattern {
        names: &[],
        endings: &[".kdbx"],
        holds: |text| text.starts_with(&[0x03, 0xd9, 0xa2, 0x9a]),
        what: "a KeePass database",
    },
    Pattern {
        names: &[
            ".bash_history",
            ".zsh_history",
            ".sh_history",
            ".ash_history",
            ".python_history",
            ".psql_history",
            ".mysql_history",
            ".lesshst",
            ".viminfo",
        ],
        endings: &[],
        holds: |text| !text.is_empty(),
        what: "the history of somebody's commands",
    },
];

/// Names of files that hold a private key if they hold what one begins with.
const KEY_NAMES: &[&str] = &["id_rsa", "id_dsa", "id_ecdsa", "id_ed25519", "id_ecdsa_sk", "id_ed25519_sk"];
const KEY_ENDINGS: &[&str] = &[".pem", ".key", ".ppk", ".p8"];
const FOLDERS: &[(&str, &str)] =
    &[(".git", "HEAD"), (".hg", "store"), (".svn", "wc.db"), (".bzr", "branch-format")];

pub(super) fn look(files: &Listing, found: &mut Findings) {
    for entry in files.entries() {
        let Ok(name) = str::from_utf8(entry.name()) else { continue };
        match entry.kind {
            Kind::Folder => version_control(files, entry, name, found),
            Kind::File(size) if size > 0 => file(files, entry, name, found),
            _ => {}
        }
    }
}

fn version_control(files: &Listing, entry: &Entry, name: &str, found: &mut Findings) {
    let Some((_, mark)) = FOLDERS.iter().find(|(folder, _)| *folder == name) else { return };
    if files.find(&[&entry.path, &b"/"[..], mark.as_bytes()].concat()).is_none() {
        return;
    }
    let bytes = files.below(&entry.path).map(Entry::size).fold(0, u64::saturating_add);
    let message = format!(
        "is the folder of a version control system, with all that was ever in the project ({})",
        size_text(bytes)
    );
    found.cost(
        VERSION_CONTROL,
        &entry.path,
        bytes,
        message,
        "leave it out with `prime`, or take a folder as source that has no such folder in it",
    );
}

fn file(files: &Listing, entry: &Entry, name: &str, found: &mut Findings) {
    let is_key_name = KEY_NAMES.contains(&name) || ends(name, KEY_ENDINGS);
    let pattern = PATTERNS.iter().find(|p| p.names.contains(&name) || ends(name, p.endings));
    if !is_key_name && pattern.is_none() {
        return;
    }
    let Ok(start) = files.read(entry, START) else { return };
    if is_key_name && is_pack_key(&start) {
        let message = "is a secret key that signs packages: who has it can publish in your name".to_owned();
        found.file(PACK_KEY, &entry.path, message, LEAVE_OUT);
    } else if is_key_name && is_private_key(&start) {
        found.file(PRIVATE_KEY, &entry.path, "is a private key".to_owned(), LEAVE_OUT);
    } else if let Some(pattern) = pattern.filter(|pattern| (pattern.holds)(&start)) {
        found.file(SECRET_FILE, &entry.path, format!("holds {}", shown(pattern.what.as_bytes())), LEAVE_OUT);
    }
}

fn ends(name: &str, endings: &[&str]) -> bool {
    endings.iter().any(|ending| name.len() > ending.len() && name.ends_with(ending))
}

fn has(text: &[u8], what: &[u8]) -> bool {
    text.windows(what.len()).any(|part| part == what)
}

/// A file of lines that give variables values.
fn assigns(text: &[u8]) -> bool {
    let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    lines.filter(|line| !line.starts_with(b"#")).any(|line| {
        let (name, value) = line.split_at(line.iter().position(|byte| *byte == b'=').unwrap_or(0));
        value.len() > 1 && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_ ".contains(byte))
    })
}

/// The key files of [`crate::keys`].
fn is_pack_key(text: &[u8]) -> bool {
    let Ok(file) = serde_json::from_slice::<serde_json::Value>(text) else { return false };
    let is_hash = |key: &str| {
        let text = file.get(key).and_then(serde_json::Value::as_str).unwrap_or_default();
        text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    is_hash("secret") && is_hash("public")
}

/// PEM (RFC 7468), OpenSSH's and PuTTY's formats; a key that a passphrase protects is one as well.
fn is_private_key(text: &[u8]) -> bool {
    has(text, b"PRIVATE KEY-----") || text.starts_with(b"PuTTY-User-Key-File-")
}
