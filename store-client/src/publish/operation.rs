//! What can be done to a package of a store: pure, on its entry.

use std::num::NonZeroU32;

use pack_schemas::names::{Architecture, Hash, PackageName, PublicKey};
use pack_schemas::store::entry::{REVISIONS_MOST, Release, Rollout, Withdrawal};
use pack_schemas::store::{Channel, PackageEntry, StoreRevision};

use super::PublishError;

/// A change of one package.
#[derive(Debug, Clone)]
pub struct Operation {
    /// The package.
    pub name: PackageName,
    /// What is done to it.
    pub action: Action,
}

/// What is done to a package.
#[derive(Debug, Clone)]
pub enum Action {
    /// A package file becomes a revision, and is released.
    Publish(Box<Publication>),
    /// Channels get a revision that is there.
    Release {
        /// Its number.
        revision: NonZeroU32,
        /// Where.
        channels: Vec<Channel>,
        /// To how many of a hundred machines at first, with the seed of the choice.
        rollout: Option<(u8, Hash)>,
    },
    /// Channels are emptied.
    Close {
        /// Which.
        channels: Vec<Channel>,
    },
    /// A release reaches another part of the machines; 100 ends the rollout.
    Rollout {
        /// Where.
        channel: Channel,
        /// To how many of a hundred.
        percent: u8,
    },
    /// A revision is taken back.
    Withdraw {
        /// Its number.
        revision: NonZeroU32,
        /// Why; nothing to give it free again.
        withdrawal: Option<Withdrawal>,
        /// Whether it is not to be started any more where it is installed.
        is_revoked: bool,
    },
}

/// A package file that is in the store already, as a blob.
#[derive(Debug, Clone)]
pub struct Publication {
    /// What it is.
    pub revision: StoreRevision,
    /// The keys that have signed it, at least one.
    pub signers: Vec<PublicKey>,
    /// Where it is released.
    pub channels: Vec<Channel>,
    /// To how many of a hundred machines at first, with the seed of the choice.
    pub rollout: Option<(u8, Hash)>,
    /// Whether a new key may sign the package from now on.
    pub adds_publisher: bool,
}

/// What an operation came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The revision that it was about.
    pub revision: Option<NonZeroU32>,
    /// Whether anything is another than before.
    pub is_changed: bool,
}

impl Operation {
    /// Applies it to the entry of its package, which it makes where there is none and something is published.
    ///
    /// # Errors
    /// [`PublishError::NoPackage`], [`PublishError::Refused`]; the entry is then worth nothing.
    pub fn apply(&self, entry: &mut Option<PackageEntry>) -> Result<Outcome, PublishError> {
        let before = entry.clone();
        if let (None, Action::Publish(_)) = (&entry, &self.action) {
            *entry = Some(PackageEntry::new(self.name.clone()));
        }
        let Some(now) = entry else {
            return Err(PublishError::NoPackage { name: self.name.clone(), near: None });
        };
        let revision = match &self.action {
            Action::Publish(publication) => Some(publish(now, publication)?),
            Action::Release { revision, channels, rollout } => {
                release(now, *revision, channels, *rollout)?;
                Some(*revision)
            }
            Action::Close { channels } => {
                close(now, channels)?;
                None
            }
            Action::Rollout { channel, percent } => Some(roll_out(now, channel, *percent)?),
            Action::Withdraw { revision, withdrawal, is_revoked } => {
                withdraw(now, *revision, withdrawal.clone(), *is_revoked)?;
                Some(*revision)
            }
        };
        Ok(Outcome { revision, is_changed: *entry != before })
    }
}

fn publish(entry: &mut PackageEntry, publication: &Publication) -> Result<NonZeroU32, PublishError> {
    let Publication { revision, signers, .. } = publication;
    let is_known = signers.iter().any(|key| entry.publishers.contains(key));
    if !is_known && !entry.publishers.is_empty() && !publication.adds_publisher {
        return Err(PublishError::refused(
            format!("`{}` is signed by another key than its earlier revisions", entry.name),
            "sign it with that key; or let a new key sign it from now on with `--new-publisher`. Machines that have the \
             package accept only the key that they know",
        ));
    }
    if let Some((_, other)) =
        entry.revisions.iter().find(|(_, old)| old.package_type != revision.package_type)
    {
        let reason = format!("`{}` is a package of type {:?} in the store", entry.name, other.package_type);
        return Err(PublishError::refused(reason.to_lowercase(), "give it another name"));
    }
    if !is_known {
        entry.publishers.extend(signers);
    }
    let number = match entry.revisions.iter().find(|(_, old)| old.file == revision.file) {
        Some((number, _)) => *number,
        None => add(entry, revision.clone())?,
    };
    release(entry, number, &publication.channels, publication.rollout)?;
    Ok(number)
}

