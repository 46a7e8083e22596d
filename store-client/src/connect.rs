//! Connecting a plug of an installed package, and disconnecting it: what is decided, and the one file that is written.

use pack_schemas::names::{Name, PackageName};
use pack_schemas::state::{Connection, PackageState};

use crate::change::Change;
use crate::folder::FileError;
use crate::installed::{self, StateError};

/// Why connections were not changed.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The package is not there, or its state cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// The state was changed since it was looked at.
    #[error("`{name}` was changed by somebody else meanwhile")]
    Changed {
        /// The package.
        name: PackageName,
    },
    /// The new state could not be written; the old one holds.
    #[error(transparent)]
    File(#[from] FileError),
}

/// The state with a plug connected because a person asked for it. It stays so over refreshes, as long as the plug is one
/// of the same interface.
pub fn connected(state: &PackageState, plug: &Name, connection: Connection) -> PackageState {
    let mut after = state.clone();
    after.disconnected.remove(plug);
    after.connections.insert(plug.clone(), connection);
    after
}

/// The state with a plug disconnected. It stays so over refreshes, also where its interface connects by itself.
pub fn disconnected(state: &PackageState, plug: &Name) -> PackageState {
    let mut after = state.clone();
    after.connections.remove(plug);
    after.disconnected.insert(plug.clone());
    after
}

impl Change<'_> {
    /// Writes the connections of `after`, which was made of `before`. Atomic: a process that is killed leaves the one state or
    /// the other.
    ///
    /// # Errors
    /// [`ConnectError`]; nothing is changed then.
    pub fn set_connections(
        &mut self,
        before: &PackageState,
        after: &PackageState,
    ) -> Result<(), ConnectError> {
        let name = &before.name;
        let state = installed::read_state(self.folders, name)?;
        let (Some(package), true) =
            (installed::open_package(self.folders, name)?, state.as_ref() == Some(before))
        else {
            return Err(ConnectError::Changed { name: name.clone() });
        };
        Ok(self.write_state(&package, after)?)
    }
}
