//! Downloads what has a checksum, into a cache that all builds of a user share.
//!
//! ```text
//! CACHE/sha256/DIGEST          whole and checked
//! CACHE/sha256/DIGEST.part     being downloaded, locked meanwhile; a later download goes on where it ends
//! ```
//!
//! 1. What is there already is used, without asking anybody, if it still has its hash.
//! 2. The rest is asked for (`Range`), where a part is there. A server that sends all instead is taken at its word.
//! 3. All of it is hashed while it is written. With the right digest it gets its name; with another it is removed, and where
//!    an older part was gone on with, all of it is asked for once more.
//!
//! What a server sends is taken as it is, whatever it says that it is encoded in: the checksum is that of the file.
//! `https_proxy`, `http_proxy`, `all_proxy` and `no_proxy` are honoured; certificates are the system's (`SSL_CERT_FILE`,
//! `SSL_CERT_DIR`).

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use pack_schemas::manifest::Checksum;
use rustix::fs::{FlockOperation, flock};
use ureq::http::{StatusCode, header};
use ureq::tls::{RootCerts, TlsConfig};

use super::{Hasher, Progress, Request, hash_file};

/// Longest file that is downloaded, in bytes: 4 GiB.
const LENGTH_MOST: u64 = 4 << 30;
/// Most redirections of an address.
const REDIRECTS_MOST: u32 = 10;
/// How often a download that gets no further is tried, and how long is waited in between, at first.
const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_millis(250);
/// How often it is gone on with in all.
const ROUNDS: usize = 1000;

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
    request: &Request<'_>,
    progress: &mut Progress<'_>,
) -> Result<PathBuf, DownloadError> {
    let folder = request.cache.join(checksum.algorithm.as_str());
    let path = folder.join(&checksum.digest);
    if is_whole(&path, checksum)? {
        return Ok(path);
    }
    fs::create_dir_all(&folder)?;
    let part_path = folder.join(format!("{}.part", checksum.digest));
    let mut part = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&part_path)?;
    flock(&part, FlockOperation::LockExclusive).map_err(io::Error::from)?;
    // Whoever had the lock may have taken the file away: what has the name now is somebody else's.
    if !is_named(&part, &part_path) {
        return download(address, checksum, request, progress);
    }
    // Whoever had the lock may have finished it.
    if is_whole(&path, checksum)? {
        return Ok(path);
    }
    if let Err(error) = all_of_it(&agent(address, request)?, address, &mut part, checksum, progress) {
        if matches!(error, DownloadError::Altered { .. } | DownloadError::TooLong) {
            // The lock is held: nobody else is writing there.
            fs::remove_file(&part_path)?;
        }
        return Err(error);
    }
    part.sync_all()?;
    fs::rename(&part_path, &path)?;
    File::open(&folder)?.sync_all()?;
    Ok(path)
}

/// Whether an open file is the one that has a name.
fn is_named(file: &File, path: &Path) -> bool {
    let same = |one: Metadata, other: Metadata| (one.dev(), one.ino()) == (other.dev(), other.ino());
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(one), Ok(other)) => same(one, other),
        _ => false,
    }
}

/// Whether a file of the cache is there, and as it was when it got its name; another is removed.
fn is_whole(path: &Path, checksum: &Checksum) -> io::Result<bool> {
    if !path.is_file() {
        return Ok(false);
    }
    if hash_file(path, checksum.algorithm)? == checksum.digest {
        return Ok(true);
    }
    fs::remove_file(path)?;
    Ok(false)
}

/// Asks until all is there, as long as that gets further.
fn all_of_it(
    agent: &ureq::Agent,
    address: &str,
    part: &mut File,
    checksum: &Checksum,
    progress: &mut Progress<'_>,
) -> Result<(), DownloadError> {
    let mut failed = 0;
    for _ in 0..ROUNDS {
        let before = part.metadata()?.len();
        let error = match attempt(agent, address, part, checksum, progress) {
            Ok(()) => return Ok(()),
            // What was there before may be of another file.
            Err(DownloadError::Altered { .. }) if before > 0 => {
                part.set_len(0)?;
                continue;
            }
            Err(error) => error,
        };
        let may_pass = match &error {
            DownloadError::Network(_) => true,
            DownloadError::Status(status) => PASSING.contains(status),
            _ => false,
        };
        failed = if part.metadata()?.len() > before { 0 } else { failed + 1 };
        if !may_pass || failed >= TRIES {
            return Err(error);
        }
        thread::sleep(PAUSE * 2_u32.pow(failed));
    }
    Err(DownloadError::Network("the server breaks off again and again".into()))
}

/// What a server answers that will answer better later.
const PASSING: [StatusCode; 4] = [
    StatusCode::TOO_MANY_REQUESTS,
    StatusCode::BAD_GATEWAY,
    StatusCode::SERVICE_UNAVAILABLE,
    StatusCode::GATEWAY_TIMEOUT,
];

fn agent(address: &str, request: &Request<'_>) -> Result<ureq::Agent, DownloadError> {
    let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
    let patience = Some(request.patience);
    let config = ureq::Agent::config_builder()
        .tls_config(tls)
        .proxy(proxy(address, request.environment)?)
        .max_redirects(REDIRECTS_MOST)
        .timeout_resolve(patience)
        .timeout_connect(patience)
        .timeout_per_read(patience)
        .timeout_recv_response(patience)
        .http_status_as_error(false)
        .user_agent(concat!("pack/", env!("CARGO_PKG_VERSION")))
        .build();
    Ok(config.into())
}

/// The proxy for an address, as curl(1) finds it: `HTTP_PROXY` in capital letters is none, as it could be a header's.
fn proxy(
    address: &str,
    environment: &BTreeMap<String, String>,
) -> Result<Option<ureq::Proxy>, DownloadError> {
    let first = |names: &[&str]| {
        names.iter().filter_map(|name| environment.get(*name)).find(|value| !value.is_empty())
    };
    let named = match address.starts_with("https:") {
        true => first(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]),
        false => first(&["http_proxy", "all_proxy", "ALL_PROXY"]),
    };
    let Some(named) = named else { return Ok(None) };
    // What is wrong with it is not repeated: there may be a password in it.
    let wrong = |_| DownloadError::Network("the address of the proxy in the environment is none".to_owned());
    let plain = ureq::Proxy::new(named).map_err(wrong)?;
    let mut proxy = ureq::Proxy::builder(plain.protocol()).host(plain.host()).port(plain.port());
    if let Some(name) = plain.username() {
        proxy = proxy.username(name);
    }
    if let Some(password) = plain.password() {
        proxy = proxy.password(password);
    }
    for host in first(&["no_proxy", "NO_PROXY"]).iter().flat_map(|hosts| hosts.split(',')) {
        proxy = proxy.no_proxy(host.trim());
    }
    proxy.build().map(Some).map_err(wrong)
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
