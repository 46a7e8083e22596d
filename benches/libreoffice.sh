#!/bin/sh
# LibreOffice Writer on the base debian-12, from Debian's packages to a PDF: builds both packages, installs them, converts a
# document in the sandbox, and looks into the PDF. Prints how long each took and how large it is.
#
# usage: benches/libreoffice.sh [FOLDER FOR THE PDF AND A PICTURE OF ITS PAGE]
#
# PACK names another pack than the one that is built here, CONVERSIONS how many starts are measured (5). Needs
# `packaging/install-dependencies.sh bench`, 4 GB of room in the home folder, and the network. Run as root, nothing of it is done as
# root, but that the page cache is emptied before the first start.
set -eu
export LC_ALL=C.UTF-8

project=$(cd "$(dirname "$0")/.." && pwd)
keep=${1:-}
if [ -z "${PACK:-}" ]; then
  (cd "$project" && cargo build --release --quiet)
  PACK=$project/target/release/pack
fi

as_user=
homes=$HOME
if [ "$(id -u)" = 0 ]; then
  as_user="--reuid=65534 --regid=65534 --clear-groups"
  homes=/home
fi
place=$(mktemp -d "$homes/pack-bench-XXXXXX")
trap 'rm -rf "$place"' EXIT
mkdir "$place/home" "$place/home/Documents" "$place/run"
cp "$PACK" "$place/pack"
cp -r "$project/packaging/bases/debian-12" "$project/packaging/examples/libreoffice" "$place/home"
cat > "$place/home/Documents/letter.fodt" <<'END'
<?xml version="1.0" encoding="UTF-8"?>
<office:document xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0"
  xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0" xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0"
  office:version="1.3" office:mimetype="application/vnd.oasis.opendocument.text">
<office:body><office:text>
<text:h text:outline-level="1">A letter from the sandbox</text:h>
<text:p>Grüße — 42 words were not needed.</text:p>
<table:table><table:table-column table:number-columns-repeated="2"/><table:table-row>
<table:table-cell><text:p>one</text:p></table:table-cell><table:table-cell><text:p>two</text:p></table:table-cell>
</table:table-row></table:table>
</office:text></office:body></office:document>
END
chmod 755 "$place"
chmod 700 "$place/run"
[ -z "$as_user" ] || chown -R 65534:65534 "$place"

# As a user who can gain nothing, in an environment of its own. What is fetched from the archive is kept for the next run.
cache=${PACK_BENCH_CACHE:-${TMPDIR:-/tmp}/pack-bench-cache-$(id -u)}
mkdir -p "$cache"
[ -z "$as_user" ] || chown 65534:65534 "$cache"
pack() {
  # shellcheck disable=SC2086 # a list of words
  (cd "$place/home" && exec setpriv --no-new-privs $as_user -- env -i PATH="$PATH" HOME="$place/home" \
    XDG_RUNTIME_DIR="$place/run" XDG_CACHE_HOME="$cache" LANG=C.UTF-8 CI=true "$place/pack" "$@")
}

letter=$place/home/Documents/letter
now() { date +%s%N; }
# Runs the rest of the line and prints how long it took.
timed() {
  label=$1
  shift
  before=$(now)
  "$@" > "$place/out" 2>&1 || { cat "$place/out" >&2; echo "failed: $label" >&2; exit 1; }
  echo "$label $(( ($(now) - before) / 1000000 ))" | awk '{ time = $NF; NF--; printf "%-46s %9.2f s\n", $0, time / 1000 }'
}
size() { awk -v label="$1" -v bytes="$2" 'BEGIN { printf "%-46s %9.1f MB\n", label, bytes / 1e6 }'; }
convert() {
  rm -f "$letter.pdf"
  # The plug home shows the document, at the same place as outside.
  pack run libreoffice -- --headless --convert-to pdf --outdir "${letter%/*}" "$letter.fodt"
  pdftotext "$letter.pdf" "$place/text"
  for words in "A letter from the sandbox" "Grüße — 42 words were not needed." two; do
    grep -q "$words" "$place/text" || { echo "not in the PDF: $words" >&2; return 1; }
  done
}

pack key generate bench > /dev/null 2>&1
timed "build the base, downloads included" pack build debian-12 -o base.pkg
timed "install the base" pack install --yes base.pkg
timed "stage LibreOffice, downloads included" pack build --step prime libreoffice
timed "build LibreOffice, nothing to download" pack build libreoffice -o libreoffice.pkg
timed "install LibreOffice" pack install --yes libreoffice.pkg
size "the base, packed" "$(stat -c %s "$place/home/base.pkg")"
size "LibreOffice, packed" "$(stat -c %s "$place/home/libreoffice.pkg")"
size "LibreOffice, unpacked" "$(du -sb "$place/home/libreoffice/.pack/prime" | cut -f1)"

sync
[ -z "$as_user" ] || echo 3 > /proc/sys/vm/drop_caches
timed "first start: a document to a PDF" convert
for number in $(seq 2 "${CONVERSIONS:-5}"); do
  timed "start $number" convert
done

pdfinfo "$letter.pdf" | grep -E 'Producer|Pages'
if [ -n "$keep" ]; then
  cp "$letter.pdf" "$keep"
  pdftoppm -png -r 60 "$letter.pdf" "$keep/letter"
fi
