//! Whole entries: what is exported, and what is refused.

use super::*;

const PLAIN: &str =
    "[Desktop Entry]\nType=Application\nName=Galculator\nExec=galculator %F\nIcon=galculator\n";

fn apps() -> BTreeMap<Name, App> {
    let app =
        |command: &str| -> App { serde_json::from_value(serde_json::json!({ "command": command })).unwrap() };
    let list = [("galculator", "usr/bin/galculator"), ("tool", "usr/libexec/tool-bin")];
    list.into_iter().map(|(name, command)| (name.parse().unwrap(), app(command))).collect()
}

fn export(text: &str) -> Result<Exported, DesktopError> {
    let (package, app) = ("galculator".parse().unwrap(), "galculator".parse().unwrap());
    let icons = BTreeMap::from([("galculator".to_owned(), "galculator_galculator".to_owned())]);
    let launch = Launch {
        pack: "/usr/bin/pack",
        package: &package,
        app: &app,
        apps: &apps(),
        icons: &icons,
        default_icon: None,
    };
    DesktopEntry::parse(text.as_bytes())?.export(&launch)
}

#[test]
fn an_entry_is_written_anew() {
    let text = "# comment\n[Desktop Entry]\nVersion=1.0\nType=Application\nName=Galculator\nName[de]=Taschenrechner\n\
        Comment=Do sums\nExec=galculator %F\nTryExec=/usr/bin/galculator\nPath=/tmp\nIcon=galculator\n\
        DBusActivatable=true\nX-KDE-RunOnAppExit=evil\nCategories=Utility;Calculator;\nMimeType=text/plain\n\
        Terminal=false\nActions=scientific;missing;\n\n[Desktop Action scientific]\nName=Scientific\n\
        Exec=/usr/libexec/tool-bin --mode=\"a b\"\nIcon=unknown\n\n[X-Other Group]\nExec=evil\n"
        .replace("--mode=\"a b\"", "\"--mode=a b\"");
    let exported = export(&text).unwrap();
    let expected = "[Desktop Entry]\nType=Application\nExec=/usr/bin/pack run galculator.galculator -- %F\n\
        Icon=galculator_galculator\nName=Galculator\nName[de]=Taschenrechner\nComment=Do sums\n\
        Categories=Utility;Calculator;\nMimeType=text/plain;\nTerminal=false\nX-Pack-Name=galculator\n\
        X-Pack-App=galculator\nActions=scientific;\n\n[Desktop Action scientific]\n\
        Exec=/usr/bin/pack run galculator.tool -- \"--mode=a b\"\nName=Scientific\n";
    assert_eq!(exported.text, expected);
    let left_out =
        ["DBusActivatable", "Icon", "Path", "TryExec", "Version", "X-KDE-RunOnAppExit", "[X-Other Group]"];
    assert_eq!(exported.left_out, left_out.map(str::to_owned).into());
}

#[test]
fn what_is_exported_is_known_again() {
    assert_eq!(exported_by(export(PLAIN).unwrap().text.as_bytes()), Some("galculator".parse().unwrap()));
    for other in [PLAIN.as_bytes(), b"", b"\xff", b"X-Pack-Name=../x\n", b"Comment=X-Pack-Name=galculator\n"]
    {
        assert_eq!(exported_by(other), None);
    }
}

#[test]
fn the_program_may_be_written_as_app_command_or_path() {
    for program in [
        "galculator",
        "galculator.galculator",
        "usr/bin/galculator",
        "/usr/bin/galculator",
        "/app/usr/bin/galculator",
        "\"galculator\"",
    ] {
        let exported = export(&PLAIN.replace("Exec=galculator", &format!("Exec={program}"))).unwrap();
        assert!(exported.text.contains("pack run galculator.galculator -- %F\n"), "{program}");
    }
}

#[test]
fn a_program_that_is_not_the_packages_is_refused_in_every_group() {
    for program in
        ["sh", "/bin/sh", "env", "/usr/bin/../bin/galculator", "galculator2", "galculator.other", "run"]
    {
        let main = PLAIN.replace("Exec=galculator", &format!("Exec={program}"));
        let action = format!("{PLAIN}Actions=a;\n[Desktop Action a]\nName=A\nExec={program}\n");
        for text in [main, action] {
            assert!(matches!(export(&text), Err(DesktopError::ForeignProgram { .. })), "{program}");
        }
    }
}

/// Flatpak forwarded host files that stood between `@@` tokens, which a package could write into its own entry.
#[test]
fn cve_2021_21381_a_launchers_own_tokens_are_refused() {
    for exec in
        ["galculator @@ %F @@", "galculator @@u %U @@", "galculator \"@@\" /etc/passwd", "galculator @@x"]
    {
        let text = PLAIN.replace("galculator %F", exec);
        assert!(matches!(export(&text), Err(DesktopError::LauncherMagic { .. })), "{exec}");
    }
    for key in ["X-Pack-Name=other", "X-Pack-App=x", "x-pack-anything=1", "X-PACK-Name[de]=x"] {
        for text in [format!("{PLAIN}{key}\n"), format!("{PLAIN}[Ignored Group]\n{key}\n")] {
            assert!(matches!(export(&text), Err(DesktopError::LauncherMagic { .. })), "{key}");
        }
    }
}

