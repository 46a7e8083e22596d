//! From a target's path to the role that answers for it: pre-order, depth first (specification, 5.6.7).
//!
//! A role is asked once in a search, so cycles end; a terminating delegation ends the search at the roles below it. A
//! role that was read already, for another target, is checked again by the keys that the delegating role of *this* way gives
//! it: two roles may delegate to one name, and mean different signers by it.

use std::collections::BTreeSet;

use pack_schemas::tuf::{Metadata, RoleKeys, Targets};
use ring::digest::{SHA256, digest};

use super::error::TufError;
use super::refresh::{Keys, Source};
use super::target::check_path;
use super::{Client, Target, Trusted};

/// A delegated role that was read.
pub(super) struct Role {
    metadata: Metadata<Targets>,
}

/// A role that is still to be asked.
pub(super) struct Next {
    pub name: String,
    /// Who says so.
    pub delegator: String,
}

impl Client<'_> {
    pub(super) fn search(&self, trusted: &mut Trusted, path: &str) -> Result<Option<Target>, TufError> {
        check_path(path)?;
        let mut path_sha256 = [0; 32];
        path_sha256.copy_from_slice(digest(&SHA256, path.as_bytes()).as_ref());
        let mut asked = BTreeSet::new();
        let mut to_ask: Vec<Next> = Vec::new();
        let mut name = "targets".to_owned();
        loop {
            let targets = &trusted.metadata(&name).signed;
            if let Some(file) = targets.targets.get(path) {
                return Ok(Some(Target::new(path, file, &name, trusted.root.signed.consistent_snapshot)));
            }
            let answering = targets.delegations.iter().flat_map(|all| all.answering(path, &path_sha256));
            let answering: Vec<_> = answering.map(|role| (role.name, role.terminating)).collect();
            asked.insert(name.clone());
            if answering.iter().any(|(_, terminating)| *terminating) {
                to_ask.clear();
            }
            // The first one is asked next.
            to_ask.extend(
                answering.into_iter().rev().map(|(child, _)| Next { name: child, delegator: name.clone() }),
            );
            let next = loop {
                match to_ask.pop() {
                    Some(next) if asked.contains(&next.name) => {}
                    other => break other,
                }
            };
            let Some(next) = next else { return Ok(None) };
            if asked.len() > self.limits.roles {
                return Err(TufError::Roles { target: path.to_owned(), most: self.limits.roles });
            }
            self.read_role(trusted, &next, path)?;
            name = next.name;
        }
    }

    /// Has a role's metadata among those that are trusted, and right by the keys that its delegator gives it.
    pub(super) fn read_role(&self, trusted: &mut Trusted, next: &Next, target: &str) -> Result<(), TufError> {
        let keys = trusted.keys_of(next)?;
        if let Some(role) = trusted.roles.get(&next.name) {
            return keys.check(&next.name, &role.metadata);
        }
        let missing = || TufError::NotInSnapshot { role: next.name.clone(), target: target.to_owned() };
        let meta = trusted.snapshot.signed.of(&next.name).ok_or_else(missing)?;
        let lock = self.stored.lock(self.limits.patience)?;
        let source = match trusted.online {
            true => Source::Store { lock: &lock, start: trusted.start, root: &trusted.root },
            false => Source::Folder,
        };
        let metadata = self.role(&next.name, keys, meta, source)?;
        trusted.roles.insert(next.name.clone(), Role { metadata });
        Ok(())
    }
}

impl Trusted {
    /// What a role says that was read; of the top-level role where it was not.
    pub(super) fn metadata(&self, name: &str) -> &Metadata<Targets> {
        self.roles.get(name).map_or(&self.targets, |role| &role.metadata)
    }

    fn keys_of(&self, next: &Next) -> Result<Keys<'_>, TufError> {
        let delegations = self.metadata(&next.delegator).signed.delegations.as_ref();
        let keys = delegations.and_then(|all| {
            let role: &RoleKeys = all.keys_of(&next.name)?;
            Some(Keys { keys: &all.keys, role })
        });
        keys.ok_or_else(|| TufError::Signatures { role: next.name.clone(), found: 0, wanted: 1 })
    }
}
