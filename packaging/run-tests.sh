#!/bin/sh
# All tests, on a fresh Debian with a Rust toolchain: installs what they need and runs them. Run it as root (as CI does),
# and the tests start pack as an unprivileged user; or as any user with sudo, and they start it as that user.
#
# A test that cannot run where it is says why, and the reasons are printed at the end. A reason that is not listed in
# packaging/expected-skips fails the run.
set -eu
cd "$(dirname "$0")/.."

packaging/install-dependencies.sh test
skips=$(mktemp)
export PACK_TEST_SKIPS="$skips"
cargo test --workspace --locked --no-fail-fast

sort -u "$skips" >"$skips.sorted"
if [ -s "$skips.sorted" ]; then
  echo "skipped:"
  cat "$skips.sorted"
fi
unexpected=$(grep -v -x -F -f packaging/expected-skips "$skips.sorted" || true)
rm -f "$skips" "$skips.sorted"
if [ -n "$unexpected" ]; then
  echo "not expected (packaging/expected-skips):" >&2
  echo "$unexpected" >&2
  exit 1
fi
