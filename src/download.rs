//! `pack download`: the file of a package of a store, checked and not installed.

use std::io::{Seek, SeekFrom};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use pack_launcher::package::Package;
use pack_schemas::names::{Name, PackageName};
use pack_schemas::store::Channel;
use pack_store_client::decision::{Candidate, expect_entry};
use pack_store_client::remote::download::forget;

use crate::context::Context;
use crate::failure::Failure;
use crate::fetching::{Fetch, fetch};
use crate::package_file::shown;
use crate::stores::{self, Asked, Offered};

/// Arguments of `pack download`.
#[derive(clap::Args)]
pub struct Arguments {
    /// The package
    name: PackageName,
    /// This revision, whatever is in the channel
    #[arg(long)]
    revision: Option<NonZeroU32>,
    /// What is in this channel: TRACK/RISK, TRACK or RISK
    #[arg(long, value_name = "CHANNEL", default_value_t)]
    channel: Channel,
    /// The store, where more than one has it
    #[arg(long, value_name = "NAME")]
    remote: Option<Name>,
    /// The new file; NAME_VERSION_ARCHITECTURE.pkg where nothing is said
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Downloads the package. A file that is there is left alone.
pub fn perform(arguments: Arguments, context: &Context) -> Result<ExitCode, Failure> {
    let name = &arguments.name;
    let folders = context.xdg()?.folders()?;
    let asked = Asked { name, revision: arguments.revision, channel: &arguments.channel };
    let found = stores::look_up(context, &folders, &asked, arguments.remote.as_ref())?;
    let failed = || Failure::new(format!("`{name}` is not downloaded"));
    let Some(offered) = found.offers.last() else { return Err(failed()) };
    let revision = offered.revision();
    let output = arguments.output.unwrap_or_else(|| {
        PathBuf::from(format!("{name}_{}_{}.pkg", revision.version, revision.architecture))
    });
    if output.symlink_metadata().is_ok() {
        return Err(failed().hint(format!("`{}` is there already", shown(&output))));
    }
    let cache = stores::downloads(context)?;
    let fetched = fetch(context, &[Fetch { offered, sources: &found.sources }], &cache).pop();
    let file = match fetched {
        Some(fetched) => fetched.map_err(|error| failed().because(&error).hint_from(error.hint()))?,
        None => return Err(failed()),
    };
    check(offered, &file)?;
    write(&file, &output)
        .map_err(|error| Failure::new(format!("cannot write `{}`", shown(&output))).because(&error))?;
    forget(revision, &cache);
    context.terminal.print(shown(&output));
    Ok(ExitCode::SUCCESS)
}

/// The file has the hash that the store signs; it has to be the package that the store says, too.
fn check(offered: &Offered, file: &std::fs::File) -> Result<(), Failure> {
    let failed = |error: &dyn std::error::Error| {
        Failure::new(format!("`{}` is not downloaded", offered.entry.name)).because(error)
    };
    let file = file.try_clone().map_err(|error| failed(&error))?;
    let size = file.metadata().map_err(|error| failed(&error))?.len();
    let package = Package::open(file).map_err(|error| failed(&error))?;
    let signers = package.verify();
    let vouched = offered.vouched();
    let candidate = Candidate {
        envelope: package.envelope(),
        envelope_hash: package.envelope_hash(),
        size,
        signers: signers.as_deref(),
        vouched: Some(vouched),
    };
    expect_entry(&candidate, &vouched).map_err(|refusal| failed(&refusal).hint_from(refusal.hint()))
}

/// Under another name first, so that a file of that name is whole.
fn write(file: &std::fs::File, output: &Path) -> std::io::Result<()> {
    let folder = output.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut new =
        tempfile::Builder::new().prefix(".pack-download-").tempfile_in(folder.unwrap_or(Path::new(".")))?;
    let mut file = file.try_clone()?;
    file.seek(SeekFrom::Start(0))?;
    std::io::copy(&mut file, new.as_file_mut())?;
    new.as_file().sync_all()?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    new.as_file().set_permissions(mode)?;
    new.persist_noclobber(output).map_err(|error| error.error)?;
    Ok(())
}
