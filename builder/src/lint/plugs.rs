//! Plugs and slots: what is declared and not used, and what is of an interface that there is not.

use std::collections::BTreeSet;

use pack_launcher::interfaces;
use pack_schemas::manifest::Manifest;
use pack_schemas::names::Name;
use pack_schemas::text::nearest;

use super::Findings;
use super::checks::{INTERFACE_UNKNOWN, PLUG_UNUSED};

pub(super) fn look(manifest: &Manifest, found: &mut Findings) {
    let of_hooks = manifest.hooks.values().flat_map(|hook| &hook.plugs);
    let used: BTreeSet<&Name> = manifest.apps.values().flat_map(|app| &app.plugs).chain(of_hooks).collect();
    for plug in manifest.plugs.keys().filter(|plug| !used.contains(plug)) {
        let message = "is declared, and no app uses it".to_owned();
        let hint = format!("add it to the app's own list, `plugs: [{plug}]`, or take it away");
        found.file(PLUG_UNUSED, format!("plugs.{plug}").as_bytes(), message, hint);
    }
    let slots = manifest.apps.values().flat_map(|app| &app.slots).chain(manifest.slots.keys());
    let slots: BTreeSet<&Name> = slots.collect();
    let all = used.iter().map(|name| ("plugs", *name)).chain(slots.iter().map(|name| ("slots", *name)));
    for (side, name) in all {
        let interface = manifest.interface_of(name);
        if interfaces::names().any(|known| known == interface.as_str()) {
            continue;
        }
        let message = format!("is of the interface `{interface}`, which this pack does not have");
        let near = nearest(interface.as_str(), interfaces::names());
        let hint = near.map_or_else(
            || "`pack interfaces` lists them".to_owned(),
            |near| format!("did you mean `{near}`?"),
        );
        found.file(INTERFACE_UNKNOWN, format!("{side}.{name}").as_bytes(), message, hint);
    }
}
