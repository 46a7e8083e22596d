//! What the verbs that ask stores have in common: which remotes there are, what they say, and how long ago they said it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use pack_schemas::names::{Architecture, Name, PackageName, Version};
use pack_schemas::store::{Channel, PackageEntry, RemoteFile};
use pack_store_client::folders::Folders;
use pack_store_client::remote::session::source_of;
use pack_store_client::remote::{self, RemoteError, Session, Source, machine};

use crate::changing::now;
use crate::context::Context;
use crate::failure::Failure;
use crate::terminal::{human_time, visible};

/// What the environment says of the network.
pub fn environment() -> BTreeMap<String, String> {
    let text = |value: std::ffi::OsString| value.into_string().ok();
    std::env::vars_os().filter_map(|(name, value)| Some((text(name)?, text(value)?))).collect()
}

/// The folder of downloads.
pub fn downloads(context: &Context) -> Result<PathBuf, Failure> {
    Ok(context.xdg()?.cache.join("pack/downloads"))
}

/// Whether a remote was added.
pub fn has_remotes(folders: &Folders) -> bool {
    remote::list(folders).is_ok_and(|remotes| !remotes.is_empty())
}

/// The remotes. One that is damaged is a warning.
///
/// # Errors
/// Where there are none.
pub fn remotes(context: &Context, folders: &Folders) -> Result<Vec<RemoteFile>, Failure> {
    let listed = remote::list(folders).map_err(|error| failure("cannot list the remotes", &error))?;
    let mut remotes = Vec::new();
    for (name, read) in listed {
        match read {
            Ok(remote) => remotes.push(remote),
            Err(error) => {
                context.terminal.warn(format!("the remote `{name}` cannot be used: {}", chain(&error)))
            }
        }
    }
    match remotes.is_empty() {
        true => Err(Failure::new("no remote was added, so there is no store to ask")
            .hint("`pack remote add URL --fingerprint FINGERPRINT` adds one")),
        false => Ok(remotes),
    }
}

/// How to ask a remote.
pub fn source(remote: &RemoteFile) -> Result<Source, RemoteError> {
    source_of(remote, &environment())
}

/// Opens a remote and asks for its newest metadata; warnings are told.
pub fn ask<'a>(
    context: &Context,
    folders: &Folders,
    remote: &'a RemoteFile,
    source: &'a Source,
) -> Result<Session<'a>, RemoteError> {
    let mut session = Session::open(folders, remote, source, now())?;
    for warning in session.refresh()? {
        context.terminal.warn(format!("the store `{}`: {warning}", remote.name));
    }
    Ok(session)
}

/// Why nothing could be had of a remote, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

/// A failure for an error of a remote.
pub fn failure(message: impl Into<String>, error: &RemoteError) -> Failure {
    Failure::new(message).because(error).hint_from(error.hint())
}

/// How long ago something was: `3 h 2 min ago`.
pub fn ago(time: u64) -> String {
    let seconds = now().saturating_sub(time);
    match seconds {
        0..60 => "just now".to_owned(),
        60..172_800 => format!("{} ago", human_time(std::time::Duration::from_secs(seconds / 60 * 60))),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

/// A revision of a package that a store offers, with all that is needed to install it.
#[derive(Debug, Clone)]
pub struct Offered {
    /// The remote.
    pub remote: Name,
    /// The channel that is followed.
    pub channel: Channel,
    /// All of the package.
    pub entry: PackageEntry,
    /// Which revision.
    pub number: std::num::NonZeroU32,
}

impl Offered {
    /// The revision.
    pub fn revision(&self) -> &pack_schemas::store::StoreRevision {
        // It was taken from the entry.
        &self.entry.revisions[&self.number]
    }

    /// Whether this pack can run it.
    ///
    /// # Errors
    /// Where it needs a later one.
    pub fn expect_able(&self) -> Result<(), Failure> {
        let own: Option<Version> = env!("CARGO_PKG_VERSION").parse().ok();
        let (Some(needed), Some(own)) = (&self.revision().needs_pack, own) else { return Ok(()) };
        if pack_store_client::version::compare(&own, needed).is_ge() {
            return Ok(());
        }
        let failure = Failure::new(format!("`{}` needs a later pack", self.entry.name));
        Err(failure.hint(format!("it needs pack {needed}, and this is {own}; update pack first")))
    }

    /// What the store vouches for.
    pub fn vouched(&self) -> pack_store_client::decision::Vouched<'_> {
        pack_store_client::decision::Vouched {
            remote: &self.remote,
            channel: &self.channel,
            name: &self.entry.name,
            number: self.number,
            revision: self.revision(),
            publishers: &self.entry.publishers,
        }
    }
}

/// What a person asks a store for.
pub struct Asked<'a> {
    /// The package.
    pub name: &'a PackageName,
    /// A revision, whatever is in the channel.
    pub revision: Option<std::num::NonZeroU32>,
    /// The channel.
    pub channel: &'a Channel,
}

