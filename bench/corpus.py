"""Make a corpus of 12-megapixel photographs, no two alike, out of a folder of large photos.

python bench/corpus.py SOURCES OUT --count 500

SOURCES is any folder with large JPEG photographs; Debian's wallpaper packages will do:
apt-get download plasma-workspace-wallpapers lomiri-wallpapers-16.04 lomiri-wallpapers-20.04,
then dpkg-deb -x each into SOURCES.
"""

import argparse
import random
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from PIL import Image

SIZE = (4000, 3000)
_LEAST_SIDE = 1_700
_LEAST_BYTES_PER_PIXEL = 0.12  # photographs carry many bytes a pixel, flat wallpapers do not


def find_photos(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*.jpg")):
        if path.is_symlink():
            continue
        with Image.open(path) as image:
            pixels = image.width * image.height
            is_photo = path.stat().st_size / pixels > _LEAST_BYTES_PER_PIXEL
            if is_photo and min(image.size) >= _LEAST_SIDE:
                yield path


@lru_cache(maxsize=2)
def load(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


def make_photo(source: Image.Image, number: int) -> Image.Image:
    """Another crop of the source, sometimes mirrored, with a little noise."""
    chance = random.Random(number)
    scale = min(source.width / SIZE[0], source.height / SIZE[1]) * chance.uniform(0.55, 1.0)
    width, height = int(SIZE[0] * scale), int(SIZE[1] * scale)
    left, top = chance.randint(0, source.width - width), chance.randint(0, source.height - height)
    box = (left, top, left + width, top + height)
    photo = source.resize(SIZE, Image.Resampling.BICUBIC, box=box)
    if chance.random() < 0.5:
        photo = photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    small = (SIZE[0] // 4, SIZE[1] // 4)
    noise = Image.frombytes("L", small, chance.randbytes(small[0] * small[1]))
    return Image.blend(photo, noise.resize(SIZE).convert("RGB"), 0.025)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sources", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=500)
    given = parser.parse_args()
    photos = list(find_photos(given.sources))
    if not photos:
        parser.error(f"no large photographs in {given.sources}")
    given.out.mkdir(parents=True, exist_ok=True)
    for number in range(given.count):
        target = given.out / f"photo{number:05}.jpg"
        if not target.exists():
            # neighbours share a source, so that it is decoded once
            source = load(photos[number * len(photos) // given.count])
            make_photo(source, number).save(target, quality=92, subsampling=2)
    print(f"{given.count} photographs from {len(photos)} sources in {given.out}")


if __name__ == "__main__":
    main()
