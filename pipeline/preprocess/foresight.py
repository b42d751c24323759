"""What will be sent of a picture, as far as its header tells: nothing is decoded."""

from dataclasses import dataclass

from pipeline.domain.images import ImageInfo
from pipeline.preprocess.header import read_header
from pipeline.preprocess.prepare import PrepareOptions, check_size, choose_size, keeps_pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class Foresight:
    """A picture to be asked about."""

    info: ImageInfo
    width: int
    """Pixels, upright, as it is sent; EXIF that lies behind the pixels of a WebP or PNG may
    exchange the two, which changes no count of tokens."""
    height: int
    keeps_pixels: bool
    """It is passed on as it is stored, so that its file tells how many bytes are sent."""


def foresee(head: bytes, options: PrepareOptions, *, file_bytes: int, is_whole: bool) -> Foresight:
    """Read what ``prepare_image`` will make of a file.

    Args:
        head: the file, or the first part of it.
        options: what will be made of it.
        file_bytes: size of the whole file.
        is_whole: False for a head. Then TRUNCATED means that more of the file is needed.

    Raises:
        ImageError: it will not be asked about, with the cause.
    """
    header = read_header(head, is_whole=is_whole)
    check_size(header.info, options)
    width, height = size = choose_size(header.info, options)
    return Foresight(
        info=header.info,
        width=width,
        height=height,
        keeps_pixels=keeps_pixels(header, size, options, file_bytes=file_bytes),
    )
