"""Image files into pixels: upright, in RGB, within limits.

Pillow decodes PNG, JPEG, WebP, GIF, BMP and TIFF, and no other format, whatever the bytes say. The size is read from
the header before a pixel is decoded, so that a small file cannot fill the memory. Of an animation or a TIFF with
several pages the first is taken. What is transparent is white.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, BinaryIO

from core.errors import InvalidArgument

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_PIXELS = 50_000_000
"""An A4 page at 600 dots an inch has 35 million; RGB takes 3 bytes for each."""
_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")


def opened(file: BinaryIO, field: str = "data") -> Image:
    """The first image of a file, decoded: mode RGB, turned as its EXIF orientation says.

    Raises InvalidArgument: BAD_IMAGE for what Pillow cannot decode to the end, IMAGE_TOO_LARGE.
    """
    from PIL import Image, ImageOps

    file.seek(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(file, formats=_FORMATS)
            width, height = image.size
            if width * height > MOST_PIXELS:
                raise _too_large(width, height, field)
            image.load()
            upright = ImageOps.exif_transpose(image) or image
            return _on_white(upright)
    except InvalidArgument:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InvalidArgument(
            f"the image is too large ({error}); make it smaller", field=field, reason="IMAGE_TOO_LARGE"
        ) from error
    except Exception as error:  # decoders raise whatever a broken file makes of them
        raise InvalidArgument(
            f"the image cannot be decoded ({type(error).__name__}: {error}); check that it opens and is whole, or "
            "convert it to PNG",
            field=field,
            reason="BAD_IMAGE",
        ) from error


def _on_white(image: Image) -> Image:
    from PIL.Image import new

    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        layer = image.convert("RGBA")
        ground = new("RGB", layer.size, "white")
        ground.paste(layer, mask=layer.getchannel("A"))
        return ground
    if image.mode.startswith("I") or image.mode == "F":
        return _scaled(image)
    return image.convert("RGB")


def _scaled(image: Image) -> Image:
    """Sixteen bits and more a pixel as eight: `convert` would cut off what is above 255. What is no number is black."""
    import numpy as np
    from PIL.Image import fromarray

    values = np.asarray(image, np.float32)
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 0.0)
    values = np.nan_to_num(values, nan=low, posinf=high, neginf=low)
    eight = (values - low) * (255.0 / max(high - low, 1.0))
    return fromarray(eight.astype(np.uint8), "L").convert("RGB")


def _too_large(width: int, height: int, field: str) -> InvalidArgument:
    return InvalidArgument(
        f"the image is {width} by {height} pixels, at most {MOST_PIXELS} in all are read; make it smaller",
        field=field,
        reason="IMAGE_TOO_LARGE",
    )
