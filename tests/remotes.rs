//! Packages from stores: the whole way over a real web server, and attacks on it.

#[path = "support/assembled.rs"]
mod assembled;
#[path = "support/published.rs"]
mod published;
#[path = "support/servers.rs"]
mod servers;
mod support;
#[path = "support/terminal.rs"]
mod terminal;
#[path = "support/web.rs"]
mod web;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use assembled::damage;
use pack_store_client::publish::operation::Action;
use published::{Entry, Published};
use support::{World, err, fail, out, succeed};
use terminal::on_terminal;
use web::{Web, broken_server};

/// A publisher with a store, and a user on another machine.
struct Market {
    publisher: World,
    user: World,
    store: Published,
}

impl Market {
    fn new() -> Market {
        let publisher = World::with_key();
        let store = Published::new(&publisher);
        Market { publisher, user: World::new(), store }
    }

    fn store(&self) -> PathBuf {
        self.store.folder().to_owned()
    }

    /// A package whose app tells its version, and what its data says.
    fn package(&self, name: &str, version: &str, apps: &str) -> PathBuf {
        let manifest = format!(
            "name: {name}\nversion: '{version}'\nsummary: Tells its version\nlicense: MIT\nbase: host\n\
             apps: {{{name}: {{command: bin/{name}{apps}}}}}\nparts: {{p: {{plugin: dump, source: files}}}}\n"
        );
        let script = format!(
            "#!/bin/sh\ncase \"$1\" in\nwrite) echo \"$2\" > $HOME/note ;;\nread) cat $HOME/note ;;\n*) echo {name} {version} ;;\nesac\n"
        );
        self.publisher.project(name, &manifest, &[(&format!("bin/{name}"), &script)]);
        self.publisher.build(name)
    }

    fn publish(&self, name: &str, version: &str, apps: &str) {
        self.publish_with(name, version, apps, |_| ());
    }

    fn publish_with(&self, name: &str, version: &str, apps: &str, change: impl FnOnce(&mut Entry)) {
        let package = self.package(name, version, apps);
        self.store.publish(&package, change);
    }

    /// The user adds the store at an address.
    #[track_caller]
    fn add(&self, url: &str) {
        succeed(self.pack(&[
            "remote",
            "add",
            url,
            "--name",
            "example",
            "--fingerprint",
            &self.store.fingerprint,
        ]));
    }

    /// `pack` of the user's, with a cache of its own.
    fn pack(&self, arguments: &[&str]) -> Command {
        let mut command = self.user.pack(arguments);
        command.env("XDG_CACHE_HOME", self.user.home("cache"));
        command
    }

    #[track_caller]
    fn do_it(&self, arguments: &[&str]) -> String {
        let done = succeed(self.pack(arguments));
        out(&done) + &err(&done)
    }

    #[track_caller]
    fn refused(&self, arguments: &[&str]) -> String {
        err(&fail(self.pack(arguments), 1))
    }

    #[track_caller]
    fn run(&self, arguments: &[&str]) -> String {
        out(&succeed(self.pack(&[&["run"], arguments].concat()))).trim_end().to_owned()
    }

    /// The one blob of this kind in the store.
    fn blob(&self, end: &str) -> PathBuf {
        let mut found = files(&self.store().join("blobs"));
        found.retain(|path| path.to_string_lossy().ends_with(end));
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    walkdir::WalkDir::new(folder)
        .into_iter()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| entry.into_path())
        .collect()
}

