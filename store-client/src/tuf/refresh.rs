//! Root, timestamp, snapshot, targets: what a refresh does, in the order of the specification (5.2 to 5.6).

use std::collections::{BTreeMap, BTreeSet};

use pack_schemas::tuf::{
    Key, MetaFile, Metadata, Payload, RoleKeys, Root, Snapshot, TOP_LEVEL, Targets, Timestamp, quoted,
};

use super::error::TufError;
use super::key::{check_signatures, identities};
use super::stored::{Lock, file_name};
use super::target::check_file;
use super::{Client, FetchError, Trusted, Warning};

/// A clock may be behind by this much, in seconds, without anybody being told: clocks are set back a little all the time.
const CLOCK_SLACK_S: u64 = 120;

/// A file of the folder, and what it says.
type Kept<T> = (Vec<u8>, Metadata<T>);

impl Client<'_> {
    /// Settles which root trust begins with (5.2): the newer one of the folder's and the caller's.
    pub(super) fn begin(&self, given: Option<&[u8]>) -> Result<(), TufError> {
        let lock = self.stored.lock(self.limits.patience)?;
        let stored = self.stored_root()?;
        let Some(bytes) = given else {
            return stored.map(drop).ok_or(TufError::NoRoot);
        };
        let given = own_root(bytes)?;
        if stored.as_ref().is_none_or(|stored| stored.version < given.version) {
            self.replace_root(&lock, stored.as_ref(), &given, bytes)?;
        }
        Ok(())
    }

    /// All that the store has that is new.
    pub(super) fn take_from_store(&self) -> Result<(Trusted, Vec<Warning>), TufError> {
        let lock = self.stored.lock(self.limits.patience)?;
        let root = self.stored_root()?.ok_or(TufError::NoRoot)?;
        let (start, warnings) = self.start_time()?;
        let root = self.newest_root(&lock, root)?;
        check_date("root", &root, start)?;
        let timestamp = self.newest_timestamp(&lock, &root, start)?;
        let snapshot = self.named_snapshot(&lock, &root, &timestamp, start)?;
        let keys = keys_of(&root, "targets")?;
        let meta = in_snapshot(&snapshot, "targets")?;
        let source = Source::Store { lock: &lock, start, root: &root };
        let targets = self.role("targets", keys, meta, source)?;
        self.stored.keep_only(&lock, &files_of(&snapshot))?;
        let of_timestamp = (timestamp.version, timestamp.expires);
        Ok((
            Trusted {
                start,
                root,
                timestamp: of_timestamp,
                snapshot,
                targets,
                roles: BTreeMap::new(),
                online: true,
            },
            warnings,
        ))
    }

    /// All that the folder has, if it belongs together.
    pub(super) fn take_from_folder(&self) -> Result<(Trusted, Vec<Warning>), TufError> {
        let _lock = self.stored.lock(self.limits.patience)?;
        let root = self.stored_root()?.ok_or(TufError::NoRoot)?;
        let (start, mut warnings) = self.start_time()?;
        let missing = |role: &str| TufError::NotStored { role: role.to_owned() };
        let (_, timestamp) =
            self.stored::<Timestamp>(&root, "timestamp")?.ok_or_else(|| missing("timestamp"))?;
        let (bytes, snapshot) =
            self.stored::<Snapshot>(&root, "snapshot")?.ok_or_else(|| missing("snapshot"))?;
        if !is_named(timestamp.signed.snapshot(), &bytes, &snapshot) {
            return Err(missing("snapshot"));
        }
        let meta = in_snapshot(&snapshot, "targets")?;
        let targets = self.role("targets", keys_of(&root, "targets")?, meta, Source::Folder)?;
        warn_of_date("root", &root, start, &mut warnings);
        warn_of_date("timestamp", &timestamp, start, &mut warnings);
        warn_of_date("snapshot", &snapshot, start, &mut warnings);
        warn_of_date("targets", &targets, start, &mut warnings);
        let of_timestamp = (timestamp.version, timestamp.expires);
        Ok((
            Trusted {
                start,
                root,
                timestamp: of_timestamp,
                snapshot,
                targets,
                roles: BTreeMap::new(),
                online: false,
            },
            warnings,
        ))
    }

    /// What dates are compared with; see the module's header.
    fn start_time(&self) -> Result<(u64, Vec<Warning>), TufError> {
        if !self.dates {
            return Ok((0, Vec::new()));
        }
        let bytes = self.stored.read("timestamp", self.limits.timestamp_length)?;
        let timestamp = bytes.and_then(|bytes| Metadata::<Timestamp>::parse(&bytes).ok());
        let last = match (self.stored.checked_at()?, timestamp) {
            // A time past its date was not noted by a client: the file was copied, or touched.
            (Some(last), Some(timestamp)) if last < timestamp.expires => last,
            _ => 0,
        };
        let behind = last.saturating_sub(self.now) > CLOCK_SLACK_S;
        let warnings = if behind { vec![Warning::ClockBehind { now: self.now, last }] } else { Vec::new() };
        Ok((self.now.max(last), warnings))
    }

    /// Goes from root to root, up to the newest (5.3).
    fn newest_root(&self, lock: &Lock, mut root: Metadata<Root>) -> Result<Metadata<Root>, TufError> {
        for count in 0.. {
            let wanted = root.version.saturating_add(1);
            let bytes = match self.fetch(&format!("{wanted}.root.json"), self.limits.root_length) {
                Ok(bytes) => bytes,
                Err(TufError::Fetch { source: FetchError::NotFound, .. }) => return Ok(root),
                Err(error) => return Err(error),
            };
            if count == self.limits.rotations {
                break;
            }
            let next = parse::<Root>("root", &bytes)?;
            // The old keys first: nothing of a root that they have not signed is used, its keys neither.
            check_signed_by("root", &next, &root)?;
            check_signed_by("root", &next, &next)?;
            if next.version != wanted {
                return Err(TufError::Version { role: "root".to_owned(), wanted, found: next.version });
            }
            self.replace_root(lock, Some(&root), &next, &bytes)?;
            root = next;
        }
        Err(TufError::Rotations { most: self.limits.rotations })
    }

    /// Puts a root in the place of another one. Where a key of the timestamp's or snapshot's was taken away, what is
    /// known of their versions goes too, so that whoever had the key cannot have used versions up (5.3.11). That comes
    /// first: a run that is killed in between finds the old root, and does it again.
    fn replace_root(
        &self,
        lock: &Lock,
        old: Option<&Metadata<Root>>,
        new: &Metadata<Root>,
        bytes: &[u8],
    ) -> Result<(), TufError> {
        let keys = |root: &Metadata<Root>, role: &str| -> BTreeSet<Vec<u8>> {
            root.signed.roles.get(role).map(|keys| identities(&root.signed.keys, keys)).unwrap_or_default()
        };
        let rotated = |role: &&str| old.is_some_and(|old| !keys(old, role).is_subset(&keys(new, role)));
        if ["timestamp", "snapshot"].iter().any(rotated) {
            self.stored.remove(lock, "timestamp")?;
            self.stored.remove(lock, "snapshot")?;
        }
        Ok(self.stored.write(lock, "root", bytes)?)
    }

    /// Asks for the timestamp (5.4).
    fn newest_timestamp(
        &self,
        lock: &Lock,
        root: &Metadata<Root>,
        start: u64,
    ) -> Result<Metadata<Timestamp>, TufError> {
        let known = self.stored::<Timestamp>(root, "timestamp")?.map(|(_, known)| known);
        let bytes = self.fetch("timestamp.json", self.limits.timestamp_length)?;
        let offered = parse::<Timestamp>("timestamp", &bytes)?;
        check_signed_by("timestamp", &offered, root)?;
        if let Some(known) = &known {
            check_not_older("timestamp", known.version, offered.version)?;
            let version = |timestamp: &Metadata<Timestamp>| timestamp.signed.snapshot().version.get();
            if offered.version > known.version {
                check_not_older("snapshot", version(known), version(&offered))?;
            }
        }
        // The same version with another content would be a mistake, or worse: what was there counts.
        let known = known.filter(|known| known.version == offered.version);
        let (newest, is_new) = known.map_or((offered, true), |known| (known, false));
        check_date("timestamp", &newest, start)?;
        if is_new {
            self.stored.write(lock, "timestamp", &bytes)?;
        }
        if self.dates {
            self.stored.set_checked_at(lock, start)?;
        }
        Ok(newest)
    }

    /// Has the snapshot that the timestamp names (5.5).
    fn named_snapshot(
        &self,
        lock: &Lock,
        root: &Metadata<Root>,
        timestamp: &Metadata<Timestamp>,
        start: u64,
    ) -> Result<Metadata<Snapshot>, TufError> {
        let meta = timestamp.signed.snapshot();
        let known = self.stored::<Snapshot>(root, "snapshot")?;
        if let Some((bytes, known)) = &known
            && is_named(meta, bytes, known)
        {
            check_date("snapshot", known, start)?;
            return Ok(known.clone());
        }
        let bytes = self.fetch_named(root, "snapshot", meta, self.limits.snapshot_length)?;
        let offered = parse::<Snapshot>("snapshot", &bytes)?;
        check_signed_by("snapshot", &offered, root)?;
        check_version("snapshot", meta, &offered)?;
        if let Some((_, known)) = &known {
            // The timestamp says so already, unless the folder's was lost.
            check_not_older("snapshot", known.version, offered.version)?;
            for (name, known) in &known.signed.meta {
                let role = name.strip_suffix(".json").unwrap_or(name);
                let offered = offered.signed.meta.get(name);
                let offered = offered.ok_or_else(|| TufError::Dropped { role: role.to_owned() })?;
                check_not_older(role, known.version.get(), offered.version.get())?;
            }
        }
        check_date("snapshot", &offered, start)?;
        self.stored.write(lock, "snapshot", &bytes)?;
        Ok(offered)
    }

    /// Has the targets metadata of a role that the snapshot names (5.6): the folder's, or the store's.
    pub(super) fn role(
        &self,
        name: &str,
        keys: Keys<'_>,
        meta: &MetaFile,
        source: Source<'_>,
    ) -> Result<Metadata<Targets>, TufError> {
        let stored = self.stored.read(name, self.limits.targets_length)?.and_then(|bytes| {
            let known = parse::<Targets>(name, &bytes).ok()?;
            let good = is_named(meta, &bytes, &known) && keys.check(name, &known).is_ok();
            good.then_some(known)
        });
        let Source::Store { lock, start, root } = source else {
            return stored.ok_or_else(|| TufError::NotStored { role: name.to_owned() });
        };
        if let Some(known) = stored {
            check_date(name, &known, start)?;
            return Ok(known);
        }
        let bytes = self.fetch_named(root, name, meta, self.limits.targets_length)?;
        let offered = parse::<Targets>(name, &bytes)?;
        keys.check(name, &offered)?;
        check_version(name, meta, &offered)?;
        check_date(name, &offered, start)?;
        self.stored.write(lock, name, &bytes)?;
        Ok(offered)
    }

    /// Fetches the file that another one names, by its version where the store has consistent snapshots.
    fn fetch_named(
        &self,
        root: &Metadata<Root>,
        role: &str,
        meta: &MetaFile,
        length_most: u64,
    ) -> Result<Vec<u8>, TufError> {
        let version =
            if root.signed.consistent_snapshot { format!("{}.", meta.version) } else { String::new() };
        let length = meta.length.map_or(length_most, |length| length.min(length_most));
        let bytes = self.fetch(&format!("{version}{}.json", quoted(role)), length)?;
        check_file(meta, &bytes).map_err(|reason| TufError::Altered { role: role.to_owned(), reason })?;
        Ok(bytes)
    }

    /// The folder's root, if it is one.
    fn stored_root(&self) -> Result<Option<Metadata<Root>>, TufError> {
        let bytes = self.stored.read("root", self.limits.root_length)?;
        Ok(bytes.and_then(|bytes| own_root(&bytes).ok()))
    }

    /// A top-level role's metadata in the folder, if the root's keys have signed it; it may be past its date.
    fn stored<T: Payload>(&self, root: &Metadata<Root>, role: &str) -> Result<Option<Kept<T>>, TufError> {
        let longest = self.limits.snapshot_length.max(self.limits.timestamp_length);
        let Some(bytes) = self.stored.read(role, longest)? else { return Ok(None) };
        let known = parse::<T>(role, &bytes).ok();
        Ok(known.filter(|known| check_signed_by(role, known, root).is_ok()).map(|known| (bytes, known)))
    }
}

