"""Pictures of results: class maps over images, coloured masks, sheets of panels with captions.

Letters: H W the image. The same input gives the same bytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from wsss.files import atomic_write

Colour = tuple[int, int, int]
INK, SOFT, PAPER, FRAME = (28, 32, 38), (93, 102, 115), (255, 255, 255), (208, 212, 218)
GREEN, RED = (38, 150, 84), (208, 58, 48)
GAP, LINE, SIZE, THICK, SWATCH = 10, 17, 13, 4, 12
"""Pixels: between panels, per line of text, of the font, of a coloured frame, of a key's square."""


@dataclass(frozen=True)
class Panel:
    """One picture of a sheet, uint8 [H, W, 3], with the lines of text below it and the colour of its frame."""

    image_HW3: np.ndarray
    caption: str = ""
    frame: Colour | None = None


def overlay(image_HW3: np.ndarray, score_HW: np.ndarray, *, strength: float = 0.75) -> np.ndarray:
    """Class map over an image, uint8 [H, W, 3]: the higher the score in [0, 1], the more colour (inferno)."""
    if image_HW3.shape[:2] != score_HW.shape:
        raise ValueError(f"image {image_HW3.shape[:2]} and score map {score_HW.shape} differ in size")
    score_HW = np.clip(np.nan_to_num(score_HW.astype(np.float32)), 0.0, 1.0)
    colour_HW3 = matplotlib.colormaps["inferno"](score_HW)[..., :3] * 255.0
    weight_HW1 = strength * np.sqrt(score_HW)[..., None]
    grey_HW1 = image_HW3.mean(axis=2, keepdims=True)
    mixed_HW3 = weight_HW1 * colour_HW3 + (1 - weight_HW1) * (0.5 * image_HW3 + 0.5 * grey_HW1)
    return np.rint(mixed_HW3).astype(np.uint8)


def spotlight(image_HW3: np.ndarray, mask_HW: np.ndarray, *, strength: float = 0.55) -> np.ndarray:
    """The image where a boolean mask holds, and elsewhere pale and grey: uint8 [H, W, 3]."""
    pale_HW3 = (1 - strength) * image_HW3.mean(axis=2, keepdims=True) + strength * 255.0
    return np.where(mask_HW[..., None], image_HW3, np.rint(pale_HW3)).astype(np.uint8)