#[test]
fn a_package_is_found_installed_refreshed_and_reverted() {
    let market = Market::new();
    market.publish("teller", "1.0", "");
    let web = Web::show(&market.publisher, &market.store());
    market.add(&web.url());
    let listed = market.do_it(&["remote", "list", "--json"]);
    assert!(listed.contains(&web.url()) && listed.contains(&market.store.fingerprint), "{listed}");

    let found = market.do_it(&["search", "TELLS", "version"]);
    assert!(found.contains("teller  1.0") && found.contains("Tells its version"), "{found}");
    assert!(market.do_it(&["search", "nothing"]).contains("nothing was found"));
    let info = market.do_it(&["info", "teller"]);
    for words in ["installed:    no", "license:      MIT", "latest/stable", "store:        example"] {
        assert!(info.contains(words), "{words}\n{info}");
    }

    let installed = market.do_it(&["install", "teller"]);
    assert!(installed.contains("says the store `example`"), "{installed}");
    assert!(installed.contains("installed teller 1.0 (revision 1)"), "{installed}");
    assert_eq!(market.run(&["teller"]), "teller 1.0");
    market.run(&["teller", "write", "of one"]);
    assert!(market.do_it(&["install", "teller"]).contains("is installed already"));
    assert!(market.do_it(&["refresh"]).contains("everything is up to date"));

    market.publish("teller", "2.0", "");
    let list = market.do_it(&["refresh", "--list"]);
    assert!(list.contains("teller") && list.contains("2.0"), "{list}");
    assert_eq!(market.run(&["teller"]), "teller 1.0");
    let before = web.requests().len();
    assert!(market.do_it(&["refresh"]).contains("refreshed to teller 2.0 (revision 2)"));
    // Root probe, timestamp, snapshot, bin, entry; and the package itself. (The list has fetched all but the first two.)
    assert!(web.requests().len() - before <= 6, "{:?}", &web.requests()[before..]);
    assert_eq!(market.run(&["teller"]), "teller 2.0");
    assert_eq!(market.run(&["teller", "read"]), "of one");
    market.run(&["teller", "write", "of two"]);

    let reverted = market.do_it(&["revert", "teller"]);
    assert!(reverted.contains("teller is 1.0 (revision 1) again"), "{reverted}");
    assert_eq!(market.run(&["teller"]), "teller 1.0");
    assert_eq!(market.run(&["teller", "read"]), "of one");
    assert!(market.do_it(&["refresh"]).contains("everything is up to date"));
    assert_eq!(market.run(&["teller"]), "teller 1.0");
    assert!(market.do_it(&["install", "teller"]).contains("installed teller 2.0 (revision 2)"));
    assert_eq!(market.run(&["teller", "read"]), "of one");
    market.do_it(&["revert", "teller", "--revision", "1"]);
    assert!(market.refused(&["revert", "teller", "--revision", "1"]).contains("is the current one"));
    assert!(market.refused(&["revert", "teller", "--revision", "9"]).contains("is not installed"));
    assert!(market.refused(&["revert", "teller"]).contains("no other revision"));

    market.publish("teller", "3.0", "");
    assert!(market.do_it(&["refresh", "teller"]).contains("refreshed to teller 3.0 (revision 3)"));
    assert_eq!(files(&market.user.home("cache/pack/downloads")), Vec::<PathBuf>::new());
    market.do_it(&["remote", "remove", "example"]);
    assert_eq!(market.run(&["teller"]), "teller 3.0");
    assert!(market.refused(&["refresh"]).contains("not every package could be refreshed"));
}

#[test]
fn another_store_than_the_one_that_was_named_is_not_added() {
    let market = Market::new();
    let path = market.store().display().to_string();
    let other = "0".repeat(64);
    let refused = market.refused(&["remote", "add", &path, "--fingerprint", &other]);
    assert!(
        refused.contains(&format!("fingerprint is {}, and not {other}", market.store.fingerprint)),
        "{refused}"
    );
    let unasked = market.refused(&["remote", "add", &path]);
    assert!(
        unasked.contains("--fingerprint FINGERPRINT") && unasked.contains(&market.store.fingerprint),
        "{unasked}"
    );
    assert!(market.do_it(&["remote", "list"]).contains("no remote was added"));
    // A person is shown it, and answers.
    let (status, shown) = on_terminal(&market.user, &["remote", "add", &path], "n\n");
    assert_eq!(status, Some(1), "{shown}");
    let (status, shown) = on_terminal(&market.user, &["remote", "add", &path], "y\n");
    assert!(status == Some(0) && shown.contains(&market.store.fingerprint), "{shown}");
    let again = market.refused(&["remote", "add", &path, "--fingerprint", &market.store.fingerprint]);
    assert!(again.contains("a remote is called `store` already"), "{again}");
    let capitals = market.store.fingerprint.to_uppercase();
    market.do_it(&["remote", "add", &path, "--name", "second", "--fingerprint", &capitals]);
    for bad in ["ftp://x", "https://a:b@example.org", "store", "file://x"] {
        fail(market.pack(&["remote", "add", bad, "--fingerprint", &other]), 2);
    }
}

