//! meson: sets up a folder inside the build folder, builds with ninja, and installs with DESTDIR.
//!
//! `meson-parameters` come after `--prefix=/usr --buildtype=release`. Subprojects that would be downloaded are not: a source
//! that has need of them fetches them in `override-pull`.

use pack_schemas::manifest::{Part, Plugin};

use super::make::COMPILERS;
use super::{Command, Places, PluginError, Recipe, Tool, tool};

/// ninja itself.
pub(super) const NINJA: Tool = tool("ninja", "ninja-build");
/// Where a build that is kept apart from its source goes, in the build folder.
pub(super) const OUTPUT: &str = ".pack-build";

pub(super) fn recipe(part: &Part, places: &Places<'_>) -> Recipe {
    let usual = [COMPILERS, &["pkg-config"]].concat();
    Recipe {
        tools: vec![tool("meson", "meson"), NINJA],
        usual,
        build: build(part, places),
        ..Recipe::default()
    }
}

fn build(part: &Part, places: &Places<'_>) -> Result<Vec<Command>, PluginError> {
    places.need(Plugin::Meson, &["meson.build"])?;
    let setup = ["setup", "--prefix=/usr", "--buildtype=release", "--wrap-mode=nodownload"];
    Ok(vec![
        Command::new("meson", setup).with(&part.meson_parameters).with(&[OUTPUT.to_owned(), ".".to_owned()]),
        Command::new("ninja", ["-C".to_owned(), OUTPUT.to_owned(), places.jobs()]),
        Command::new("meson", ["install", "-C", OUTPUT, "--no-rebuild", "--destdir", places.install]),
    ])
}
