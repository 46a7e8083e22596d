//! cmake: configures in a folder inside the build folder, builds, and installs with DESTDIR.
//!
//! `cmake-parameters` come after `-DCMAKE_INSTALL_PREFIX=/usr -DCMAKE_BUILD_TYPE=Release`, so that they have the last word;
//! `cmake-generator` is `Unix Makefiles` or `Ninja`.

use pack_schemas::manifest::{CmakeGenerator, Part, Plugin};

use super::make::{COMPILERS, MAKE};
use super::meson::{NINJA, OUTPUT};
use super::{Command, Places, PluginError, Recipe, tool};

pub(super) fn recipe(part: &Part, places: &Places<'_>) -> Recipe {
    let (_, builder) = generator(part);
    let usual = [COMPILERS, &["pkg-config"]].concat();
    Recipe {
        tools: vec![tool("cmake", "cmake"), builder],
        usual,
        build: build(part, places),
        ..Recipe::default()
    }
}

fn generator(part: &Part) -> (&'static str, super::Tool) {
    match part.cmake_generator {
        None | Some(CmakeGenerator::UnixMakefiles) => ("Unix Makefiles", MAKE),
        Some(CmakeGenerator::Ninja) => ("Ninja", NINJA),
    }
}

fn build(part: &Part, places: &Places<'_>) -> Result<Vec<Command>, PluginError> {
    places.need(Plugin::Cmake, &["CMakeLists.txt"])?;
    let (name, _) = generator(part);
    let settings = ["-DCMAKE_INSTALL_PREFIX=/usr", "-DCMAKE_BUILD_TYPE=Release"];
    let configure = Command::new("cmake", ["-S", ".", "-B", OUTPUT, "-G", name]);
    Ok(vec![
        configure.with(&settings.map(str::to_owned)).with(&part.cmake_parameters),
        Command::new("cmake", ["--build", OUTPUT, "--parallel", &places.parallel.to_string()]),
        Command::new("cmake", ["--install", OUTPUT]).set("DESTDIR", places.install),
    ])
}