def colour_mask(label_HW: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Labels uint8 [H, W] in the colours of a palette uint8 [256, 3]: uint8 [H, W, 3]."""
    return palette[label_HW]


def sheet(
    rows: Sequence[Sequence[Panel]],
    out: str | Path,
    *,
    header: Sequence[str] = (),
    labels: Sequence[str] = (),
    legend: Sequence[tuple[Colour, str]] = (),
    group: int = 1,
    cell: tuple[int, int] = (200, 150),
) -> None:
    """Write a PNG of rows of panels, each as large as fits into `cell` = (width, height) pixels, captions below.

    `header`: texts above the columns; `labels`: texts left of the rows; `legend`: what colours mean, at the bottom;
    `group`: how many rows belong together. Texts may have several lines; the first of a header or label is bold, long
    ones are wrapped to their cell.
    """
    if not rows or not all(rows):
        raise ValueError("a sheet needs at least one row, and every row at least one panel")
    wide = cell[0]
    left = GAP + (max(_width(label, bold=True) for label in labels) + GAP if labels else 0)
    columns = [left + number * (wide + GAP) for number in range(max(len(row) for row in rows))]
    width = columns[-1] + wide + GAP
    texts = [[_wrap(panel.caption, wide) for panel in row] for row in rows]
    heads, keys = [_wrap(text, wide, bold=True) for text in header], _keys(legend, width)
    pictures = [[_fit(panel.image_HW3, cell) for panel in row] for row in rows]
    highs = [max(picture.height for picture in row) for row in pictures]
    gaps = [GAP + 4 if group == 1 or number % group else 3 * GAP for number in range(1, len(rows) + 1)]
    tops = np.cumsum([_height(heads) + GAP, *(np.add(highs, [_height(row) for row in texts]) + gaps)]).tolist()
    board = _Board(width, tops[-1] + (keys[-1][1] + LINE + GAP if keys else 0))
    for x, lines in zip(columns, heads, strict=False):
        board.text((x + wide // 2, 6), lines, titled=True)
    for top, high, row, drawn, captions in zip(tops, highs, rows, pictures, texts, strict=False):
        for x, panel, picture, lines in zip(columns, row, drawn, captions, strict=False):
            board.panel((x + (wide - picture.width) // 2, top + (high - picture.height) // 2), picture, panel.frame)
            board.text((x + wide // 2, top + high + 4), lines)
    for top, high, label in zip(tops, highs, labels, strict=False):
        lines = label.splitlines()
        board.text((GAP, top + (high - len(lines) * LINE) // 2), lines, titled=True, anchor="la")
    for x, y, colour, name in keys:
        board.key((x, tops[-1] + y), colour, name)
    with atomic_write(out) as temporary:
        board.picture.save(temporary, format="PNG", optimize=True)


class _Board:
    """The picture of a sheet, and what is drawn on it."""

    def __init__(self, width: int, height: int) -> None:
        self.picture = Image.new("RGB", (width, height), PAPER)
        self.brush = ImageDraw.Draw(self.picture)

    def panel(self, at: tuple[int, int], image: Image.Image, frame: Colour | None) -> None:
        """An image and its frame: thin around it, or thick and coloured over its margin."""
        self.picture.paste(image, at)
        box = (at[0] - 1, at[1] - 1, at[0] + image.width, at[1] + image.height)
        self.brush.rectangle(box, outline=frame or FRAME, width=1 if frame is None else THICK + 1)

    def text(self, at: tuple[int, int], lines: Sequence[str], *, titled: bool = False, anchor: str = "ma") -> None:
        """Lines of text; with `titled` the first is bold and the others are pale."""
        for number, line in enumerate(lines):
            fill = SOFT if titled and number else INK
            font = _font(bold=titled and not number)
            self.brush.text((at[0], at[1] + number * LINE), line, fill=fill, font=font, anchor=anchor)

    def key(self, at: tuple[int, int], colour: Colour, name: str) -> None:
        """A coloured square and what it means."""
        self.brush.rectangle((*at, at[0] + SWATCH, at[1] + SWATCH), fill=colour, outline=FRAME)
        self.text((at[0] + SWATCH + 6, at[1] - 2), [name], anchor="la")


def _fit(image_HW3: np.ndarray, cell: tuple[int, int]) -> Image.Image:
    """The image as large as fits into a cell, at least one pixel wide and high."""
    image = Image.fromarray(np.ascontiguousarray(image_HW3, np.uint8))
    factor = min(cell[0] / image.width, cell[1] / image.height)
    size = max(1, round(image.width * factor)), max(1, round(image.height * factor))
    return image.resize(size, Image.Resampling.LANCZOS if factor < 1 else Image.Resampling.NEAREST)


def _keys(legend: Sequence[tuple[Colour, str]], width: int) -> list[tuple[int, int, Colour, str]]:
    """Left and top edge of every key, in rows that are no wider than `width`."""
    placed: list[tuple[int, int, Colour, str]] = []
    x, y = GAP, 0
    for colour, name in legend:
        size = SWATCH + 6 + _width(name)
        if placed and x + size > width - GAP:
            x, y = GAP, y + LINE + 4
        placed.append((x, y, colour, name))
        x += size + 18
    return placed


@cache
def _font(*, bold: bool = False) -> ImageFont.FreeTypeFont:
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", name)), SIZE)


def _width(text: str, *, bold: bool = False) -> int:
    return int(max((_font(bold=bold).getlength(line) for line in text.splitlines()), default=0)) + 1


def _height(texts: Sequence[Sequence[str]]) -> int:
    """Height of the longest of several texts, given as lines."""
    return LINE * max((len(lines) for lines in texts), default=0)


def _wrap(text: str, width: int, *, bold: bool = False) -> list[str]:
    """Lines of a text broken between words; a word wider than `width` is cut with an ellipsis."""
    lines = []
    for paragraph in text.splitlines():
        line = ""
        for word in paragraph.split():
            longer = f"{line} {word}" if line else word
            if line and _width(longer, bold=bold) > width:
                lines.append(line)
                longer = word
            line = longer
        lines.append(line)
    return [_cut(line, width, bold=bold) for line in lines]


def _cut(text: str, width: int, *, bold: bool) -> str:
    while text and _width(text, bold=bold) > width:
        text = text[:-2] + "…" if len(text) > 2 else ""
    return text
