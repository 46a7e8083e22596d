//! Git repositories. Git reads what anybody wrote, so it runs in the sandbox of the pull step, with a configuration of its own:
//! no settings of the user or the machine, no hooks, no credentials, no questions, no programs as transports.
//!
//! 1. [`commands`]: the repository is fetched and checked out; submodules too, at the commits that it names, and theirs.
//! 2. [`finish`]: the commit is read, compared with `source-commit`, and everything called `.git` is removed: what git keeps
//!    there differs from one clone to the next, and a build of the same commit is to read the same. What `git describe`
//!    would say is read before.
//!
//! Without `source-depth` one commit is fetched, or the whole history where `source-commit` names the commit, since few
//! servers give a commit by its hash alone. The whole history comes with its tags.

use std::collections::BTreeMap;
use std::io::{self, Read};
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
    ("core.attributesFile", "/dev/null"),
    ("core.autocrlf", "false"),
    ("core.fsmonitor", "false"),
    ("core.hooksPath", "/dev/null"),
    ("core.symlinks", "true"),
    ("credential.helper", ""),
    ("fetch.recurseSubmodules", "false"),
    ("gc.auto", "0"),
    // A server that says nothing for so many seconds is given up.
    ("http.lowSpeedLimit", "1"),
    ("http.lowSpeedTime", "60"),
    ("init.defaultBranch", "main"),
    ("maintenance.auto", "false"),
    ("protocol.allow", "never"),
    ("protocol.git.allow", "always"),
    ("protocol.http.allow", "always"),
    ("protocol.https.allow", "always"),
    ("protocol.ssh.allow", "always"),
    ("submodule.recurse", "false"),
];

/// A file of settings beside the repository's own, and the one that has to stand there: which repositories of other users are
/// read. The process that serves a repository of this machine is told no settings through its environment.
const SETTINGS_FILE: &str = ".git/pack-settings";
const OTHERS: [&str; 2] = ["safe.directory", "*"];
/// What `git describe` would say.
const VERSION_FILE: &str = ".git/pack-version";
/// Longest file of those that are read of what git made, in bytes.
const FILE_LIMIT: u64 = 4096;

/// Fetches the submodules of a submodule, as long as they are not nested beyond measure: each level has its folder of git's
/// in that of the one above it.
const NESTED: &str = r#"case "$(git rev-parse --absolute-git-dir)" in
*/modules/*/modules/*/modules/*/modules/*/modules/*/modules/*/modules/*/modules/*/modules/*)
  echo "submodules are nested more than eight deep" >&2; exit 1 ;;
esac
git submodule --quiet update --init"#;

/// The commands that fetch the repository of a part into the folder that they run in; none where its source is no
/// repository. `project` is the project's folder as they see it, and `folder` the one that they run in.
pub fn commands(part: &Part, project: &str, folder: &str) -> Vec<Command> {
    let (Some(source), Some(SourceType::Git)) = (&part.source, part.source_kind()) else { return Vec::new() };
    let is_local = !is_remote(source);
    let address = match is_local {
        true => format!("{project}/{source}"),
        false => source.strip_prefix("git+").unwrap_or(source).to_owned(),
    };
    let git = |arguments: &[&str]| command(is_local, folder, arguments);
    let tag = part.source_tag.as_ref().map(|tag| format!("refs/tags/{tag}:refs/tags/{tag}"));
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
    }
    if depth.is_none() {
        fetch.push("+refs/tags/*:refs/tags/*");
    }
    let is_sha256 = part.source_commit.as_ref().is_some_and(|commit| commit.len() == 64);
    let format = if is_sha256 { "--object-format=sha256" } else { "--object-format=sha1" };
    let describe = "--format=%(describe:tags=true,abbrev=12)";
    let mut commands = vec![
        git(&["init", "--quiet", "--template=", format, "."]),
        git(&["config", "--file", SETTINGS_FILE, OTHERS[0], OTHERS[1]]),
        // Addresses of submodules may be relative to that of the repository.
        git(&["config", "remote.origin.url", &address]),
        git(&fetch),
        git(&["checkout", "--quiet", "--detach", checked_out]),
        git(&["log", "-1", &format!("--output={VERSION_FILE}"), describe]),
    ];
    if part.source_submodules.as_ref().is_none_or(|names| !names.is_empty()) {
        let mut update = vec!["submodule", "--quiet", "update", "--init", "--"];
        update.extend(part.source_submodules.iter().flatten().map(String::as_str));
        commands.push(git(&update));
        commands.push(git(&["submodule", "--quiet", "foreach", "--recursive", NESTED]));
    }
    commands
}

fn command(is_local: bool, folder: &str, arguments: &[&str]) -> Command {
    let mut settings = SETTINGS.to_vec();
    if is_local {
        settings.push(("protocol.file.allow", "always"));
    }
    let mut environment = BTreeMap::from(
        [
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CONFIG_GLOBAL", format!("{folder}/{SETTINGS_FILE}").as_str()),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_ASKPASS", "false"),
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
    let commit = read(&target.join(".git/HEAD"))?;
    let version = read(&target.join(VERSION_FILE))?;
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
    let version = if version.is_empty() { commit[..12].to_owned() } else { version };
    let digest = BTreeMap::from([("gitCommit".to_owned(), commit)]);
    Ok(Some(Fetched { address: source.clone(), digest, size: None, version: Some(version) }))
}

/// The one line of a small file that git made.
fn read(path: &Path) -> Result<String, FileError> {
    let opened = || -> io::Result<String> {
        let file = files::open_file(path)?;
        let mut text = String::new();
        file.take(FILE_LIMIT).read_to_string(&mut text)?;
        Ok(text)
    };
    let text = opened().map_err(|source| FileError::at("read", path, source))?;
    Ok(text.trim().to_owned())
}
