//! Whether a package file may be installed, and as what: a pure decision, made before anything is changed.
//!
//! The questions, in this order; the first that is answered with no ends it:
//!
//! 0. Is it what the store that it comes from says that it is?
//! 1. Is it signed? Unsigned needs `--dangerous`; a wrong signature is refused in any case.
//! 2. If the package is there, or was and its data is kept: is it signed by the same publisher?
//! 3. Is the publisher trusted, one of the user's own keys, or vouched for by the store? If not, that is to be asked.
//! 4. Does its architecture run here, is its base installed, is it of the same type as before, can it read the data that is there?
//! 5. Is it in devmode? That needs `--devmode`.
//!
//! A file with an older version than the installed one is accepted, with a note: the person chose that file. (A
//! package from a store is another matter: there nobody chose.)

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::path::PathBuf;

use serde::Serialize;

use pack_schemas::interface::Side;
use pack_schemas::manifest::{Base, Confinement, Epoch, Manifest, PackageType};
use pack_schemas::names::{Architecture, Hash, Name, PackageName, PublicKey, Revision, Version};
use pack_schemas::package::{Envelope, PackageError};
use pack_schemas::state::{Connection, InstalledRevision, PackageState, STATE_VERSION, Source};
use pack_schemas::store::{Channel, StoreRevision};
use pack_schemas::text::visible;

use crate::trust::{Trust, TrustedKeys};
use crate::version;

/// How many revisions before the current one are kept; older ones go when a new one is installed.
pub const EARLIER_REVISIONS_KEPT: usize = 2;

/// A package file that was opened; nothing in it is believed yet.
#[derive(Debug)]
pub struct Candidate<'a> {
    /// Its envelope.
    pub envelope: &'a Envelope,
    /// BLAKE3 of the envelope's bytes.
    pub envelope_hash: Hash,
    /// Size of the file in bytes.
    pub size: u64,
    /// What [`pack_schemas::package::verify`] said of its signatures.
    pub signers: Result<&'a [PublicKey], &'a PackageError>,
    /// What the store says that it comes from; nothing for a file of the person's.
    pub vouched: Option<Vouched<'a>>,
}

/// What a store says of a package file, signed by the store.
#[derive(Debug, Clone, Copy)]
pub struct Vouched<'a> {
    /// The remote.
    pub remote: &'a Name,
    /// The channel that is followed from now on.
    pub channel: &'a Channel,
    /// The name of the package.
    pub name: &'a PackageName,
    /// Its number there.
    pub number: NonZeroU32,
    /// What it is to be.
    pub revision: &'a StoreRevision,
    /// The keys that its publisher signs with.
    pub publishers: &'a BTreeSet<PublicKey>,
}

/// What is there already.
#[derive(Debug)]
pub struct Present {
    /// The state of the package of that name.
    pub state: Option<PackageState>,
    /// Whom the user trusts.
    pub trusted: TrustedKeys,
    /// Installed packages of `type: base`.
    pub bases: BTreeSet<PackageName>,
    /// This machine's architecture.
    pub architecture: Architecture,
    /// A data folder of that name with something in it, and no state that says whose it is.
    pub unowned_data: Option<PathBuf>,
}

/// What the person, or the script, wants.
#[derive(Debug, Default)]
pub struct Wishes {
    /// A key to be trusted from now on.
    pub trust: Option<PublicKey>,
    /// Whether a package without any signature may be installed.
    pub is_dangerous: bool,
    /// Whether a package in devmode may be installed.
    pub is_devmode: bool,
    /// Plugs to connect where the state does not say otherwise.
    pub connect: BTreeMap<Name, Connection>,
    /// Plugs that the person was asked about and does not want.
    pub decline: BTreeSet<Name>,
    /// The time, in seconds since 1970.
    pub now: u64,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Install it so.
    Install(Box<InstallPlan>),
    /// Ask whether the publisher is to be trusted, and decide again with [`Wishes::trust`].
    AskTrust {
        /// The keys that signed it; each of them would do.
        keys: Vec<PublicKey>,
    },
}