fn add(entry: &mut PackageEntry, revision: StoreRevision) -> Result<NonZeroU32, PublishError> {
    let number = entry.last_revision.checked_add(1).and_then(NonZeroU32::new);
    let Some(number) = number else {
        return Err(PublishError::Refused {
            reason: format!("`{}` has no numbers left for revisions", entry.name),
            hint: None,
        });
    };
    while entry.revisions.len() >= REVISIONS_MOST {
        let used: Vec<NonZeroU32> = entry.channels.iter().flat_map(revisions_of).collect();
        let oldest = entry.revisions.keys().find(|number| !used.contains(number)).copied();
        let Some(oldest) = oldest else {
            return Err(PublishError::refused(
                format!("all {REVISIONS_MOST} revisions of `{}` are in channels", entry.name),
                "close some channels with `pack store release --close`",
            ));
        };
        entry.revisions.remove(&oldest);
    }
    entry.last_revision = number.get();
    entry.revisions.insert(number, revision);
    Ok(number)
}

fn revisions_of(release: &Release) -> impl Iterator<Item = NonZeroU32> {
    std::iter::once(release.revision).chain(release.rollout.as_ref().and_then(|rollout| rollout.others))
}

fn release(
    entry: &mut PackageEntry,
    number: NonZeroU32,
    channels: &[Channel],
    rollout: Option<(u8, Hash)>,
) -> Result<(), PublishError> {
    let revision = known(entry, number)?;
    let (architecture, is_withdrawn) =
        (revision.architecture, revision.yanked.is_some() || revision.revoked.is_some());
    if is_withdrawn && !channels.is_empty() {
        return Err(PublishError::refused(
            format!("revision {number} of `{}` was withdrawn", entry.name),
            "`pack store yank --undo` gives it free again",
        ));
    }
    for channel in channels {
        let old = entry.channels.iter().position(|old| old.is_at(channel, architecture));
        let old = old.map(|at| entry.channels.remove(at));
        if old.as_ref().is_some_and(|old| old.revision == number) && rollout.is_none() {
            // Released to all; a rollout of the same revision ends by that.
            entry.channels.push(Release {
                channel: channel.clone(),
                architecture,
                revision: number,
                rollout: None,
            });
            continue;
        }
        let rollout = match rollout {
            Some((percent, seed)) if percent < 100 => {
                if let Some(Release { revision, rollout: Some(unfinished), .. }) = &old {
                    return Err(PublishError::refused(
                        format!(
                            "revision {revision} of `{}` is with {} of 100 machines of `{channel}` still",
                            entry.name, unfinished.percent
                        ),
                        "end that rollout first: with `pack store rollout`, to 100 or by releasing an earlier revision",
                    ));
                }
                Some(Rollout { percent, seed, others: old.map(|old| old.revision) })
            }
            _ => None,
        };
        entry.channels.push(Release { channel: channel.clone(), architecture, revision: number, rollout });
    }
    entry
        .channels
        .sort_by(|left, right| (&left.channel, left.architecture).cmp(&(&right.channel, right.architecture)));
    Ok(())
}

fn close(entry: &mut PackageEntry, channels: &[Channel]) -> Result<(), PublishError> {
    for channel in channels {
        let before = entry.channels.len();
        entry.channels.retain(|release| release.channel != *channel);
        if entry.channels.len() == before {
            let reason = format!("nothing of `{}` is in the channel `{channel}`", entry.name);
            return Err(PublishError::Refused { reason, hint: None });
        }
    }
    Ok(())
}

