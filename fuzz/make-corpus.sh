#!/bin/sh
# Makes small valid images and packages for the fuzz targets to begin with: mksquashfs and gensquashfs, every compressor, and
# the options that change an image's structures. Needs what packaging/install-dependencies.sh test installs.
#
# usage: fuzz/make-corpus.sh FOLDER    (writes FOLDER/reader/*, FOLDER/envelope/* and FOLDER/blocks/*)
set -eu
cd "$(dirname "$0")/.."
out=$1
mkdir -p "$out/reader" "$out/envelope"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# A tree with one of everything: empty, short, several blocks of 4 KiB with an odd end, holes, links of both kinds,
# attributes that are shared and not, a pipe, a socket, names at the edges.
make_tree() {
  tree=$1
  mkdir -p "$tree/folder/inner" "$tree/empty"
  : >"$tree/nothing"
  printf 'short' >"$tree/short"
  seq 1 1500 >"$tree/folder/lines"
  head -c 4096 /dev/zero | tr '\0' 'x' >"$tree/folder/one-block"
  truncate -s 20000 "$tree/hole"
  printf 'end' >>"$tree/hole"
  truncate -s 9000 "$tree/all-hole"
  ln -s ../short "$tree/folder/link"
  ln "$tree/short" "$tree/folder/inner/hard-link"
  mkfifo "$tree/pipe"
  python3 -c 'import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])' "$tree/socket"
  : >"$tree/$(printf 'caf\351\n')"
  : >"$tree/$(printf 'n%.0s' $(seq 255))"
  # Twice the same long value, which is stored once and referred to.
  for file in short folder/lines; do
    setfattr -n user.shared -v "$(printf 'v%.0s' $(seq 200))" "$tree/$file"
    setfattr -n user.own -v "$file" "$tree/$file"
  done
  setfattr -n user.folder -v 0x00ff "$tree/folder"
}

# Few files; and so many that the listing takes several metadata blocks and the folder gets an index.
make_tree "$work/tree"
mkdir "$work/tiny" "$work/many"
printf 'a' >"$work/tiny/a"
(cd "$work/many" && for n in $(seq 0 199); do : >"entry-$n-with-a-name-long-enough-for-a-second-block-of-the-listing"; done)
# More than 113 blocks, so that an index of spans has two levels.
mkdir "$work/blocks"
(cd "$work/blocks" && for n in $(seq 0 129); do printf '%s' "$n" >"$n"; done)

plain="-noI -noId -noX"
all_plain="$plain -noD -noF"
make_image() {
  name=$1 tree=$2
  shift 2
  mksquashfs "$work/$tree" "$work/images/$name" -noappend -no-progress -quiet -nopad -all-root -mkfs-time 0 -all-time 0 \
    -processors 1 "$@" >/dev/null
}
mkdir "$work/images"
# shellcheck disable=SC2086 # lists of words
{
  for compressor in gzip zstd xz lz4 lzo lzma; do
    make_image "$compressor" tree -comp "$compressor" -b 4096
    make_image "$compressor-plain" tree -comp "$compressor" -b 4096 $plain
    make_image "$compressor-tiny" tiny -comp "$compressor"
  done
  make_image plain-fragments tree -comp zstd -b 4096 $all_plain -always-use-fragments
  make_image plain-no-fragments tree -comp zstd -b 4096 $all_plain -no-fragments
  make_image plain-no-exports tree -comp zstd -b 4096 $all_plain -no-exports -no-xattrs
  make_image plain-no-duplicates tree -comp zstd -b 8192 $all_plain -no-duplicates
  make_image plain-tiny tiny -comp zstd $all_plain
  make_image plain-many many -comp zstd $all_plain
  make_image plain-blocks blocks -comp zstd -b 4096 $all_plain -no-fragments
  make_image lz4-high tiny -comp lz4 -Xhc
  make_image xz-filter tree -comp xz -b 8192 -Xbcj x86
  make_image gzip-options tree -comp gzip -b 8192 -Xcompression-level 1 -Xwindow-size 8
  make_image lzo-options tree -comp lzo -b 8192 -Xalgorithm lzo1x_1
  make_image block-1m tree -comp zstd -b 1M $plain
}
for compressor in gzip zstd xz lz4 lzo lzma; do
  gensquashfs --pack-dir "$work/tree" -c "$compressor" -b 4096 -k -e -q "$work/images/ng-$compressor" >/dev/null 2>&1 ||
    gensquashfs --pack-dir "$work/tree" -c "$compressor" -b 4096 -k -e -q "$work/images/ng-$compressor"
done
# A file of one block each, for the target of the decompressors.
mkdir "$work/blocks-of"
for size in 4096 60000; do
  mkdir "$work/lines"
  seq 1 20000 | head -c "$size" >"$work/lines/lines"
  for compressor in gzip lz4 lzo xz zstd; do
    mksquashfs "$work/lines" "$work/blocks-of/block-$compressor-$size" -noappend -no-progress -quiet -nopad \
      -no-fragments -b 64K -comp "$compressor" $plain >/dev/null
  done
  rm -r "$work/lines"
done
fuzz/make-blocks.py "$work/blocks-of" "$out/blocks"

for image in "$work"/images/*; do
  cp "$image" "$out/reader/$(basename "$image")"
done

cargo build --quiet -p pack-launcher --example wrap-image
for image in zstd gzip plain-fragments plain-tiny zstd-tiny plain-blocks plain-no-fragments; do
  "${CARGO_TARGET_DIR:-target}/debug/examples/wrap-image" "$work/images/$image" "$out/envelope/$image"
done