/// What an installation will do. Nothing of it has been done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct InstallPlan {
    /// The package.
    pub name: PackageName,
    /// Its version.
    pub version: Version,
    /// The revision that it becomes.
    pub revision: Revision,
    /// Whether it is the very package that is installed: then its file is replaced by the same bytes and nothing else
    /// changes, which mends a damaged one.
    pub is_repair: bool,
    /// Whose it is.
    pub publisher: Publisher,
    /// Size of the file in bytes.
    pub size: u64,
    /// Hash of the envelope that was judged; the copy that is installed has to have the same.
    pub envelope: Hash,
    /// Plugs that will be connected and were not before.
    pub newly_connected: BTreeMap<Name, Connection>,
    /// The revision whose data is copied for the new one.
    pub data_from: Option<Revision>,
    /// Revisions that go, with their data.
    pub forgotten: Vec<Revision>,
    /// What the person should know.
    pub notes: Vec<Note>,
    /// The state that the decision was made on.
    #[serde(skip)]
    pub(crate) before: Option<PackageState>,
    /// The state that will be written; without the exports, which depend on the files in the package.
    #[serde(skip)]
    pub(crate) after: PackageState,
}

/// Whose a package is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Publisher {
    /// It is signed by one of the user's own keys.
    Own(PublicKey),
    /// It is signed by a key that the user trusts.
    Trusted {
        /// The key.
        key: PublicKey,
        /// What the user calls it.
        name: Option<String>,
    },
    /// It is signed by a key that will be trusted from now on.
    NewlyTrusted(PublicKey),
    /// It is signed by a key of which a store that was added says that it is the publisher's.
    Vouched {
        /// The key.
        key: PublicKey,
        /// The store.
        remote: Name,
    },
    /// Nobody knows.
    Unsigned,
}

/// Something that the person should know about an installation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Note {
    /// The installed version is a later one.
    OlderVersion {
        /// The installed version.
        installed: Version,
    },
    /// The package is unsigned: who made it is not checked, nor that it is what they made.
    Unsigned,
    /// The installed package is unsigned; from now on only this publisher can replace it.
    WasUnsigned,
    /// It is in devmode.
    Devmode,
    /// `--dangerous` was given, and the package is signed: it changed nothing.
    DangerousNotNeeded,
}

/// Why a package is not installed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The store gave another package than its signed entry says.
    #[error("what the store `{remote}` gave for `{name}` is not what it says of it: {what} differs")]
    NotTheEntry {
        /// The package.
        name: PackageName,
        /// The store.
        remote: Name,
        /// What differs.
        what: &'static str,
    },
    /// It has no signature.
    #[error("package `{name}` is not signed")]
    Unsigned {
        /// The package.
        name: PackageName,
    },
    /// A signature is wrong, or the signatures cannot be read.
    #[error("the signature of package `{name}` does not hold: {reason}")]
    Signature {
        /// The package.
        name: PackageName,
        /// What is wrong.
        reason: String,
    },
    /// The key given with `--trust` is not among those that signed it.
    #[error("package `{name}` is not signed by {given}")]
    OtherKey {
        /// The package.
        name: PackageName,
        /// The key given.
        given: PublicKey,
        /// The keys that signed it.
        signers: Vec<PublicKey>,
    },
    /// It is there, or its data is, from another publisher.
    #[error("`{name}` is another publisher's package: it is {}signed by {publisher}, and this file is not", if *.is_removed {"kept data "} else {""})]
    OtherPublisher {
        /// The package.
        name: PackageName,
        /// The publisher of what is there.
        publisher: PublicKey,
        /// Whether only its data is there.
        is_removed: bool,
    },
    /// Data of that name is there, and nothing says whose it is.
    #[error("there is data of an earlier `{name}`, and nothing says whose it is: {}", visible(&.path.to_string_lossy()))]
    UnownedData {
        /// The package.
        name: PackageName,
        /// The folder.
        path: PathBuf,
    },
    /// It is for other machines.
    #[error("package `{name}` is for {built_for}, and this machine is {host}")]
    Architecture {
        /// The package.
        name: PackageName,
        /// Its architecture.
        built_for: Architecture,
        /// This machine's.
        host: Architecture,
    },
    /// Its base is not there.
    #[error("package `{name}` needs the base `{base}`, which is not installed")]
    MissingBase {
        /// The package.
        name: PackageName,
        /// The base.
        base: PackageName,
    },
    /// An app cannot become a base, nor a base an app.
    #[error("`{name}` is installed as another type of package")]
    OtherType {
        /// The package.
        name: PackageName,
    },
    /// It cannot read the data of the package that is there.
    #[error(
        "`{name}` cannot take over the data that is there: that is of epoch {data}, and it is of epoch {epoch}"
    )]
    Epoch {
        /// The package.
        name: PackageName,
        /// The epoch of the data.
        data: Epoch,
        /// The package's.
        epoch: Epoch,
    },
    /// It is in devmode.
    #[error("package `{name}` is in devmode: its publisher does not say yet all that it needs")]
    Devmode {
        /// The package.
        name: PackageName,
    },
    /// There have been too many revisions.
    #[error("`{name}` has had 4294967295 local revisions, and there is no further number")]
    NoRevisionLeft {
        /// The package.
        name: PackageName,
    },
}

