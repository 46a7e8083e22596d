//! The TUF client as a program, with the calls of the public TUF conformance suite:
//!
//! ```text
//! tuf-client --metadata-dir DIR init ROOT
//! tuf-client --metadata-dir DIR --metadata-url URL refresh
//! tuf-client --metadata-dir DIR --metadata-url URL --target-name N… --target-base-url URL --target-dir DIR download
//! ```
//!
//! Exits with 0 where all of it succeeded, and with 1 otherwise.
#![allow(clippy::print_stderr)]

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};
use std::{env, fs, io};

use pack_schemas::text::visible;
use pack_schemas::tuf::quoted;
use pack_store_client::tuf::http::{Http, Settings};
use pack_store_client::tuf::{Client, FetchError, Mismatch, Target, Transport, TufError};

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                eprintln!("  caused by: {error}");
                cause = error.source();
            }
            if let Some(hint) = error.downcast_ref::<TufError>().and_then(TufError::hint) {
                eprintln!("\nhint: {hint}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run() -> Outcome<()> {
    let mut options: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut words = Vec::new();
    let mut arguments = env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.strip_prefix("--") {
            Some(option) => {
                let value = arguments.next().ok_or_else(|| format!("--{option} needs a value"))?;
                options.entry(option.to_owned()).or_default().push(value);
            }
            None => words.push(argument),
        }
    }
    let option = |name: &str| -> Outcome<&str> {
        let value = options.get(name).and_then(|values| values.last());
        Ok(value.ok_or_else(|| format!("--{name} is missing"))?)
    };
    let folder = Path::new(option("metadata-dir")?);
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["init", root] => {
            Client::open(folder, Some(&fs::read(root)?), &Nowhere, now()?)?;
            Ok(())
        }
        ["refresh"] => {
            let store = http(option("metadata-url")?)?;
            refreshed(folder, &store)?;
            Ok(())
        }
        ["download"] => {
            let store = http(option("metadata-url")?)?;
            let targets = http(option("target-base-url")?)?;
            let mut client = refreshed(folder, &store)?;
            for name in options.get("target-name").ok_or("--target-name is missing")? {
                let target = client.target(name)?;
                let target = target.ok_or_else(|| format!("the store has no target `{}`", visible(name)))?;
                download(&target, &targets, &PathBuf::from(option("target-dir")?))?;
            }
            Ok(())
        }
        _ => Err("one of `init ROOT`, `refresh` and `download` is missing".into()),
    }
}

fn http(address: &str) -> Outcome<Http> {
    Ok(Http::new(address, Settings::usual(env::vars().collect()))?)
}

fn now() -> Outcome<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())
}

fn refreshed<'a>(folder: &Path, store: &'a dyn Transport) -> Outcome<Client<'a>> {
    let mut client = Client::open(folder, None, store, now()?)?;
    for warning in client.refresh()? {
        eprintln!("warning: {warning}");
    }
    Ok(client)
}

/// Fetches a target, unless it is there already.
fn download(target: &Target, store: &Http, folder: &Path) -> Outcome<()> {
    let path = folder.join(quoted(&target.path));
    match fs::read(&path) {
        Ok(bytes) if check(target, &bytes).is_ok() => return Ok(()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let bytes = store.fetch(&target.remote_path(), target.length)?;
    check(target, &bytes)?;
    let beside = folder.join(format!(".{}.new", quoted(&target.path)));
    fs::write(&beside, bytes)?;
    Ok(fs::rename(beside, path)?)
}

fn check(target: &Target, bytes: &[u8]) -> Result<(), Mismatch> {
    let mut checker = target.checker();
    checker.update(bytes)?;
    checker.finish()
}

/// The store of a client that asks for nothing.
struct Nowhere;

impl Transport for Nowhere {
    fn fetch(&self, _: &str, _: u64) -> Result<Vec<u8>, FetchError> {
        Err(FetchError::Failed("nothing is asked for".to_owned()))
    }
}
