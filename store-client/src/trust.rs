//! Publisher keys that the user trusts: one file each, `PACK/trusted/FINGERPRINT.json`.
//!
//! Trust is given to a key, never to a name; the name is what the user calls the publisher, and decides nothing. The
//! user's own signing keys count as trusted. A damaged file is no trust: its key is listed as unreadable, the others
//! stay.

use std::collections::{BTreeMap, BTreeSet};

use ed25519_dalek::VerifyingKey;

use pack_schemas::names::PublicKey;
use pack_schemas::state::{STATE_VERSION, StateProblem, TRUSTED_KEY_LIMIT, TRUSTED_NAME_LIMIT, TrustedKey};
use pack_schemas::text::visible;

use crate::folder::{FileError, Folder, Mounts};
use crate::folders::Folders;
use crate::lock::StateLock;

/// Whom the user trusts.
#[derive(Debug, Default)]
pub struct TrustedKeys {
    /// Keys that were added.
    pub added: BTreeMap<PublicKey, TrustedKey>,
    /// The user's own signing keys.
    pub own: BTreeSet<PublicKey>,
    /// Keys whose files cannot be used, and why; they are not trusted.
    pub unreadable: BTreeMap<PublicKey, TrustError>,
}

/// Why a key is trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// It is one of the user's own.
    Own,
    /// The user added it, under this name.
    Added(Option<String>),
}

/// Why a key could not be read, added or removed.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The text is a well-formed fingerprint and no ed25519 key, or one that anybody can sign with.
    #[error("{key} is not a usable ed25519 key")]
    NoKey {
        /// The key.
        key: PublicKey,
    },
    /// The name is empty, too long, or would not show as it is.
    #[error(
        "`{}` cannot name a publisher: use 1 to {TRUSTED_NAME_LIMIT} characters, none of them a control character",
        visible(.name)
    )]
    Name {
        /// The name.
        name: String,
    },
    /// The key is not trusted, so it cannot be removed.
    #[error("{key} is not among the trusted keys")]
    NotTrusted {
        /// The key.
        key: PublicKey,
    },
    /// A file holds no trusted key.
    #[error("the file of the trusted key {key} is damaged")]
    Damaged {
        /// The key that it is named after.
        key: PublicKey,
        /// What is wrong with it.
        #[source]
        source: StateProblem,
    },
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
}

impl TrustError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            TrustError::NotTrusted { .. } => Some("`pack trust list` shows the trusted keys".to_owned()),
            TrustError::Damaged { key, .. } => {
                Some(format!("`pack trust remove {key}` takes it away; add the key again if you trust it"))
            }
            TrustError::NoKey { .. } | TrustError::Name { .. } | TrustError::File(_) => None,
        }
    }
}

impl TrustedKeys {
    /// Reads the trusted keys. `own` are the public halves of the user's signing keys.
    ///
    /// # Errors
    /// Where the folder cannot be read. A single damaged file is no error; see [`TrustedKeys::unreadable`].
    pub fn read(folders: &Folders, own: BTreeSet<PublicKey>) -> Result<TrustedKeys, TrustError> {
        let mut keys = TrustedKeys { own, ..TrustedKeys::default() };
        let Some(folder) = open(folders)? else { return Ok(keys) };
        for name in folder.names()? {
            let key = name.to_str().and_then(|name| name.strip_suffix(".json")).map(str::parse);
            let Some(Ok(key)) = key else { continue };
            match read_key(&folder, key) {
                Ok(trusted) => drop(keys.added.insert(key, trusted)),
                Err(error) => drop(keys.unreadable.insert(key, error)),
            }
        }
        Ok(keys)
    }

    /// Why a key is trusted; nothing where it is not.
    pub fn trust(&self, key: &PublicKey) -> Option<Trust> {
        if self.own.contains(key) {
            return Some(Trust::Own);
        }
        self.added.get(key).map(|trusted| Trust::Added(trusted.name.clone()))
    }
}

/// Trusts a key from now on. A key that is trusted already gets the new name, if there is one.
///
/// `now` is in seconds since 1970.
///
/// # Errors
/// Where the key or the name cannot be used, or the file cannot be written.
pub fn add(
    _lock: &StateLock,
    folders: &Folders,
    key: PublicKey,
    name: Option<&str>,
    now: u64,
) -> Result<(), TrustError> {
    let usable = VerifyingKey::from_bytes(&key.0).is_ok_and(|key| !key.is_weak());
    if !usable {
        return Err(TrustError::NoKey { key });
    }
    if let Some(name) = name {
        let length = name.chars().count();
        if !(1..=TRUSTED_NAME_LIMIT).contains(&length) || visible(name) != name || name.trim() != name {
            return Err(TrustError::Name { name: name.to_owned() });
        }
    }
    let pack = Folder::create(folders.pack(), 0o700)?;
    let folder = pack.make_private_child("trusted")?;
    let earlier = read_key(&folder, key).ok();
    let trusted = TrustedKey {
        format: STATE_VERSION,
        key,
        name: name.map(str::to_owned).or_else(|| earlier.as_ref().and_then(|earlier| earlier.name.clone())),
        added: earlier.map_or(now, |earlier| earlier.added),
    };
    folder.replace(&file_name(key), &trusted.to_bytes(), 0o600, &mut || ())?;
    Ok(())
}

