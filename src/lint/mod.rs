//! `pack lint`, and the same at the end of `pack build`: what is wrong with what goes into a package, and the mend.
//!
//! Errors make both fail; warnings do with `--strict`.

mod exports;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use pack_builder::assemble;
use pack_builder::lint::listing::{Listing, ListingError};
use pack_builder::lint::{BaseFiles, CHECKS, Finding, Report, Request, Severity, lint};
use pack_builder::project::MANIFEST_FILE;
use pack_schemas::manifest::{Base, Manifest};
use pack_schemas::names::Architecture;

use crate::context::Context;
use crate::failure::Failure;
use crate::package_file::{open, open_installed, shown};
use crate::project;
use crate::terminal::{Style, Terminal, visible};

/// Findings of one check that are shown without `-v`.
const SHOWN_MOST: usize = 10;

/// Arguments of `pack lint`.
#[derive(clap::Args)]
pub struct Arguments {
    /// A package file, the folder of a project that was built, or any folder
    #[arg(value_name = "FILE|DIR", default_value = ".")]
    target: PathBuf,
    /// The project whose pack.yaml says what a folder of files is
    #[arg(long, value_name = "DIR")]
    project: Option<PathBuf>,
    /// Fail where there are warnings
    #[arg(long)]
    strict: bool,
    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
    /// List the checks that there are
    #[arg(long, conflicts_with_all = ["strict", "json", "project"])]
    list: bool,
}

