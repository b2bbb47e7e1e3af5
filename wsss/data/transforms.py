"""Resizing, normalisation and training augmentation of images and their labels, on the CPU and without torch.

Letters: H, W = height, width in pixels; 3 = RGB channels. Labels hold class ids with 255 = ignore.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, log, sqrt
from typing import Any, Literal, cast, get_args

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsss.errors import UserError
from wsss.ops.resample import Interpolation, nearest, place_label, render, taps
from wsss.ops.sizes import Size, resized_long, scaled

IGNORE = 255
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

ResizeKind = Literal["none", "long_side", "factor", "choice", "area"]
Triple = tuple[float, ...]
U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
I64 = NDArray[np.int64]


def resize_image(image_HW3: U8, size: Size, method: Interpolation = "pillow_bicubic") -> U8:
    """Resize an RGB image to (height, width).

    `pillow_bicubic` is Pillow's filter, bit by bit (antialiased, a = -0.5; inference of irn and psa);
    `cv2_cubic` (a = -0.75) and `cv2_linear` are OpenCV's, without antialiasing.
    """
    if method == "pillow_bicubic":
        return np.array(Image.fromarray(image_HW3).resize(size[::-1], Image.Resampling.BICUBIC))
    flag = {"cv2_cubic": cv2.INTER_CUBIC, "cv2_linear": cv2.INTER_LINEAR}[method]
    return cast(U8, cv2.resize(image_HW3, size[::-1], interpolation=flag))


def resize_label(label_HW: U8, size: Size) -> U8:
    """Resize a label map to (height, width) by nearest neighbour, as Pillow does."""
    rows_H, cols_W = (nearest(n, m) for n, m in zip(label_HW.shape, size, strict=True))
    return label_HW[rows_H[:, None], cols_W]


def normalise(image_HW3: U8, mean: Triple = MEAN, std: Triple = STD) -> F32:
    """(image / 255 - mean) / std as contiguous float32 [3, H, W]."""
    height, width = image_HW3.shape[:2]
    axes = _Axis(0, height, height, 0, height, 0), _Axis(0, width, width, 0, width, 0)
    return _draw(image_HW3, np.empty((3, height, width), np.float32), *axes, mean=mean, std=std)


def jitter_colour(image_HW3: U8, strength: tuple[float, ...], rng: np.random.Generator) -> U8:
    """Random brightness, contrast, saturation and hue, in random order (torchvision's ColorJitter).

    `strength`: factors come from [max(0, 1 - s), 1 + s], the hue's turn from [-s, s] (1 = full circle).
    """
    shift = rng.uniform(-strength[3], strength[3])
    factors = [rng.uniform(max(0.0, 1 - s), 1 + s) for s in strength[:3]]
    for step in rng.permutation(4):
        image_HW3 = _turn_hue(image_HW3, shift) if step == 3 else _blend(image_HW3, int(step), factors[step])
    return image_HW3


def _blend(image_HW3: U8, step: int, factor: float) -> U8:
    """factor * image + (1 - factor) * (0: black, 1: mean grey, 2: own grey), as Pillow's ImageEnhance."""
    if step == 0:
        return cast(U8, cv2.convertScaleAbs(image_HW3, alpha=factor))
    grey_HW = cv2.cvtColor(image_HW3, cv2.COLOR_RGB2GRAY)
    if step == 1:
        table_256 = factor * np.arange(256) + (1 - factor) * round(float(grey_HW.mean()))
        return cast(U8, cv2.LUT(image_HW3, table_256.round().clip(0, 255).astype(np.uint8)))
    grey_HW3 = cv2.cvtColor(grey_HW, cv2.COLOR_GRAY2RGB)
    return cast(U8, cv2.addWeighted(image_HW3, factor, grey_HW3, 1 - factor, 0))


def _turn_hue(image_HW3: U8, shift: float) -> U8:
    """Hue plus `shift` circles, in 8 bits as torchvision on Pillow images."""
    turn = round(shift * 256) % 256
    if turn == 0:
        return image_HW3
    hsv_HW3 = cv2.cvtColor(image_HW3, cv2.COLOR_RGB2HSV_FULL)
    hsv_HW3[..., 0] += np.uint8(turn)
    return cast(U8, cv2.cvtColor(hsv_HW3, cv2.COLOR_HSV2RGB_FULL))


@dataclass(frozen=True, slots=True)
class _Axis:
    """An axis: `part` samples from `origin` become `size`; of these `count` from `start` go to `at`."""

    origin: int
    part: int
    size: int
    start: int
    count: int
    at: int


def _draw(
    image_HW3: U8,
    out_3HW: F32,
    rows: _Axis,
    cols: _Axis,
    *,
    mean: Triple,
    std: Triple,
    interpolation: Interpolation = "pillow_bicubic",
    mirrored: bool = False,
) -> F32:
    """Fill `out_3HW` with the normalised crop of a source part, zeros around; computes no other pixels."""
    row_H, row_weight_HT = _filter(rows, interpolation)
    col_W, col_weight_WT = _filter(cols, interpolation)
    if mirrored:
        col_W, col_weight_WT = np.ascontiguousarray(col_W[::-1]), np.ascontiguousarray(col_weight_WT[::-1])
    corner = rows.at, _left(cols, out_3HW.shape[2], mirrored)
    m_3, s_3 = np.asarray(mean, np.float64), np.asarray(std, np.float64)
    affine = (1 / (255 * s_3)).astype(np.float32), (-m_3 / s_3).astype(np.float32)
    cut = 0.0 if interpolation == "pillow_bicubic" else 1e6
    rgba_HW4 = cv2.cvtColor(np.ascontiguousarray(image_HW3), cv2.COLOR_RGB2RGBA)
    pixel_HW = rgba_HW4.view("<u4")[..., 0]
    render(pixel_HW, out_3HW, corner, row_H, row_weight_HT, col_W, col_weight_WT, *affine, cut)
    return out_3HW


def _draw_label(
    label_HW: U8, out_HW: NDArray[Any], rows: _Axis, cols: _Axis, *, mirrored: bool, outside: int
) -> NDArray[Any]:
    """Fill `out_HW` with the same crop of a label map, `outside` around."""
    row_N = nearest(rows.part, rows.size)[rows.start :][: rows.count]
    col_N = nearest(cols.part, cols.size)[cols.start :][: cols.count]
    corner = rows.at, _left(cols, out_HW.shape[1], mirrored)
    col_N = np.ascontiguousarray(col_N[::-1] if mirrored else col_N)
    place_label(np.ascontiguousarray(label_HW), out_HW, corner, row_N, col_N, outside)
    return out_HW


def _filter(axis: _Axis, interpolation: Interpolation) -> tuple[NDArray[np.uint32], F32]:
    first_N, weight_NT = taps(axis.part, axis.size, interpolation)
    kept = slice(axis.start, axis.start + axis.count)
    return first_N[kept], weight_NT[kept]


def _left(cols: _Axis, width: int, mirrored: bool) -> int:
    return width - cols.at - cols.count if mirrored else cols.at


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Random resize, colour jitter, normalisation, mirror and crop of a training image and its label.

    `resize` with `values`: none | long_side (low, high): the longer side becomes a uniform integer from both
    ends inclusive (irn, psa) | factor (low, high): uniform | choice: one of the factors (DeepLab) | area
    (low, high): a box of that share of the image, aspect 3/4..4/3, becomes crop x crop (torchvision's
    RandomResizedCrop).
    `crop_position`: an image below the crop size stands at random (irn) or top_left (DeepLab); a larger one
    is cropped at random always. Padding is 0 after normalisation (the mean colour), 255 in labels.
    `jitter`: None or (brightness, contrast, saturation, hue) with probability `jitter_probability`; it acts
    before resizing (for `area`: on the box), which differs from the published order by rounding.
    `interpolation`: see resize_image; the crop is that of the fully resized image within one grey level.
    Raises UserError when options do not fit together.
    """

    crop: int
    resize: ResizeKind = "none"
    values: tuple[float, ...] = ()
    crop_position: Literal["random", "top_left"] = "random"
    flip: float = 0.5
    jitter: tuple[float, ...] | None = None
    jitter_probability: float = 1.0
    interpolation: Interpolation = "pillow_bicubic"
    mean: Triple = MEAN
    std: Triple = STD

    def __post_init__(self) -> None:
        for key, literal in (("resize", ResizeKind), ("interpolation", Interpolation)):
            value, known = getattr(self, key), get_args(literal)
            if value not in known:
                raise UserError(f"augment.{key}: there is no '{value}'; known: {', '.join(known)}")
        _check_values(self.resize, self.values)
        if self.jitter is not None and (len(self.jitter) != 4 or min(self.jitter) < 0 or self.jitter[3] > 0.5):
            given = list(self.jitter)
            raise UserError(f"augment.jitter: give four strengths >= 0, the hue's at most 0.5, not {given}")

    @classmethod
    def from_settings(
        cls, settings: Mapping[str, Any], *, mean: Sequence[float] = MEAN, std: Sequence[float] = STD
    ) -> "Augmentation":
        """From a recipe's `augment` section, in which `resize` has the keys `kind` and `values`."""
        given: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()
        }
        resize = given.pop("resize", {"kind": "none"})
        values = tuple(resize.get("values", ()))
        return cls(**given, resize=resize["kind"], values=values, mean=tuple(mean), std=tuple(std))

    def __call__(
        self, image_HW3: U8, rng: np.random.Generator, label: U8 | None = None, *, outside: int = IGNORE
    ) -> tuple[F32, NDArray[Any] | None]:
        """Image as contiguous float32 [3, crop, crop]; its label, if given, cut alike.

        A label map [H, W] becomes int64 [crop, crop], a stack [N, H, W] stays uint8 [N, crop, crop]; `outside` stands
        around the image. It must have the image's size (ValueError), and changes nothing in what is drawn from `rng`.
        """
        if label is not None and label.shape[-2:] != image_HW3.shape[:2]:
            sizes = f"{list(label.shape)} and {list(image_HW3.shape[:2])}"
            raise ValueError(f"label and image differ in size: {sizes} (height, width)")
        rows, cols = self._axes(image_HW3.shape[0], image_HW3.shape[1], rng)
        part = slice(rows.origin, rows.origin + rows.part), slice(cols.origin, cols.origin + cols.part)
        image_HW3, mirrored = image_HW3[part], bool(rng.random() < self.flip)
        if self.jitter is not None and rng.random() < self.jitter_probability:
            image_HW3 = jitter_colour(image_HW3, self.jitter, rng)
        image_3HW = _draw(
            image_HW3,
            np.empty((3, self.crop, self.crop), np.float32),
            rows,
            cols,
            mean=self.mean,
            std=self.std,
            interpolation=self.interpolation,
            mirrored=mirrored,
        )
        if label is None:
            return image_3HW, None
        cut = np.empty((*label.shape[:-2], self.crop, self.crop), np.int64 if label.ndim == 2 else label.dtype)
        planes = zip(label.reshape(-1, *label.shape[-2:]), cut.reshape(-1, self.crop, self.crop), strict=True)
        for label_HW, cut_HW in planes:
            _draw_label(label_HW[part], cut_HW, rows, cols, mirrored=mirrored, outside=outside)
        return image_3HW, cut

    def _axes(self, height: int, width: int, rng: np.random.Generator) -> tuple[_Axis, _Axis]:
        """Rows and columns of the crop for an image of the given size."""
        if self.resize == "area":
            y, x, h, w = _area_box(height, width, self.values, rng)
            return _Axis(y, h, self.crop, 0, self.crop, 0), _Axis(x, w, self.crop, 0, self.crop, 0)
        size = (height, width)
        if self.resize == "long_side":
            low, high = map(int, self.values)
            size = resized_long(size, int(rng.integers(low, high, endpoint=True)))
        elif self.resize == "factor":
            size = scaled(size, rng.uniform(self.values[0], self.values[1]))
        elif self.resize == "choice":
            size = scaled(size, self.values[rng.integers(len(self.values))])
        return self._axis(height, size[0], rng), self._axis(width, size[1], rng)

    def _axis(self, n: int, size: int, rng: np.random.Generator) -> _Axis:
        shift = int(rng.integers(abs(size - self.crop), endpoint=True))
        if size >= self.crop:
            return _Axis(0, n, size, shift, self.crop, 0)
        return _Axis(0, n, size, 0, size, 0 if self.crop_position == "top_left" else shift)


def _check_values(kind: ResizeKind, values: tuple[float, ...]) -> None:
    if kind == "none":
        valid, wanted = not values, "no values"
    elif kind == "choice":
        valid, wanted = len(values) > 0 and min(values) > 0, "positive factors"
    else:
        valid, wanted = len(values) == 2 and 0 < values[0] <= values[1], "two values, 0 < low <= high"
    if not valid:
        raise UserError(f"augment.resize.values: '{kind}' takes {wanted}, not {list(values)}")


def _area_box(height: int, width: int, share: tuple[float, ...], rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Top, left, height, width by torchvision's rule: ten draws, then the largest central box of 3/4..4/3."""
    for _ in range(10):
        area = height * width * rng.uniform(share[0], share[1])
        aspect = exp(rng.uniform(log(3 / 4), log(4 / 3)))
        w, h = round(sqrt(area * aspect)), round(sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            return (
                int(rng.integers(height - h, endpoint=True)),
                int(rng.integers(width - w, endpoint=True)),
                h,
                w,
            )
    w, h = min(width, round(height * 4 / 3)), min(height, round(width * 4 / 3))
    return (height - h) // 2, (width - w) // 2, h, w
