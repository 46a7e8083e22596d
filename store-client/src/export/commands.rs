//! Commands: small scripts that start an app through pack.
//!
//! A script costs 0.8 ms more at each start than a link to pack would (dash, measured). It is a script all the same:
//! everybody can read what it does, it bears its mark in itself, and pack never has to guess from the name under which
//! it was started what it is to do.

use pack_schemas::manifest::service::Alias;
use pack_schemas::names::{Name, PackageName};
use pack_schemas::state::ExportPlace;

use super::{ExportFile, export};

const SHELL: &str = "#!/bin/sh";
const MARK: &str = "# pack-export ";

/// The command of an app: `NAME` for the app that bears the package's name, else `NAME.APP`.
pub(super) fn plan(package: &PackageName, app: &Name, pack: &str) -> ExportFile {
    let command =
        if app.as_str() == package.as_str() { package.to_string() } else { format!("{package}.{app}") };
    plan_as(command, package, app, pack)
}

/// Another name for the command of an app.
pub(super) fn plan_alias(alias: &Alias, package: &PackageName, app: &Name, pack: &str) -> ExportFile {
    plan_as(alias.to_string(), package, app, pack)
}

fn plan_as(command: String, package: &PackageName, app: &Name, pack: &str) -> ExportFile {
    let text = format!(
        "{SHELL}\n{MARK}{package} {app}\n# It goes when the package does: pack remove {package}\n\
         exec {} run {package}.{app} -- \"$@\"\n",
        quoted(pack)
    );
    ExportFile { export: export(ExportPlace::Commands, command), bytes: text.into_bytes(), mode: 0o755 }
}

/// The package that exported a command: nothing for a file that pack did not write.
pub(super) fn exported_by(bytes: &[u8]) -> Option<PackageName> {
    let mut lines = str::from_utf8(bytes).ok()?.lines();
    let mark = lines.next().filter(|line| *line == SHELL).and_then(|_| lines.next())?.strip_prefix(MARK)?;
    let (package, app) = mark.split_once(' ')?;
    app.parse::<Name>().ok()?;
    package.parse().ok()
}

/// Quotes a word for a POSIX shell (Shell Command Language, 2.2.2: in single quotes nothing is special).
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_names_the_app_and_ends_packs_own_options() {
        let file = plan(&"hello".parse().unwrap(), &"hello".parse().unwrap(), "/usr/bin/pack");
        assert_eq!(
            String::from_utf8(file.bytes).unwrap(),
            "#!/bin/sh\n# pack-export hello hello\n# It goes when the package does: pack remove hello\n\
             exec '/usr/bin/pack' run hello.hello -- \"$@\"\n"
        );
        assert_eq!((file.export.path.as_str(), file.mode), ("hello", 0o755));
        let other = plan(&"hello".parse().unwrap(), &"world".parse().unwrap(), "/usr/bin/pack");
        assert_eq!(other.export.path.as_str(), "hello.world");
        assert_eq!(exported_by(&other.bytes), Some("hello".parse().unwrap()));
    }

    #[test]
    fn what_pack_did_not_write_is_not_known() {
        for text in [
            "",
            "#!/bin/sh\n",
            "#!/bin/sh\necho\n# pack-export hello hello\n",
            "#!/bin/bash\n# pack-export hello hello\n",
            "#!/bin/sh\n# pack-export hello\n",
            "#!/bin/sh\n# pack-export ../x y\n",
        ] {
            assert_eq!(exported_by(text.as_bytes()), None, "{text}");
        }
        assert_eq!(exported_by(b"\x7fELF\xff"), None);
    }

    /// firejail joined a command line into a shell's; here the shell gets arguments as they are, and a path of any
    /// shape.
    #[test]
    fn cve_2020_17368_a_real_shell_passes_every_argument_and_path_as_it_is() {
        use std::os::unix::fs::PermissionsExt;
        let place = tempfile::tempdir().unwrap();
        let pack = place.path().join("it's $(a) `b` \"pack\"");
        std::fs::write(&pack, "#!/bin/sh\nfor a; do printf '[%s]' \"$a\"; done\n").unwrap();
        std::fs::set_permissions(&pack, PermissionsExt::from_mode(0o755)).unwrap();
        let file = plan(&"hello".parse().unwrap(), &"hello".parse().unwrap(), pack.to_str().unwrap());
        let script = place.path().join("hello");
        std::fs::write(&script, file.bytes).unwrap();
        let arguments = ["--shell", "", "a b", "$(id)", "`id`", "*", "'", "\"", "\\", "-n", "\n"];
        let output = std::process::Command::new("/bin/sh").arg(&script).args(arguments).output().unwrap();
        let expected: String =
            ["run", "hello.hello", "--"].iter().chain(&arguments).map(|a| format!("[{a}]")).collect();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
    }
}
