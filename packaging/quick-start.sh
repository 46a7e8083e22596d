#!/bin/sh
# From a fresh Debian with a Rust toolchain to a confined program: installs what is missing, builds pack, and builds,
# installs and runs the example packaging/examples/hello. Everything but Debian's packages stays in the folder target/.
set -eu
cd "$(dirname "$0")/.."

packaging/install-dependencies.sh build
cargo build --release --locked
# A home of the example's own, so that trying pack leaves nothing in yours.
home=$PWD/target/quick-start
mkdir -p "$home"
pack() {
  HOME="$home" PACK_HOME= XDG_DATA_HOME= "$program" "$@"
}
program=$PWD/target/release/pack

pack doctor
[ -n "$(pack key list 2>/dev/null)" ] || pack key generate example
pack build packaging/examples/hello -o "$home/hello.pkg"
pack install --yes "$home/hello.pkg"
pack run hello world
