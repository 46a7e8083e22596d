//! Makes the caches that Debian's packages leave to their scripts and triggers.
//!
//! | cache | made by | without it |
//! |---|---|---|
//! | `usr/share/mime/mime.cache` and what lies beside it | update-mime-database | GDK-PixBuf recognises no file, and GTK aborts with the first icon |
//! | `usr/share/glib-2.0/schemas/gschemas.compiled` | glib-compile-schemas | a program ends when it reads a setting, which GTK's file chooser does |
//! | `usr/lib/TRIPLET/gdk-pixbuf-2.0/2.10.0/loaders.cache` | gdk-pixbuf-query-loaders | only what is compiled into GDK-PixBuf loads (PNG and JPEG in Debian): no SVG icons |
//! | `usr/lib/TRIPLET/gtk-3.0/3.0.0/immodules.cache` | gtk-query-immodules-3.0 | no input methods but the built-in ones |
//! | `etc/ssl/certs/ca-certificates.crt` | this program | no TLS certificate is trusted, unless the base brings its own |
//!
//! A cache of icons or fonts makes a start faster and nothing else; GIO finds its modules without giomodule.cache. They
//! are not made.
//!
//! A tool of the staged packages is run where there is one, with the staged libraries and the base's, else the host's. Modules are
//! named in the order of their names and by the path that they have at run time, below `/usr`: a package that uses
//! them has `rootfs: merged` or `base: none`.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use pack_schemas::names::Architecture;
use walkdir::WalkDir;

use super::apt::PATH;
use super::{DebianError, Note, last_lines, make_folder};

/// Makes every cache for which `target` has the material.
pub(super) fn run(
    target: &Path,
    architecture: Architecture,
    base: Option<&Path>,
    note: &mut dyn FnMut(Note),
) -> Result<(), DebianError> {
    // Tools print the paths that they were given: they must be those that are cut off again.
    let target =
        fs::canonicalize(target).map_err(|source| DebianError::io("find the folder", target, source))?;
    let triplet = architecture.triplet().unwrap_or_default();
    let staged = Staged { target, base: base.map(Path::to_owned), triplet, architecture };
    staged.compile_schemas(note)?;
    staged.list_file_types(note)?;
    staged.list_modules(&PIXBUF_LOADERS, note)?;
    staged.list_modules(&INPUT_METHODS, note)?;
    staged.join_certificates()
}

struct Staged {
    target: PathBuf,
    base: Option<PathBuf>,
    triplet: &'static str,
    architecture: Architecture,
}

/// A tool and where it lies among the staged packages; TRIPLET stands for the multiarch folder.
struct Tool {
    name: &'static str,
    staged: &'static [&'static str],
    /// Whether the host's will do as well.
    host: bool,
    effect: &'static str,
}

/// Plug-ins that a library finds through a list.
struct Modules {
    folder: &'static str,
    list: &'static str,
    tool: Tool,
}

const SCHEMAS: Tool = Tool {
    name: "glib-compile-schemas",
    staged: &["usr/lib/TRIPLET/glib-2.0/glib-compile-schemas", "usr/bin/glib-compile-schemas"],
    host: true,
    effect: "programs that use GSettings will not start",
};

const FILE_TYPES: Tool = Tool {
    name: "update-mime-database",
    staged: &["usr/bin/update-mime-database"],
    host: true,
    effect: "file types, and with them icons and images, will not be recognised",
};

const PIXBUF_LOADERS: Modules = Modules {
    folder: "usr/lib/TRIPLET/gdk-pixbuf-2.0/2.10.0/loaders",
    list: "usr/lib/TRIPLET/gdk-pixbuf-2.0/2.10.0/loaders.cache",
    tool: Tool {
        name: "gdk-pixbuf-query-loaders",
        staged: &["usr/lib/TRIPLET/gdk-pixbuf-2.0/gdk-pixbuf-query-loaders"],
        host: false,
        effect: "images other than PNG and JPEG will not load",
    },
};

const INPUT_METHODS: Modules = Modules {
    folder: "usr/lib/TRIPLET/gtk-3.0/3.0.0/immodules",
    list: "usr/lib/TRIPLET/gtk-3.0/3.0.0/immodules.cache",
    tool: Tool {
        name: "gtk-query-immodules-3.0",
        staged: &[
            "usr/lib/TRIPLET/libgtk-3-0/gtk-query-immodules-3.0",
            "usr/lib/TRIPLET/libgtk-3-0t64/gtk-query-immodules-3.0",
        ],
        host: false,
        effect: "input methods will not be found",
    },
};

impl Staged {
    fn compile_schemas(&self, note: &mut dyn FnMut(Note)) -> Result<(), DebianError> {
        let folder = self.target.join("usr/share/glib-2.0/schemas");
        if files_below(&folder, ".gschema.xml")?.is_empty() {
            return Ok(());
        }
        self.use_tool(&SCHEMAS, &[folder.into_os_string()], note).map(drop)
    }

