//! Sources: archives good and hostile, downloads from servers good and bad, git repositories, Debian packages.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use pack_builder::project::Project;
use pack_builder::sources::{self, Fetched, SourceError};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// A project with one part, and a cache.
struct Workshop {
    folder: TempDir,
    part: String,
}

impl Workshop {
    /// `part` is the inside of the part's map.
    fn new(part: &str) -> Workshop {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("project")).unwrap();
        Workshop { folder, part: part.to_owned() }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn write(self, path: &str, content: &[u8]) -> Workshop {
        fs::write(self.path("project").join(path), content).unwrap();
        self
    }

    /// Fetches into `target`, anew each time.
    fn fetch(&self) -> Result<Option<Fetched>, SourceError> {
        let text = format!(
            "name: hello\nversion: '1.0'\nbase: none\nparts: {{a: {{plugin: nil, {}}}}}\n",
            self.part
        );
        fs::write(self.path("project/pack.yaml"), text).unwrap();
        let project = Project::open(&self.path("project")).unwrap_or_else(|error| panic!("{}", told(&error)));
        let part = &project.manifest().parts.values().next().unwrap();
        let target = self.path("target");
        let _ = fs::remove_dir_all(&target);
        fs::create_dir(&target).unwrap();
        let request = sources::Request { project: &project, part, cache: &self.path("cache") };
        let fetched = sources::fetch(&request, &target, &mut |_, _| ())?;
        for command in sources::git::commands(part, &self.path("project").to_string_lossy()) {
            let mut git = Command::new(&command.program);
            git.args(&command.arguments)
                .env_clear()
                .env("PATH", "/usr/bin:/bin")
                .env("HOME", self.path("home"));
            let done = git.envs(&command.environment).current_dir(&target).output().unwrap();
            let said = String::from_utf8_lossy(&done.stderr).into_owned();
            if !done.status.success() {
                return Err(SourceError::Git { address: command.typed(), problem: said });
            }
        }
        Ok(fetched.or(sources::git::finish(part, &target)?))
    }

    #[track_caller]
    fn fetched(&self) -> Fetched {
        self.fetch().unwrap_or_else(|error| panic!("{}", told(&error))).unwrap()
    }

    /// Fetches in vain, and gives what is told.
    #[track_caller]
    fn refused(&self) -> String {
        let told = told(&self.fetch().unwrap_err());
        assert!(!self.path("target.unpacking").exists(), "{told}");
        assert_eq!(fs::read_dir(self.path("target")).unwrap().count(), 0, "{told}");
        told
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path("target").join(path)).unwrap()
    }
}