/// Trusts a key no more. Packages that it signed stay installed; a new revision of them asks again.
///
/// # Errors
/// [`TrustError::NotTrusted`] where it was not, also for an own key, which is trusted as long as it is there.
pub fn remove(_lock: &StateLock, folders: &Folders, key: PublicKey) -> Result<(), TrustError> {
    let Some(folder) = open(folders)? else { return Err(TrustError::NotTrusted { key }) };
    if !folder.remove_file(file_name(key))? {
        return Err(TrustError::NotTrusted { key });
    }
    folder.sync()?;
    Ok(())
}

fn open(folders: &Folders) -> Result<Option<Folder>, FileError> {
    match Folder::open(folders.pack())? {
        Some(pack) => pack.child("trusted", Mounts::Cross),
        None => Ok(None),
    }
}

fn read_key(folder: &Folder, key: PublicKey) -> Result<TrustedKey, TrustError> {
    let bytes = folder.read(file_name(key), TRUSTED_KEY_LIMIT)?.ok_or(TrustError::NotTrusted { key })?;
    TrustedKey::parse(&bytes, &key).map_err(|source| TrustError::Damaged { key, source })
}

fn file_name(key: PublicKey) -> String {
    format!("{key}.json")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Home, key};

    #[test]
    fn a_key_is_trusted_from_its_addition_to_its_removal() {
        let home = Home::new();
        let lock = home.lock();
        let trust = || TrustedKeys::read(&home.folders, BTreeSet::from([key(2)])).unwrap().trust(&key(1));
        assert_eq!(trust(), None);
        add(&lock, &home.folders, key(1), Some("Alice"), 1000).unwrap();
        assert_eq!(trust(), Some(Trust::Added(Some("Alice".to_owned()))));
        add(&lock, &home.folders, key(1), None, 2000).unwrap();
        let keys = TrustedKeys::read(&home.folders, BTreeSet::from([key(2)])).unwrap();
        assert_eq!((keys.added[&key(1)].name.as_deref(), keys.added[&key(1)].added), (Some("Alice"), 1000));
        assert_eq!(keys.trust(&key(2)), Some(Trust::Own));
        remove(&lock, &home.folders, key(1)).unwrap();
        assert_eq!(trust(), None);
        for absent in [key(1), key(2)] {
            assert!(matches!(remove(&lock, &home.folders, absent), Err(TrustError::NotTrusted { .. })));
        }
    }

    #[test]
    fn a_damaged_file_is_no_trust_and_hides_no_other() {
        let home = Home::new();
        let lock = home.lock();
        for seed in [1, 2, 3] {
            add(&lock, &home.folders, key(seed), None, 1000).unwrap();
        }
        let file = |seed| home.folders.trusted().join(file_name(key(seed)));
        std::fs::write(file(1), "{").unwrap();
        std::fs::copy(file(3), file(2)).unwrap();
        let keys = TrustedKeys::read(&home.folders, BTreeSet::new()).unwrap();
        assert_eq!(keys.trust(&key(1)), None);
        assert_eq!(keys.trust(&key(2)), None, "the file of another key");
        assert_eq!(keys.trust(&key(3)), Some(Trust::Added(None)));
        assert_eq!(keys.unreadable.len(), 2);
        remove(&lock, &home.folders, key(1)).unwrap();
    }

    #[test]
    fn keys_that_anybody_can_sign_with_are_refused() {
        let home = Home::new();
        let lock = home.lock();
        // The y coordinates 0 and 1 are points of small order, 2 is none on the curve.
        for weak in [0, 1, 2].map(|y| PublicKey(std::array::from_fn(|at| if at == 0 { y } else { 0 }))) {
            assert!(
                matches!(add(&lock, &home.folders, weak, None, 0), Err(TrustError::NoKey { .. })),
                "{weak}"
            );
        }
    }

    /// Flatpak showed escape sequences of a package's metadata; a name that would not show as it is is not taken.
    #[test]
    fn cve_2023_28101_names_that_steer_a_terminal_are_refused() {
        let home = Home::new();
        let lock = home.lock();
        for name in ["", "a\x1b[2K", "a\nb", "a\u{202e}b", " a", &"x".repeat(65)] {
            let added = add(&lock, &home.folders, key(1), Some(name), 0);
            assert!(matches!(&added, Err(TrustError::Name { .. })), "{name:?}");
            let message = added.unwrap_err().to_string();
            assert!(message.chars().all(|c| !c.is_control() && c != '\u{202e}'), "{message}");
        }
    }
}