    fn list_file_types(&self, note: &mut dyn FnMut(Note)) -> Result<(), DebianError> {
        let folder = self.target.join("usr/share/mime");
        if files_below(&folder.join("packages"), ".xml")?.is_empty() {
            return Ok(());
        }
        self.use_tool(&FILE_TYPES, &[folder.into_os_string()], note).map(drop)
    }

    fn list_modules(&self, modules: &Modules, note: &mut dyn FnMut(Note)) -> Result<(), DebianError> {
        let files = files_below(&self.path(modules.folder), ".so")?;
        if files.is_empty() {
            return Ok(());
        }
        let arguments: Vec<OsString> = files.into_iter().map(PathBuf::into_os_string).collect();
        let Some(list) = self.use_tool(&modules.tool, &arguments, note)? else { return Ok(()) };
        let Some(prefix) = self.target.to_str().filter(|prefix| *prefix != "/") else { return Ok(()) };
        let list = String::from_utf8_lossy(&list).replace(prefix, "");
        write(&self.path(modules.list), list.as_bytes())
    }

    /// What update-ca-certificates does with a fresh configuration: every certificate of the package is trusted.
    fn join_certificates(&self) -> Result<(), DebianError> {
        let all = self.target.join("etc/ssl/certs/ca-certificates.crt");
        let files = files_below(&self.target.join("usr/share/ca-certificates"), ".crt")?;
        if files.is_empty() || all.exists() {
            return Ok(());
        }
        let mut text = Vec::new();
        for file in files {
            text.extend(fs::read(&file).map_err(|source| DebianError::io("read", &file, source))?);
            if text.last().is_some_and(|byte| *byte != b'\n') {
                text.push(b'\n');
            }
        }
        make_folder(&self.target.join("etc/ssl/certs"))?;
        write(&all, &text)
    }

    /// Runs a tool and returns what it printed; nothing, and a note, where it could not be run or failed.
    fn use_tool(
        &self,
        tool: &Tool,
        arguments: &[OsString],
        note: &mut dyn FnMut(Note),
    ) -> Result<Option<Vec<u8>>, DebianError> {
        let (name, effect) = (tool.name, tool.effect);
        let commands = [self.staged_command(tool), tool.host.then(|| Command::new(name))];
        let mut failed = Note::ToolMissing { tool: name, effect };
        for mut command in commands.into_iter().flatten() {
            command.args(arguments).env_clear().env("PATH", PATH).env("LC_ALL", "C.UTF-8");
            command.env("XDG_DATA_DIRS", self.target.join("usr/share")).current_dir(&self.target);
            match command.stdin(Stdio::null()).output() {
                Ok(output) if output.status.success() => return Ok(Some(output.stdout)),
                Ok(output) => {
                    failed = Note::ToolFailed { tool: name, effect, output: last_lines(&output.stderr) }
                }
                Err(source) if source.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(DebianError::io("start", Path::new(name), source)),
            }
        }
        note(failed);
        Ok(None)
    }

    /// The staged tool under the program loader and libraries that were staged or are the base's, where this machine can
    /// run them.
    fn staged_command(&self, tool: &Tool) -> Option<Command> {
        let loader = match self.architecture {
            Architecture::Arm64 => "usr/lib/ld-linux-aarch64.so.1",
            _ => "usr/lib64/ld-linux-x86-64.so.2",
        };
        let roots = [Some(&self.target), self.base.as_ref()];
        let roots = || roots.into_iter().flatten();
        let loader = roots().map(|root| root.join(loader)).find(|loader| loader.is_file())?;
        let program = tool.staged.iter().map(|path| self.path(path)).find(|path| path.is_file())?;
        if self.architecture != Architecture::HOST {
            return None;
        }
        let libraries: Vec<PathBuf> = roots().map(|root| root.join("usr/lib").join(self.triplet)).collect();
        let mut command = Command::new(loader);
        command.arg("--inhibit-cache").arg("--library-path").arg(env::join_paths(libraries).ok()?);
        command.arg(program);
        Some(command)
    }

    fn path(&self, path: &str) -> PathBuf {
        self.target.join(path.replace("TRIPLET", self.triplet))
    }
}

/// The files below `folder` whose names end in `ending`, sorted; none where there is no such folder.
fn files_below(folder: &Path, ending: &str) -> Result<Vec<PathBuf>, DebianError> {
    let mut files = Vec::new();
    if !folder.exists() {
        return Ok(files);
    }
    for entry in WalkDir::new(folder).sort_by_file_name() {
        let entry = entry.map_err(|error| DebianError::io("list", folder, error.into()))?;
        if !entry.file_type().is_dir() && entry.file_name().to_string_lossy().ends_with(ending) {
            files.push(entry.into_path());
        }
    }
    Ok(files)
}

fn write(path: &Path, content: &[u8]) -> Result<(), DebianError> {
    fs::write(path, content).map_err(|source| DebianError::io("write", path, source))
}
