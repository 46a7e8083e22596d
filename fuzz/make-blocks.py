#!/usr/bin/env python3
"""Makes compressed blocks for the fuzz target `blocks` to begin with: of every compressor, out of the images that
make-corpus.sh has made, and recipes for xz streams with every filter.

usage: make-blocks.py IMAGES FOLDER
"""
import pathlib
import struct
import sys

images, folder = map(pathlib.Path, sys.argv[1:])
folder.mkdir(parents=True, exist_ok=True)


def write(name, compressor, size, block):
    (folder / name).write_bytes(struct.pack("<BH", compressor, size - 1) + block)


def first_block(image):
    """The first block of a file in an image of `lines`, which is all that it has; options of the compressor may come first."""
    start, = struct.unpack("<Q", image[64:72])
    flags, = struct.unpack("<H", image[24:26])
    at = 96
    if flags & 0x400:
        at += 2 + (struct.unpack("<H", image[96:98])[0] & 0x7FFF)
    return image[at:start]


for number, name in enumerate(["gzip", "lz4", "lzo", "xz", "zstd"]):
    for size in (4096, 60000):
        path = images / f"block-{name}-{size}"
        write(f"{name}-{size}", number, size, first_block(path.read_bytes()))

text = b"\xe8\x01\x02\x03\x00 call, jump \xe9\xff\xff\xff\xff" * 20
# Delta, x86, PowerPC, IA-64, ARM, ARM-Thumb, SPARC, ARM64, RISC-V; without properties, and with some.
for filter_id in range(3, 12):
    for properties in (b"", b"\x07", b"\x00\x10\x00\x00", b"\xf0\xff\xff\xff"):
        recipe = bytes([1, filter_id, len(properties)]) + properties + b"\x01" + text
        write(f"xz-filter-{filter_id}-{properties.hex()}", 5, len(text), recipe)
write("xz-stored", 5, len(text), b"\x00\x01" + text)
write("xz-three-filters", 5, len(text), b"\x03\x03\x01\x00\x04\x00\x07\x00\x01" + text)