fn roll_out(entry: &mut PackageEntry, channel: &Channel, percent: u8) -> Result<NonZeroU32, PublishError> {
    let name = entry.name.clone();
    let mut rolling = entry.channels.iter_mut().filter(|release| release.channel == *channel);
    let release = rolling.find(|release| release.rollout.is_some());
    let Some(release) = release else {
        return Err(PublishError::refused(
            format!("nothing of `{name}` is being rolled out in the channel `{channel}`"),
            "`pack store release NAME REVISION CHANNEL --rollout PERCENT` begins a rollout",
        ));
    };
    match &mut release.rollout {
        Some(rollout) if percent < 100 => rollout.percent = percent,
        rollout => *rollout = None,
    }
    Ok(release.revision)
}

fn withdraw(
    entry: &mut PackageEntry,
    number: NonZeroU32,
    withdrawal: Option<Withdrawal>,
    is_revoked: bool,
) -> Result<(), PublishError> {
    if let Some(replacement) = withdrawal.as_ref().and_then(|withdrawal| withdrawal.replacement) {
        known(entry, replacement)?;
    }
    known(entry, number)?;
    let Some(revision) = entry.revisions.get_mut(&number) else { return Ok(()) };
    match is_revoked {
        true => revision.revoked = withdrawal,
        false => revision.yanked = withdrawal,
    }
    Ok(())
}

fn known(entry: &PackageEntry, number: NonZeroU32) -> Result<&StoreRevision, PublishError> {
    entry.revisions.get(&number).ok_or_else(|| {
        let highest = entry.revisions.last_key_value().map(|(number, _)| *number);
        PublishError::Refused {
            reason: format!("`{}` has no revision {number} in the store", entry.name),
            hint: highest.map(|highest| format!("the latest is {highest}")),
        }
    })
}

/// Whether a release is what a machine of this architecture would find there first.
trait At {
    fn is_at(&self, channel: &Channel, architecture: Architecture) -> bool;
}

