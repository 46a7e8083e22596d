//! A client's folder, and what it trusts.

use std::fs;
use std::path::{Path, PathBuf};

use pack_store_client::tuf::{Client, Limits, Target, Transport, TufError, Warning};
use serde_json::Value;

use crate::repository::{NOW, Repository};

pub struct World {
    pub folder: PathBuf,
    pub limits: Limits,
    pub now: u64,
    root: Vec<u8>,
    _temporary: tempfile::TempDir,
}

impl World {
    /// A client that trusts the first root of a store.
    pub fn new(repository: &Repository) -> World {
        World::trusting(&repository.files["1.root.json"])
    }

    pub fn trusting(root: &[u8]) -> World {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().join("tuf");
        World { folder, limits: Limits::default(), now: NOW, root: root.to_vec(), _temporary: temporary }
    }

    pub fn client<'a>(&self, transport: &'a dyn Transport) -> Client<'a> {
        Client::open_with(&self.folder, Some(&self.root), transport, self.now, self.limits).unwrap()
    }

    pub fn refresh(&self, transport: &dyn Transport) -> Result<Vec<Warning>, TufError> {
        self.client(transport).refresh()
    }

    /// A refresh that has nothing to warn of.
    pub fn refreshed<'a>(&self, transport: &'a dyn Transport) -> Client<'a> {
        let mut client = self.client(transport);
        assert_eq!(client.refresh().unwrap(), []);
        client
    }

    /// Why a refresh fails.
    pub fn refused(&self, transport: &dyn Transport) -> TufError {
        match self.refresh(transport) {
            Ok(_) => panic!("it was accepted: {:?}", self.versions()),
            Err(error) => error,
        }
    }

    pub fn target(&self, transport: &dyn Transport, path: &str) -> Result<Option<Target>, TufError> {
        self.refreshed(transport).target(path)
    }

    /// The versions of what is trusted: root, timestamp, snapshot, targets; 0 where there is nothing.
    pub fn versions(&self) -> [u64; 4] {
        ["root", "timestamp", "snapshot", "targets"].map(|role| version(&self.folder, role))
    }

    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.folder).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    pub fn read(&self, role: &str) -> Vec<u8> {
        fs::read(self.folder.join(format!("{role}.json"))).unwrap()
    }
}

pub fn version(folder: &Path, role: &str) -> u64 {
    let Ok(bytes) = fs::read(folder.join(format!("{role}.json"))) else { return 0 };
    let value: Value = serde_json::from_slice(&bytes).unwrap();
    value["signed"]["version"].as_u64().unwrap()
}
