//! Downloads what has a checksum, into a cache that all builds of a user share.
//!
//! ```text
//! CACHE/sha256/DIGEST          whole and checked
//! CACHE/sha256/DIGEST.part     being downloaded, locked meanwhile; a later download goes on where it ends
//! ```
//!
//! 1. What is there already is used, without asking anybody: it was checked when it got its name.
//! 2. The rest is asked for (`Range`), where a part is there. A server that sends all instead is taken at its word.
//! 3. All of it is hashed while it is written. With the right digest it gets its name; with another it is removed.
//!
//! `https_proxy` and its like are honoured; certificates are the system's (`SSL_CERT_FILE`, `SSL_CERT_DIR`).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use pack_schemas::manifest::Checksum;
use rustix::fs::{FlockOperation, flock};
use ureq::http::{StatusCode, header};
use ureq::tls::{RootCerts, TlsConfig};

use super::{Hasher, Progress};

/// Longest file that is downloaded, in bytes: 16 GiB.
const LENGTH_MOST: u64 = 16 << 30;
/// Most redirections of an address.
const REDIRECTS_MOST: u32 = 10;
/// How long a connection may take, and a server may say nothing.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often an interrupted download is gone on with.
const TRIES: usize = 4;

/// Why something cannot be downloaded.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// The server cannot be reached, or breaks off.
    #[error("{0}")]
    Network(String),
    /// The server says no.
    #[error("the server answers {0}")]
    Status(StatusCode),
    /// It is longer than what is downloaded.
    #[error("it is longer than {} GiB", LENGTH_MOST >> 30)]
    TooLong,
    /// It is something else.
    #[error("it hashes to {found}")]
    Altered {
        /// What it hashes to.
        found: String,
    },
    /// It cannot be kept.
    #[error("cannot write it to the cache")]
    Cache(#[from] io::Error),
}

/// Gives the file of an address, downloaded where the cache has not got it.
pub(super) fn download(
    address: &str,
    checksum: &Checksum,
    cache: &Path,
    progress: &mut Progress<'_>,
) -> Result<PathBuf, DownloadError> {
    let folder = cache.join(checksum.algorithm.as_str());
    let path = folder.join(&checksum.digest);
    if path.is_file() {
        return Ok(path);
    }
    fs::create_dir_all(&folder)?;
    let part_path = folder.join(format!("{}.part", checksum.digest));
    let mut part = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&part_path)?;
    flock(&part, FlockOperation::LockExclusive).map_err(io::Error::from)?;
    // Whoever had the lock may have finished it.
    if path.is_file() {
        return Ok(path);
    }
    let agent = agent();
    let mut tries = 0;
    loop {
        tries += 1;
        match attempt(&agent, address, &mut part, checksum, progress) {
            Ok(()) => break,
            Err(DownloadError::Network(_)) if tries < TRIES => {}
            Err(DownloadError::Altered { found }) => {
                // The lock is held: nobody else is writing there.
                fs::remove_file(&part_path)?;
                return Err(DownloadError::Altered { found });
            }
            Err(error) => return Err(error),
        }
    }
    part.sync_all()?;
    fs::rename(&part_path, &path)?;
    File::open(&folder)?.sync_all()?;
    Ok(path)
}

fn agent() -> ureq::Agent {
    let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
    let config = ureq::Agent::config_builder()
        .tls_config(tls)
        .max_redirects(REDIRECTS_MOST)
        .timeout_connect(Some(PATIENCE))
        .timeout_recv_response(Some(PATIENCE))
        .http_status_as_error(false)
        .user_agent(concat!("pack/", env!("CARGO_PKG_VERSION")))
        .build();
    config.into()
}

/// Asks for what is missing of a file, and appends it.
fn attempt(
    agent: &ureq::Agent,
    address: &str,
    part: &mut File,
    checksum: &Checksum,
    progress: &mut Progress<'_>,
) -> Result<(), DownloadError> {
    let mut hasher = Hasher::new(checksum.algorithm);
    let mut have = hash_from_start(part, &mut hasher)?;
    let mut request = agent.get(address).header(header::ACCEPT_ENCODING, "identity");
    if have > 0 {
        request = request.header(header::RANGE, format!("bytes={have}-"));
    }
    let mut response = request.call().map_err(|error| DownloadError::Network(error.to_string()))?;
    match response.status() {
        StatusCode::OK => {
            hasher = Hasher::new(checksum.algorithm);
            have = 0;
            part.set_len(0)?;
            part.seek(SeekFrom::Start(0))?;
        }
        StatusCode::PARTIAL_CONTENT if begins_at(&response, have) => {}
        // What is there is all that there is, or more; or the server does what was not asked for.
        StatusCode::RANGE_NOT_SATISFIABLE | StatusCode::PARTIAL_CONTENT if have > 0 => {
            let found = hasher.finish();
            if found == checksum.digest {
                return Ok(());
            }
            part.set_len(0)?;
            return Err(DownloadError::Network(
                "what was downloaded before is not the beginning of it".into(),
            ));
        }
        status => return Err(DownloadError::Status(status)),
    }
    let rest = response.body().content_length();
    let whole = rest.map(|rest| have.saturating_add(rest));
    if whole.is_some_and(|whole| whole > LENGTH_MOST) {
        return Err(DownloadError::TooLong);
    }
    let mut body = response.body_mut().with_config().limit(u64::MAX).reader();
    let mut buffer = vec![0; 128 << 10];
    loop {
        progress(have, whole);
        let count = body.read(&mut buffer).map_err(|error| DownloadError::Network(error.to_string()))?;
        if count == 0 {
            break;
        }
        have = have.saturating_add(count as u64);
        if have > LENGTH_MOST {
            return Err(DownloadError::TooLong);
        }
        part.write_all(&buffer[..count])?;
        hasher.update(&buffer[..count]);
    }
    if whole.is_some_and(|whole| have < whole) {
        return Err(DownloadError::Network("the connection ended before the file did".into()));
    }
    let found = hasher.finish();
    if found == checksum.digest { Ok(()) } else { Err(DownloadError::Altered { found }) }
}

/// Hashes what is there, and gives its length; the file is then at its end.
fn hash_from_start(part: &mut File, hasher: &mut Hasher) -> io::Result<u64> {
    part.seek(SeekFrom::Start(0))?;
    let (mut have, mut buffer) = (0, vec![0; 256 << 10]);
    loop {
        match part.read(&mut buffer)? {
            0 => return Ok(have),
            count => {
                hasher.update(&buffer[..count]);
                have += count as u64;
            }
        }
    }
}

/// Whether a server sends what begins at `have` (RFC 9110, 14.4).
fn begins_at(response: &ureq::http::Response<ureq::Body>, have: u64) -> bool {
    let range = response.headers().get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
    range.is_some_and(|range| range.starts_with(&format!("bytes {have}-")))
}
