// Installs the archive that `npm pack` made, with the modules that are left in this folder for it.
//
// Arguments: the folder of what the part installs, and the one with the archive.

const fs = require("fs");
const path = require("path");
const { execFileSync } = require("child_process");

const [install, packed] = process.argv.slice(1);

function stop(message) {
  console.error(`pack: ${message}`);
  process.exit(1);
}

function isName(name) {
  return /^(@[a-z0-9~-][a-z0-9._~-]*\/)?[a-z0-9~-][a-z0-9._~-]*$/i.test(name);
}

function unpack(folder) {
  const archives = fs.readdirSync(packed);
  if (archives.length !== 1) stop(`npm pack made ${archives.length} archives`);
  fs.rmSync(folder, { recursive: true, force: true });
  fs.mkdirSync(folder, { recursive: true });
  const words = ["-xzf", path.join(packed, archives[0]), "-C", folder, "--strip-components=1", "--no-same-owner"];
  execFileSync("tar", words, { stdio: "inherit" });
  fs.rmSync(packed, { recursive: true });
}

function installModules(folder) {
  const target = path.join(folder, "node_modules");
  if (!fs.existsSync("node_modules")) return;
  // Bundled ones are among those that are left here.
  fs.rmSync(target, { recursive: true, force: true });
  fs.cpSync("node_modules", target, { recursive: true, verbatimSymlinks: true });
}

// `bin` is a path, which has the name of the package, or names with paths.
function linkPrograms(folder, project) {
  const own = project.name.split("/").pop();
  const programs = typeof project.bin === "string" ? { [own]: project.bin } : project.bin || {};
  const place = path.join(install, "bin");
  for (const [name, file] of Object.entries(programs)) {
    const program = path.resolve(folder, file);
    if (!isName(name) || name.includes("/")) stop(`the program ${JSON.stringify(name)} has no name for a file`);
    if (!program.startsWith(folder + path.sep)) stop(`the program ${name} is not in the package`);
    if (!fs.existsSync(program)) stop(`the package has no ${file}, which is its program ${name}`);
    fs.chmodSync(program, 0o755);
    fs.mkdirSync(place, { recursive: true });
    fs.rmSync(path.join(place, name), { force: true });
    fs.symlinkSync(path.join("..", path.relative(install, program)), path.join(place, name));
  }
}

const project = JSON.parse(fs.readFileSync("package.json", "utf8"));
if (typeof project.name !== "string" || !isName(project.name)) stop("package.json has no name for a package");
const folder = path.join(install, "lib", "node_modules", project.name);
unpack(folder);
installModules(folder);
linkPrograms(folder, project);