/// Looks, and tells what was found. Fails where there are errors.
pub fn perform(arguments: Arguments, context: &Context) -> Result<ExitCode, Failure> {
    if arguments.list {
        list(&context.terminal);
        return Ok(ExitCode::SUCCESS);
    }
    let subject = Subject::open(&arguments, context)?;
    let mut report = subject.look(context)?;
    if arguments.strict {
        report.be_strict();
    }
    if arguments.json {
        context.terminal.print_json(&report);
    } else {
        let everything = context.terminal.is_verbose();
        tell(&report, Severity::Note, everything, &context.terminal, &mut |line| {
            context.terminal.print(line)
        });
        context.terminal.say(summary(&report));
    }
    Ok(if report.count(Severity::Error) > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Looks at what a build has made, before it is packed: errors and warnings are told, notes with `-v`.
pub fn check_build(
    prime: &Path,
    manifest: &Manifest,
    architecture: Architecture,
    strict: bool,
    context: &Context,
) -> Result<(), Failure> {
    let files = Listing::of_folder(prime).map_err(|error| unreadable(prime, &error))?;
    let mut report = Subject { manifest: manifest.clone(), architecture, files }.look(context)?;
    // Told before the work began, where it can be mended sooner.
    let told = |finding: &Finding| finding.id == "interface-unknown" && !strict;
    report.findings.retain(|finding| !told(finding));
    if strict {
        report.be_strict();
    }
    let terminal = &context.terminal;
    let (least, everything) = match terminal.is_verbose() {
        true => (Severity::Note, true),
        false => (Severity::Warning, false),
    };
    tell(&report, least, everything, terminal, &mut |line| terminal.tell(line));
    match report.count(Severity::Error) {
        0 => Ok(()),
        errors => {
            let hint =
                "what is meant to be so is listed in the pack.yaml, as `lint: {ignore: [ID, {ID: [FILES]}]}`";
            let message = format!("what was built is not in order: {}", counted(errors, "error"));
            Err(Failure::new(message).hint(hint))
        }
    }
}

/// What is looked at.
struct Subject {
    manifest: Manifest,
    architecture: Architecture,
    files: Listing,
}

impl Subject {
    fn open(arguments: &Arguments, context: &Context) -> Result<Subject, Failure> {
        let target = &arguments.target;
        if !target.is_dir() {
            if arguments.project.is_some() {
                return Err(Failure::usage(
                    "`--project` goes with a folder; a package has its manifest in it",
                ));
            }
            let package = open(target)?;
            let envelope = package.envelope();
            let files = Listing::of_package(&package).map_err(|error| unreadable(target, &error))?;
            return Ok(Subject {
                manifest: envelope.manifest.clone(),
                architecture: envelope.architecture,
                files,
            });
        }
        let is_project = target.join(MANIFEST_FILE).symlink_metadata().is_ok();
        let (manifest, folder) = match &arguments.project {
            Some(project) => (project::open(project, context)?.manifest().clone(), target.clone()),
            None if is_project => {
                let project = project::open(target, context)?;
                let prime = project.work().prime();
                let is_empty = std::fs::read_dir(&prime).map_or(true, |mut entries| entries.next().is_none());
                if is_empty {
                    let message = format!("the project in `{}` was not built yet", shown(target));
                    return Err(
                        Failure::new(message).hint("`pack build --step prime` makes what is looked at")
                    );
                }
                (project.manifest().clone(), prime)
            }
            None => (unknown_manifest(), target.clone()),
        };
        let architecture =
            assemble::architecture(&manifest, Architecture::HOST).unwrap_or(Architecture::HOST);
        let files = Listing::of_folder(&folder).map_err(|error| unreadable(&folder, &error))?;
        Ok(Subject { manifest, architecture, files })
    }

    fn look(&self, context: &Context) -> Result<Report, Failure> {
        let base = match &self.manifest.base {
            // One that is not installed here is no failure: what it would tell is told as unchecked.
            Base::Package(name) => match open_installed(name, context) {
                Ok(package) => Some(Listing::of_package(&package).map_err(|error| {
                    Failure::new(format!("cannot read the base `{name}`")).because(&error)
                })?),
                Err(_) => None,
            },
            Base::Host | Base::None => None,
        };
        let base_files = match (&self.manifest.base, &base) {
            (_, Some(files)) => BaseFiles::Package(files),
            (Base::Package(name), None) => BaseFiles::Missing(name),
            (Base::Host, None) => BaseFiles::Host(Path::new("/")),
            (Base::None, None) => BaseFiles::None,
        };
        Ok(lint(&Request {
            manifest: &self.manifest,
            architecture: self.architecture,
            files: &self.files,
            base: base_files,
            exports: &exports::Installing,
        }))
    }
}

/// What is assumed of a folder that nothing is known of: no apps, on the host's /usr.
fn unknown_manifest() -> Manifest {
    let text = b"name: folder\nversion: '0'\nbase: host\n";
    Manifest::from_yaml(text).expect("the least manifest is in order")
}

fn unreadable(path: &Path, error: &ListingError) -> Failure {
    Failure::new(format!("cannot look at `{}`", shown(path))).because(error)
}

fn list(terminal: &Terminal) {
    let rows: Vec<Vec<String>> = CHECKS
        .iter()
        .map(|check| vec![check.id.to_owned(), word(check.severity).to_owned(), check.summary.to_owned()])
        .collect();
    terminal.print_table(&["Check", "Severity", "Finds"], &rows);
}

/// Tells the findings that are at least so grave: of each check the first ones, and a hint once where it is the same.
fn tell(report: &Report, least: Severity, everything: bool, terminal: &Terminal, out: &mut dyn FnMut(&str)) {
    let told: Vec<&Finding> = report.findings.iter().filter(|finding| finding.severity <= least).collect();
    for group in told.chunk_by(|a, b| (a.id, a.severity) == (b.id, b.severity)) {
        let most = if everything { usize::MAX } else { SHOWN_MOST };
        let mut rest = group.iter().take(most).peekable();
        while let Some(finding) = rest.next() {
            let label = format!("{}[{}]", word(finding.severity), finding.id);
            let label = match finding.severity {
                Severity::Error => terminal.paint(Style::Error, &label),
                Severity::Warning => terminal.paint(Style::Warning, &label),
                Severity::Note => terminal.paint(Style::Strong, &label),
            };
            let object =
                if finding.object.is_empty() { "the package".to_owned() } else { visible(&finding.object) };
            out(&format!("{label} {object}: {}", finding.message));
            if rest.peek().is_none_or(|next| next.hint != finding.hint) {
                out(&format!("  hint: {}", finding.hint));
            }
        }
        if group.len() > most {
            let more = group.len() - most;
            out(&format!("  … and {more} more of {}; -v shows all", group[0].id));
        }
    }
    if report.left_out > 0 {
        out(&format!("  … and {} more, which were not kept", report.left_out));
    }
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    }
}

fn summary(report: &Report) -> String {
    let kinds = [(Severity::Error, "error"), (Severity::Warning, "warning"), (Severity::Note, "note")];
    let counts: Vec<String> = kinds
        .iter()
        .map(|(severity, word)| (report.count(*severity), *word))
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| counted(count, word))
        .collect();
    let ignored = match report.ignored {
        0 => String::new(),
        count => format!(", {count} ignored as the manifest says"),
    };
    match counts.is_empty() {
        true => format!("nothing was found{ignored}"),
        false => format!("{}{ignored}", counts.join(", ")),
    }
}

fn counted(count: usize, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}
