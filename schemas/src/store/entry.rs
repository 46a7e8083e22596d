//! `pkg/NAME.json`: the revisions of a package and what is in its channels.
//!
//! What is decided with it is decided here, without files, clock or network: which revision a machine gets from a channel
//! ([`PackageEntry::offer`]). A *rollout* gives a revision to a part of the machines: each has a bucket, 0 to 99, made of
//! the rollout's seed, a random number that the machine has drawn for itself and tells nobody, and the package's name. A
//! machine takes part while its bucket is less than the percentage, so a higher percentage never takes a machine out again.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use super::channel::Channel;
use super::{Blob, BlobKind, STORE_VERSION, StoreProblem, check_text, parse};
use crate::manifest::{Epoch, PackageType};
use crate::names::{Architecture, Hash, PackageName, PublicKey, Version};
use crate::package::{self, FOOTER_SIZE, Footer, PackageError};

/// Longest entry in bytes.
pub const ENTRY_LIMIT: u64 = 1 << 20;
/// Most revisions in an entry; a publisher that goes on has to let old ones go.
pub const REVISIONS_MOST: usize = 256;
/// Longest reason in characters.
pub const REASON_LIMIT: usize = 200;

/// A package of a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PackageEntry {
    /// [`STORE_VERSION`].
    pub format: u32,
    /// The package.
    pub name: PackageName,
    /// Keys that sign it: the store vouches that these are its publisher's. Each revision is signed by one of them.
    pub publishers: BTreeSet<PublicKey>,
    /// The highest revision ever given, so that no number is given twice.
    pub last_revision: u32,
    /// By number.
    pub revisions: BTreeMap<NonZeroU32, StoreRevision>,
    /// What is in the channels; no two for the same channel and architecture.
    pub channels: Vec<Release>,
}

/// A package file that was published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct StoreRevision {
    /// The publisher's version.
    pub version: Version,
    /// What people are told of it.
    pub about: About,
    /// What it runs on.
    pub architecture: Architecture,
    /// App or base.
    #[serde(rename = "type")]
    pub package_type: PackageType,
    /// Whose data it can take over.
    #[serde(default, skip_serializing_if = "Epoch::is_default")]
    pub epoch: Epoch,
    /// The package that is its base.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<PackageName>,
    /// The whole file.
    pub file: Blob,
    /// BLAKE3 of its envelope.
    pub envelope: Hash,
    /// Where its sections lie.
    pub sections: Sections,
    /// The lowest version of pack that can run it, where that is not every one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needs_pack: Option<Version>,
    /// When it was published, in seconds since 1970.
    pub published: u64,
    /// What makes it from other revisions.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub deltas: BTreeMap<NonZeroU32, Blob>,
    /// Which of its parts a start reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<Blob>,
    /// Not for new installations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yanked: Option<Withdrawal>,
    /// Not to be started any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Withdrawal>,
}

/// What a manifest says for people.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct About {
    /// The name that people call it by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// In one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// An SPDX expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// Where more is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub website: Option<String>,
    /// A picture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icon: Option<Icon>,
}

impl About {
    pub(super) fn check(&self) -> Result<(), StoreProblem> {
        let texts = [(&self.title, 40), (&self.summary, 78), (&self.license, 256), (&self.website, 1024)];
        texts.into_iter().try_for_each(|(text, most)| text.iter().try_for_each(|text| check_text(text, most)))
    }
}

/// A picture that the store has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Icon {
    /// PNG or SVG.
    pub kind: BlobKind,
    /// Its file.
    pub file: Blob,
}

/// Lengths of the sections of a package file, so that a reader finds them without the footer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Sections {
    /// The image, in bytes.
    pub image: u64,
    /// The index.
    pub index: u64,
    /// The envelope.
    pub envelope: u32,
    /// The signatures.
    pub signatures: u32,
}

impl Sections {
    /// The footer that the file has to end in.
    pub fn footer(self) -> Footer {
        let Sections { image, index, envelope, signatures } = self;
        Footer { image, index, envelope, signatures }
    }

    /// Length of the file, nothing where that would not fit 64 bits.
    pub fn total(self) -> Option<u64> {
        let rest = u64::from(self.envelope) + u64::from(self.signatures) + FOOTER_SIZE as u64;
        self.image.checked_add(self.index)?.checked_add(rest)
    }

    /// Checks them as if they stood in a footer.
    fn check(self, size: u64) -> Result<(), PackageError> {
        Footer::parse(&self.footer().to_bytes(), size).map(drop)
    }
}

impl From<Footer> for Sections {
    fn from(footer: Footer) -> Sections {
        let Footer { image, index, envelope, signatures } = footer;
        Sections { image, index, envelope, signatures }
    }
}

