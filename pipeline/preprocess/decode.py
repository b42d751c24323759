"""The only place that opens and decodes with Pillow: few formats, no surprises, our errors."""

import io
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeAlias, cast

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from pipeline.domain.errors import ImageError, MissingExtraError
from pipeline.domain.images import ImageFormat
from pipeline.domain.outcomes import Cause

# the guard on pixels is ours: per call, and before anything is decoded
Image.MAX_IMAGE_PIXELS = None
# its doubts about odd TIFF tags are no news for a user
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")

_PLUGINS = {
    ImageFormat.JPEG: JpegImagePlugin.JpegImageFile.format,
    ImageFormat.PNG: PngImagePlugin.PngImageFile.format,
    ImageFormat.WEBP: WebPImagePlugin.WebPImageFile.format,
    ImageFormat.GIF: GifImagePlugin.GifImageFile.format,
    ImageFormat.BMP: BmpImagePlugin.BmpImageFile.format,
    ImageFormat.TIFF: TiffImagePlugin.TiffImageFile.format,
    ImageFormat.AVIF: AvifImagePlugin.AvifImageFile.format,
    ImageFormat.HEIC: "HEIF",
}
_PILLOW_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    struct.error,
    zlib.error,
    EOFError,
    OverflowError,
    ZeroDivisionError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    AssertionError,
    RuntimeError,
    UserWarning,  # where warnings are errors, its doubts arrive this way
)
Box: TypeAlias = tuple[float, float, float, float]
"""Left, top, right, bottom, in pixels."""

_heif_lock = threading.Lock()


@contextmanager
def pillow_errors() -> Iterator[None]:
    """Whatever Pillow and its codecs raise becomes an `ImageError` with the right cause."""
    try:
        yield
    except (MemoryError, Image.DecompressionBombError) as error:
        message = "decoding needs more memory than there is"
        raise ImageError(Cause.TOO_LARGE, message) from error
    except UnidentifiedImageError as error:
        raise ImageError(Cause.CORRUPT, "the header is damaged or cut") from error
    except _PILLOW_ERRORS as error:
        # Pillow tells a cut file from a damaged one in words only
        is_cut = isinstance(error, EOFError) or "truncated" in str(error).lower()
        cause = Cause.TRUNCATED if is_cut else Cause.CORRUPT
        reason = " ".join(str(error).split())
        raise ImageError(cause, f"the picture data is {cause}: {reason}") from error


def open_picture(data: bytes, image_format: ImageFormat) -> Image.Image:
    """Reads the header only. Call inside `pillow_errors`."""
    if image_format is ImageFormat.HEIC:
        _register_heif()
    return Image.open(io.BytesIO(data), formats=[_PLUGINS[image_format] or ""])


def load_pixels(image: Image.Image, size: tuple[int, int]) -> tuple[Image.Image, Box]:
    """Decodes into L, RGB, CMYK or RGBA, a JPEG no larger than needed for ``size``.

    Returns:
        The picture and the part of it, in its pixels, that is the whole original: decoding at
        a fraction rounds sizes up.
    """
    drafted = image.draft(None, size)
    image.load()
    box = (0, 0, *image.size) if drafted is None else drafted[1]
    return _to_plain_mode(image), box


def _to_plain_mode(image: Image.Image) -> Image.Image:
    mode = image.mode
    if mode in {"RGBA", "RGBa", "LA", "La", "PA"} or "transparency" in image.info:
        return _drop_unused_alpha(image if mode == "RGBA" else image.convert("RGBA"))
    if mode in {"L", "RGB", "CMYK"}:
        return image
    if mode == "1":
        return image.convert("L")
    if mode in {"P", "YCbCr", "RGBX", "HSV"}:
        return image.convert("RGB")
    if mode.startswith("I;16"):
        return _take_high_byte(image)
    if mode in {"I", "F"}:
        return _spread_range(image)
    raise ImageError(Cause.UNSUPPORTED_FORMAT, f"colour mode {mode}; convert it to RGB first")


def _drop_unused_alpha(image: Image.Image) -> Image.Image:
    lowest, _ = image.getchannel("A").getextrema()
    return image.convert("RGB") if lowest == 255 else image  # noqa: PLR2004 - opaque


def _take_high_byte(image: Image.Image) -> Image.Image:
    # Pillow's own way to L clips at 255
    return image.convert("I").point([value >> 8 for value in range(65536)], "L")


def _spread_range(image: Image.Image) -> Image.Image:
    """No format says what is black and white in such pictures, so the extremes are."""
    low, high = cast("tuple[float, float]", image.convert("F").getextrema())
    if not (-1e30 < low <= high < 1e30):  # noqa: PLR2004 - beyond any picture; not a number fails too
        raise ImageError(Cause.CORRUPT, f"pixel values from {low} to {high}")
    if low >= 0 and 1 < high <= 255:  # noqa: PLR2004 - eight bits in a wide type
        return image.convert("L")
    scale = 255 / (high - low) if high > low else 0.0
    return image.convert("F").point(lambda value: value * scale + -low * scale).convert("L")


def _register_heif() -> None:
    with _heif_lock:
        if "HEIF" in Image.OPEN:
            return
        try:
            import pillow_heif
        except ImportError as error:
            message = str(MissingExtraError("reading HEIC pictures", "heic"))
            raise ImageError(Cause.UNSUPPORTED_FORMAT, message) from error
        pillow_heif.register_heif_opener()
