//! Desktop entries, and the icons that they name.

use std::collections::BTreeMap;

use pack_schemas::desktop::{DESKTOP_LIMIT, DesktopEntry, DesktopError, Launch};
use pack_schemas::manifest::RelativePath;
use pack_schemas::names::Name;
use pack_schemas::state::ExportPlace;

use super::icons::{self, Found, Icon};
use super::{ExportError, ExportFile, ExportPlan, ExportWarning, Material, export};
use crate::reader::FileKind;

/// Adds the desktop entry of an app to the plan, if it has one, after the icons that it names.
pub(super) fn plan(
    package: Material<'_>,
    app: &Name,
    pack: &str,
    plan: &mut ExportPlan,
) -> Result<(), ExportError> {
    let manifest = package.manifest;
    let name = &manifest.name;
    let Some(path) = manifest.apps.get(app).and_then(|app| app.desktop.as_ref()) else { return Ok(()) };
    let refused = |source| ExportError::Desktop { app: app.clone(), path: path.clone(), source };
    let entry = DesktopEntry::parse(&read(package, app, path)?).map_err(refused)?;
    let mut substitutes = BTreeMap::new();
    for icon in entry.icons() {
        if let Some(substitute) = add_icon(package, app, icons::find(package, &icon)?, plan) {
            substitutes.insert(icon, substitute);
        }
    }
    let default_icon = match &manifest.icon {
        Some(icon) if substitutes.is_empty() => add_icon(package, app, icons::at_path(package, icon), plan),
        _ => None,
    };
    let launch = Launch {
        pack,
        package: name,
        app,
        apps: &manifest.apps,
        icons: &substitutes,
        default_icon: default_icon.as_deref(),
    };
    let exported = entry.export(&launch).map_err(refused)?;
    plan.files.push(ExportFile {
        export: export(ExportPlace::Applications, format!("{name}_{app}.desktop")),
        bytes: exported.text.into_bytes(),
        mode: 0o644,
    });
    if !exported.left_out.is_empty() {
        plan.left_out.insert(path.clone(), exported.left_out);
    }
    Ok(())
}

/// Adds the entry with which the desktop starts an app, if it may ask for that.
pub(super) fn plan_autostart(
    package: Material<'_>,
    app: &Name,
    pack: &str,
    plan: &mut ExportPlan,
) -> Result<(), ExportError> {
    let manifest = package.manifest;
    let name = &manifest.name;
    let Some(path) = manifest.apps.get(app).and_then(|app| app.autostart.clone()) else { return Ok(()) };
    let title = manifest.title.as_deref().unwrap_or(name.as_str());
    let text = pack_schemas::desktop::autostart(pack, name, app, title).map_err(|source| {
        // The name of an entry is a path of one component.
        let path = RelativePath::try_from(path).unwrap_or_else(|_| manifest.apps[app].command.clone());
        ExportError::Desktop { app: app.clone(), path, source }
    })?;
    plan.files.push(ExportFile {
        export: export(ExportPlace::Autostart, format!("{name}_{app}.desktop")),
        bytes: text.into_bytes(),
        mode: 0o644,
    });
    Ok(())
}

/// Reads the desktop entry, which has to be a regular file: a FIFO is never opened, a link never followed.
fn read(package: Material<'_>, app: &Name, path: &RelativePath) -> Result<Vec<u8>, ExportError> {
    let failed = |source| ExportError::Read { path: path.to_string(), source };
    let no_entry = |problem| ExportError::NoEntry { app: app.clone(), path: path.clone(), problem };
    match package.files.kind(path.as_str()).map_err(failed)? {
        None => Err(no_entry("is missing")),
        Some(FileKind::Regular { size }) if size > DESKTOP_LIMIT as u64 => {
            let (app, path, source) = (app.clone(), path.clone(), DesktopError::TooLong);
            Err(ExportError::Desktop { app, path, source })
        }
        Some(FileKind::Regular { .. }) => {
            package.files.read(path.as_str(), DESKTOP_LIMIT as u64).map_err(failed)
        }
        Some(_) => Err(no_entry("is not a regular file")),
    }
}

/// Adds an icon's files to the plan, and returns the name by which the entry is to call it.
fn add_icon(package: Material<'_>, app: &Name, found: Found, plan: &mut ExportPlan) -> Option<String> {
    for (path, problem) in found.problems {
        let warning = ExportWarning::Icon { app: app.clone(), path, problem };
        if !plan.warnings.contains(&warning) {
            plan.warnings.push(warning);
        }
    }
    match found.icon {
        Icon::Exported { name, files } => {
            for file in files {
                if !plan.files.iter().any(|earlier| earlier.export == file.export) {
                    plan.files.push(file);
                }
            }
            Some(name)
        }
        Icon::OfTheme(name) if package.manifest.icon.is_none() => Some(name),
        Icon::OfTheme(_) | Icon::Unusable => None,
    }
}