#[test]
fn what_is_known_is_told_without_a_network_and_how_old_it_is() {
    let market = Market::new();
    market.publish("teller", "1.0", "");
    market.publish("second", "1.0", "");
    let mut web = Web::show(&market.publisher, &market.store());
    market.add(&web.url());
    market.do_it(&["search", "teller"]);
    market.do_it(&["info", "teller"]);
    market.do_it(&["install", "teller"]);
    web.end();
    // A catalog of three days ago.
    let index = market.user.home(".local/share/pack/remotes/example/catalog/index.json");
    succeed({
        let mut touch = market.user.command("touch");
        touch.args(["-d", "73 hours ago"]).arg(&index);
        touch
    });
    let found = market.do_it(&["search", "teller"]);
    assert!(found.contains("teller  1.0") && found.contains("cannot be asked"), "{found}");
    assert!(found.contains("when it was last asked, 3 days ago"), "{found}");
    let offline = market.do_it(&["search", "--offline", "teller"]);
    assert!(offline.contains("3 days ago") && !offline.contains("cannot be asked"), "{offline}");
    market.do_it(&["remove", "teller"]);
    let info = market.do_it(&["info", "--store", "teller"]);
    assert!(info.contains("latest/stable") && info.contains("this is what it said"), "{info}");
    let unknown = market.refused(&["info", "second"]);
    assert!(unknown.contains("its catalog had second 1.0"), "{unknown}");
    assert!(market.refused(&["install", "teller"]).contains("the store `example` cannot be asked"));
}

#[test]
fn a_download_goes_on_where_it_ended_and_is_never_longer_than_it_may_be() {
    let market = Market::new();
    market.publish("teller", "1.0", "");
    let blob = fs::read(market.blob(".pkg")).unwrap();
    let name = market.blob(".pkg").file_stem().unwrap().to_str().unwrap().to_owned();
    let partial = market.user.home(&format!("cache/pack/downloads/{name}.partial"));
    let begin = |bytes: &[u8]| {
        let path = market.user.write(&format!("cache/pack/downloads/{name}.partial"), bytes);
        assert_eq!(path, partial);
    };
    let web = Web::show(&market.publisher, &market.store());
    let whole = Web::with(&market.publisher, &format!("max_ranges 0; root {};", market.store().display()));
    for (server, status) in [(&web, " 206 "), (&whole, " 200 ")] {
        let _ = fs::remove_dir_all(market.user.home(".local/share/pack/remotes"));
        market.add(&server.url());
        for left in [&blob[..blob.len() / 2], &blob[..0], &blob[..], &[7; 100], &[7; 1 << 20]] {
            begin(left);
            market.do_it(&["download", "teller", "-o", "got.pkg"]);
            assert_eq!(fs::read(market.user.home("got.pkg")).unwrap(), blob);
            assert!(!partial.exists());
            fs::remove_file(market.user.home("got.pkg")).unwrap();
        }
        let requests = server.requests();
        let resumed = requests.iter().find(|line| line.contains(".pkg")).unwrap();
        assert!(resumed.contains(status), "{resumed}");
    }
    let there = market.user.write("teller_1.0.pkg", "mine");
    let refused = market.refused(&["download", "teller", "-o", "teller_1.0.pkg"]);
    assert!(refused.contains("is there already"), "{refused}");
    assert_eq!(fs::read(there).unwrap(), b"mine");
}

