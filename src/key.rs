//! `pack key`: makes, lists, exports and imports the keys that sign packages.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use pack_builder::keys::{KeyError, KeyFolder, SecretKey};
use pack_schemas::names::Name;
use pack_schemas::text::nearest;

use crate::context::Context;
use crate::failure::Failure;
use crate::package_file::shown;

/// Arguments of `pack key`.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Make a key, and print its fingerprint
    Generate {
        /// Its name
        #[arg(default_value = "default")]
        name: Name,
    },
    /// List the keys
    List {
        /// Print them as JSON
        #[arg(long)]
        json: bool,
    },
    /// Print a key's fingerprint, which is its public half, or write the whole key to a file
    Export {
        /// Its name; not needed where there is only one
        name: Option<Name>,
        /// The whole key: whoever has it can sign in your name
        #[arg(long)]
        private: bool,
        /// Write to this new file instead of standard output
        #[arg(short, long, value_name = "FILE", requires = "private")]
        output: Option<PathBuf>,
    },
    /// Take over a key that was exported with `--private`
    Import {
        /// The exported file; `-` is standard input
        file: PathBuf,
        /// Keep it under this name
        #[arg(long)]
        name: Option<Name>,
    },
}

/// Performs the verb.
pub fn perform(arguments: Arguments, context: &Context) -> Result<ExitCode, Failure> {
    let keys = folder(context)?;
    match arguments.action {
        Action::Generate { name } => generate(&keys, &name, context)?,
        Action::List { json } => list(&keys, json, context)?,
        Action::Export { name, private: false, .. } => {
            context.terminal.print(choose(name.as_ref(), context)?.public().to_string());
        }
        Action::Export { name, output, .. } => {
            export_private(&choose(name.as_ref(), context)?, output, context)?;
        }
        Action::Import { file, name } => import(&keys, &file, name.as_ref(), context)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The user's signing key: the one of that name, or the only one.
pub fn choose(name: Option<&Name>, context: &Context) -> Result<SecretKey, Failure> {
    let keys = folder(context)?;
    let key = match name {
        Some(name) => keys.load(name),
        None => keys.only(),
    };
    key.map_err(|error| failure("no key can be used", &error))
}

/// Makes a key and tells what to do with it.
pub fn generate(keys: &KeyFolder, name: &Name, context: &Context) -> Result<(), Failure> {
    let key = keys.generate(name).map_err(|error| failure("no key was made", &error))?;
    context.terminal.print(key.public().to_string());
    context.terminal.say(format!("made the key `{name}`; this is its fingerprint, which others may know"));
    context.terminal.say(format!(
        "keep a copy where only you can read it (`pack key export {name} --private -o FILE`): without the key nobody can \
         publish a new version in your name, not even you"
    ));
    Ok(())
}

/// The folder of the user's signing keys.
pub fn folder(context: &Context) -> Result<KeyFolder, Failure> {
    Ok(KeyFolder::at(&context.xdg()?.folders()?.keys()))
}

fn list(keys: &KeyFolder, json: bool, context: &Context) -> Result<(), Failure> {
    let listed = keys.list().map_err(|error| failure("cannot list the keys", &error))?;
    if json {
        context.terminal.print_json(&listed);
    } else if listed.is_empty() {
        context.terminal.say("there is no key; `pack key generate` makes one");
    } else {
        let rows: Vec<_> =
            listed.iter().map(|key| vec![key.name.to_string(), key.fingerprint.to_string()]).collect();
        context.terminal.print_table(&["NAME", "FINGERPRINT"], &rows);
    }
    Ok(())
}

fn export_private(key: &SecretKey, output: Option<PathBuf>, context: &Context) -> Result<(), Failure> {
    if let Some(path) = output {
        key.export(&path).map_err(|error| failure("the key was not exported", &error))?;
        context.terminal.say(format!("wrote the whole key to {}", shown(&path)));
        return Ok(());
    }
    let mut stdout = io::stdout().lock();
    if stdout.is_terminal() {
        return Err(Failure::usage("a private key is not shown on a terminal")
            .hint("write it to a file with `-o FILE`, or into a pipe"));
    }
    let written = stdout.write_all(key.to_text().as_bytes()).and_then(|()| stdout.flush());
    written.map_err(|error| Failure::new("the key was not exported").because(&error))
}

fn import(
    keys: &KeyFolder,
    file: &std::path::Path,
    name: Option<&Name>,
    context: &Context,
) -> Result<(), Failure> {
    let what = shown(file);
    let imported = if file.as_os_str() == "-" {
        keys.import(io::stdin().lock(), "standard input", name)
    } else {
        let source = File::open(file)
            .map_err(|error| Failure::new(format!("cannot open `{what}`")).because(&error))?;
        keys.import(source, &what, name)
    };
    let key = imported.map_err(|error| failure("the key was not imported", &error))?;
    context.terminal.print(key.public().to_string());
    context.terminal.say(format!("imported the key `{}`", key.name()));
    Ok(())
}

fn failure(message: &str, error: &KeyError) -> Failure {
    let failure = Failure::new(message).because(error);
    let hint = match error {
        KeyError::Exposed { .. } => {
            error.mend().map(|command| format!("`{command}`, if nobody else has read it yet"))
        }
        KeyError::None => Some("`pack key generate` makes one".to_owned()),
        KeyError::Several { names } => Some(format!("name one of them: {}", joined(names))),
        KeyError::Missing { name, known } => missing_hint(name, known),
        KeyError::Exists { .. } => Some("choose another name; a key is never overwritten".to_owned()),
        _ => None,
    };
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

fn missing_hint(name: &Name, known: &[Name]) -> Option<String> {
    let near = nearest(name.as_str(), known.iter().map(Name::as_str));
    match (near, known) {
        (Some(near), _) => Some(format!("did you mean `{near}`?")),
        (None, []) => Some(format!("`pack key generate {name}` makes it")),
        (None, known) => Some(format!("there are: {}", joined(known))),
    }
}

fn joined(names: &[Name]) -> String {
    names.iter().map(Name::as_str).collect::<Vec<_>>().join(", ")
}