impl Refusal {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Refusal::Unsigned { .. } => Some(
                "sign it with `pack build --key NAME`, or install it with --dangerous, which skips the question of who \
                 made it; that its content is whole is checked in any case"
                    .to_owned(),
            ),
            Refusal::Signature { .. } => {
                Some("it was altered or damaged on its way; get it again. No option skips this".to_owned())
            }
            Refusal::OtherKey { signers, .. } => {
                let keys: Vec<String> = signers.iter().map(PublicKey::to_string).collect();
                Some(format!("it is signed by {}", keys.join(", ")))
            }
            Refusal::OtherPublisher { name, .. } => Some(format!(
                "if you want this one instead, `pack remove --purge {name}` first: it deletes the other one's data"
            )),
            Refusal::UnownedData { path, .. } => {
                Some(format!("move {} elsewhere, or delete it", visible(&path.to_string_lossy())))
            }
            Refusal::MissingBase { base, .. } => Some(format!(
                "install the base first: `pack install` the package file of `{base}`, then this one again"
            )),
            Refusal::Epoch { name, .. } => Some(format!(
                "install a version between the two first, which reads the one epoch and writes the other; or start anew: `pack \
                 remove --purge {name}` deletes the data"
            )),
            Refusal::Devmode { .. } => Some(
                "`--devmode` installs it. The walls are those of any package; what they refuse is told after each run".to_owned(),
            ),
            Refusal::OtherType { name } => Some(format!("`pack remove {name}` first")),
            Refusal::NotTheEntry { .. } => {
                Some("its publisher has made a mistake, or somebody else signs in the store's name".to_owned())
            }
            Refusal::Architecture { .. } | Refusal::NoRevisionLeft { .. } => None,
        }
    }
}

/// Decides about a package file.
///
/// # Errors
/// [`Refusal`]: why not, whatever is answered.
pub fn decide(candidate: &Candidate, present: &Present, wishes: &Wishes) -> Result<Decision, Refusal> {
    let envelope = candidate.envelope;
    let name = &envelope.name;
    let state = present.state.as_ref();
    if let Some(vouched) = &candidate.vouched {
        expect_entry(candidate, vouched)?;
    }
    let publisher = match judge_signers(candidate, state, wishes)? {
        Judged::Unsigned => Publisher::Unsigned,
        Judged::SignedBy(keys) => match choose_publisher(&keys, &present.trusted, wishes.trust)
            .or_else(|| vouched_publisher(&keys, candidate.vouched.as_ref()))
        {
            Some(publisher) => publisher,
            None => return Ok(Decision::AskTrust { keys }),
        },
    };
    if let Some(path) = &present.unowned_data {
        return Err(Refusal::UnownedData { name: name.clone(), path: path.clone() });
    }
    if !envelope.architecture.runs_on(present.architecture) {
        let (built_for, host) = (envelope.architecture, present.architecture);
        return Err(Refusal::Architecture { name: name.clone(), built_for, host });
    }
    if let Some(base) = base_of(&envelope.manifest).filter(|base| !present.bases.contains(base)) {
        return Err(Refusal::MissingBase { name: name.clone(), base });
    }
    if state.is_some_and(|state| state.current.is_some() && state.package_type != envelope.package_type) {
        return Err(Refusal::OtherType { name: name.clone() });
    }
    // Bytes that are there already are put back whatever they say.
    let is_other =
        state.and_then(PackageState::current).is_none_or(|entry| entry.envelope != candidate.envelope_hash);
    if let Some(data) =
        state.map(|state| &state.epoch).filter(|data| is_other && !envelope.manifest.epoch.can_read(data))
    {
        let (data, epoch) = (data.clone(), envelope.manifest.epoch.clone());
        return Err(Refusal::Epoch { name: name.clone(), data, epoch });
    }
    if envelope.manifest.confinement == Confinement::Devmode && !wishes.is_devmode {
        return Err(Refusal::Devmode { name: name.clone() });
    }
    Ok(Decision::Install(Box::new(plan(candidate, state, publisher, wishes)?)))
}

