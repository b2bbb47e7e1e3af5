"""Reading and writing of image files: photographs as 8-bit RGB, masks as class ids.

Shapes: H height, W width; a trailing 3 is red, green, blue.
"""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps

from wsss.errors import UserError
from wsss.files import atomic_write
from wsss.ops.palette import voc_palette

_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_START_OF_SCAN = 0xDA
_END = b"\xff\xd9"
_ORIENTATION = 0x0112
_DECODE = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
_PALETTE = voc_palette().tobytes()
_MOST_PIXELS = 2 * (Image.MAX_IMAGE_PIXELS or 2**26)


def read_rgb(path: str | Path) -> np.ndarray:
    """Decode an image file to uint8 [H, W, 3] RGB, writable, upright after its EXIF orientation.

    Grey, 16-bit (high byte), CMYK and palette images become RGB; transparent pixels are laid on white.
    Raises UserError that names the file when it is missing, empty, truncated or no image.
    """
    data = _read_bytes(path)
    with _named(path):
        channels, header = _jpeg_header(data, path) if data[:2] == b"\xff\xd8" else (0, b"")
        if channels in (1, 3):
            image_HW3 = cv2.imdecode(np.frombuffer(data, np.uint8), _DECODE)
            if image_HW3 is not None:
                return _upright(image_HW3, data) if b"Exif\0" in header or b"Orientation" in header else image_HW3
        with Image.open(io.BytesIO(data)) as image:
            return np.require(_rgb(ImageOps.exif_transpose(image)), np.uint8, ["C", "W"])


def read_size(path: str | Path) -> tuple[int, int]:
    """(width, height) from the file's header, after EXIF orientation; UserError when it is no image."""
    if Path(path).is_file() and not Path(path).stat().st_size:
        raise UserError(f"{path}: is empty; copy the file again")
    with _named(path), Image.open(path) as image:
        # Pillow turns the size of a TIFF by itself, that of other formats not.
        turned = image.format != "TIFF" and image.getexif().get(_ORIENTATION, 1) >= 5
        return image.size[::-1] if turned else image.size


def verify(path: str | Path) -> None:
    """Decode the whole image; UserError when it is missing, empty, truncated or no image."""
    read_rgb(path)


def read_mask(path: str | Path) -> np.ndarray:
    """Class ids of a palette or grey 8-bit PNG, uint8 [H, W], 255 = ignore.

    Raises UserError that names the file and the remedy for RGB, 16-bit and JPEG masks and for damaged files.
    """
    data = _read_bytes(path)
    with _named(path), Image.open(io.BytesIO(data)) as image:
        if image.format == "JPEG":
            raise UserError(f"{path}: mask is a JPEG, which alters class ids; save it as palette PNG")
        if image.mode not in ("P", "L", "1"):
            raise UserError(
                f"{path}: mask has colour mode {image.mode}; "
                "save class ids 0..C (255 = ignore) as 8-bit palette or grey PNG"
            )
        return np.array(image, dtype=np.uint8)


def write_mask(path: str | Path, label_HW: np.ndarray) -> None:
    """Write class ids, uint8 [H, W], as a PNG with PASCAL VOC's palette, atomically."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(encode_mask(label_HW))


def encode_mask(label_HW: np.ndarray) -> bytes:
    """Class ids, uint8 [H, W], as the bytes of a PNG with PASCAL VOC's palette."""
    if label_HW.dtype != np.uint8 or label_HW.ndim != 2:
        raise ValueError(f"a mask is uint8 [H, W], not {label_HW.dtype} {list(label_HW.shape)}")
    image = Image.fromarray(label_HW)
    image.putpalette(_PALETTE)
    stream = io.BytesIO()
    image.save(stream, format="PNG")
    return stream.getvalue()


def _read_bytes(path: str | Path) -> bytes:
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); is the path right?") from None
    if not data:
        raise UserError(f"{path}: is empty; copy the file again")
    if data.startswith(b"\x89PNG") and b"IEND" not in data:
        raise UserError(f"{path}: PNG is truncated; copy the file again or remove it")
    return data


@contextmanager
def _named(path: str | Path) -> Iterator[None]:
    """Turn whatever a decoder raises, which is nearly anything on damaged files, into a UserError with the name."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        reason = "not an image" if "cannot identify" in str(error) else str(error) or type(error).__name__
        if isinstance(error, OSError) and error.strerror:
            reason = error.strerror
        raise UserError(f"{path}: cannot be decoded ({reason}); copy the file again or remove it") from None


def _jpeg_header(data: bytes, path: str | Path) -> tuple[int, bytes]:
    """Colour components, and all before the pixels, of a complete JPEG; the walk over its markers skips thumbnails."""
    position, channels, end = 2, 0, 0
    while position + 4 <= len(data):
        marker = data[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        if marker in _START_OF_FRAME:
            channels = data[position + 9] if position + 9 < len(data) else 0
            _refuse_giant(data[position + 5 : position + 9], path)
        if marker == _START_OF_SCAN:
            end = end or position
            if data.endswith(_END):
                return channels, data[:end]
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        if marker == _START_OF_SCAN:
            found = _NEXT_MARKER.search(data, position)
            position = found.start() if found else len(data)
            if data[position : position + 2] == _END:
                return channels, data[:end]
    raise UserError(f"{path}: JPEG is truncated or damaged; copy the file again or remove it")


def _refuse_giant(sides: bytes, path: str | Path) -> None:
    """The limit at which Pillow refuses to decode, for OpenCV, which has none of this size."""
    height, width = int.from_bytes(sides[:2], "big"), int.from_bytes(sides[2:], "big")
    if height * width > _MOST_PIXELS:
        raise UserError(f"{path}: claims {width}x{height} pixels; make it smaller than {_MOST_PIXELS:,} pixels")


def _upright(image_HW3: np.ndarray, data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        orientation = image.getexif().get(_ORIENTATION, 1)
    if orientation in (5, 6, 7, 8):
        image_HW3 = image_HW3.transpose(1, 0, 2)
    flip_y, flip_x = orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
    return np.ascontiguousarray(image_HW3[:: -1 if flip_y else 1, :: -1 if flip_x else 1])


def _rgb(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I") or image.mode == "F":
        value_HW = np.asarray(image).astype(np.float64)
        if image.mode != "F" and value_HW.max(initial=0) > 255:
            value_HW = value_HW // 256
        grey_HW = value_HW.clip(0, 255).astype(np.uint8)
        return np.repeat(grey_HW[..., None], 3, axis=2)
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image.convert("RGB"))
