//! The publisher's signing keys: a folder with one file for each.
//!
//! A key file is `NAME.key`, mode 0600, in a folder of mode 0700. It is one JSON object:
//!
//! ```json
//! {"format":1,"name":"mine","public":"64 hexadecimal digits","secret":"64 hexadecimal digits"}
//! ```
//!
//! `secret` is the 32-byte seed of ed25519 (RFC 8032, section 5.1.5), `public` the key that follows from it. A file that
//! anyone but its owner can read or write is not used: a secret that others may have read is none.
//!
//! A key file appears whole under its name and never replaces another: a lost signing key cannot be had back. What
//! holds a secret is overwritten before its memory is given back.

use std::fs::{DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;
use pack_schemas::names::{Name, PublicKey};
use pack_schemas::text::visible;
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use crate::draft::{Draft, Existing};

/// The format of key files that this program reads and writes.
const KEY_FORMAT: u32 = 1;
/// Longest key file in bytes.
const KEY_FILE_LIMIT: u64 = 1024;
const SUFFIX: &str = ".key";

/// Why a key cannot be used or made.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The folder of keys, or a file in it, cannot be read.
    #[error("cannot read `{}`", visible(&.path.to_string_lossy()))]
    Read {
        /// The folder or file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The folder of keys, or a file in it, cannot be written.
    #[error("cannot write `{}`", visible(&.path.to_string_lossy()))]
    Write {
        /// The folder or file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Others have permissions on a key file, or may write to the folder; [`KeyError::mend`] says what to do.
    #[error("others have access to `{}`, whose mode is {:04o}", visible(&.path.to_string_lossy()), .mode)]
    Exposed {
        /// The folder or file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A key file is not of the format.
    #[error("`{}` is not a key file: {reason}", visible(.what))]
    Malformed {
        /// The file, or what was given to be imported.
        what: String,
        /// What is wrong; without a part of the content, which is secret.
        reason: &'static str,
    },
    /// A key of this name is there.
    #[error("there is a key `{name}` already")]
    Exists {
        /// The name.
        name: Name,
    },
    /// No key of this name is there.
    #[error("there is no key `{name}`")]
    Missing {
        /// The name.
        name: Name,
        /// The names that there are.
        known: Vec<Name>,
    },
    /// No key is there at all.
    #[error("there is no signing key")]
    None,
    /// More than one key is there, and none was named.
    #[error("there are several signing keys")]
    Several {
        /// Their names.
        names: Vec<Name>,
    },
    /// The system gives no random numbers.
    #[error("cannot get random numbers")]
    Random(#[source] io::Error),
}

impl KeyError {
    /// The command that mends it, where there is one.
    pub fn mend(&self) -> Option<String> {
        match self {
            KeyError::Exposed { path, .. } => {
                let mode =
                    if path.extension().is_some_and(|extension| extension == "key") { 600 } else { 700 };
                Some(format!("chmod {mode} {}", visible(&path.to_string_lossy())))
            }
            _ => None,
        }
    }
}

/// A key that can sign. Its `Debug` form shows the public half only.
pub struct SecretKey {
    name: Name,
    signing: SigningKey,
}

impl std::fmt::Debug for SecretKey {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("SecretKey").field("name", &self.name).field("public", &self.public()).finish()
    }
}

impl SecretKey {
    /// The name under which it is kept.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The public half, which is also the fingerprint.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.signing.verifying_key().to_bytes())
    }

    /// The key as [`pack_schemas::package::sign`] takes it.
    pub fn signing(&self) -> &SigningKey {
        &self.signing
    }

    /// The text of its file: whoever has it can sign in the publisher's name.
    pub fn to_text(&self) -> Zeroizing<String> {
        let secret = Zeroizing::new(hex::encode(self.signing.as_bytes()));
        // Room for all of it, so that the text never moves and leaves a copy behind.
        let mut text = Zeroizing::new(String::with_capacity(KEY_FILE_LIMIT as usize));
        // Every field is plain digits or a checked name, so nothing needs escaping.
        for part in [
            &format!("{{\"format\":{KEY_FORMAT},\"name\":\"{}\",", self.name),
            &format!("\"public\":\"{}\",\"secret\":\"", self.public()),
            &*secret,
            "\"}\n",
        ] {
            text.push_str(part);
        }
        text
    }

    /// Reads a key file; `what` names it in errors.
    ///
    /// # Errors
    /// [`KeyError::Malformed`], or [`KeyError::Read`] with `what` as the path.
    pub fn read(source: impl Read, what: &str) -> Result<SecretKey, KeyError> {
        // Room for all of it, as above.
        let mut text = Zeroizing::new(Vec::with_capacity(KEY_FILE_LIMIT as usize + 1));
        source
            .take(KEY_FILE_LIMIT + 1)
            .read_to_end(&mut text)
            .map_err(|source| KeyError::Read { path: what.into(), source })?;
        SecretKey::parse(&text, what)
    }

    /// Writes the key to a new file that only its owner can read.
    ///
    /// # Errors
    /// [`KeyError::Write`]; a file that is there stays as it is.
    pub fn export(&self, path: &Path) -> Result<(), KeyError> {
        let written = Draft::new(path, 0o600).and_then(|draft| {
            draft.file().write_all(self.to_text().as_bytes())?;
            draft.publish(Existing::Keep)
        });
        written.map_err(|source| KeyError::Write { path: path.to_path_buf(), source })
    }

    fn parse(text: &[u8], what: &str) -> Result<SecretKey, KeyError> {
        let malformed = |reason| KeyError::Malformed { what: what.to_owned(), reason };
        if text.len() as u64 > KEY_FILE_LIMIT {
            return Err(malformed("it is too long"));
        }
        // The parser's own words could repeat a part of the secret.
        let file: KeyFile = serde_json::from_slice(text)
            .map_err(|_| malformed("it is not JSON with format, name, public and secret"))?;
        if file.format != KEY_FORMAT {
            return Err(malformed("this version of pack does not know its format"));
        }
        let mut seed = Zeroizing::new([0; 32]);
        hex::decode_to_slice(&file.secret, &mut *seed)
            .map_err(|_| malformed("the secret has to be 64 hexadecimal digits"))?;
        let key = SecretKey { name: file.name.clone(), signing: SigningKey::from_bytes(&seed) };
        if key.public() != file.public {
            return Err(malformed("the public key does not belong to the secret"));
        }
        Ok(key)
    }
}

/// A key file as it is read. It is written by [`SecretKey::to_text`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    format: u32,
    name: Name,
    public: PublicKey,
    secret: String,
}

impl Drop for KeyFile {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

/// A key as it is listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeySummary {
    /// Its name.
    pub name: Name,
    /// Its public half, which is its fingerprint.
    pub fingerprint: PublicKey,
}

/// The folder of keys. It is made when the first key is.
#[derive(Debug)]
pub struct KeyFolder {
    path: PathBuf,
}

impl KeyFolder {
    /// Takes the folder at `path`, such as `$XDG_DATA_HOME/pack/keys`.
    pub fn at(path: &Path) -> KeyFolder {
        KeyFolder { path: path.to_path_buf() }
    }

    /// Makes a new key out of the kernel's random numbers, and keeps it.
    ///
    /// # Errors
    /// [`KeyError::Exists`] where the name is taken; those of the file system.
    pub fn generate(&self, name: &Name) -> Result<SecretKey, KeyError> {
        let mut seed = Zeroizing::new([0; 32]);
        // The kernel gives up to 256 bytes in one piece (getrandom(2)).
        rustix::rand::getrandom(&mut *seed, rustix::rand::GetRandomFlags::empty())
            .map_err(|error| KeyError::Random(error.into()))?;
        let key = SecretKey { name: name.clone(), signing: SigningKey::from_bytes(&seed) };
        self.keep(&key)?;
        Ok(key)
    }

    /// Keeps a key that was exported from elsewhere, under its own name or another.
    ///
    /// # Errors
    /// As [`SecretKey::read`], [`KeyError::Exists`] where the name is taken; those of the file system.
    pub fn import(
        &self,
        source: impl Read,
        what: &str,
        rename: Option<&Name>,
    ) -> Result<SecretKey, KeyError> {
        let mut key = SecretKey::read(source, what)?;
        if let Some(name) = rename {
            key.name = name.clone();
        }
        self.keep(&key)?;
        Ok(key)
    }

    /// All keys, by name.
    ///
    /// # Errors
    /// Of the first that cannot be used: a key that silently was not there would be looked for elsewhere.
    pub fn list(&self) -> Result<Vec<KeySummary>, KeyError> {
        let keys = self.names()?.into_iter().map(|name| {
            let key = self.load(&name)?;
            Ok(KeySummary { fingerprint: key.public(), name })
        });
        keys.collect()
    }

    /// The key of a name.
    ///
    /// # Errors
    /// [`KeyError::Missing`], [`KeyError::Exposed`], [`KeyError::Malformed`]; those of the file system.
    pub fn load(&self, name: &Name) -> Result<SecretKey, KeyError> {
        let path = self.file_of(name);
        let Some(folder) = self.open()? else { return self.missing(name) };
        let read_error = |source| KeyError::Read { path: path.clone(), source };
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&folder, format!("{name}{SUFFIX}"), flags, Mode::empty()) {
            Err(rustix::io::Errno::NOENT) => return self.missing(name),
            other => File::from(other.map_err(|error| read_error(error.into()))?),
        };
        let metadata = file.metadata().map_err(read_error)?;
        if !metadata.is_file() {
            return Err(read_error(io::ErrorKind::InvalidInput.into()));
        }
        check_mode(&path, metadata.permissions().mode(), 0o077)?;
        let what = path.to_string_lossy();
        let key = SecretKey::read(file, &what)?;
        if key.name != *name {
            return Err(KeyError::Malformed {
                what: what.into_owned(),
                reason: "it holds a key of another name",
            });
        }
        Ok(key)
    }

    /// The only key.
    ///
    /// # Errors
    /// [`KeyError::None`] or [`KeyError::Several`] where there is not exactly one; else as [`KeyFolder::load`].
    pub fn only(&self) -> Result<SecretKey, KeyError> {
        let names = self.names()?;
        match names.as_slice() {
            [] => Err(KeyError::None),
            [name] => self.load(name),
            _ => Err(KeyError::Several { names }),
        }
    }

    /// The names of all keys, in order.
    fn names(&self) -> Result<Vec<Name>, KeyError> {
        if self.open()?.is_none() {
            return Ok(Vec::new());
        }
        let read_error = |source| KeyError::Read { path: self.path.clone(), source };
        let mut names = Vec::new();
        for entry in self.path.read_dir().map_err(read_error)? {
            let file = entry.map_err(read_error)?.file_name();
            // What is no NAME.key was put there by someone else and is none of our business.
            if let Some(Ok(name)) = file.to_str().and_then(|file| file.strip_suffix(SUFFIX)).map(str::parse) {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// Opens the folder, if it is there.
    fn open(&self) -> Result<Option<File>, KeyError> {
        let read_error = |source| KeyError::Read { path: self.path.clone(), source };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = match rustix::fs::open(&self.path, flags, Mode::empty()) {
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            other => File::from(other.map_err(|error| read_error(error.into()))?),
        };
        // Whoever can write to the folder can put a key of theirs in place of one of ours.
        check_mode(&self.path, folder.metadata().map_err(read_error)?.permissions().mode(), 0o022)?;
        Ok(Some(folder))
    }

    fn keep(&self, key: &SecretKey) -> Result<(), KeyError> {
        let folder_error = |source| KeyError::Write { path: self.path.clone(), source };
        // The XDG Base Directory Specification wants 0700 for the folders above too, where they have to be made.
        DirBuilder::new().recursive(true).mode(0o700).create(&self.path).map_err(folder_error)?;
        self.open()?;
        key.export(&self.file_of(&key.name)).map_err(|error| match error {
            KeyError::Write { source, .. } if source.kind() == io::ErrorKind::AlreadyExists => {
                KeyError::Exists { name: key.name.clone() }
            }
            other => other,
        })
    }

    fn missing<T>(&self, name: &Name) -> Result<T, KeyError> {
        Err(KeyError::Missing { name: name.clone(), known: self.names()? })
    }

    fn file_of(&self, name: &Name) -> PathBuf {
        self.path.join(format!("{name}{SUFFIX}"))
    }
}

fn check_mode(path: &Path, mode: u32, forbidden: u32) -> Result<(), KeyError> {
    match mode & forbidden {
        0 => Ok(()),
        _ => Err(KeyError::Exposed { path: path.to_path_buf(), mode: mode & 0o7777 }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn scratch() -> (tempfile::TempDir, KeyFolder) {
        let scratch = tempfile::tempdir().unwrap();
        let keys = KeyFolder::at(&scratch.path().join("data/pack/keys"));
        (scratch, keys)
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_key_is_found_again_by_name_and_as_the_only_one() {
        let (_scratch, keys) = scratch();
        assert_eq!(keys.list().unwrap(), []);
        assert!(matches!(keys.only(), Err(KeyError::None)));
        let made = keys.generate(&name("mine")).unwrap();
        assert_eq!(keys.load(&name("mine")).unwrap().public(), made.public());
        assert_eq!(keys.only().unwrap().signing().as_bytes(), made.signing().as_bytes());
        let second = keys.generate(&name("b")).unwrap();
        assert_ne!(second.public(), made.public());
        assert!(
            matches!(keys.only(), Err(KeyError::Several { names }) if names == [name("b"), name("mine")])
        );
        let listed: Vec<_> = keys.list().unwrap().into_iter().map(|key| key.fingerprint).collect();
        assert_eq!(listed, [second.public(), made.public()]);
        assert!(matches!(
            keys.load(&name("c")),
            Err(KeyError::Missing { known, .. }) if known == [name("b"), name("mine")]
        ));
    }

    #[test]
    fn folder_and_file_are_for_the_owner_alone() {
        let (scratch, keys) = scratch();
        keys.generate(&name("mine")).unwrap();
        for (path, mode) in [("data", 0o700), ("data/pack/keys", 0o700), ("data/pack/keys/mine.key", 0o600)] {
            let found = fs::metadata(scratch.path().join(path)).unwrap().permissions().mode() & 0o777;
            assert_eq!(found, mode, "{path}");
        }
    }

    #[test]
    fn a_key_that_others_can_reach_is_refused_with_the_mend() {
        let (_scratch, keys) = scratch();
        keys.generate(&name("mine")).unwrap();
        let file = keys.file_of(&name("mine"));
        for mode in [0o640, 0o604, 0o660, 0o602, 0o610] {
            set_mode(&file, mode);
            let error = keys.only().unwrap_err();
            assert!(matches!(&error, KeyError::Exposed { path, .. } if *path == file), "{mode:o}");
            assert_eq!(error.mend(), Some(format!("chmod 600 {}", file.display())));
        }
        set_mode(&file, 0o600);
        set_mode(&keys.path, 0o770);
        let error = keys.only().unwrap_err();
        assert_eq!(error.mend(), Some(format!("chmod 700 {}", keys.path.display())));
        assert!(keys.generate(&name("other")).is_err());
        set_mode(&keys.path, 0o755);
        assert!(keys.only().is_ok());
    }

    #[test]
    fn no_key_is_ever_overwritten() {
        let (_scratch, keys) = scratch();
        let first = keys.generate(&name("mine")).unwrap();
        assert!(matches!(keys.generate(&name("mine")), Err(KeyError::Exists { .. })));
        let other = SecretKey { name: name("mine"), signing: SigningKey::from_bytes(&[1; 32]) };
        assert!(matches!(
            keys.import(other.to_text().as_bytes(), "import", None),
            Err(KeyError::Exists { .. })
        ));
        assert_eq!(keys.only().unwrap().public(), first.public());
        assert_eq!(fs::read_dir(&keys.path).unwrap().count(), 1);
    }

    #[test]
    fn an_exported_key_can_be_imported_elsewhere_under_another_name() {
        let (_scratch, keys) = scratch();
        let (_other_scratch, elsewhere) = scratch_of("elsewhere");
        let key = keys.generate(&name("mine")).unwrap();
        let renamed = elsewhere.import(key.to_text().as_bytes(), "import", Some(&name("work"))).unwrap();
        assert_eq!(renamed.public(), key.public());
        assert_eq!(elsewhere.only().unwrap().name(), &name("work"));
        assert_eq!(elsewhere.import(key.to_text().as_bytes(), "import", None).unwrap().name(), &name("mine"));
    }

    fn scratch_of(folder: &str) -> (tempfile::TempDir, KeyFolder) {
        let scratch = tempfile::tempdir().unwrap();
        let keys = KeyFolder::at(&scratch.path().join(folder));
        (scratch, keys)
    }

    #[test]
    fn what_is_no_key_file_is_refused_and_its_content_not_repeated() {
        let key = SecretKey { name: name("mine"), signing: SigningKey::from_bytes(&[0xa5; 32]) };
        let text = key.to_text();
        let other = PublicKey([9; 32]).to_string();
        let cases = [
            String::new(),
            "[]".to_owned(),
            text[..text.len() - 3].to_owned(),
            text.replace("\"format\":1", "\"format\":2"),
            text.replace("mine", "../mine"),
            text.replace(&key.public().to_string(), &other),
            text.replace("a5a5\"", "a5\""),
            text.replace("a5a5\"", "a5zz\""),
            text.replace("{", "{\"extra\":1,"),
            format!("{}{}", *text, " ".repeat(2000)),
        ];
        for case in cases {
            let error = SecretKey::read(case.as_bytes(), "here").unwrap_err();
            assert!(matches!(error, KeyError::Malformed { .. }));
            assert!(!format!("{error} {error:?}").contains("a5a5"), "{error}");
        }
        assert!(!format!("{key:?}").contains("a5a5"));
    }

    #[test]
    fn links_folders_and_strange_files_are_not_keys() {
        let (scratch, keys) = scratch();
        let key = keys.generate(&name("mine")).unwrap();
        let elsewhere = scratch.path().join("elsewhere");
        fs::write(&elsewhere, key.to_text().as_bytes()).unwrap();
        set_mode(&elsewhere, 0o600);
        symlink(&elsewhere, keys.file_of(&name("link"))).unwrap();
        fs::create_dir(keys.file_of(&name("folder"))).unwrap();
        fs::copy(&elsewhere, keys.file_of(&name("other"))).unwrap();
        for (bad, malformed) in [("link", false), ("folder", false), ("other", true)] {
            let error = keys.load(&name(bad)).unwrap_err();
            assert_eq!(matches!(error, KeyError::Malformed { .. }), malformed, "{bad}: {error:?}");
        }
        fs::write(keys.path.join("README"), "").unwrap();
        fs::write(keys.path.join("Not A Name.key"), "").unwrap();
        assert_eq!(keys.names().unwrap().len(), 4);
    }
}
