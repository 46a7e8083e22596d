//! What whoever signs for a store has to know of it beyond what its clients do.

use std::collections::BTreeMap;

use pack_schemas::tuf::{Metadata, Root, Targets};
use ring::digest::{SHA256, digest};
use serde_json::{Map, Value, json};

use super::error::TufError;
use super::search::Next;
use super::{Client, Trusted};

impl Client<'_> {
    /// Takes metadata that is past its date as well: whoever renews it has to.
    pub(crate) fn whatever_the_date(mut self) -> Self {
        self.dates = false;
        self
    }

    fn trusted(&self) -> Result<&Trusted, TufError> {
        self.trusted.as_ref().ok_or(TufError::NotRefreshed)
    }

    pub(crate) fn root(&self) -> Result<&Metadata<Root>, TufError> {
        Ok(&self.trusted()?.root)
    }

    /// The role that answers for a target, by the delegations of `targets`; `targets` itself where they name none.
    pub(crate) fn answering(&self, path: &str) -> Result<String, TufError> {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, path.as_bytes()).as_ref());
        let delegations = self.trusted()?.targets.signed.delegations.as_ref();
        let first = delegations.and_then(|all| all.answering(path, &hash).into_iter().next());
        Ok(first.map_or_else(|| "targets".to_owned(), |role| role.name))
    }

    /// The names of `targets` and of all that it delegates to.
    pub(crate) fn role_names(&self) -> Result<Vec<String>, TufError> {
        let names = self.trusted()?.snapshot.signed.meta.keys();
        Ok(names.filter_map(|name| Some(name.strip_suffix(".json")?.to_owned())).collect())
    }

    /// The signed part of `targets` or a role that it delegates to.
    pub(crate) fn signed_targets(&mut self, name: &str) -> Result<Value, TufError> {
        let signed = &self.named(name)?.signed_bytes;
        let parsed = pack_schemas::tuf::json::parse(signed);
        parsed.map_err(|source| TufError::Metadata { role: name.to_owned(), source: source.into() })
    }

    /// The version of `targets` or a role that it delegates to.
    pub(crate) fn version(&self, name: &str) -> Result<u64, TufError> {
        let meta = self.trusted()?.snapshot.signed.of(name);
        meta.map(|meta| meta.version.get()).ok_or_else(|| TufError::Dropped { role: name.to_owned() })
    }

    /// Until when `targets` or a role that it delegates to is good, in seconds since 1970.
    pub(crate) fn expires(&mut self, name: &str) -> Result<u64, TufError> {
        Ok(self.named(name)?.expires)
    }

    pub(crate) fn snapshot_version(&self) -> Result<u64, TufError> {
        Ok(self.trusted()?.snapshot.version)
    }

    /// What the snapshot says of each role.
    pub(crate) fn snapshot_meta(&self) -> Result<Value, TufError> {
        let mut meta = Map::new();
        for (name, file) in &self.trusted()?.snapshot.signed.meta {
            let mut value = json!({ "version": file.version });
            if let Some(length) = file.length {
                value["length"] = length.into();
            }
            if let Some(hashes) = &file.hashes {
                value["hashes"] = json!(hashes);
            }
            meta.insert(name.clone(), value);
        }
        Ok(Value::Object(meta))
    }

    /// Version and end of root, snapshot and targets.
    pub(crate) fn top_level(&self) -> Result<BTreeMap<String, (u64, u64)>, TufError> {
        let Trusted { root, snapshot, targets, timestamp, .. } = self.trusted()?;
        Ok(BTreeMap::from([
            ("root".to_owned(), (root.version, root.expires)),
            ("snapshot".to_owned(), (snapshot.version, snapshot.expires)),
            ("targets".to_owned(), (targets.version, targets.expires)),
            ("timestamp".to_owned(), *timestamp),
        ]))
    }

    fn named(&mut self, name: &str) -> Result<&Metadata<Targets>, TufError> {
        let mut trusted = self.trusted.take().ok_or(TufError::NotRefreshed)?;
        let read = match name {
            "targets" => Ok(()),
            name => {
                let next = Next { name: name.to_owned(), delegator: "targets".to_owned() };
                self.read_role(&mut trusted, &next, name)
            }
        };
        let trusted = self.trusted.insert(trusted);
        read?;
        Ok(trusted.metadata(name))
    }
}