/// Checks a package file against what the store says that it is, however well it is signed.
///
/// # Errors
/// [`Refusal::NotTheEntry`].
pub fn expect_entry(candidate: &Candidate, vouched: &Vouched<'_>) -> Result<(), Refusal> {
    let (envelope, revision) = (candidate.envelope, vouched.revision);
    let is_signed = |key: &PublicKey| vouched.publishers.contains(key);
    let checks = [
        ("the name", envelope.name == *vouched.name),
        ("the architecture", envelope.architecture == revision.architecture),
        ("the type", envelope.package_type == revision.package_type),
        ("the version", envelope.version == revision.version),
        ("the epoch", envelope.manifest.epoch == revision.epoch),
        ("the size", candidate.size == revision.file.size),
        ("the envelope", candidate.envelope_hash == revision.envelope),
        ("the publisher", candidate.signers.is_ok_and(|signers| signers.iter().any(is_signed))),
    ];
    match checks.into_iter().find(|(_, holds)| !holds) {
        None => Ok(()),
        Some((what, _)) => {
            let (name, remote) = (vouched.name.clone(), vouched.remote.clone());
            Err(Refusal::NotTheEntry { name, remote, what })
        }
    }
}

fn vouched_publisher(keys: &[PublicKey], vouched: Option<&Vouched<'_>>) -> Option<Publisher> {
    let vouched = vouched?;
    let key = keys.iter().find(|key| vouched.publishers.contains(key))?;
    Some(Publisher::Vouched { key: *key, remote: vouched.remote.clone() })
}

/// The package that is the base, for a manifest whose base is one.
pub(crate) fn base_of(manifest: &Manifest) -> Option<PackageName> {
    match &manifest.base {
        Base::Package(name) => Some(name.clone()),
        Base::Host | Base::None => None,
    }
}

/// What the signatures allow.
enum Judged {
    /// It may come in without one.
    Unsigned,
    /// One of these keys has to be trusted.
    SignedBy(Vec<PublicKey>),
}

fn judge_signers(
    candidate: &Candidate,
    state: Option<&PackageState>,
    wishes: &Wishes,
) -> Result<Judged, Refusal> {
    let name = || candidate.envelope.name.clone();
    let signers = match candidate.signers {
        Ok([]) | Err(PackageError::Unsigned) => &[],
        Ok(signers) => signers,
        Err(error) => return Err(Refusal::Signature { name: name(), reason: error.to_string() }),
    };
    if let Some(given) = wishes.trust.filter(|given| !signers.contains(given) && !signers.is_empty()) {
        return Err(Refusal::OtherKey { name: name(), given, signers: signers.to_vec() });
    }
    if signers.is_empty() && !wishes.is_dangerous {
        return Err(Refusal::Unsigned { name: name() });
    }
    match state.and_then(|state| Some((state, state.publisher?))) {
        Some((state, publisher)) if !signers.contains(&publisher) => {
            Err(Refusal::OtherPublisher { name: name(), publisher, is_removed: state.current.is_none() })
        }
        Some((_, publisher)) => Ok(Judged::SignedBy(vec![publisher])),
        None if signers.is_empty() => Ok(Judged::Unsigned),
        None => Ok(Judged::SignedBy(signers.to_vec())),
    }
}