#[test]
fn a_mirror_helps_where_the_store_does_not_and_lies_in_vain() {
    let market = Market::new();
    market.publish("teller", "1.0", "");
    let blob = fs::read(market.blob(".pkg")).unwrap();
    let (size, half) = (blob.len(), blob[..blob.len() / 2].to_vec());
    let cut = move |request: &str| match request.contains(".pkg") {
        true => [format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n").as_bytes(), &half].concat(),
        false => b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec(),
    };
    let endless =
        |_: &str| [b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_vec(), vec![b'x'; 4 << 20]].concat();
    let portal = |_: &str| {
        let page = "<html>Please log in</html>";
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{page}", page.len()).into_bytes()
    };
    let store = market.store();
    let good = Web::show(&market.publisher, &store);
    let without =
        Web::with(&market.publisher, &format!("location ~ pkg$ {{ return 404; }} root {};", store.display()));
    let (cut, endless, portal) = (broken_server(cut), broken_server(endless), broken_server(portal));
    let altered = market.publisher.home("altered");
    succeed({
        let mut copy = market.publisher.command("cp");
        copy.arg("-r").arg(&store).arg(&altered);
        copy
    });
    let path = altered.join(market.blob(".pkg").strip_prefix(&store).unwrap());
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    damage(&path, 5000);
    let altered = Web::show(&market.publisher, &altered);
    let lying = [cut.as_str(), &endless, &portal, &altered.url(), "file:///", "not an address"];
    for mirror in lying {
        market.store.set_mirrors(&[mirror]);
        let _ = fs::remove_dir_all(market.user.home(".local/share/pack/remotes"));
        market.add(&without.url());
        let refused = market.refused(&["install", "teller"]);
        assert!(refused.contains("`teller` is not installed"), "{mirror}: {refused}");
        assert!(!market.user.home(".local/share/pack/packages/teller").exists(), "{mirror}");
    }
    let good = good.url();
    market.store.set_mirrors(&[&lying[..], &[good.as_str()]].concat());
    market.do_it(&["install", "teller"]);
    assert_eq!(market.run(&["teller"]), "teller 1.0");
}

#[test]
fn a_captive_portal_and_altered_metadata_are_no_store() {
    let market = Market::new();
    market.publish("teller", "1.0", "");
    let portal = Web::with(
        &market.publisher,
        "default_type text/html; location / { return 200 '<html>Log in</html>'; }",
    );
    let refused =
        market.refused(&["remote", "add", &portal.url(), "--fingerprint", &market.store.fingerprint]);
    assert!(refused.contains("the store's fingerprint is"), "{refused}");
    let path = market.store().display().to_string();
    market.add(&path);
    let entry = files(&market.store().join("pkg")).remove(0);
    fs::set_permissions(&entry, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    damage(&entry, 30);
    let refused = market.refused(&["install", "teller"]);
    assert!(refused.contains("is not the file that the store signs for"), "{refused}");
}

#[test]
fn a_store_over_https_leads_to_no_other_scheme() {
    let market = Market::new();
    market.publish("teller", "1.0", "");
    succeed({
        let mut openssl = market.publisher.command("openssl");
        openssl.args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
        ]);
        openssl.args(["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]);
        openssl.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
        openssl.args(["-keyout", "web.key", "-out", "web.crt"]);
        openssl
    });
    let plain = Web::show(&market.publisher, &market.store());
    let root = market.store().display().to_string();
    let secure = Web::encrypted(&market.publisher, "web", &format!("root {root};"));
    let leading = Web::encrypted(
        &market.publisher,
        "web",
        &format!("location ~ pkg$ {{ return 302 {}$request_uri; }} root {root};", plain.url()),
    );
    let trusting = |arguments: &[&str]| {
        let mut command = market.pack(arguments);
        command.env("SSL_CERT_FILE", market.publisher.home("web.crt"));
        command
    };
    let add =
        ["remote", "add", &secure.url(), "--name", "secure", "--fingerprint", &market.store.fingerprint];
    assert!(err(&fail(market.pack(&add), 1)).contains("certificate"));
    succeed(trusting(&add));
    succeed(trusting(&["download", "teller", "--remote", "secure"]));
    let add =
        ["remote", "add", &leading.url(), "--name", "leading", "--fingerprint", &market.store.fingerprint];
    succeed(trusting(&add));
    let refused = err(&fail(trusting(&["install", "teller", "--remote", "leading"]), 1));
    assert!(refused.contains("`teller` is not installed"), "{refused}");
    assert_eq!(plain.requests().iter().filter(|line| line.contains("GET")).count(), 0);
}

#[test]
fn an_update_that_asks_for_more_waits_for_a_person() {
    let market = Market::new();
    market.publish("teller", "1.0", ", plugs: [home]");
    market.add(&market.store().display().to_string());
    // Left unconnected, since nobody was asked: no refresh comes back to that.
    market.do_it(&["install", "teller"]);
    market.publish("teller", "2.0", ", plugs: [home]");
    assert!(market.do_it(&["refresh"]).contains("refreshed to teller 2.0"));
    market.publish("teller", "3.0", ", plugs: [home, network, camera]");
    let held = market.do_it(&["refresh"]);
    assert!(
        held.contains("`teller` is held back: 3.0 asks for more than before (camera, network)"),
        "{held}"
    );
    assert_eq!(market.run(&["teller"]), "teller 2.0");
    let (status, shown) = on_terminal(&market.user, &["refresh"], "y\nn\n");
    assert!(status == Some(0) && shown.contains("teller wants `camera`"), "{shown}");
    assert_eq!(market.run(&["teller"]), "teller 3.0");
    let connections = market.do_it(&["connections", "teller", "--json"]);
    assert!(connections.contains("camera"), "{connections}");
    market.publish("teller", "4.0", ", plugs: [home, network, camera, audio-record]");
    assert!(market.do_it(&["refresh", "--yes"]).contains("refreshed to teller 4.0"));
}

#[test]
fn channels_holding_and_revocation() {
    let market = Market::new();
    market.publish("teller", "1.0", "");
    market.publish("other", "1.0", "");
    market.publish_with("teller", "2.0", "", |entry| entry.channel = "edge".parse().unwrap());
    market.add(&market.store().display().to_string());
    market.do_it(&["install", "teller"]);
    market.do_it(&["install", "other"]);
    assert_eq!(market.run(&["teller"]), "teller 1.0");
    assert!(market.do_it(&["refresh", "teller", "--channel", "edge"]).contains("refreshed to teller 2.0"));
    assert!(market.do_it(&["info", "teller"]).contains("example, channel latest/edge"));
    // Back to what stable has, which is older.
    assert!(market.do_it(&["refresh", "teller", "--channel", "stable"]).contains("refreshed to teller 1.0"));
    assert_eq!(market.run(&["teller"]), "teller 1.0");
    let nowhere = err(&fail(market.pack(&["install", "teller=9"]), 1));
    assert!(nowhere.contains("no revision 9"), "{nowhere}");
    assert!(market.do_it(&["install", "teller=2"]).contains("installed teller 2.0 (revision 2)"));

    market.do_it(&["refresh", "other", "--hold=2h"]);
    market.publish("other", "2.0", "");
    assert!(market.do_it(&["refresh"]).contains("other has an update, and is held"));
    assert!(market.do_it(&["refresh", "--list"]).contains("held"));
    assert!(market.do_it(&["info", "other"]).contains("held:         until 2"));
    market.do_it(&["refresh", "--unhold", "other"]);
    assert!(market.do_it(&["refresh", "other"]).contains("refreshed to other 2.0"));
    fail(market.pack(&["refresh", "other", "--hold=soon"]), 2);

    market.store.revoke("other", 2, "eats data");
    let told = market.do_it(&["refresh"]);
    assert!(told.contains("revision 2 of `other` was revoked") && told.contains("eats data"), "{told}");
    let refused = err(&fail(market.pack(&["run", "other"]), 125));
    assert!(refused.contains("revoked by its publisher: eats data"), "{refused}");
    assert!(refused.contains("`pack revert other` goes back"), "{refused}");
    market.do_it(&["revert", "other"]);
    assert_eq!(market.run(&["other"]), "other 1.0");
    assert!(market.refused(&["revert", "other", "--revision", "2"]).contains("was revoked"));
}

#[test]
fn a_rollout_is_decided_by_the_machine_and_nothing_is_told() {
    let market = Market::new();
    market.publish("teller", "1.0", "");
    market.publish_with("teller", "2.0", "", |entry| entry.rollout = Some(0));
    let web = Web::show(&market.publisher, &market.store());
    market.add(&web.url());
    market.do_it(&["install", "teller"]);
    assert_eq!(market.run(&["teller"]), "teller 1.0");
    let machine = market.user.home(".local/share/pack/machine");
    let number = fs::read_to_string(&machine).unwrap();
    assert_eq!(number.trim().len(), 64);
    let (channel, percent) = ("stable".parse().unwrap(), 100);
    market.store.perform("teller", Action::Rollout { channel, percent });
    assert!(market.do_it(&["refresh"]).contains("refreshed to teller 2.0"));
    assert_eq!(fs::read_to_string(&machine).unwrap(), number);
    assert!(web.requests().iter().all(|line| !line.contains(number.trim())));
}

#[test]
fn the_base_comes_with_the_app_and_before_it() {
    let market = Market::new();
    let base =
        "name: ground\nversion: '1'\ntype: base\nbase: none\nparts: {p: {plugin: dump, source: files}}\n";
    market.publisher.project("ground", base, &[("usr/bin/ground", "#!/bin/sh\n")]);
    let base = market.publisher.build("ground");
    let app = "name: stander\nversion: '1'\nbase: ground\napps: {stander: {command: bin/stander}}\n\
               parts: {p: {plugin: dump, source: files}}\n";
    market.publisher.project("stander", app, &[("bin/stander", "#!/bin/sh\n")]);
    let app = market.publisher.build("stander");
    market.store.publish(&base, |_| ());
    market.store.publish(&app, |_| ());
    market.add(&market.store().display().to_string());
    let installed = market.do_it(&["install", "stander"]);
    let places: Vec<Option<usize>> = ["installed ground 1 (revision 1)", "installed stander 1 (revision 1)"]
        .map(|line| installed.find(line))
        .to_vec();
    assert!(places[0].is_some() && places[0] < places[1], "{installed}");
}
