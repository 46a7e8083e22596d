//! The `pack` command. One file a verb; [`main`] parses, hands over, and turns a failure into text and an exit status.
//!
//! Data goes to standard output, talk to standard error. Exit status: 0 done, 1 failed, 2 wrong usage; `pack run`
//! gives the app's own status, 125 where pack failed before the app started, 126 not executable, 127 not found,
//! 128+N for a signal.
#![forbid(unsafe_code)]

mod announce;
mod base;
mod build;
mod build_step;
mod changing;
mod clean;
mod connect;
mod connections;
mod content;
mod context;
mod diff;
mod disconnect;
mod doctor;
mod download;
mod explain;
mod failure;
mod fetching;
mod hint;
mod info;
mod info_store;
mod init;
mod inspect;
mod install;
mod interfaces;
mod interrupt;
mod key;
mod learn;
mod lint;
mod list;
mod package_file;
mod package_reader;
mod permissions;
mod planning;
mod plugs;
mod project;
mod rebuild;
mod refresh;
mod remote;
mod remove;
mod revert;
mod run;
mod sbom;
mod schema;
mod search;
mod stores;
mod terminal;
mod trust;
mod unpack;
mod verify;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use context::Context;
use failure::Failure;

/// Builds, installs and runs confined application packages, without privilege.
#[derive(Parser)]
#[command(
    name = "pack",
    version,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true
)]
struct Cli {
    #[command(flatten)]
    talk: terminal::Options,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Write the first pack.yaml of a project
    Init(init::Arguments),
    /// Build a package from a project folder
    Build(build::Arguments),
    /// Print the JSON Schema of a pack.yaml, for editors
    Schema,
    /// Remove what earlier builds left in a project folder
    Clean(clean::Arguments),
    /// Make and list the keys that sign packages
    Key(key::Arguments),
    /// Show what a package holds and asks for
    Inspect(inspect::Arguments),
    /// Look for what is wrong with the files of a package, or of a project that was built
    Lint(lint::Arguments),
    /// Check a package's signature and every byte of it
    Verify(verify::Arguments),
    /// Show what two packages differ in
    Diff(diff::Arguments),
    /// Show what a package is made of, as SPDX
    Sbom(sbom::Arguments),
    /// Extract a package's files into a new folder
    Unpack(unpack::Arguments),
    /// Say whose packages may be installed
    Trust(trust::Arguments),
    /// Add and list the stores that packages come from
    Remote(remote::Arguments),
    /// Look for packages in the stores
    Search(search::Arguments),
    /// Install a package
    Install(install::Arguments),
    /// Download a package from a store, and do not install it
    Download(download::Arguments),
    /// Bring packages to what their stores have now
    Refresh(refresh::Arguments),
    /// Go back to an earlier revision of a package
    Revert(revert::Arguments),
    /// List installed packages
    List(list::Arguments),
    /// Show what is known of a package
    Info(info::Arguments),
    /// Remove an installed package
    Remove(remove::Arguments),
    /// Show which plugs of installed packages are connected
    Connections(connections::Arguments),
    /// Give a package what one of its plugs asks for
    Connect(plugs::Arguments),
    /// Take from a package what one of its plugs gives
    Disconnect(plugs::Arguments),
    /// Show the interfaces that plugs can ask for
    Interfaces(interfaces::Arguments),
    /// Run an app, confined
    Run(run::Arguments),
    /// Say what this machine lacks to run packages, and how to mend it
    Doctor(doctor::Arguments),
}

fn main() -> ExitCode {
    if let Some(status) = build_step::perform(std::env::args_os()) {
        return status;
    }
    let cli = Cli::plain_run(std::env::args_os()).unwrap_or_else(Cli::parse);
    let context = Context::new(&cli.talk);
    match perform(cli.verb, &context) {
        Ok(status) => status,
        Err(failure) => context.terminal.report(&failure),
    }
}

