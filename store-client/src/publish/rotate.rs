//! Other keys for a store, so that at every moment what is there is signed as the newest root says.
//!
//! | step | who may sign afterwards |
//! |---|---|
//! | 1. root N+1 | the old key and the new one |
//! | 2. all that the old key has signed, signed by the new one, in one change | the old key and the new one |
//! | 3. root N+2 | the new key alone |
//!
//! A run that is killed between them leaves a store that is good; the next one goes on.

use ed25519_dalek::SigningKey;
use pack_schemas::names::PublicKey;
use pack_schemas::time::rfc3339;
use pack_schemas::tuf::{Metadata as Signed, Root};
use serde_json::{Map, Value, json};

use super::commit::{Publisher, has_key};
use super::objects::{Content, Metadata};
use super::{PublishError, sign};
use crate::tuf::Client;

/// Which key is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// That of snapshot, timestamp and bins.
    Online,
    /// That of root and targets.
    Root,
}

impl Role {
    fn roles(self) -> [&'static str; 2] {
        match self {
            Role::Online => ["snapshot", "timestamp"],
            Role::Root => ["root", "targets"],
        }
    }
}

impl Publisher<'_> {
    /// Lets `new` sign instead of the key of `role`, which this publisher has; with the root key, which has to be there.
    /// Where the new key does sign already, alone, nothing is done.
    ///
    /// # Errors
    /// [`PublishError`]; where some of the steps are done, running it again does the others.
    pub fn rotate(&self, role: Role, new: &SigningKey) -> Result<(), PublishError> {
        let new_public = sign::public(new);
        let (_, root) = self.newest_root()?;
        let is_begun = role.roles().iter().all(|name| has_key(&root, name, &new_public));
        let old = match role {
            Role::Online => sign::public(self.online),
            Role::Root => sign::public(self.root_secret()?),
        };
        if old == new_public {
            return Err(PublishError::refused(
                "the new key is the old one".to_owned(),
                "make another one with `pack key generate NAME`",
            ));
        }
        if !is_begun {
            self.next_root(role, &[old, new_public], new)?;
        }
        let renewed = match role {
            Role::Online => Publisher { online: new, ..self.again() },
            Role::Root => Publisher { root: Some(new), ..self.again() },
        };
        renewed.change(|view| {
            view.is_changed = true;
            if role == Role::Online {
                view.renew_bins(true)?;
            }
            let targets = view.role("targets")?;
            if role == Role::Online {
                set_bin_key(targets, &new_public);
            }
            Ok(())
        })?;
        renewed.next_root(role, &[new_public], new)
    }

    fn again(&self) -> Publisher<'_> {
        Publisher { ..*self }
    }

    fn root_secret(&self) -> Result<&SigningKey, PublishError> {
        self.root.ok_or_else(|| {
            PublishError::refused(
                "other keys are signed with the store's root key".to_owned(),
                "name it with `--root-key`",
            )
        })
    }

    fn newest_root(&self) -> Result<(Value, Signed<Root>), PublishError> {
        let transport = Metadata::of(self.objects);
        let mut client = Client::open(self.memory, None, &transport, self.now)?.whatever_the_date();
        client.refresh()?;
        let root = client.root()?.clone();
        let parsed = pack_schemas::tuf::json::parse(&root.signed_bytes).map_err(|source| {
            crate::tuf::TufError::Metadata { role: "root".to_owned(), source: source.into() }
        })?;
        Ok((parsed, root))
    }

    /// Signs the next root, in which these keys are those of `role`. It counts as soon as it is there.
    fn next_root(&self, role: Role, keys: &[PublicKey], new: &SigningKey) -> Result<(), PublishError> {
        let (mut document, root) = self.newest_root()?;
        let of_role = sign::one_of(keys);
        let is_there = |name: &str| document["roles"][name] == of_role;
        if role.roles().into_iter().all(is_there) {
            return Ok(());
        }
        for name in role.roles() {
            document["roles"][name] = of_role.clone();
        }
        for key in keys {
            document["keys"][sign::key_id(key)] = sign::key_value(key);
        }
        forget_unused(&mut document);
        let version = root.version.saturating_add(1);
        document["version"] = version.into();
        document["expires"] = rfc3339(self.until(self.validity.root_days)).into();
        let secret = self.root_secret()?;
        let signers = if role == Role::Root && sign::public(secret) != sign::public(new) {
            vec![secret, new]
        } else {
            vec![secret]
        };
        let bytes = sign::sign(&document, &signers);
        match self.objects.create(&format!("tuf/{version}.root.json"), Content::Bytes(&bytes))? {
            true => Ok(self.objects.settle()?),
            false => Err(PublishError::Contended { tries: 1 }),
        }
    }
}

/// Takes away keys that no role has.
fn forget_unused(root: &mut Value) {
    let used: Vec<Value> = root["roles"]
        .as_object()
        .into_iter()
        .flat_map(Map::values)
        .flat_map(|role| role["keyids"].as_array().cloned().unwrap_or_default())
        .collect();
    if let Some(keys) = root["keys"].as_object_mut() {
        keys.retain(|id, _| used.contains(&json!(id)));
    }
}

fn set_bin_key(targets: &mut Value, key: &PublicKey) {
    let delegations = &mut targets["delegations"];
    delegations["keys"] = sign::keys([key]);
    let roles = &mut delegations["succinct_roles"];
    roles["keyids"] = json!([sign::key_id(key)]);
}
