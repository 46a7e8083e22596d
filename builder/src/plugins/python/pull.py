"""Downloads what a Python part needs: wheels, source archives where there are none, and what these are built with.

Arguments: the folder for them, `project` where the source is installed too, how many of the following arguments
are constraints, then pip's arguments that name constraints and requirements.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile

try:
    import tomllib
except ModuleNotFoundError:  # Before Python 3.11.
    from pip._vendor import tomli as tomllib


def try_download(folder, arguments):
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "download"]
    command += ["--no-cache-dir", "--progress-bar", "off", "--prefer-binary", "--dest", folder]
    return subprocess.run(command + arguments).returncode == 0


def download(folder, arguments):
    if not try_download(folder, arguments):
        sys.exit("pack: what the part needs cannot be downloaded")


def download_for_project(folder, constraints):
    """What the source depends on, in the versions that were chosen already where there are some."""
    with tempfile.TemporaryDirectory() as place:
        # pip writes beside what it looks at.
        copy = os.path.join(place, "source")
        shutil.copytree(".", copy, symlinks=True)
        chosen = os.path.join(place, "chosen.txt")
        with open(chosen, "w", encoding="utf-8") as file:
            for name in sorted(os.listdir(folder)):
                if name.endswith(".whl"):
                    file.write("{}=={}\n".format(*name.split("-")[:2]))
        download(folder, constraints + ["--constraint", chosen, copy])


def build_requirements(text):
    """What a source says that it is built with; `text` is that of its pyproject.toml, None where it has none."""
    system = tomllib.loads(text).get("build-system", {}) if text is not None else {}
    requires = list(system.get("requires", ["setuptools"]))
    # setuptools asks for wheel only when it is called.
    if system.get("build-backend", "setuptools").startswith("setuptools"):
        requires.append("wheel")
    return requires


def read_folder():
    try:
        with open("pyproject.toml", encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return None


def read_archive(path):
    """The text of the pyproject.toml at the top of a source archive."""

    def wanted(name):
        return name.count("/") == 1 and name.endswith("/pyproject.toml")

    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if wanted(name)]
            return archive.read(names[0]).decode() if names else None
    with tarfile.open(path) as archive:
        members = [member for member in archive if member.isfile() and wanted(member.name)]
        return archive.extractfile(members[0]).read().decode() if members else None


def download_for_builds(folder, constraints, wanted):
    """What sources are built with, and what that is built with in its turn."""
    seen = set()
    while True:
        for name in sorted(os.listdir(folder)):
            if not name.endswith(".whl") and name not in seen:
                seen.add(name)
                wanted.append(build_requirements(read_archive(os.path.join(folder, name))))
        if not wanted:
            return
        # Each on its own: two sources may be built with different versions of the same thing.
        for requires in wanted:
            # What is installed need not be what something is built with.
            if requires and not (constraints and try_download(folder, [*constraints, "--", *requires])):
                download(folder, ["--", *requires])
        wanted = []


def main(folder, source, number, *arguments):
    os.makedirs(folder, exist_ok=True)
    constraints, requirements = list(arguments[: int(number)]), list(arguments[int(number) :])
    if requirements:
        download(folder, constraints + requirements)
    wanted = []
    if source == "project":
        download_for_project(folder, constraints)
        wanted.append(build_requirements(read_folder()))
    download_for_builds(folder, constraints, wanted)


main(*sys.argv[1:])