/// Who signs for a role, and the keys.
#[derive(Clone, Copy)]
pub(super) struct Keys<'a> {
    pub keys: &'a BTreeMap<String, Key>,
    pub role: &'a RoleKeys,
}

impl Keys<'_> {
    pub fn check<T>(self, name: &str, metadata: &Metadata<T>) -> Result<(), TufError> {
        check_signatures(name, metadata, self.keys, self.role)
    }
}

/// Where a role's metadata comes from.
#[derive(Clone, Copy)]
pub(super) enum Source<'a> {
    /// The folder alone.
    Folder,
    /// The folder, and what it lacks from the store.
    Store { lock: &'a Lock, start: u64, root: &'a Metadata<Root> },
}

fn keys_of<'a>(root: &'a Metadata<Root>, role: &str) -> Result<Keys<'a>, TufError> {
    // A root without one of the roles was not parsed.
    let none = || TufError::Signatures { role: role.to_owned(), found: 0, wanted: 1 };
    Ok(Keys { keys: &root.signed.keys, role: root.signed.roles.get(role).ok_or_else(none)? })
}

fn in_snapshot<'a>(snapshot: &'a Metadata<Snapshot>, role: &str) -> Result<&'a MetaFile, TufError> {
    // A snapshot without the targets was not parsed.
    snapshot.signed.of(role).ok_or_else(|| TufError::Dropped { role: role.to_owned() })
}

