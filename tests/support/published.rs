//! A store in a folder, made and changed by the library, so that a test can sign in it whatever it wants.
#![allow(dead_code)] // Each test file uses a part.

use std::fs;
use std::path::{Path, PathBuf};

use pack_builder::keys::{KeyFolder, SecretKey};
use pack_launcher::package::Package;
use pack_schemas::manifest::Base;
use pack_schemas::names::{Hash, PublicKey};
use pack_schemas::store::entry::{About, Withdrawal};
use pack_schemas::store::{Blob, BlobKind, Channel, STORE_VERSION, Store, StoreRevision, blob_path};
use pack_store_client::publish::commit::Validity;
use pack_store_client::publish::found::{Founding, found};
use pack_store_client::publish::objects::{Content, FolderObjects, Objects};
use pack_store_client::publish::operation::{Action, Publication};
use pack_store_client::publish::sign::sha256;
use pack_store_client::publish::{Operation, Publisher};

use crate::support::World;

/// A store of the world's only key.
pub struct Published {
    folder: PathBuf,
    memory: PathBuf,
    key: SecretKey,
    /// What a user is told of it.
    pub fingerprint: String,
}

/// A package file on its way into a store.
pub struct Entry {
    /// The name that it is published under.
    pub name: String,
    /// The key that the store says is its publisher's.
    pub key: PublicKey,
    /// What the store says of it.
    pub revision: StoreRevision,
    /// Where it is released.
    pub channel: Channel,
    /// To how many of a hundred machines at first.
    pub rollout: Option<u8>,
}

impl Published {
    /// An empty store, which everybody can read.
    pub fn new(world: &World) -> Published {
        let key = KeyFolder::at(&world.home(".local/share/pack/keys")).only().unwrap();
        let (folder, memory) = (world.path("store"), world.path("memory"));
        let objects = FolderObjects::create(&folder).unwrap();
        let fingerprint = found(&Founding {
            objects: &objects,
            memory: &memory,
            root: key.signing(),
            online: key.signing(),
            store: description(&[]),
            bits: 2,
            validity: Validity::default(),
            now: now(),
        })
        .unwrap();
        Published { folder, memory, key, fingerprint: fingerprint.to_string() }
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The key of its owner.
    pub fn key(&self) -> PublicKey {
        self.key.public()
    }

    /// Publishes a package file, in `stable` and for everybody; `change` may say otherwise, and what is not so.
    pub fn publish(&self, file: &Path, change: impl FnOnce(&mut Entry)) {
        let bytes = fs::read(file).unwrap();
        let blob = Blob { sha256: sha256(&bytes), size: bytes.len() as u64 };
        let objects = FolderObjects::open(&self.folder).unwrap().unwrap();
        objects.create(&blob_path(&blob.sha256, BlobKind::Pkg), Content::Bytes(&bytes)).unwrap();
        let package = Package::open_path(file).unwrap();
        let manifest = &package.envelope().manifest;
        let mut entry = Entry {
            name: manifest.name.to_string(),
            key: self.key(),
            revision: revision_of(&package, blob),
            channel: Channel::default(),
            rollout: None,
        };
        change(&mut entry);
        let publication = Publication {
            revision: entry.revision,
            signers: vec![entry.key],
            channels: vec![entry.channel],
            rollout: entry.rollout.map(|percent| (percent, Hash([5; 32]))),
            adds_publisher: true,
        };
        self.perform(&entry.name, Action::Publish(Box::new(publication)));
    }

    /// Does something to a package.
    pub fn perform(&self, name: &str, action: Action) {
        let operation = Operation { name: name.parse().unwrap(), action };
        self.with(|publisher| publisher.perform(&[operation]).map(drop).unwrap());
    }

    /// Says that a revision is not to be started any more.
    pub fn revoke(&self, name: &str, number: u32, reason: &str) {
        let withdrawal = Some(Withdrawal { reason: reason.to_owned(), replacement: None });
        let revision = number.try_into().unwrap();
        self.perform(name, Action::Withdraw { revision, withdrawal, is_revoked: true });
    }

    /// Gives it these mirrors.
    pub fn set_mirrors(&self, mirrors: &[&str]) {
        self.with(|publisher| publisher.describe(&description(mirrors)).unwrap());
    }

    fn with(&self, act: impl FnOnce(&Publisher<'_>)) {
        let objects = FolderObjects::open(&self.folder).unwrap().unwrap();
        act(&Publisher {
            objects: &objects,
            memory: &self.memory,
            online: self.key.signing(),
            root: Some(self.key.signing()),
            validity: Validity::default(),
            now: now(),
        });
    }
}

fn revision_of(package: &Package, file: Blob) -> StoreRevision {
    let envelope = package.envelope();
    let manifest = &envelope.manifest;
    StoreRevision {
        version: envelope.version.clone(),
        about: About {
            title: manifest.title.clone(),
            // Some packages of tests have summaries that no store takes.
            summary: manifest.summary.clone().filter(|text| text.is_ascii()),
            license: manifest.license.clone(),
            website: manifest.website.clone(),
            icon: None,
        },
        architecture: envelope.architecture,
        package_type: envelope.package_type,
        epoch: manifest.epoch.clone(),
        base: match &manifest.base {
            Base::Package(name) => Some(name.clone()),
            Base::Host | Base::None => None,
        },
        file,
        envelope: package.envelope_hash(),
        sections: (*package.footer()).into(),
        needs_pack: None,
        published: now(),
        deltas: Default::default(),
        trace: None,
        yanked: None,
        revoked: None,
    }
}

fn description(mirrors: &[&str]) -> Store {
    let mirrors = mirrors.iter().map(|mirror| mirror.to_string()).collect();
    Store { format: STORE_VERSION, title: "Example".to_owned(), mirrors }
}

fn now() -> u64 {
    std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs()
}