impl At for Release {
    fn is_at(&self, channel: &Channel, architecture: Architecture) -> bool {
        self.channel == *channel && self.architecture == architecture
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pack_schemas::manifest::{Epoch, PackageType};
    use pack_schemas::names::Sha256;
    use pack_schemas::store::Blob;
    use pack_schemas::store::entry::{About, Sections};
    use std::collections::BTreeMap;

    fn number(number: u32) -> NonZeroU32 {
        NonZeroU32::new(number).unwrap()
    }

    fn publication(version: u32, key: u8, channels: &[&str]) -> Publication {
        let sections = Sections { image: 8192, index: 4096, envelope: 500, signatures: 200 };
        let mut digest = [0; 32];
        digest[..4].copy_from_slice(&version.to_le_bytes());
        let revision = StoreRevision {
            version: version.to_string().parse().unwrap(),
            about: About::default(),
            architecture: Architecture::Amd64,
            package_type: PackageType::App,
            epoch: Epoch::default(),
            base: None,
            file: Blob { sha256: Sha256(digest), size: sections.total().unwrap() },
            envelope: Hash([0; 32]),
            sections,
            needs_pack: None,
            published: 1,
            deltas: BTreeMap::new(),
            trace: None,
            yanked: None,
            revoked: None,
        };
        Publication {
            revision,
            signers: vec![PublicKey([key; 32])],
            channels: channels.iter().map(|channel| channel.parse().unwrap()).collect(),
            rollout: None,
            adds_publisher: false,
        }
    }

    fn name() -> PackageName {
        "hello".parse().unwrap()
    }

    fn apply(entry: &mut Option<PackageEntry>, action: Action) -> Result<Outcome, String> {
        let outcome = Operation { name: name(), action }.apply(entry).map_err(|error| error.to_string());
        if outcome.is_ok() {
            let entry = entry.as_ref().unwrap();
            assert_eq!(PackageEntry::parse(&entry.to_bytes(), &name()).as_ref(), Ok(entry));
        }
        outcome
    }

    fn published(entry: &mut Option<PackageEntry>, publication: Publication) -> Result<u32, String> {
        let outcome = apply(entry, Action::Publish(Box::new(publication)))?;
        Ok(outcome.revision.unwrap().get())
    }

    fn offered(entry: &Option<PackageEntry>, channel: &str) -> Option<u32> {
        let offer = entry.as_ref()?.offer(&channel.parse().unwrap(), Architecture::Amd64, &Hash([1; 32]));
        offer.ok().map(|offer| offer.number.get())
    }

    #[test]
    fn revisions_are_counted_and_a_file_is_one_revision() {
        let mut entry = None;
        assert_eq!(published(&mut entry, publication(1, 1, &["edge"])), Ok(1));
        assert_eq!(published(&mut entry, publication(2, 1, &["edge"])), Ok(2));
        assert_eq!(published(&mut entry, publication(1, 1, &["stable"])), Ok(1));
        assert_eq!((offered(&entry, "stable"), offered(&entry, "edge")), (Some(1), Some(2)));
        let again = apply(&mut entry, Action::Publish(Box::new(publication(1, 1, &["stable"])))).unwrap();
        assert!(!again.is_changed);
    }

    #[test]
    fn another_key_does_not_take_a_package_over() {
        let mut entry = None;
        published(&mut entry, publication(1, 1, &[])).unwrap();
        let refused = published(&mut entry.clone(), publication(2, 2, &[])).unwrap_err();
        assert!(refused.contains("another key"), "{refused}");
        let added = Publication { adds_publisher: true, ..publication(2, 2, &[]) };
        assert_eq!(published(&mut entry, added), Ok(2));
        assert_eq!(published(&mut entry, publication(3, 1, &[])), Ok(3));
    }

    #[test]
    fn a_rollout_begins_grows_and_ends() {
        let mut entry = None;
        published(&mut entry, publication(1, 1, &["stable"])).unwrap();
        let rollout = Some((0, Hash([4; 32])));
        let second = Publication { rollout, ..publication(2, 1, &["stable"]) };
        published(&mut entry, second).unwrap();
        assert_eq!(offered(&entry, "stable"), Some(1), "nobody has it yet");
        let third = Publication { rollout, ..publication(3, 1, &["stable"]) };
        assert!(published(&mut entry.clone(), third).unwrap_err().contains("still"));
        let percent = |percent| Action::Rollout { channel: Channel::default(), percent };
        apply(&mut entry, percent(99)).unwrap();
        apply(&mut entry, percent(100)).unwrap();
        assert_eq!(offered(&entry, "stable"), Some(2));
        assert!(apply(&mut entry, percent(10)).unwrap_err().contains("nothing"));
    }

    #[test]
    fn what_was_withdrawn_is_not_released_and_can_be_given_free() {
        let mut entry = None;
        published(&mut entry, publication(1, 1, &["stable"])).unwrap();
        let withdraw = |withdrawal| Action::Withdraw { revision: number(1), withdrawal, is_revoked: false };
        let why = Withdrawal { reason: "loses data".to_owned(), replacement: None };
        apply(&mut entry, withdraw(Some(why))).unwrap();
        assert_eq!(offered(&entry, "stable"), None);
        let release = || Action::Release {
            revision: number(1),
            channels: vec!["beta".parse().unwrap()],
            rollout: None,
        };
        assert!(apply(&mut entry.clone(), release()).unwrap_err().contains("withdrawn"));
        apply(&mut entry, withdraw(None)).unwrap();
        apply(&mut entry, release()).unwrap();
        assert_eq!(offered(&entry, "beta"), Some(1));
        apply(&mut entry, Action::Close { channels: vec!["beta".parse().unwrap(), Channel::default()] })
            .unwrap();
        assert_eq!(offered(&entry, "edge"), None);
        let absent = Action::Release { revision: number(9), channels: Vec::new(), rollout: None };
        assert!(apply(&mut entry, absent).unwrap_err().contains("no revision 9"));
        assert!(apply(&mut None, release()).unwrap_err().contains("no package"));
    }

    #[test]
    fn old_revisions_make_room_unless_a_channel_has_them() {
        let mut entry = None;
        published(&mut entry, publication(1, 1, &["stable"])).unwrap();
        for version in 2..=300 {
            published(&mut entry, publication(version, 1, &["edge"])).unwrap();
        }
        let entry = entry.unwrap();
        assert_eq!(entry.revisions.len(), REVISIONS_MOST);
        assert!(entry.revisions.contains_key(&number(1)) && !entry.revisions.contains_key(&number(2)));
    }
}