/// What a store offers of a package; nothing where it has none of that name.
pub fn offer(
    folders: &Folders,
    session: &mut Session<'_>,
    asked: &Asked<'_>,
) -> Result<Option<Offered>, Failure> {
    let name = asked.name;
    let remote = session.remote.name.clone();
    let failed = || format!("cannot get `{name}` from `{remote}`");
    let Some(entry) = session.entry(name).map_err(|error| failure(failed(), &error))? else {
        return Ok(None);
    };
    let machine = machine::number(folders).map_err(|error| Failure::new(failed()).because(&error))?;
    let number = match asked.revision {
        Some(number) => chosen(&entry, number).map_err(|text| Failure::new(failed()).hint(text))?,
        None => {
            let offer = entry.offer(asked.channel, Architecture::HOST, &machine);
            let offer = offer.map_err(|error| {
                Failure::new(failed()).because(&error).hint(format!("`pack info {name}` shows its channels"))
            })?;
            offer.number
        }
    };
    let offered = Offered { remote, channel: asked.channel.clone(), entry, number };
    offered
        .expect_able()
        .map_err(|failure| Failure { message: format!("cannot get `{name}`"), ..failure })?;
    Ok(Some(offered))
}

/// A revision that a person names has to be there, for this machine, and not be withdrawn.
fn chosen(entry: &PackageEntry, number: std::num::NonZeroU32) -> Result<std::num::NonZeroU32, String> {
    let Some(revision) = entry.revisions.get(&number) else {
        return Err(format!("the store has no revision {number} of it"));
    };
    if let Some(withdrawal) = revision.revoked.as_ref().or(revision.yanked.as_ref()) {
        return Err(format!("revision {number} was withdrawn: {}", visible(&withdrawal.reason)));
    }
    match revision.architecture.runs_on(Architecture::HOST) {
        true => Ok(number),
        false => Err(format!("revision {number} is for {}", revision.architecture)),
    }
}

/// A package and what it needs, as a store offers them; what it needs first.
pub struct Found {
    /// The packages.
    pub offers: Vec<Offered>,
    /// Who has them.
    pub sources: Vec<Source>,
}

/// Looks for a package in the stores: in the one named, in the one that it follows, or in all of them.
///
/// # Errors
/// Where none has it, or more than one.
pub fn look_up(
    context: &Context,
    folders: &Folders,
    asked: &Asked<'_>,
    remote: Option<&Name>,
) -> Result<Found, Failure> {
    let name = asked.name;
    let remotes = match remote {
        Some(remote) => vec![
            remote::find(folders, remote)
                .map_err(|error| failure(format!("`{name}` cannot be looked for"), &error))?,
        ],
        None => remotes(context, folders)?,
    };
    let mut found: Option<(Found, &Name)> = None;
    let mut unreached = None;
    for remote in &remotes {
        match look_up_in(context, folders, remote, asked) {
            Ok(None) => {}
            Ok(Some(there)) => {
                if let Some((_, other)) = &found {
                    return Err(Failure::new(format!("`{name}` is in more than one store")).hint(format!(
                        "say which one: `pack install {name} --remote {other}`, or --remote {}",
                        remote.name
                    )));
                }
                found = Some((there, &remote.name));
            }
            // What the other stores have is no substitute where this one refuses it.
            Err(Looked::Refused(failure)) => return Err(failure),
            Err(Looked::Unreached(error)) => {
                unreached.get_or_insert((&remote.name, error));
            }
        }
    }
    match (found, unreached) {
        (Some((found, _)), None) => Ok(found),
        (Some((found, _)), Some((remote, error))) => {
            context.terminal.warn(format!("the store `{remote}` cannot be asked: {}", chain(&error)));
            Ok(found)
        }
        (None, Some((remote, error))) => {
            Err(failure(format!("the store `{remote}` cannot be asked"), &error))
        }
        (None, None) => Err(Failure::new(format!("no store has a package called `{name}`")).hint(format!(
            "`pack search {name}` looks for similar ones; the path of a file has a `/` in it"
        ))),
    }
}

/// Why a store gave nothing.
enum Looked {
    Unreached(RemoteError),
    Refused(Failure),
}

fn look_up_in(
    context: &Context,
    folders: &Folders,
    remote: &RemoteFile,
    asked: &Asked<'_>,
) -> Result<Option<Found>, Looked> {
    let reach = |error: RemoteError| match error.is_offline() {
        true => Looked::Unreached(error),
        false => Looked::Refused(failure(format!("the store `{}` is not trusted now", remote.name), &error)),
    };
    let source = source(remote).map_err(reach)?;
    let mut session = ask(context, folders, remote, &source).map_err(reach)?;
    let Some(offered) = offer(folders, &mut session, asked).map_err(Looked::Refused)? else {
        return Ok(None);
    };
    let mut offers = Vec::from_iter(needed_base(folders, &mut session, &offered).map_err(Looked::Refused)?);
    offers.push(offered);
    let sources = session.blob_sources().map_err(reach)?;
    Ok(Some(Found { offers, sources }))
}

/// The base of a package, where it is not installed and the store has it.
pub fn needed_base(
    folders: &Folders,
    session: &mut Session<'_>,
    offered: &Offered,
) -> Result<Option<Offered>, Failure> {
    let Some(base) = &offered.revision().base else { return Ok(None) };
    let bases = pack_store_client::installed::bases(folders)
        .map_err(|error| Failure::new("cannot look at the installed bases").because(&error))?;
    if bases.contains(base) {
        return Ok(None);
    }
    let channel = Channel::default();
    offer(folders, session, &Asked { name: base, revision: None, channel: &channel })
}
