//! Commands, desktop entries and icons. What installing would refuse or leave out is not judged here, but by the code that
//! installs, which the caller brings as [`Exports`]: the two cannot disagree.

use pack_schemas::desktop::{DESKTOP_LIMIT, DesktopEntry, Launch};
use pack_schemas::manifest::{Manifest, RelativePath};
use pack_schemas::text::nearest;

use super::checks::{
    COMMAND_MISSING, COMMAND_NOT_EXECUTABLE, DESKTOP_ALTERED, DESKTOP_NOT_NAMED, DESKTOP_REFUSED,
    ICON_MISSING, ICON_REFUSED,
};
use super::listing::{Kind, Listing};
use super::view::{Place, View};
use super::{Findings, Request, shown};

/// Programs that a command is compared with, and how long their paths may be: comparing takes time.
const NEAR_MOST: usize = 200;
const NEAR_LONGEST: usize = 128;

/// What installing a package would make of its desktop entries and icons.
pub trait Exports {
    /// What would be refused, left out or altered.
    fn problems(&self, manifest: &Manifest, files: &Listing) -> Vec<ExportProblem>;
}

/// Something that would not be exported as it is in the package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExportProblem {
    /// The package would be refused because of a desktop entry.
    Refused {
        /// The entry in the package.
        path: String,
        /// Why.
        reason: String,
    },
    /// Keys or groups of a desktop entry would be left out.
    LeftOut {
        /// The entry in the package.
        path: String,
        /// They.
        keys: Vec<String>,
    },
    /// An icon would be left out.
    Icon {
        /// The icon in the package.
        path: String,
        /// Why.
        reason: String,
    },
}

pub(super) fn look(request: &Request<'_>, found: &mut Findings) {
    let manifest = request.manifest;
    let view = View::new(request);
    for (name, app) in &manifest.apps {
        command(request, &view, &format!("the command of the app {name}"), &app.command, found);
        for program in &app.command_chain {
            command(request, &view, &format!("in the command chain of the app {name}"), program, found);
        }
    }
    if let Some(icon) = &manifest.icon
        && !is_file(request.files, icon.as_str())
    {
        let message = "is named as the package's icon, and there is no such file in the package".to_owned();
        found.file(
            ICON_MISSING,
            icon.as_str().as_bytes(),
            message,
            "name the path of a PNG or SVG in the package",
        );
    }
    for problem in request.exports.problems(manifest, request.files) {
        tell(problem, found);
    }
    unnamed(request, found);
}

fn command(request: &Request<'_>, view: &View<'_>, what: &str, path: &RelativePath, found: &mut Findings) {
    let path = path.as_str();
    let entry = match view.resolve(&view.inside(path.as_bytes())) {
        Place::Package(entry) => entry,
        // A link to a program of the base is a program as well.
        Place::Base(_) | Place::Sandbox | Place::Unknown => return,
        Place::Folder | Place::Missing => {
            let message = format!("is {what}, and there is no such file in the package");
            found.file(COMMAND_MISSING, path.as_bytes(), message, hint_for_missing(request, path));
            return;
        }
    };
    if !entry.is_executable() {
        let message = format!("is {what}, and cannot be executed (mode {:04o})", entry.mode);
        found.file(
            COMMAND_NOT_EXECUTABLE,
            path.as_bytes(),
            message,
            "chmod +x it in the source, or in a script of the part",
        );
    }
}