/// The key that the package is bound to from now on: an own one before a trusted one before one newly trusted.
fn choose_publisher(
    keys: &[PublicKey],
    trusted: &TrustedKeys,
    newly_trusted: Option<PublicKey>,
) -> Option<Publisher> {
    let own = keys.iter().find(|key| trusted.trust(key) == Some(Trust::Own)).map(|key| Publisher::Own(*key));
    let added = || {
        keys.iter().find_map(|key| match trusted.trust(key) {
            Some(Trust::Added(name)) => Some(Publisher::Trusted { key: *key, name }),
            _ => None,
        })
    };
    let newly = || newly_trusted.filter(|key| keys.contains(key)).map(Publisher::NewlyTrusted);
    own.or_else(added).or_else(newly)
}

impl Publisher {
    /// The key.
    pub fn key(&self) -> Option<PublicKey> {
        match self {
            Publisher::Own(key)
            | Publisher::Trusted { key, .. }
            | Publisher::NewlyTrusted(key)
            | Publisher::Vouched { key, .. } => Some(*key),
            Publisher::Unsigned => None,
        }
    }
}

fn plan(
    candidate: &Candidate,
    state: Option<&PackageState>,
    publisher: Publisher,
    wishes: &Wishes,
) -> Result<InstallPlan, Refusal> {
    let envelope = candidate.envelope;
    let current = state.and_then(PackageState::current);
    let is_repair = current.is_some_and(|entry| entry.envelope == candidate.envelope_hash);
    let mut after = state.cloned().unwrap_or_else(|| first_state(envelope));
    let revision = match current {
        Some(entry) if is_repair => entry.revision,
        _ if let Some(number) = store_number(candidate, &after) => number,
        _ => {
            let next = after.last_local.checked_add(1);
            after.last_local = next.ok_or_else(|| Refusal::NoRevisionLeft { name: envelope.name.clone() })?;
            Revision::Local(after.last_local)
        }
    };
    let entry = InstalledRevision {
        revision,
        version: envelope.version.clone(),
        envelope: candidate.envelope_hash,
        size: candidate.size,
        installed: wishes.now,
        base: base_of(&envelope.manifest),
        // They are read when the image is checked.
        facts: None,
        revoked: None,
    };
    match after.revisions.iter_mut().find(|earlier| earlier.revision == revision) {
        Some(earlier) if is_repair => *earlier = entry,
        // One that a person had gone back from is the newest again.
        _ => {
            after.revisions.retain(|earlier| earlier.revision != revision);
            after.revisions.push(entry);
        }
    }
    let data_from = after.current.or(after.kept_data).filter(|_| !is_repair);
    after.current = Some(revision);
    let forgotten = forgotten(&after);
    let before = state.map(|state| &state.connections);
    connect(&mut after, envelope, wishes);
    let is_new = |plug: &Name, connection: &Connection| {
        before.and_then(|before| before.get(plug)).is_none_or(|before| !before.asks_the_same(connection))
    };
    let newly_connected =
        after.connections.iter().filter(|(p, c)| is_new(p, c)).map(|(p, c)| (p.clone(), c.clone())).collect();
    after.package_type = envelope.package_type;
    after.epoch = envelope.manifest.epoch.clone();
    after.publisher = publisher.key();
    after.kept_data = None;
    after.exported = None;
    after.source = source(candidate, after.source.take(), is_repair);
    Ok(InstallPlan {
        name: envelope.name.clone(),
        version: envelope.version.clone(),
        revision,
        is_repair,
        notes: notes(envelope, state, &publisher, wishes),
        publisher,
        size: candidate.size,
        envelope: candidate.envelope_hash,
        newly_connected,
        data_from,
        forgotten,
        before: state.cloned(),
        after,
    })
}

