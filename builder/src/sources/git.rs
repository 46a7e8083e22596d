//! Git repositories. Git reads what anybody wrote, so it runs in the sandbox of the pull step, with a configuration of its own:
//! no settings of the user or the machine, no hooks, no credentials, no questions, no programs as transports.
//!
//! 1. [`commands`]: the repository is fetched and checked out; submodules too, at the commits that it names.
//! 2. [`finish`]: the commit is read, compared with `source-commit`, and everything called `.git` is removed: what git keeps
//!    there differs from one clone to the next, and a build of the same commit is to read the same.
//!
//! Without `source-depth` one commit is fetched, or the whole history where `source-commit` names the commit, since few
//! servers give a commit by its hash alone.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use pack_schemas::manifest::{Part, SourceType, is_remote};

use super::{Fetched, SourceError};
use crate::files::{self, FileError};
use crate::plugins::{Command, Tool};

/// What a part needs whose source is a repository.
pub const TOOL: Tool = Tool { program: "git", package: "git" };

/// Settings of every command (git-config(1)).
const SETTINGS: &[(&str, &str)] = &[
    ("advice.detachedHead", "false"),
    ("core.hooksPath", "/dev/null"),
    ("core.symlinks", "true"),
    ("core.autocrlf", "false"),
    ("credential.helper", ""),
    ("init.defaultBranch", "main"),
    ("protocol.allow", "never"),
    ("protocol.git.allow", "always"),
    ("protocol.http.allow", "always"),
    ("protocol.https.allow", "always"),
    ("protocol.ssh.allow", "always"),
    ("safe.directory", "*"),
];

/// The commands that fetch the repository of a part into the folder that they run in; none where its source is no
/// repository. `project` is the project's folder as they see it.
pub fn commands(part: &Part, project: &str) -> Vec<Command> {
    let (Some(source), Some(SourceType::Git)) = (&part.source, part.source_kind()) else { return Vec::new() };
    let is_local = !is_remote(source);
    let address = match is_local {
        true => format!("{project}/{source}"),
        false => source.strip_prefix("git+").unwrap_or(source).to_owned(),
    };
    let git = |arguments: &[&str]| command(is_local, arguments);
    let tag = part.source_tag.as_ref().map(|tag| format!("refs/tags/{tag}"));
    let branch = part.source_branch.as_ref().map(|branch| format!("refs/heads/{branch}"));
    let named = tag.or(branch).unwrap_or_else(|| "HEAD".to_owned());
    let depth = part.source_depth.unwrap_or(if part.source_commit.is_some() { 0 } else { 1 });
    let depth = (depth > 0).then(|| format!("--depth={depth}"));
    let wanted = match (&part.source_commit, &depth) {
        (Some(commit), Some(_)) => commit,
        _ => &named,
    };
    let checked_out = part.source_commit.as_deref().unwrap_or("FETCH_HEAD");
    let mut fetch = vec!["fetch", "--quiet", "--no-tags"];
    fetch.extend(depth.as_deref());
    fetch.extend(["--", &address, wanted]);
    // A commit need not be on the branch that HEAD is.
    if part.source_commit.is_some() && part.source_branch.is_none() && depth.is_none() {
        fetch.push("+refs/heads/*:refs/remotes/origin/*");
        fetch.push("+refs/tags/*:refs/tags/*");
    }
    let mut commands = vec![
        git(&["init", "--quiet", "."]),
        // Addresses of submodules may be relative to that of the repository.
        git(&["config", "remote.origin.url", &address]),
        git(&fetch),
        git(&["checkout", "--quiet", "--detach", checked_out]),
    ];
    if part.source_submodules.as_ref().is_none_or(|names| !names.is_empty()) {
        let mut update = vec!["submodule", "--quiet", "update", "--init", "--recursive"];
        let names = part.source_submodules.iter().flatten().map(String::as_str);
        update.push("--");
        update.extend(names);
        commands.push(git(&update));
    }
    commands
}

fn command(is_local: bool, arguments: &[&str]) -> Command {
    let mut settings = SETTINGS.to_vec();
    if is_local {
        settings.push(("protocol.file.allow", "always"));
    }
    let mut environment = BTreeMap::from(
        [
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_SSH_COMMAND", "ssh -o BatchMode=yes"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    environment.insert("GIT_CONFIG_COUNT".to_owned(), settings.len().to_string());
    for (at, (key, value)) in settings.into_iter().enumerate() {
        environment.insert(format!("GIT_CONFIG_KEY_{at}"), key.to_owned());
        environment.insert(format!("GIT_CONFIG_VALUE_{at}"), value.to_owned());
    }
    let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    Command { program: TOOL.program.to_owned(), arguments, environment }
}

/// Checks what the commands have fetched into `target`, and takes away what git keeps beside it.
///
/// # Errors
/// Where it is not the commit that was asked for, or cannot be read.
pub fn finish(part: &Part, target: &Path) -> Result<Option<Fetched>, SourceError> {
    let (Some(source), Some(SourceType::Git)) = (&part.source, part.source_kind()) else { return Ok(None) };
    let failed = |problem: String| SourceError::Git { address: source.clone(), problem };
    let head = target.join(".git/HEAD");
    let commit = fs::read_to_string(&head).map_err(|source| FileError::at("read", &head, source))?;
    let commit = commit.trim().to_owned();
    let is_hash = matches!(commit.len(), 40 | 64) && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_hash {
        return Err(failed("no commit is checked out".to_owned()));
    }
    if part.source_commit.as_ref().is_some_and(|wanted| !wanted.eq_ignore_ascii_case(&commit)) {
        return Err(failed(format!("the commit {commit} is checked out, and another was asked for")));
    }
    let own = files::list(target, |path| !path.parent().is_some_and(|parent| parent.ends_with(".git")))?;
    for entry in own.iter().filter(|entry| entry.path.ends_with(".git")) {
        files::remove_tree(&target.join(&entry.path))?;
    }
    Ok(Some(Fetched { address: source.clone(), digest: BTreeMap::from([("gitCommit".to_owned(), commit)]) }))
}