/// An error with its causes.
fn told(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Runs a program in a folder.
#[track_caller]
fn run(folder: &Path, program: &str, arguments: &[&str]) {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder).env("GIT_CONFIG_GLOBAL", "/dev/null");
    for role in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{role}_NAME"), "A").env(format!("GIT_{role}_EMAIL"), "a@example.org");
        command.env(format!("GIT_{role}_DATE"), "2020-01-01T00:00:00Z");
    }
    let done = command.output().unwrap();
    assert!(done.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// A small source tree in a folder of the name `hello-1.0`.
fn source_tree(folder: &Path) {
    let tree = folder.join("hello-1.0");
    fs::create_dir_all(tree.join("sub/empty")).unwrap();
    fs::write(tree.join("sub/file"), "content").unwrap();
    fs::write(tree.join("run"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(tree.join("run"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::hard_link(tree.join("run"), tree.join("again")).unwrap();
    std::os::unix::fs::symlink("sub/file", tree.join("link")).unwrap();
    fs::write(tree.join("x".repeat(180)), "long").unwrap();
}

fn check_tree(workshop: &Workshop) {
    assert_eq!(workshop.read("sub/file"), "content");
    assert_eq!(workshop.read("link"), "content");
    assert_eq!(workshop.read(&"x".repeat(180)), "long");
    assert!(workshop.path("target/sub/empty").is_dir());
    let run = fs::metadata(workshop.path("target/run")).unwrap();
    assert_eq!(run.permissions().mode() & 0o7777, 0o755);
}

#[test]
fn archives_of_every_compression_come_out_without_the_folder_around_them() {
    for (name, options) in [
        ("a.tar", "-cf"),
        ("a.tar.gz", "-czf"),
        ("a.tar.xz", "-cJf"),
        ("a.tar.bz2", "-cjf"),
        ("a.tar.zst", "--zstd -cf"),
    ] {
        let workshop = Workshop::new(&format!("source: {name}"));
        source_tree(workshop.folder.path());
        let target = workshop.path(&format!("project/{name}"));
        let mut arguments: Vec<&str> = options.split(' ').collect();
        arguments.extend([target.to_str().unwrap(), "hello-1.0"]);
        run(workshop.folder.path(), "tar", &arguments);
        let fetched = workshop.fetched();
        assert_eq!(fetched.digest["sha256"], sha256(&fs::read(&target).unwrap()), "{name}");
        check_tree(&workshop);
        let links = fs::metadata(workshop.path("target/again")).unwrap().nlink();
        assert_eq!(links, 2, "{name}");
    }
    let workshop = Workshop::new("source: a.zip");
    source_tree(workshop.folder.path());
    let script = "import zipfile,os,sys,stat\nz=zipfile.ZipFile(sys.argv[1],'w',zipfile.ZIP_DEFLATED)\n\
        for d,s,f in os.walk('hello-1.0'):\n for n in s+f:\n  p=os.path.join(d,n)\n  i=zipfile.ZipInfo(p+('/' if os.path.isdir(p) and not os.path.islink(p) else ''))\n  \
        m=os.lstat(p).st_mode\n  i.external_attr=m<<16\n  i.compress_type=zipfile.ZIP_DEFLATED\n  \
        z.writestr(i, os.readlink(p) if stat.S_ISLNK(m) else b'' if stat.S_ISDIR(m) else open(p,'rb').read())\nz.close()\n";
    let target = workshop.path("project/a.zip");
    run(workshop.folder.path(), "/usr/bin/python3", &["-c", script, target.to_str().unwrap()]);
    workshop.fetched();
    check_tree(&workshop);
}

#[test]
fn an_archive_without_a_folder_around_it_stays_as_it_is_and_names_are_bytes() {
    let name = std::ffi::OsStr::from_bytes(b"caf\xe9");
    let workshop = Workshop::new("source: a.tar");
    fs::write(workshop.path("one"), "1").unwrap();
    fs::write(workshop.path("").join(name), "2").unwrap();
    let mut command = Command::new("tar");
    command.arg("-cf").arg(workshop.path("project/a.tar")).arg("one").arg(name);
    assert!(command.current_dir(workshop.folder.path()).status().unwrap().success());
    workshop.fetched();
    assert_eq!(workshop.read("one"), "1");
    assert_eq!(fs::read(workshop.path("target").join(name)).unwrap(), b"2");
}

/// A tar archive of entries: kind, name, target or content.
fn tar(entries: &[(u8, &[u8], &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (kind, name, what) in entries {
        let mut header = [0; 512];
        header[..name.len()].copy_from_slice(name);
        header[100..108].copy_from_slice(b"0004755\0");
        let content: &[u8] = if *kind == b'0' { what } else { b"" };
        header[124..136].copy_from_slice(format!("{:011o}\0", content.len()).as_bytes());
        header[136..148].copy_from_slice(b"00000000000\0");
        header[156] = *kind;
        if *kind != b'0' {
            header[157..157 + what.len()].copy_from_slice(what);
        }
        header[257..265].copy_from_slice(b"ustar\x0000");
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        bytes.extend(header);
        bytes.extend(content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

#[test]
fn what_an_archive_must_not_do_is_refused_by_name_and_nothing_is_left() {
    for (entries, entry, words) in [
        (&[(b'0', &b"../out"[..], &b"x"[..])][..], "../out", "leads upwards"),
        (&[(b'0', b"a/../../out", b"x")], "a/../../out", "leads upwards"),
        (&[(b'0', b"/tmp/pack-out", b"x")], "/tmp/pack-out", "absolute"),
        (&[(b'2', b"link", b"/tmp"), (b'0', b"link/pack-out", b"x")], "link/pack-out", "leads over"),
        (&[(b'2', b"link", b".."), (b'0', b"link/out", b"x")], "link/out", "leads over"),
        (&[(b'2', b"link", b".."), (b'1', b"hard", b"link/project/pack.yaml")], "hard", "leads over"),
        (&[(b'1', b"hard", b"../project/pack.yaml")], "hard", "leads upwards"),
        (&[(b'1', b"hard", b"/etc/passwd")], "hard", "absolute"),
        (&[(b'1', b"hard", b"nothing")], "hard", "has not brought"),
        (&[(b'2', b"link", b"/etc/passwd"), (b'1', b"hard", b"link")], "hard", "no file"),
        (&[(b'0', b"file", b"x"), (b'0', b"file/below", b"x")], "file/below", "no folder"),
        (&[(b'5', b"folder", b""), (b'0', b"folder", b"x")], "folder", "a folder is there already"),
        (&[(b'3', b"null", b"")], "null", "neither file"),
        (&[(b'6', b"fifo", b"")], "fifo", "neither file"),
        (&[(b'0', b".", b"x")], ".", "no name"),
        (&[], "", "nothing in it"),
    ] {
        let workshop = Workshop::new("source: a.tar").write("a.tar", &tar(entries));
        let told = workshop.refused();
        assert!(told.contains(words) && told.contains(entry), "{entry}: {told}");
        assert!(!workshop.path("out").exists() && !Path::new("/tmp/pack-out").exists());
    }
}

#[test]
fn names_that_come_twice_are_the_last_and_set_uid_bits_are_dropped() {
    let entries: &[(u8, &[u8], &[u8])] = &[
        (b'2', b"a", b"/etc/passwd"),
        (b'0', b"a", b"first"),
        (b'0', b"a", b"last"),
        (b'0', b"./b//c", b"x"),
    ];
    let workshop = Workshop::new("source: a.tar").write("a.tar", &tar(entries));
    workshop.fetched();
    assert_eq!(workshop.read("a"), "last");
    assert_eq!(workshop.read("b/c"), "x");
    assert_eq!(fs::metadata(workshop.path("target/a")).unwrap().mode() & 0o7777, 0o755);
}

#[test]
fn damaged_archives_are_errors_and_nothing_else() {
    let good = tar(&[(b'0', b"d/a", &[b'x'; 3000]), (b'2', b"d/l", b"a"), (b'1', b"d/h", b"d/a")]);
    let pack = |program: &str| {
        let mut child = Command::new(program)
            .arg("-c")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(&good).unwrap();
        child.wait_with_output().unwrap().stdout
    };
    for bytes in [good.clone(), pack("gzip"), pack("xz"), pack("bzip2"), pack("zstd")] {
        let workshop = Workshop::new("source: a.tar").write("a.tar", &bytes);
        workshop.fetched();
        for seed in 0..60_usize {
            let mut damaged = bytes.clone();
            let at = seed * 7919 % damaged.len();
            damaged[at] ^= 1 << (seed % 8);
            damaged.truncate(if seed % 3 == 0 { at } else { damaged.len() });
            fs::write(workshop.path("project/a.tar"), &damaged).unwrap();
            let _ = workshop.fetch();
        }
    }
}

#[test]
fn the_right_checksum_is_asked_for_files_of_the_project_too() {
    let bytes = tar(&[(b'0', b"d/a", b"x")]);
    let wrong = "0".repeat(64);
    let workshop =
        Workshop::new(&format!("source: a.tar, source-checksum: sha256/{wrong}")).write("a.tar", &bytes);
    let told = workshop.refused();
    assert!(told.contains("not what `source-checksum` says") && told.contains(&sha256(&bytes)), "{told}");
    let right = format!("source: a.tar, source-checksum: sha256/{}", sha256(&bytes).to_uppercase());
    let workshop = Workshop::new(&right).write("a.tar", &bytes);
    assert_eq!(workshop.fetched().digest["sha256"], sha256(&bytes));
    let told = Workshop::new("source: none.tar").refused();
    assert!(told.contains("cannot find the source `none.tar`"), "{told}");
}

/// What a server does with a request: the bytes that it answers, the headers included.
type Answer = Box<dyn Fn(&str, usize) -> Vec<u8> + Send>;

/// A server on loopback, which closes every connection after its answer, and remembers what was asked for.
fn serve(answer: Answer) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let remembered = Arc::clone(&asked);
    // Ends with the process of the test.
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let request = read_request(&mut stream);
            let count = {
                let mut remembered = remembered.lock().unwrap();
                remembered.push(request.clone());
                remembered.len()
            };
            // A client that goes away is a part of some tests.
            let _ = stream.write_all(&answer(&request, count));
        }
    });
    (address, asked)
}

fn read_request(stream: &mut TcpStream) -> String {
    let mut request = String::new();
    for line in BufReader::new(stream).lines() {
        let Ok(line) = line else { break };
        if line.is_empty() {
            break;
        }
        request.push_str(&line.to_lowercase());
        request.push('\n');
    }
    request
}

fn response(status: &str, headers: &str, length: usize, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n");
    [head.as_bytes(), body].concat()
}

/// A project whose archive a server has.
fn remote(answer: Answer, bytes: &[u8]) -> (Workshop, Arc<Mutex<Vec<String>>>) {
    let (address, asked) = serve(answer);
    let part = format!("source: '{address}/a.tar', source-checksum: sha256/{}", sha256(bytes));
    (Workshop::new(&part), asked)
}

fn big() -> Vec<u8> {
    let content: Vec<u8> = (0..2_000_000_u32).map(|number| (number % 251) as u8).collect();
    tar(&[(b'0', b"d/a", &content)])
}

#[test]
fn a_download_is_checked_and_kept() {
    let bytes = big();
    let body = bytes.clone();
    let (workshop, asked) = remote(Box::new(move |_, _| response("200 OK", "", body.len(), &body)), &bytes);
    for _ in 0..2 {
        let fetched = workshop.fetched();
        assert_eq!(fetched.digest["sha256"], sha256(&bytes));
        assert!(fetched.address.starts_with("http://127.0.0.1:"));
        assert_eq!(fs::metadata(workshop.path("target/a")).unwrap().len(), 2_000_000);
    }
    assert_eq!(asked.lock().unwrap().len(), 1, "the second is taken from the cache");
}

#[test]
fn an_interrupted_download_goes_on_where_it_ended() {
    let bytes = big();
    let body = bytes.clone();
    let answer = move |request: &str, _: usize| {
        let from = request.lines().find_map(|line| line.strip_prefix("range: bytes="));
        let from: usize = from.map_or(0, |range| range.trim_end_matches('-').parse().unwrap());
        let rest = &body[from..];
        let sent = &rest[..rest.len().min(900_000)];
        match from {
            0 => response("200 OK", "", rest.len(), sent),
            from => {
                let range = format!("Content-Range: bytes {from}-{}/{}\r\n", body.len() - 1, body.len());
                response("206 Partial Content", &range, rest.len(), sent)
            }
        }
    };
    let (workshop, asked) = remote(Box::new(answer), &bytes);
    workshop.fetched();
    let asked = asked.lock().unwrap();
    assert_eq!(asked.len(), 3);
    assert!(
        !asked[0].contains("range:")
            && asked[1].contains("range: bytes=")
            && asked[2].contains("range: bytes=")
    );
}

#[test]
fn a_server_that_knows_no_ranges_starts_anew() {
    let bytes = big();
    let body = bytes.clone();
    let answer = move |_: &str, count: usize| {
        let sent = if count == 1 { 1_000_000 } else { body.len() };
        response("200 OK", "", body.len(), &body[..sent])
    };
    let (workshop, asked) = remote(Box::new(answer), &bytes);
    workshop.fetched();
    assert_eq!(asked.lock().unwrap().len(), 2);
}

#[test]
fn what_a_server_may_do_wrong_is_told_and_the_next_build_is_right() {
    let bytes = big();
    for (bad, words) in [
        (response("404 Not Found", "", 0, b""), "answers 404"),
        (response("500 Oops", "", 0, b""), "answers 500"),
        (response("200 OK", "", 3, b"abc"), "not what `source-checksum` says"),
        (response("302 Found", "Location: /again\r\n", 0, b""), "cannot download"),
        (response("200 OK", "", 99_000_000_000_000, b"abc"), "longer than 16 GiB"),
        (response("200 OK", "", bytes.len(), b"abc"), "cannot download"),
        (b"no http at all\r\n\r\n".to_vec(), "cannot download"),
        (Vec::new(), "cannot download"),
    ] {
        let (good, is_good) = (bytes.clone(), Arc::new(Mutex::new(false)));
        let switch = Arc::clone(&is_good);
        let answer = move |_: &str, _: usize| match *switch.lock().unwrap() {
            true => response("200 OK", "", good.len(), &good),
            false => bad.clone(),
        };
        let (workshop, _) = remote(Box::new(answer), &bytes);
        let told = workshop.refused();
        assert!(told.contains(words) && told.contains("http://127.0.0.1"), "{words}: {told}");
        *is_good.lock().unwrap() = true;
        workshop.fetched();
    }
}

#[test]
fn a_server_that_is_not_there_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let part = format!("source: 'http://{address}/a.tar', source-checksum: sha256/{}", "0".repeat(64));
    let told = Workshop::new(&part).refused();
    assert!(told.contains("cannot download") && told.to_lowercase().contains("refused"), "{told}");
}

/// A repository with two commits and a tag in `project/repository`; the first commit.
fn repository(workshop: &Workshop) -> String {
    let folder = workshop.path("project/repository");
    fs::create_dir_all(&folder).unwrap();
    run(&folder, "git", &["init", "--quiet", "-b", "main", "."]);
    let mut first = String::new();
    for version in ["one", "two"] {
        fs::write(folder.join("file"), version).unwrap();
        run(&folder, "git", &["add", "."]);
        run(&folder, "git", &["commit", "--quiet", "-m", version]);
        if version == "one" {
            run(&folder, "git", &["tag", "-a", "-m", "x", "v1"]);
            run(&folder, "git", &["branch", "old"]);
            let head = fs::read_to_string(folder.join(".git/refs/heads/main")).unwrap();
            head.trim().clone_into(&mut first);
        }
    }
    first
}

#[test]
fn a_repository_is_checked_out_at_what_is_named_without_what_git_keeps() {
    let first = repository(&Workshop::new(""));
    let git = "source: repository, source-type: git";
    for (more, content) in [
        (String::new(), "two"),
        (", source-tag: v1".to_owned(), "one"),
        (", source-branch: old".to_owned(), "one"),
        (", source-branch: main".to_owned(), "two"),
        (format!(", source-commit: {first}"), "one"),
        (format!(", source-branch: main, source-commit: {first}"), "one"),
        (", source-depth: 0".to_owned(), "two"),
    ] {
        let workshop = Workshop::new(&format!("{git}{more}"));
        assert_eq!(repository(&workshop), first, "the commits are the same wherever they are made");
        let fetched = workshop.fetched();
        assert_eq!(workshop.read("file"), content, "{more}");
        assert_eq!(fetched.digest["gitCommit"] == first, content == "one", "{more}");
        let names = fs::read_dir(workshop.path("target")).unwrap().count();
        assert_eq!(names, 1, "{more}");
    }
    for more in [", source-tag: none".to_owned(), format!(", source-commit: {}", "ab".repeat(20))] {
        let workshop = Workshop::new(&format!("{git}{more}"));
        repository(&workshop);
        assert!(matches!(workshop.fetch(), Err(SourceError::Git { .. })), "{more}");
    }
}

#[test]
fn submodules_are_fetched_at_their_commits_and_their_git_folders_removed() {
    let workshop = Workshop::new("source: outer, source-type: git");
    repository(&workshop);
    let outer = workshop.path("project/outer");
    fs::create_dir(&outer).unwrap();
    run(&outer, "git", &["init", "--quiet", "."]);
    let allow = ["-c", "protocol.file.allow=always"];
    run(&outer, "git", &[&allow[..], &["submodule", "--quiet", "add", "../repository", "inner"]].concat());
    run(&outer, "git", &["commit", "--quiet", "-m", "x"]);
    workshop.fetched();
    assert_eq!(workshop.read("inner/file"), "two");
    assert!(!workshop.path("target/inner/.git").exists() && !workshop.path("target/.git").exists());
    let workshop = Workshop { part: format!("{}, source-submodules: []", workshop.part), ..workshop };
    workshop.fetched();
    assert!(!workshop.path("target/inner/file").exists());
}

#[test]
fn cve_2024_32002_nothing_of_a_repository_runs_while_it_is_cloned() {
    let workshop = Workshop::new("source: repository, source-type: git");
    repository(&workshop);
    let folder = workshop.path("project/repository");
    let evidence = workshop.path("evidence");
    let hook = format!("#!/bin/sh\ntouch '{}'\n", evidence.display());
    for name in ["post-checkout", "post-merge", "reference-transaction", "pre-auto-gc"] {
        let path = folder.join(".git/hooks").join(name);
        fs::write(&path, &hook).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    // A filter and an external helper that the repository's own files ask for.
    fs::write(folder.join(".gitattributes"), "* filter=evil\n").unwrap();
    fs::write(
        folder.join(".gitmodules"),
        format!("[submodule \"x\"]\n path = x\n url = ext::sh -c touch% {}\n", evidence.display()),
    )
    .unwrap();
    run(&folder, "git", &["-c", "core.hooksPath=/dev/null", "add", "."]);
    run(&folder, "git", &["-c", "core.hooksPath=/dev/null", "commit", "--quiet", "-m", "x"]);
    let _ = fs::remove_file(&evidence);
    let fetched = workshop.fetch();
    assert!(!evidence.exists(), "{fetched:?}");
}

#[test]
fn a_debian_package_gives_its_files() {
    let workshop = Workshop::new("source: a.deb");
    let folder = workshop.path("deb");
    fs::create_dir_all(folder.join("DEBIAN")).unwrap();
    fs::create_dir_all(folder.join("usr/bin")).unwrap();
    fs::write(folder.join("usr/bin/hello"), "hello").unwrap();
    fs::write(
        folder.join("DEBIAN/control"),
        "Package: hello\nVersion: 1\nArchitecture: all\nMaintainer: A <a@example.org>\nDescription: x\n",
    )
    .unwrap();
    fs::set_permissions(folder.join("DEBIAN"), fs::Permissions::from_mode(0o755)).unwrap();
    let target = workshop.path("project/a.deb");
    run(workshop.folder.path(), "dpkg-deb", &["--build", "deb", target.to_str().unwrap()]);
    workshop.fetched();
    let found =
        ["usr/bin/hello", "bin/hello"].iter().any(|path| workshop.path("target").join(path).is_file());
    assert!(found, "{:?}", fs::read_dir(workshop.path("target")).unwrap().collect::<Vec<_>>());
    fs::write(&target, "no package").unwrap();
    assert!(workshop.refused().contains("cannot unpack `a.deb`"));
}

#[test]
fn reading_what_a_server_sends_does_not_wait_for_more_than_it_announces() {
    // A body that never ends is ended by its announced length.
    let bytes = tar(&[(b'0', b"d/a", b"x")]);
    let body = [&bytes[..], &[0; 100_000]].concat();
    let length = bytes.len();
    let (workshop, _) = remote(Box::new(move |_, _| response("200 OK", "", length, &body)), &bytes);
    workshop.fetched();
    let mut text = String::new();
    fs::File::open(workshop.path("target/a")).unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "x");
}
