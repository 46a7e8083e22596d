//! `pack key`.

#[path = "support/assembled.rs"]
mod assembled;
mod support;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use assembled::fingerprint;
use support::{World, err, fail, has, out, pack_binary, skip, succeed};

#[test]
fn a_key_is_made_once_and_listed_with_its_fingerprint() {
    let world = World::new();
    let listed = succeed(world.pack(["key", "list"]));
    assert_eq!(out(&listed), "");
    assert!(err(&listed).contains("`pack key generate` makes one"));
    let made = succeed(world.pack(["key", "generate", "mine"]));
    let fingerprint = fingerprint(&world);
    assert_eq!(out(&made).trim_end(), fingerprint);
    assert_eq!(
        out(&succeed(world.pack(["key", "list"]))),
        format!("NAME  FINGERPRINT\nmine  {fingerprint}\n")
    );
    let json: serde_json::Value =
        serde_json::from_slice(&succeed(world.pack(["key", "list", "--json"])).stdout).unwrap();
    assert_eq!(json, serde_json::json!([{ "name": "mine", "fingerprint": fingerprint }]));
    assert_eq!(out(&succeed(world.pack(["key", "export"]))).trim_end(), fingerprint);
    let refused = fail(world.pack(["key", "generate", "mine"]), 1);
    assert_eq!(out(&refused), "");
    assert_eq!(
        err(&refused),
        "error: no key was made\n  caused by: there is a key `mine` already\n\n\
         hint: choose another name; a key is never overwritten\n"
    );
    assert_eq!(out(&succeed(world.pack(["key", "export", "mine"]))).trim_end(), fingerprint);
}

#[test]
fn pack_home_says_where_the_keys_are() {
    let world = World::new();
    let mut command = world.pack(["key", "generate"]);
    command.env("PACK_HOME", world.home("elsewhere"));
    succeed(command);
    assert!(world.home("elsewhere/keys/default.key").is_file());
    assert!(!world.home(".local").exists());
    let mut relative = world.pack(["key", "list"]);
    relative.env("PACK_HOME", "elsewhere");
    assert!(err(&fail(relative, 1)).contains("PACK_HOME is not an absolute path"));
}

#[test]
fn a_key_that_others_can_read_is_refused_with_the_mend() {
    let world = World::with_key();
    let file = world.home(".local/share/pack/keys/tester.key");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    for verb in [&["key", "list"][..], &["key", "export"], &["key", "export", "--private"]] {
        let refused = fail(world.pack(verb), 1);
        assert_eq!(out(&refused), "");
        assert!(err(&refused).contains("whose mode is 0644"), "{}", err(&refused));
        assert!(
            err(&refused).contains(&format!("hint: `chmod 600 {}`", file.display())),
            "{}",
            err(&refused)
        );
    }
}

#[test]
fn a_key_moves_from_one_home_to_another() {
    let (here, there) = (World::with_key(), World::new());
    succeed(here.pack(["key", "export", "--private", "-o", "exported"]));
    assert_eq!(fs::metadata(here.home("exported")).unwrap().permissions().mode() & 0o777, 0o600);
    // An exported key is not overwritten.
    fail(here.pack(["key", "export", "--private", "-o", "exported"]), 1);
    let piped = succeed(here.pack(["key", "export", "--private"]));
    assert_eq!(piped.stdout, fs::read(here.home("exported")).unwrap());

    there.write("imported", &piped.stdout);
    let imported = succeed(there.pack(["key", "import", "imported", "--name", "work"]));
    assert_eq!(out(&imported).trim_end(), fingerprint(&here));
    assert_eq!(fingerprint(&there), fingerprint(&here));
    let mut from_pipe = there.pack(["key", "import", "-"]);
    let mut child =
        from_pipe.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&piped.stdout).unwrap();
    assert!(child.wait().unwrap().success());
    let names = out(&succeed(there.pack(["key", "list"])));
    assert!(names.contains("tester  ") && names.contains("work    "), "{names}");
    let several = err(&fail(there.pack(["key", "export"]), 1));
    assert!(several.contains("hint: name one of them: tester, work"), "{several}");
}

#[test]
fn what_is_no_key_is_not_imported_and_not_shown() {
    let world = World::new();
    let secret = "a5".repeat(32);
    world.write("bad", format!("{{\"format\":1,\"name\":\"x\",\"public\":\"00\",\"secret\":\"{secret}\"}}"));
    for file in ["bad", "missing", ".", "/dev/null"] {
        let refused = fail(world.pack(["key", "import", file]), 1);
        assert!(!err(&refused).contains("a5a5") && err(&refused).starts_with("error: "), "{}", err(&refused));
    }
    assert_eq!(out(&succeed(world.pack(["key", "list"]))), "");
}

#[test]
fn a_private_key_is_not_shown_on_a_terminal() {
    if !has("script") {
        return skip("a_private_key_is_not_shown_on_a_terminal: script is not installed");
    }
    let world = World::with_key();
    let mut terminal = world.command("script");
    let command = format!("{} key export --private", pack_binary().display());
    terminal.args(["--quiet", "--return", "--command", &command, "/dev/null"]);
    let refused = out(&fail(terminal, 2));
    assert!(refused.contains("a private key is not shown on a terminal"), "{refused}");
    assert!(!refused.contains("secret"), "{refused}");
}

#[test]
fn wrong_usage_is_told_as_such() {
    let world = World::with_key();
    for arguments in [
        &["key"][..],
        &["key", "generate", "Not A Name"],
        &["key", "generate", "../escape"],
        &["key", "import"],
        &["key", "export", "-o", "file"],
        &["key", "sing"],
    ] {
        fail(world.pack(arguments), 2);
    }
    let near = err(&fail(world.pack(["key", "export", "testre"]), 1));
    assert!(near.contains("hint: did you mean `tester`?"), "{near}");
}
