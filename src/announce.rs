//! What a manifest says that a person should know besides permissions: in `pack build` and `pack install` what this version of pack
//! does not do with it, in `pack inspect` and `pack info` a line for each.

use pack_schemas::manifest::{Confinement, Manifest};
use pack_schemas::text::visible;

/// What this version does not do of what the manifest asks for, a sentence each.
pub fn not_done(manifest: &Manifest) -> Vec<String> {
    let mut lines = Vec::new();
    let services = services(manifest);
    if !services.is_empty() {
        let names = services.join(", ");
        let (are, they) =
            if services.len() == 1 { ("is a service", "it runs") } else { ("are services", "they run") };
        lines.push(format!("{names} {are}, and this version of pack starts none: {they} when somebody starts them with `pack run`"));
    }
    if !manifest.hooks.is_empty() {
        lines.push(format!("this version of pack does not run hooks ({})", hooks(manifest).join(", ")));
    }
    lines
}

/// A label and a text for each thing that is not in every manifest.
pub fn rows(manifest: &Manifest) -> Vec<(&'static str, String)> {
    let mut rows = Vec::new();
    if manifest.confinement == Confinement::Devmode {
        rows.push(("confinement:", "devmode: its publisher is not yet done with what it needs".to_owned()));
    }
    if !manifest.epoch.is_default() {
        rows.push(("epoch:", manifest.epoch.to_string()));
    }
    for (name, app) in &manifest.apps {
        if let Some(id) = &app.common_id {
            rows.push(("common-id:", format!("{} ({name})", visible(id))));
        }
        rows.extend(app.aliases.iter().map(|alias| ("alias:", format!("{alias} ({name})"))));
    }
    rows.extend(manifest.layout.keys().map(|place| ("layout:", visible(place))));
    rows.extend(
        services(manifest).iter().map(|name| ("service:", format!("{name} (not started by this version)"))),
    );
    rows.extend(hooks(manifest).iter().map(|name| ("hook:", format!("{name} (not run by this version)"))));
    rows
}

fn services(manifest: &Manifest) -> Vec<&str> {
    manifest.apps.iter().filter(|(_, app)| app.is_service()).map(|(name, _)| name.as_str()).collect()
}

fn hooks(manifest: &Manifest) -> Vec<&'static str> {
    manifest.hooks.keys().map(|name| name.as_str()).collect()
}