/// Why a revision was taken back, and what to have instead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Withdrawal {
    /// In the publisher's words, at most [`REASON_LIMIT`] characters.
    pub reason: String,
    /// A revision that is right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replacement: Option<NonZeroU32>,
}

/// What a channel holds for an architecture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Release {
    /// Where.
    pub channel: Channel,
    /// For which machines.
    pub architecture: Architecture,
    /// What.
    pub revision: NonZeroU32,
    /// Where not all machines get it yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Rollout>,
}

/// A release to a part of the machines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Rollout {
    /// How many of a hundred machines get it, 0 to 100.
    pub percent: u8,
    /// Drawn anew for each release, so that it is not always the same machines that get things first.
    pub seed: Hash,
    /// What the others get; nothing where the channel was empty before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub others: Option<NonZeroU32>,
}

impl Rollout {
    /// Whether a machine takes part.
    pub fn includes(&self, machine: &Hash, name: &PackageName) -> bool {
        self.bucket(machine, name) < self.percent
    }

    /// The bucket of a machine, 0 to 99.
    fn bucket(&self, machine: &Hash, name: &PackageName) -> u8 {
        let hash = Hash::of(&[&self.seed.0[..], &machine.0, name.as_str().as_bytes()].concat());
        let [a, b, c, d, e, f, g, h, ..] = hash.0;
        // Of 64 bits, a hundredth is not more than any other by anything that counts.
        (u64::from_le_bytes([a, b, c, d, e, f, g, h]) % 100) as u8
    }
}

/// What a channel has for a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer<'a> {
    /// Where it was found: the channel asked for, or that of a lower risk.
    pub channel: &'a Channel,
    /// Its number.
    pub number: NonZeroU32,
    /// What it is.
    pub revision: &'a StoreRevision,
}

/// Why a channel has nothing for a machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoOffer {
    /// Nothing was released there for any machine.
    #[error("nothing is in the channel `{channel}`")]
    Channel {
        /// The channel.
        channel: Channel,
    },
    /// Nothing for machines of this architecture.
    #[error("nothing in the channel `{channel}` is for {architecture}")]
    Architecture {
        /// The channel.
        channel: Channel,
        /// The machine's.
        architecture: Architecture,
    },
    /// What was there has been taken back.
    #[error("revision {number} in the channel `{channel}` was withdrawn: {}", crate::text::visible(.reason))]
    Withdrawn {
        /// The channel.
        channel: Channel,
        /// The revision.
        number: NonZeroU32,
        /// Why.
        reason: String,
    },
    /// It is given to a part of the machines, of which this is none, and the others get nothing.
    #[error(
        "the channel `{channel}` is being opened to some machines first, and this is not one of them yet"
    )]
    RollingOut {
        /// The channel.
        channel: Channel,
    },
}

impl PackageEntry {
    /// An entry of a package that nothing was published of.
    pub fn new(name: PackageName) -> PackageEntry {
        PackageEntry {
            format: STORE_VERSION,
            name,
            publishers: BTreeSet::new(),
            last_revision: 0,
            revisions: BTreeMap::new(),
            channels: Vec::new(),
        }
    }

    /// Reads the entry of the package `name`, and checks it against itself: a validly signed entry of another package is
    /// refused.
    ///
    /// # Errors
    /// [`StoreProblem`].
    pub fn parse(bytes: &[u8], name: &PackageName) -> Result<PackageEntry, StoreProblem> {
        let entry: PackageEntry = parse(bytes, ENTRY_LIMIT)?;
        entry.check(name)?;
        Ok(entry)
    }

    fn check(&self, name: &PackageName) -> Result<(), StoreProblem> {
        let require = |holds: bool, rule| match holds {
            true => Ok(()),
            false => Err(StoreProblem::Contradiction { rule }),
        };
        require(self.name == *name, "it is the entry of another package")?;
        require(self.revisions.len() <= REVISIONS_MOST, "it has too many revisions")?;
        let highest = self.revisions.last_key_value().map_or(0, |(number, _)| number.get());
        require(highest <= self.last_revision, "a revision is higher than the highest one given")?;
        for revision in self.revisions.values() {
            let sections = revision.sections;
            require(sections.total() == Some(revision.file.size), "the sections do not add up to the file")?;
            require(
                sections.check(revision.file.size).is_ok(),
                "the sections are not those of a package file",
            )?;
            revision.about.check()?;
            for withdrawal in revision.yanked.iter().chain(&revision.revoked) {
                check_text(&withdrawal.reason, REASON_LIMIT)?;
            }
        }
        let known = |number: &NonZeroU32| self.revisions.contains_key(number);
        let mut places = BTreeSet::new();
        for release in &self.channels {
            require(
                places.insert((&release.channel, release.architecture)),
                "two releases are in one channel",
            )?;
            require(known(&release.revision), "a channel has a revision that is not there")?;
            if let Some(rollout) = &release.rollout {
                require(rollout.percent <= 100, "a rollout has more than 100 percent")?;
                require(rollout.others.iter().all(known), "a channel has a revision that is not there")?;
            }
        }
        Ok(())
    }

