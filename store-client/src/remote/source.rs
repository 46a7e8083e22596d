//! Where the files of a store come from: a web server or a folder. Nothing of them is believed here.

use std::collections::BTreeMap;
use std::io::{Seek, SeekFrom};

use super::address::Address;
use crate::tuf::files::Files;
use crate::tuf::http::{Http, Part, Settings};
use crate::tuf::{FetchError, Transport};

/// A store at an address. As a [`Transport`] it gives the metadata.
pub struct Source {
    address: Address,
    settings: Settings,
    place: Place,
}

enum Place {
    Web(Http),
    Folder(Files),
}

impl Source {
    /// Nothing is asked for yet. `environment` says how the network is reached.
    ///
    /// # Errors
    /// The proxy that the environment names is none.
    pub fn new(address: &Address, environment: &BTreeMap<String, String>) -> Result<Source, FetchError> {
        Source::with_settings(address, Settings::usual(environment.clone()))
    }

    /// With other patience than the usual.
    ///
    /// # Errors
    /// As of [`Source::new`].
    pub fn with_settings(address: &Address, settings: Settings) -> Result<Source, FetchError> {
        let place = match address {
            Address::Web { url, .. } => Place::Web(Http::new(url, settings.clone())?),
            Address::Folder(path) => Place::Folder(Files::new(path)),
        };
        Ok(Source { address: address.clone(), settings, place })
    }

    /// Its address.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// How patient it is.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The whole of a file of at most `most` bytes.
    ///
    /// # Errors
    /// [`FetchError`].
    pub fn read(&self, path: &str, most: u64) -> Result<Vec<u8>, FetchError> {
        match &self.place {
            Place::Web(http) => http.fetch(path, most),
            Place::Folder(files) => files.fetch(path, most),
        }
    }

    /// A file from its byte `from` on; from its beginning where the server gives no parts.
    ///
    /// # Errors
    /// [`FetchError`].
    pub fn open(&self, path: &str, from: u64) -> Result<Part, FetchError> {
        match &self.place {
            Place::Web(http) => http.get(path, from),
            Place::Folder(files) => {
                let mut file = files.open(path)?;
                let failed = |error: std::io::Error| FetchError::Failed(error.to_string());
                let length = file.metadata().map_err(failed)?.len().saturating_sub(from);
                file.seek(SeekFrom::Start(from)).map_err(failed)?;
                Ok(Part { begins: from, length: Some(length), reader: Box::new(file) })
            }
        }
    }
}

impl Transport for Source {
    fn fetch(&self, path: &str, length_most: u64) -> Result<Vec<u8>, FetchError> {
        self.read(&format!("tuf/{path}"), length_most)
    }
}