impl Cli {
    /// [`Cli::parse`] for the command line of a launch.
    fn plain_run(command_line: impl IntoIterator<Item = OsString>) -> Option<Cli> {
        let arguments = run::Arguments::of_plain(command_line)?;
        Some(Cli { talk: terminal::Options::default(), verb: Verb::Run(arguments) })
    }
}

fn perform(verb: Verb, context: &Context) -> Result<ExitCode, Failure> {
    match verb {
        Verb::Init(arguments) => init::perform(arguments, context),
        Verb::Build(arguments) => build::perform(arguments, context),
        Verb::Schema => schema::perform(context),
        Verb::Clean(arguments) => clean::perform(arguments, context),
        Verb::Key(arguments) => key::perform(arguments, context),
        Verb::Inspect(arguments) => inspect::perform(arguments, context),
        Verb::Lint(arguments) => lint::perform(arguments, context),
        Verb::Verify(arguments) => verify::perform(arguments, context),
        Verb::Diff(arguments) => diff::perform(arguments, context),
        Verb::Sbom(arguments) => sbom::perform(arguments, context),
        Verb::Unpack(arguments) => unpack::perform(arguments, context),
        Verb::Trust(arguments) => trust::perform(arguments, context),
        Verb::Remote(arguments) => remote::perform(arguments, context),
        Verb::Search(arguments) => search::perform(arguments, context),
        Verb::Install(arguments) => install::perform(arguments, context),
        Verb::Download(arguments) => download::perform(arguments, context),
        Verb::Refresh(arguments) => refresh::perform(arguments, context),
        Verb::Revert(arguments) => revert::perform(arguments, context),
        Verb::List(arguments) => list::perform(arguments, context),
        Verb::Info(arguments) => info::perform(arguments, context),
        Verb::Remove(arguments) => remove::perform(arguments, context),
        Verb::Connections(arguments) => connections::perform(arguments, context),
        Verb::Connect(arguments) => connect::perform(arguments, context),
        Verb::Disconnect(arguments) => disconnect::perform(arguments, context),
        Verb::Interfaces(arguments) => interfaces::perform(arguments, context),
        Verb::Run(arguments) => run::perform(arguments, context),
        Verb::Doctor(arguments) => doctor::perform(arguments, context),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the two ways of reading a command line make of it.
    fn read(line: &[&str]) -> (Option<Cli>, Result<Cli, clap::Error>) {
        let words = || std::iter::once("pack").chain(line.iter().copied()).map(OsString::from);
        (Cli::plain_run(words()), Cli::try_parse_from(words()))
    }

    #[test]
    fn a_plain_launch_is_read_as_the_parser_reads_it() {
        for line in [
            &["run", "hello"][..],
            &["run", "hello.app"],
            &["run", "hello", "--quiet", "-v", "--explain", "--shell"],
            &["run", "hello", "--", "--help"],
            &["run", "hello", "-h", "--version", "--color", "never"],
            &["run", "hello", "", "--", "--"],
            &["run", "run", "run"],
            &["run", "a=b", "\u{e9}", "help"],
        ] {
            let (plain, parsed) = read(line);
            let (plain, parsed) = (plain.expect("it is plain"), parsed.expect("it can be parsed"));
            assert_eq!(plain.talk, parsed.talk, "{line:?}");
            match (plain.verb, parsed.verb) {
                (Verb::Run(plain), Verb::Run(parsed)) => assert_eq!(plain, parsed, "{line:?}"),
                _ => panic!("{line:?}"),
            }
        }
    }

    #[test]
    fn anything_else_is_left_to_the_parser() {
        for line in [
            &[][..],
            &["run"],
            &["run", ""],
            &["run", "--help"],
            &["run", "-q", "hello"],
            &["run", "--", "hello"],
            &["run", "--explain", "hello"],
            &["-q", "run", "hello"],
            &["list", "hello"],
            &["ru", "hello"],
        ] {
            assert!(read(line).0.is_none(), "{line:?}");
        }
    }
}
