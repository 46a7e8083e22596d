"""Installs a Python part from what was downloaded, into a virtual environment that finds itself at /app.

Arguments: the folder of what was downloaded, the folder of what the part installs, the stage, `project` where the
source is installed too, how many of the following arguments are constraints, then pip's arguments that name
constraints and requirements.
"""

import os
import shutil
import subprocess
import sys

import pip

# In the package, and in the folder that the part installs.
PLACE = "lib/venv"
# In the folder that the part is built in.
WHEELS = ".pack-wheels"
TOOLS = ".pack-tools"
VERSION = "{}.{}".format(*sys.version_info[:2])
# The environment has no pip of its own, and the first line of programs is to name the interpreter where it will be.
RUN_PIP = f"""
import runpy, sys
sys.path.append("{TOOLS}")
sys.executable = "/app/{PLACE}/bin/python3"
sys.argv[0] = "pip"
runpy.run_module("pip", run_name="__main__", alter_sys=True)
"""
PIP = ["--disable-pip-version-check", "--no-input"]


def run(command):
    if subprocess.run(command).returncode != 0:
        sys.exit("pack: the part cannot be installed from what was downloaded for it")


def build_wheels(downloaded, project):
    """Builds wheels of what came as a source; returns the source's own as a requirement."""
    sources = [os.path.join(downloaded, name) for name in sorted(os.listdir(downloaded)) if not name.endswith(".whl")]
    command = [sys.executable, "-m", "pip", *PIP, "wheel", "--no-cache-dir", "--use-pep517", "--no-deps"]
    command += ["--no-index", "--find-links", downloaded, "--wheel-dir"]
    own = os.path.join(WHEELS, "own")
    os.makedirs(own, exist_ok=True)
    for source in sources:
        run([*command, WHEELS, source])
    if not project:
        return []
    run([*command, own, "."])
    return ["{}=={}".format(*os.listdir(own)[0].split("-")[:2])]


def make_environment(folder):
    """An environment of the interpreter that runs this."""
    os.makedirs(os.path.join(folder, "bin"), exist_ok=True)
    os.makedirs(os.path.join(folder, "lib", f"python{VERSION}", "site-packages"), exist_ok=True)
    base = os.path.realpath(sys.executable)
    settle(folder, base, os.path.dirname(base))


def settle(folder, leads_to, home):
    with open(os.path.join(folder, "pyvenv.cfg"), "w", encoding="utf-8") as file:
        file.write(f"home = {home}\ninclude-system-site-packages = false\nversion = {VERSION}\n")
    for name, target in (("python3", leads_to), ("python", "python3"), (f"python{VERSION}", "python3")):
        path = os.path.join(folder, "bin", name)
        if os.path.lexists(path):
            os.remove(path)
        os.symlink(target, path)


def install_wheels(folder, downloaded, *requirements):
    shutil.copytree(os.path.dirname(pip.__file__), os.path.join(TOOLS, "pip"), dirs_exist_ok=True)
    command = [os.path.join(folder, "bin", "python3"), "-c", RUN_PIP, *PIP, "install", "--no-cache-dir"]
    command += ["--no-warn-script-location", "--no-compile", "--no-index", "--only-binary", ":all:"]
    for place in (downloaded, WHEELS, os.path.join(WHEELS, "own")):
        command += ["--find-links", place]
    run([*command, *requirements])


def compile_modules(folder):
    """Compiles everything once, since no app can write beside its modules. What is compiled says nothing of times or of
    this folder, and is taken without a look at its source."""
    command = [sys.executable, "-m", "compileall", "-q", "-j", "1", "--invalidation-mode", "unchecked-hash"]
    command += ["-s", folder, "-p", f"/app/{PLACE}", os.path.join(folder, "lib")]
    # Some of what packages bring is no program of this version of the language, and stays as it is.
    subprocess.run(command, env=dict(os.environ, PYTHONHASHSEED="0"), stdout=subprocess.DEVNULL)


def link_programs(install, folder):
    os.makedirs(os.path.join(install, "bin"), exist_ok=True)
    for name in sorted(os.listdir(os.path.join(folder, "bin"))):
        path = os.path.join(install, "bin", name)
        if not name.startswith("python") and not os.path.lexists(path):
            os.symlink(f"../{PLACE}/bin/{name}", path)


def settle_for_the_package(folder, install, stage):
    """The interpreter is the package's own where it has one, else the base's."""
    for tree in (install, stage):
        staged = os.path.join(tree, "usr/bin/python3")
        if os.path.lexists(staged):
            if os.path.basename(os.path.realpath(staged)) != f"python{VERSION}":
                sys.exit(f"pack: this is Python {VERSION}, and another one is staged")
            here = os.path.realpath(os.path.join(folder, "bin"))
            inside = os.path.join(os.path.realpath(install), "usr/bin/python3")
            return settle(folder, os.path.relpath(inside, here), "/app/usr/bin")
    return settle(folder, "/usr/bin/python3", "/usr/bin")


def main(downloaded, install, stage, source, number, *arguments):
    constraints, requirements = list(arguments[: int(number)]), list(arguments[int(number) :])
    folder = os.path.join(install, PLACE)
    own = build_wheels(downloaded, source == "project")
    make_environment(folder)
    if requirements:
        install_wheels(folder, downloaded, *constraints, *requirements)
    if own:
        install_wheels(folder, downloaded, *constraints, *own)
    compile_modules(folder)
    link_programs(install, folder)
    settle_for_the_package(folder, install, stage)


main(*sys.argv[1:])
