//! The checks that there are.

use super::Severity::{self, Error, Note, Warning};

/// A check.
#[derive(Debug, PartialEq, Eq)]
pub struct Check {
    /// Its name, which never changes: manifests ignore it by this.
    pub id: &'static str,
    /// How grave what it finds is, unless an app's own command is concerned.
    pub severity: Severity,
    /// What it finds.
    pub summary: &'static str,
}

macro_rules! checks {
    ($($name:ident = $id:literal, $severity:ident, $summary:literal;)*) => {
        $(pub(super) static $name: &Check = &Check { id: $id, severity: $severity, summary: $summary };)*
        /// All checks, in the order in which findings of a severity are told.
        pub static CHECKS: &[&Check] = &[$($name),*];
    };
}

checks! {
    UNREADABLE = "unreadable", Warning, "a file or folder that cannot be read, or that nobody may read";
    TOO_MANY_FILES = "too-many-files", Warning, "more files than are looked at";
    COMMAND_MISSING = "command-missing", Error, "the command of an app is not in the package";
    COMMAND_NOT_EXECUTABLE = "command-not-executable", Error, "the command of an app cannot be executed";
    TOP_CLASH = "top-clash", Error, "a folder of the package lies where the base has a link";
    SPECIAL_FILE = "special-file", Error, "a device node, FIFO or socket";
    ELF_MALFORMED = "elf-malformed", Warning, "a program or library that cannot be parsed";
    ELF_ARCHITECTURE = "elf-architecture", Error, "a program or library for another architecture";
    INTERPRETER_MISSING = "interpreter-missing", Error, "the dynamic linker that a program asks for is not there";
    LIBRARY_MISSING = "library-missing", Error, "a library that is needed is neither in the package nor in the base";
    SYMBOL_VERSION_MISSING = "symbol-version-missing", Error, "a library lacks a version of symbols that is needed";
    LIBRARY_OUT_OF_REACH = "library-out-of-reach", Warning, "a library that is needed lies where nobody looks for it";
    RUNPATH_OUTSIDE = "runpath-outside", Warning, "libraries are searched for outside of the package";
    EXEC_STACK = "exec-stack", Warning, "a stack that can be executed";
    TEXT_RELOCATIONS = "text-relocations", Warning, "code that is changed when it is loaded";
    LIBRARY_OF_HOST = "library-of-host", Note, "a library that only the host has";
    LIBRARY_UNCHECKED = "library-unchecked", Note, "libraries that cannot be looked for here";
    LIBRARY_UNUSED = "library-unused", Note, "a library that nothing in the package needs";
    SCRIPT_INTERPRETER_MISSING = "script-interpreter-missing", Warning, "the interpreter of a script is not there";
    SCRIPT_INTERPRETER_OF_HOST = "script-interpreter-of-host", Note, "the interpreter of a script is only the host's";
    SET_UID = "set-uid", Warning, "a set-uid or set-gid file";
    WORLD_WRITABLE = "world-writable", Warning, "a file or folder that everybody may write to";
    LINK_ESCAPES = "link-escapes", Warning, "a relative link that leads out of the package";
    LINK_ABSOLUTE = "link-absolute", Warning, "an absolute link to what is not the package's";
    LINK_BROKEN = "link-broken", Warning, "a link to nothing";
    PATH_LONG = "path-long", Warning, "a path that is too long for some programs, or for Linux";
    NAME_CONTROL_CHARACTERS = "name-control-characters", Note, "a name with control characters";
    NAME_NOT_UTF8 = "name-not-utf8", Note, "a name that is not UTF-8";
    NAME_CASE = "name-case", Note, "names that differ in case only";
    PACK_KEY = "pack-key", Error, "a secret key that signs packages";
    PRIVATE_KEY = "private-key", Warning, "a private key";
    SECRET_FILE = "secret-file", Warning, "a file that holds passwords or tokens, or a history";
    VERSION_CONTROL = "version-control", Warning, "the folder of a version control system";
    DESKTOP_REFUSED = "desktop-refused", Error, "a desktop entry that keeps the package from being installed";
    DESKTOP_ALTERED = "desktop-altered", Note, "what is left out of a desktop entry when it is installed";
    DESKTOP_NOT_NAMED = "desktop-not-named", Note, "a desktop entry for an app that does not name it";
    ICON_REFUSED = "icon-refused", Warning, "an icon that is left out when the package is installed";
    ICON_MISSING = "icon-missing", Warning, "the icon that the manifest names is not in the package";
    METAINFO_MALFORMED = "metainfo-malformed", Warning, "an AppStream file that cannot be read";
    METAINFO_LAUNCHABLE = "metainfo-launchable", Warning, "an AppStream file that names another desktop entry";
    METAINFO_INCOMPLETE = "metainfo-incomplete", Note, "what an AppStream file lacks";
    METAINFO_MISSING = "metainfo-missing", Note, "a desktop app without an AppStream file";
    PLUG_UNUSED = "plug-unused", Warning, "a plug that no app uses";
    INTERFACE_UNKNOWN = "interface-unknown", Warning, "a plug or slot of an interface that there is not";
    PLACEHOLDER_TEXT = "placeholder-text", Warning, "a title, summary or description that is still to be written";
    NOT_STRIPPED = "not-stripped", Note, "a program or library with debug information";
    STATIC_LIBRARY = "static-library", Note, "a static library";
    LIBTOOL_ARCHIVE = "libtool-archive", Note, "a libtool archive";
    HEADERS = "headers", Note, "a folder of C headers";
    DOCUMENTATION = "documentation", Note, "much documentation";
    BYTECODE_ORPHAN = "bytecode-orphan", Note, "Python bytecode without its source";
    IGNORE_UNUSED = "ignore-unused", Warning, "a rule of `lint: {ignore}` that ignores nothing";
}