/// What to write in place of a path that is not there.
fn hint_for_missing(request: &Request<'_>, path: &str) -> String {
    if request.manifest.parts.is_empty() {
        return "the manifest has no `parts`, and they are what brings files into the package".to_owned();
    }
    // Long lists are of large packages; where one is among the first, it is near enough.
    let programs = request.files.entries().iter();
    let programs =
        programs.filter(|entry| entry.is_executable() && entry.path.len() <= NEAR_LONGEST).take(NEAR_MOST);
    let programs: Vec<&str> = programs.filter_map(|entry| std::str::from_utf8(&entry.path).ok()).collect();
    let (program, rest) = path.split_once(' ').unwrap_or((path, ""));
    if !rest.is_empty() && is_file(request.files, program) {
        return format!(
            "a command is a path alone: `{program}`; arguments are what a script of yours gives it"
        );
    }
    let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    // The same program in another folder comes first.
    let same = programs.iter().copied().find(|program| name(program) == name(path));
    match same.or_else(|| nearest(path, programs.iter().copied())) {
        Some(near) => format!("did you mean `{}`?", shown(near.as_bytes())),
        None => "write the path that the program has below `.pack/prime`, after `pack build --step prime`"
            .to_owned(),
    }
}

fn is_file(files: &Listing, path: &str) -> bool {
    files.find(path.as_bytes()).is_some_and(|entry| matches!(entry.kind, Kind::File(_)))
}

/// Keys that change nothing for an entry that pack starts.
fn is_idle(key: &str) -> bool {
    matches!(key, "Version" | "Encoding" | "TryExec") || key.starts_with("X-")
}

fn tell(problem: ExportProblem, found: &mut Findings) {
    match problem {
        ExportProblem::Refused { path, reason } => {
            let message = format!("keeps the package from being installed: {}", shown(reason.as_bytes()));
            found.file(
                DESKTOP_REFUSED,
                path.as_bytes(),
                message,
                "mend it in a script of the part, or take `desktop` from the app",
            );
        }
        ExportProblem::LeftOut { path, keys } => {
            let keys = keys.iter().filter(|key| !is_idle(key)).take(10);
            let keys: Vec<String> = keys.map(|key| shown(key.as_bytes())).collect();
            if keys.is_empty() {
                return;
            }
            let message = format!("is installed without {}", keys.join(", "));
            let hint = "a menu entry starts its app through pack, which knows no such keys: see that the app can do without what they ask for";
            found.file(DESKTOP_ALTERED, path.as_bytes(), message, hint);
        }
        ExportProblem::Icon { path, reason } => {
            let message = format!(
                "is an icon that is left out when the package is installed: {}",
                shown(reason.as_bytes())
            );
            found.file(
                ICON_REFUSED,
                path.as_bytes(),
                message,
                "give a PNG of at most 1024 pixels a side, or a plain SVG",
            );
        }
    }
}

/// Entries of the package that would start one of its apps, and that the app does not name.
fn unnamed(request: &Request<'_>, found: &mut Findings) {
    let manifest = request.manifest;
    let named = |path: &[u8]| {
        manifest
            .apps
            .values()
            .any(|app| app.desktop.as_ref().is_some_and(|its| its.as_str().as_bytes() == path))
    };
    for entry in
        request.files.below(b"usr/share/applications").filter(|entry| entry.path.ends_with(b".desktop"))
    {
        if !matches!(entry.kind, Kind::File(_)) || named(&entry.path) {
            continue;
        }
        let Ok(text) = request.files.read(entry, DESKTOP_LIMIT + 1) else { continue };
        let Ok(parsed) = DesktopEntry::parse(&text) else { continue };
        let app = manifest.apps.iter().filter(|(_, app)| app.desktop.is_none()).find(|(app, _)| {
            let apps = [((*app).clone(), manifest.apps[*app].clone())].into();
            let icons = std::collections::BTreeMap::new();
            let launch = Launch {
                pack: "/pack",
                package: &manifest.name,
                app,
                apps: &apps,
                icons: &icons,
                default_icon: None,
            };
            parsed.export(&launch).is_ok()
        });
        if let Some((app, _)) = app {
            let path = shown(&entry.path);
            let message = format!("starts the app {app}, which does not name it: it gets no menu entry");
            found.file(
                DESKTOP_NOT_NAMED,
                &entry.path,
                message,
                format!("write `desktop: {path}` in the app {app}"),
            );
        }
    }
}
