#!/usr/bin/env python3
"""Chooses from a large corpus the inputs that the repository keeps: few and small ones that together reach as many places of
the program as they can.

usage: minimise.py PROGRAM CORPUS OUT    (PROGRAM: a target that cargo-fuzz has built; OUT must not be there)
"""
import heapq
import pathlib
import shutil
import subprocess
import sys
import tempfile

FILES_MOST = 300
BYTES_MOST = 1_000_000

program, corpus, out = map(pathlib.Path, sys.argv[1:])
out.mkdir(parents=True)

# libFuzzer's own merge says, for each input, which places it reaches (FT).
with tempfile.TemporaryDirectory() as scratch:
    control = pathlib.Path(scratch, "control")
    pathlib.Path(scratch, "merged").mkdir()
    subprocess.run(
        [program, "-set_cover_merge=1", "-use_counters=0", "-max_len=1000000", "-rss_limit_mb=512",
         f"-merge_control_file={control}", f"{scratch}/merged", corpus],
        check=True, stderr=subprocess.DEVNULL)
    lines = control.read_text().splitlines()
count = int(lines[0])
paths = [pathlib.Path(line) for line in lines[2:2 + count]]
reached = {}
for line in lines[2 + count:]:
    kind, number, *places = line.split()
    if kind == "FT":
        reached[int(number)] = set(places)

# Always the one that adds most for its size. What an input adds only ever becomes less, so an old figure is a bound.
missing = set().union(*reached.values())
total, kept, bytes_kept = len(missing), 0, 0
size = {number: paths[number].stat().st_size + 64 for number in reached}
heap = [(-len(places) / size[number], number) for number, places in reached.items()]
heapq.heapify(heap)
while heap and kept < FILES_MOST:
    bound, number = heapq.heappop(heap)
    adds = reached[number] & missing
    worth = -len(adds) / size[number]
    if not adds or bytes_kept + size[number] > BYTES_MOST:
        continue
    if worth > bound:
        heapq.heappush(heap, (worth, number))
        continue
    missing -= adds
    kept, bytes_kept = kept + 1, bytes_kept + size[number]
    shutil.copy(paths[number], out / paths[number].name)
print(f"{kept} inputs, {bytes_kept} bytes, reach {total - len(missing)} of {total} places")
