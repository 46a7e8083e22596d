//! autotools: `configure`, `make`, `make install` with DESTDIR.
//!
//! A source without `configure` gets one first: from its `autogen.sh`, else its `bootstrap`, else from `autoreconf`.
//! `autotools-bootstrap-parameters` are arguments of the script that does, `autotools-configure-parameters` of `configure`,
//! after `--prefix=/usr`.

use pack_schemas::manifest::{Part, Plugin};

use super::make::{COMPILERS, MAKE, commands};
use super::{Command, Places, PluginError, Recipe, tool};

pub(super) fn recipe(part: &Part, places: &Places<'_>) -> Recipe {
    let mut tools = vec![MAKE];
    if !places.has("configure") {
        tools.extend([tool("autoreconf", "autoconf"), tool("automake", "automake")]);
    }
    let usual = [COMPILERS, &["autoconf", "automake", "autopoint", "libtool", "pkg-config"]].concat();
    Recipe { tools, usual, build: build(part, places), ..Recipe::default() }
}

fn build(part: &Part, places: &Places<'_>) -> Result<Vec<Command>, PluginError> {
    let mut build = Vec::new();
    if !places.has("configure") {
        build.push(bootstrap(part, places)?);
    }
    // By the shell that it is written for: not every archive keeps that a file can be executed.
    let configure = Command::new("/bin/sh", ["./configure", "--prefix=/usr"]);
    build.push(configure.with(&part.autotools_configure_parameters));
    build.extend(commands(places, &[]));
    Ok(build)
}

fn bootstrap(part: &Part, places: &Places<'_>) -> Result<Command, PluginError> {
    places
        .need(Plugin::Autotools, &["configure", "autogen.sh", "bootstrap", "configure.ac", "configure.in"])?;
    let script = ["autogen.sh", "bootstrap"].into_iter().find(|name| places.has(name));
    Ok(match script {
        Some(name) => Command::new(&format!("./{name}"), [""; 0])
            .with(&part.autotools_bootstrap_parameters)
            .set("NOCONFIGURE", "1"),
        None => Command::new("autoreconf", ["--install"]).with(&part.autotools_bootstrap_parameters),
    })
}