/// The store's number for it, where that is free. A number that is there for another file, of another store, is not taken:
/// its image would be replaced before the state says so.
fn store_number(candidate: &Candidate, state: &PackageState) -> Option<Revision> {
    let revision = Revision::Store(candidate.vouched.as_ref()?.number.get());
    let there = state.revision(revision);
    there.is_none_or(|entry| entry.envelope == candidate.envelope_hash).then_some(revision)
}

/// What the package follows from now on: the store that it comes from. Another file, of the person's choice, is not to be
/// replaced by the store's next one.
fn source(candidate: &Candidate, before: Option<Source>, is_repair: bool) -> Option<Source> {
    let Some(vouched) = &candidate.vouched else { return before.filter(|_| is_repair) };
    let held_until = before.and_then(|source| source.held_until);
    let (remote, channel) = (vouched.remote.clone(), vouched.channel.clone());
    Some(Source { remote, channel, held_until, reverted_from: None })
}

fn first_state(envelope: &Envelope) -> PackageState {
    PackageState {
        format: STATE_VERSION,
        name: envelope.name.clone(),
        package_type: PackageType::App,
        publisher: None,
        current: None,
        revisions: Vec::new(),
        last_local: 0,
        kept_data: None,
        epoch: Epoch::default(),
        connections: BTreeMap::new(),
        disconnected: BTreeSet::new(),
        enabled: true,
        exported: None,
        exports: BTreeSet::new(),
        source: None,
    }
}

/// The revisions that are too old. They are still in the state that is committed, and go from the one that is written
/// when all is done.
pub(crate) fn forgotten(state: &PackageState) -> Vec<Revision> {
    let earlier: Vec<Revision> = state
        .revisions
        .iter()
        .map(|entry| entry.revision)
        .filter(|revision| Some(*revision) != state.current)
        .collect();
    earlier[..earlier.len().saturating_sub(EARLIER_REVISIONS_KEPT)].to_vec()
}

/// What is connected stays so as long as its plug, interface and attributes are the same: what asks for more than it
/// had is asked about. What a person disconnected stays disconnected; the rest is as wished.
fn connect(state: &mut PackageState, envelope: &Envelope, wishes: &Wishes) {
    let manifest = &envelope.manifest;
    let plugs = manifest.apps.values().flat_map(|app| &app.plugs).chain(manifest.plugs.keys());
    let slots = manifest.apps.values().flat_map(|app| &app.slots).chain(manifest.slots.keys());
    let all: BTreeMap<&Name, Side> =
        plugs.map(|name| (name, Side::Plug)).chain(slots.map(|name| (name, Side::Slot))).collect();
    state.disconnected.extend(wishes.decline.iter().cloned());
    let connection = |name: &Name, side: Side| {
        let of_this = |connection: &&Connection| connection.is_of(manifest, name, side);
        let kept = state.connections.get(name).filter(of_this);
        let wished = wishes.connect.get(name).filter(of_this);
        kept.or(wished.filter(|_| !state.disconnected.contains(name))).cloned()
    };
    state.connections =
        all.into_iter().filter_map(|(name, side)| Some((name.clone(), connection(name, side)?))).collect();
}

fn notes(
    envelope: &Envelope,
    state: Option<&PackageState>,
    publisher: &Publisher,
    wishes: &Wishes,
) -> Vec<Note> {
    let mut notes = Vec::new();
    if let Some(current) = state.and_then(PackageState::current)
        && version::compare(&envelope.version, &current.version).is_lt()
    {
        notes.push(Note::OlderVersion { installed: current.version.clone() });
    }
    if envelope.manifest.confinement == Confinement::Devmode {
        notes.push(Note::Devmode);
    }
    let is_unsigned = *publisher == Publisher::Unsigned;
    if is_unsigned {
        notes.push(Note::Unsigned);
    } else if wishes.is_dangerous {
        notes.push(Note::DangerousNotNeeded);
    }
    if !is_unsigned && state.is_some_and(|state| state.publisher.is_none()) {
        notes.push(Note::WasUnsigned);
    }
    notes
}

#[cfg(test)]
mod tests;
