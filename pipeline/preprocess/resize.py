"""Shrinks a decoded picture and turns it upright, in this order: turning less costs less."""

from PIL import Image

from pipeline.preprocess.decode import Box

# Against full decoding and LANCZOS, on 35 photographs to fit 1024: mean SSIM 0.991 (4000x3000)
# and 0.993 (1600x1600). BICUBIC has 0.995 and 0.998 for 1.27 and 1.35 times the CPU.
_FILTER = Image.Resampling.HAMMING
# Averages whole pixels first where three or more fall into one: SSIM 0.996, not 0.997 (one photo),
# for two thirds of the time. A drafted JPEG is seldom that much too large.
_REDUCING_GAP = 1.5

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def shrink(image: Image.Image, size: tuple[int, int], box: Box) -> Image.Image:
    """The part ``box`` of the picture at ``size``; alpha is weighed in."""
    if image.size == size:
        return image
    return image.resize(size, _FILTER, box, _REDUCING_GAP)


def turn_upright(image: Image.Image, orientation: int) -> Image.Image:
    """Undoes an EXIF orientation, 1 to 8."""
    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)


def flatten(image: Image.Image) -> Image.Image:
    """Puts an RGBA picture on white paper."""
    if image.mode != "RGBA":
        return image
    paper = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(paper, image).convert("RGB")
