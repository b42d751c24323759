"""A library of a million tiny pictures: time to the first request, peak memory, the second run.

python bench/million.py --images 1000000 --folder /tmp/million

Makes the pictures if the folder is not there, tags them against the mock endpoint (bench/mock.c,
answers at once), then runs the same command again, which finds nothing to do, and asks for the
status.
"""

import argparse
import os
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

from photos import control, mock, tag_command

SIDE = 32
_A_FOLDER = 1_000


def make_picture(number: int) -> bytes:
    """A grey PNG of sixteen squares that spell its number: no two look alike."""
    square, levels = SIDE // 4, [85 * (number >> 2 * place & 3) for place in range(16)]
    rows = [
        b"\0" + b"".join(bytes([level]) * square for level in levels[first : first + 4])
        for first in range(0, 16, 4)
    ]
    pixels = zlib.compress(b"".join(row * square for row in rows), 1)
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", pixels), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def make_library(folder: Path, images: int) -> None:
    for first in range(0, images, _A_FOLDER):
        place = folder / f"{first // _A_FOLDER:05}"
        place.mkdir(parents=True)
        for number in range(first, min(first + _A_FOLDER, images)):
            (place / f"{number:08}.png").write_bytes(make_picture(number))


def run(command: list[object]) -> tuple[float, float, float, float]:
    """Seconds to the first request, wall and CPU seconds, peak memory in MB."""
    environment = {**os.environ, "OPENAI_API_KEY": "sk-mock"}
    before = control("__stats")["requests"]
    began = time.monotonic()
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, env=environment)
    first = 0.0
    while not first and process.returncode is None:
        time.sleep(0.01)
        if control("__stats")["requests"] > before:
            first = time.monotonic() - began
        elif os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            break
    _, status, used = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{command} ended with status {status}")
    return first, time.monotonic() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, required=True)
    given = parser.parse_args()
    if not given.folder.exists():
        make_library(given.folder, given.images)
    with tempfile.TemporaryDirectory() as scratch, mock(Path(scratch)):
        place = Path(scratch) / "run"
        command = tag_command(given.folder, place)
        status = [*command[:2], "status", "--ledger", place / "ledger.db"]
        for name, words in (("first run", command), ("second run", command), ("status", status)):
            first, wall, cpu, rss = run(words)
            requests = control("__stats")["requests"]
            print(f"{name}: first request after {first:.2f} s, wall {wall:.1f} s, CPU {cpu:.1f} s "
                  f"({1e3 * cpu / given.images:.3f} ms an image), peak {rss:.0f} MB, "
                  f"{requests:,} requests so far", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