    /// What a machine gets from a channel: what was released there, or to the next lower risk that has something.
    ///
    /// Revisions that were yanked or revoked are offered to nobody.
    ///
    /// # Errors
    /// [`NoOffer`].
    pub fn offer(
        &self,
        wanted: &Channel,
        architecture: Architecture,
        machine: &Hash,
    ) -> Result<Offer<'_>, NoOffer> {
        let mut has_other_architecture = false;
        let mut rolling_out = None;
        for risk in wanted.risk.downwards() {
            let here =
                |release: &&Release| release.channel.track == wanted.track && release.channel.risk == risk;
            let mut fitting: Vec<&Release> = self.channels.iter().filter(here).collect();
            has_other_architecture |= !fitting.is_empty();
            fitting.retain(|release| release.architecture.runs_on(architecture));
            // What was made for this architecture is better than what runs on all.
            let Some(release) = fitting.iter().min_by_key(|release| release.architecture) else { continue };
            let number = match &release.rollout {
                Some(rollout) if !rollout.includes(machine, &self.name) => rollout.others,
                _ => Some(release.revision),
            };
            match number {
                Some(number) => return self.offered(&release.channel, number),
                None => rolling_out = rolling_out.or(Some(&release.channel)),
            }
        }
        let channel = wanted.clone();
        Err(match (rolling_out, has_other_architecture) {
            (Some(channel), _) => NoOffer::RollingOut { channel: channel.clone() },
            (None, true) => NoOffer::Architecture { channel, architecture },
            (None, false) => NoOffer::Channel { channel },
        })
    }

    fn offered<'a>(&'a self, channel: &'a Channel, number: NonZeroU32) -> Result<Offer<'a>, NoOffer> {
        // It is there, by `check`; an entry that is being made may be asked before.
        let Some(revision) = self.revisions.get(&number) else {
            return Err(NoOffer::Channel { channel: channel.clone() });
        };
        match revision.revoked.as_ref().or(revision.yanked.as_ref()) {
            None => Ok(Offer { channel, number, revision }),
            Some(withdrawal) => Err(NoOffer::Withdrawn {
                channel: channel.clone(),
                number,
                reason: withdrawal.reason.clone(),
            }),
        }
    }

    /// As it is signed.
    pub fn to_bytes(&self) -> Vec<u8> {
        package::canonical_json(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::Sha256;

    fn number(number: u32) -> NonZeroU32 {
        NonZeroU32::new(number).unwrap()
    }

    fn name() -> PackageName {
        "hello".parse().unwrap()
    }

    fn revision(architecture: Architecture) -> StoreRevision {
        let sections = Sections { image: 8192, index: 4096, envelope: 500, signatures: 200 };
        StoreRevision {
            version: "1.0".parse().unwrap(),
            about: About::default(),
            architecture,
            package_type: PackageType::App,
            epoch: Epoch::default(),
            base: None,
            file: Blob { sha256: Sha256([1; 32]), size: sections.total().unwrap() },
            envelope: Hash([2; 32]),
            sections,
            needs_pack: None,
            published: 1000,
            deltas: BTreeMap::new(),
            trace: None,
            yanked: None,
            revoked: None,
        }
    }

    fn release(channel: &str, revision: u32, architecture: Architecture) -> Release {
        Release { channel: channel.parse().unwrap(), architecture, revision: number(revision), rollout: None }
    }

    fn entry() -> PackageEntry {
        let mut entry = PackageEntry::new(name());
        entry.last_revision = 3;
        entry.revisions.insert(number(1), revision(Architecture::Amd64));
        entry.revisions.insert(number(2), revision(Architecture::Amd64));
        entry.revisions.insert(number(3), revision(Architecture::All));
        entry.channels =
            vec![release("stable", 1, Architecture::Amd64), release("beta", 2, Architecture::Amd64)];
        entry
    }

    fn offered(entry: &PackageEntry, channel: &str) -> Result<u32, NoOffer> {
        let machine = Hash([7; 32]);
        entry.offer(&channel.parse().unwrap(), Architecture::Amd64, &machine).map(|offer| offer.number.get())
    }

    #[test]
    fn a_channel_without_a_release_is_that_of_the_next_lower_risk() {
        let entry = entry();
        for (channel, expected) in [("stable", 1), ("candidate", 1), ("beta", 2), ("edge", 2)] {
            assert_eq!(offered(&entry, channel), Ok(expected), "{channel}");
        }
        assert!(matches!(offered(&entry, "2.0"), Err(NoOffer::Channel { .. })));
    }

    #[test]
    fn a_machine_gets_what_runs_on_it() {
        let mut entry = entry();
        let wanted = Channel::default();
        let machine = Hash([0; 32]);
        let refused = entry.offer(&wanted, Architecture::Arm64, &machine);
        assert!(matches!(refused, Err(NoOffer::Architecture { .. })));
        entry.channels.push(release("stable", 3, Architecture::All));
        assert_eq!(entry.offer(&wanted, Architecture::Arm64, &machine).unwrap().number.get(), 3);
        assert_eq!(entry.offer(&wanted, Architecture::Amd64, &machine).unwrap().number.get(), 1);
    }

    #[test]
    fn what_was_withdrawn_is_offered_to_nobody() {
        let mut entry = entry();
        let withdrawal = Withdrawal { reason: "loses data".to_owned(), replacement: None };
        entry.revisions.get_mut(&number(2)).unwrap().yanked = Some(withdrawal);
        assert!(matches!(offered(&entry, "beta"), Err(NoOffer::Withdrawn { .. })));
        assert_eq!(offered(&entry, "stable"), Ok(1));
    }

    #[test]
    fn a_rollout_reaches_its_share_of_machines_and_loses_none_when_it_grows() {
        let machines: Vec<Hash> = (0u32..2000).map(|n| Hash::of(&n.to_le_bytes())).collect();
        let reached = |percent| {
            let rollout = Rollout { percent, seed: Hash([9; 32]), others: None };
            machines.iter().filter(|machine| rollout.includes(machine, &name())).collect::<BTreeSet<_>>()
        };
        assert!(reached(0).is_empty());
        assert_eq!(reached(100).len(), machines.len());
        let counts = [reached(10), reached(50), reached(90)];
        assert!(counts.windows(2).all(|pair| pair[0].is_subset(&pair[1])));
        for (share, expected) in counts.iter().map(BTreeSet::len).zip([200usize, 1000, 1800]) {
            assert!(share.abs_diff(expected) < 100, "{share} instead of {expected}");
        }
        let other = Rollout { percent: 50, seed: Hash([8; 32]), others: None };
        let same = machines.iter().filter(|machine| other.includes(machine, &name())).count();
        assert!(same.abs_diff(1000) < 100);
    }

    #[test]
    fn those_outside_of_a_rollout_keep_what_was_there() {
        let mut entry = entry();
        let rollout = |percent, others| Some(Rollout { percent, seed: Hash([9; 32]), others });
        entry.channels[0] =
            Release { rollout: rollout(0, Some(number(1))), ..release("stable", 2, Architecture::Amd64) };
        assert_eq!(offered(&entry, "stable"), Ok(1));
        entry.channels[0].rollout = rollout(100, Some(number(1)));
        assert_eq!(offered(&entry, "stable"), Ok(2));
        entry.channels[0].rollout = rollout(0, None);
        assert!(matches!(offered(&entry, "stable"), Err(NoOffer::RollingOut { .. })));
    }

    #[test]
    fn entries_are_read_as_they_are_written_and_checked() {
        let entry = entry();
        assert_eq!(PackageEntry::parse(&entry.to_bytes(), &name()), Ok(entry.clone()));
        let refuse = |change: fn(&mut PackageEntry), words: &str| {
            let mut changed = entry.clone();
            change(&mut changed);
            let error = PackageEntry::parse(&changed.to_bytes(), &name()).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        };
        refuse(|entry| entry.name = "other".parse().unwrap(), "another package");
        refuse(|entry| entry.last_revision = 2, "higher than the highest");
        refuse(|entry| entry.channels[0].revision = number(9), "not there");
        refuse(|entry| entry.channels[1] = entry.channels[0].clone(), "two releases");
        refuse(|entry| entry.revisions.get_mut(&number(1)).unwrap().file.size += 1, "add up");
        let long = |entry: &mut PackageEntry| {
            let withdrawal = Withdrawal { reason: "\u{1b}]0;".to_owned(), replacement: None };
            entry.revisions.get_mut(&number(1)).unwrap().revoked = Some(withdrawal);
        };
        refuse(long, "control characters");
        let huge = |entry: &mut PackageEntry| {
            let revision = entry.revisions.get_mut(&number(1)).unwrap();
            revision.sections.image = u64::MAX;
        };
        refuse(huge, "add up");
    }
}