/// A root that is signed by its own keys.
fn own_root(bytes: &[u8]) -> Result<Metadata<Root>, TufError> {
    let root = parse::<Root>("root", bytes)?;
    check_signed_by("root", &root, &root)?;
    Ok(root)
}

fn parse<T: Payload>(role: &str, bytes: &[u8]) -> Result<Metadata<T>, TufError> {
    Metadata::parse(bytes).map_err(|source| TufError::Metadata { role: role.to_owned(), source })
}

fn check_signed_by<T>(role: &str, metadata: &Metadata<T>, root: &Metadata<Root>) -> Result<(), TufError> {
    keys_of(root, role)?.check(role, metadata)
}

fn check_not_older(role: &str, known: u64, offered: u64) -> Result<(), TufError> {
    if offered < known {
        return Err(TufError::Rollback { role: role.to_owned(), known, offered });
    }
    Ok(())
}

fn check_version<T>(role: &str, meta: &MetaFile, metadata: &Metadata<T>) -> Result<(), TufError> {
    if metadata.version != meta.version.get() {
        let (wanted, found) = (meta.version.get(), metadata.version);
        return Err(TufError::Version { role: role.to_owned(), wanted, found });
    }
    Ok(())
}

fn check_date<T>(role: &str, metadata: &Metadata<T>, start: u64) -> Result<(), TufError> {
    if metadata.expires <= start {
        return Err(TufError::Expired { role: role.to_owned(), expires: metadata.expires });
    }
    Ok(())
}

fn warn_of_date<T>(role: &str, metadata: &Metadata<T>, start: u64, warnings: &mut Vec<Warning>) {
    if metadata.expires <= start {
        warnings.push(Warning::Expired { role: role.to_owned(), expires: metadata.expires });
    }
}

/// Whether a file is the one that another one names.
fn is_named<T>(meta: &MetaFile, bytes: &[u8], metadata: &Metadata<T>) -> bool {
    metadata.version == meta.version.get() && check_file(meta, bytes).is_ok()
}

/// The names of the files of all roles that the store has.
fn files_of(snapshot: &Metadata<Snapshot>) -> BTreeSet<String> {
    let listed = snapshot.signed.meta.keys().filter_map(|name| name.strip_suffix(".json"));
    TOP_LEVEL.into_iter().chain(listed).map(file_name).collect()
}
