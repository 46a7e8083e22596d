//! How the programs of a part find what earlier parts have staged: headers, libraries, pkg-config's files, programs.

use std::collections::BTreeMap;

use super::{Places, variables};

/// The variables. What is not there yet is no hindrance to a compiler.
pub(super) fn environment(places: &Places<'_>) -> BTreeMap<String, String> {
    let Places { stage, triplet, .. } = places;
    let below = |folders: &[&str]| -> Vec<String> {
        folders.iter().map(|folder| format!("{stage}/{}", folder.replace("TRIPLET", triplet))).collect()
    };
    let headers =
        below(&["usr/local/include", "usr/include", "usr/include/TRIPLET", "include", "include/TRIPLET"]);
    let libraries =
        below(&["usr/local/lib", "usr/lib", "usr/lib/TRIPLET", "usr/lib64", "lib", "lib/TRIPLET", "lib64"]);
    let packages = [
        below(&["usr/local/share/pkgconfig", "usr/share/pkgconfig", "share/pkgconfig"]),
        libraries.iter().map(|folder| format!("{folder}/pkgconfig")).collect(),
    ];
    let programs = below(&["usr/local/bin", "usr/local/sbin", "usr/bin", "usr/sbin", "bin", "sbin"]);
    let words = |before: &str, folders: &[String]| -> String {
        folders.iter().map(|folder| format!("{before}{folder}")).collect::<Vec<_>>().join(" ")
    };
    let flags = words("-isystem ", &headers);
    // A library's own libraries are not named on the linker's command line; it looks for them in the second kind of folders.
    let linking = format!("{} {}", words("-L", &libraries), words("-Wl,-rpath-link,", &libraries));
    variables([
        ("PATH", format!("{}:$PATH", programs.join(":"))),
        ("CPPFLAGS", flags.clone()),
        ("CFLAGS", flags.clone()),
        ("CXXFLAGS", flags),
        ("LDFLAGS", linking),
        ("PKG_CONFIG_PATH", packages.concat().join(":")),
        ("CMAKE_PREFIX_PATH", below(&["usr/local", "usr"]).join(":") + ":" + stage),
        ("ACLOCAL_PATH", below(&["usr/local/share/aclocal", "usr/share/aclocal"]).join(":")),
    ])
}