/// An argument is the app's, whatever it looks like: pack's own options end before it.
#[test]
fn cve_2024_32462_arguments_come_after_two_dashes() {
    let text = PLAIN.replace("galculator %F", "galculator --shell run -- %F");
    assert!(
        export(&text)
            .unwrap()
            .text
            .contains("Exec=/usr/bin/pack run galculator.galculator -- --shell run -- %F\n")
    );
}

#[test]
fn line_ends_hidden_in_values_cannot_add_a_key() {
    for (line, expected) in [
        (r"Name=a\nExec=evil", "Name=a Exec=evil\n"),
        (r"Name=a\r\n[Desktop Action x]", "Name=a  [Desktop Action x]\n"),
        ("Name=a\u{2028}Exec=evil", "Name=a Exec=evil\n"),
    ] {
        let text = export(&PLAIN.replace("Name=Galculator", line)).unwrap().text;
        assert!(text.contains(expected), "{text}");
        assert_eq!(text.lines().filter(|line| line.starts_with("Exec=")).count(), 1);
        assert_eq!(text.lines().filter(|line| line.starts_with('[')).count(), 1);
    }
    let in_exec = PLAIN.replace("%F", r"a\nExec=evil");
    assert!(matches!(export(&in_exec), Err(DesktopError::Exec { line: 4, .. })));
}

#[test]
fn entries_that_break_the_format_are_refused() {
    let syntax = |text: &str, line: usize| {
        let found = export(text);
        assert!(
            matches!(found, Err(DesktopError::Syntax { line: l, .. }) if l == line),
            "{text:?}: {found:?}"
        );
    };
    syntax("Name=x\n[Desktop Entry]\n", 1);
    syntax("[Other]\n", 1);
    syntax("[Desktop Entry\n", 1);
    syntax(&format!("{PLAIN}no equals sign\n"), 6);
    syntax(&format!("{PLAIN}Bad key=x\n"), 6);
    syntax(&format!("{PLAIN}Name[=x\n"), 6);
    syntax(&format!("{PLAIN}Comment=a\x1b[31m\n"), 6);
    syntax(&format!("{PLAIN}Comment=a\0\n"), 6);
    syntax(&PLAIN.replace('\n', "\r\n"), 1);
    syntax(&PLAIN.replace("Galculator", r"\x"), 3);
    for (text, what) in [
        (format!("{PLAIN}Name=Other\n"), "Name"),
        (format!("{PLAIN}Exec=evil\n"), "Exec"),
        (format!("{PLAIN}[Desktop Entry]\n"), "Desktop Entry"),
    ] {
        assert!(matches!(export(&text), Err(DesktopError::Twice { what: w, .. }) if w == what));
    }
    for key in ["Type", "Name", "Exec"] {
        let text: String = PLAIN.lines().filter(|l| !l.starts_with(key)).map(|l| format!("{l}\n")).collect();
        assert!(matches!(export(&text), Err(DesktopError::Missing { key: k, .. }) if k == key));
    }
    assert!(matches!(export(""), Err(DesktopError::Missing { .. })));
    let link = PLAIN.replace("Application", "Link");
    assert!(matches!(export(&link), Err(DesktopError::Type { .. })));
    let long = format!("{PLAIN}# {}\n", "x".repeat(DESKTOP_LIMIT));
    assert_eq!(export(&long), Err(DesktopError::TooLong));
    let groups: String = (0..100).map(|n| format!("[G{n}]\n")).collect();
    assert_eq!(export(&format!("{PLAIN}{groups}")), Err(DesktopError::TooLong));
    assert_eq!(DesktopEntry::parse(b"\xff\xfe"), Err(DesktopError::Encoding));
}

#[test]
fn pack_itself_has_to_be_at_a_path_that_an_exec_can_hold() {
    let (package, app) = ("galculator".parse().unwrap(), "galculator".parse().unwrap());
    let (entry, icons) = (DesktopEntry::parse(PLAIN.as_bytes()).unwrap(), BTreeMap::new());
    let exec = |pack| {
        let launch = Launch {
            pack,
            package: &package,
            app: &app,
            apps: &apps(),
            icons: &icons,
            default_icon: Some("own"),
        };
        entry.export(&launch).map(|exported| exported.text.lines().nth(2).unwrap().to_owned())
    };
    assert_eq!(exec("/home/a b/p%ck").unwrap(), "Exec=\"/home/a b/p%%ck\" run galculator.galculator -- %F");
    for bad in ["pack", "", "/a=b/pack", "/a\nb/pack"] {
        assert!(matches!(exec(bad), Err(DesktopError::PackPath { .. })), "{bad:?}");
    }
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic_or_writes_a_foreign_exec(text in r"(?s).{0,80}", at in 0usize..200) {
        let at = (0..=at.min(PLAIN.len())).rev().find(|at| PLAIN.is_char_boundary(*at)).unwrap();
        let text = format!("{}{text}{}", &PLAIN[..at], &PLAIN[at..]);
        if let Ok(exported) = export(&text) {
            for line in exported.text.lines().filter(|line| line.starts_with("Exec")) {
                assert!(line.starts_with("Exec=/usr/bin/pack run galculator."), "{line}");
            }
        }
    }
}
