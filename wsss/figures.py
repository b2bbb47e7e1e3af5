"""Pictures of results: class maps over images, coloured masks, panels with captions.

Letters: H W the image. The same input gives the same bytes.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from wsss.errors import UserError
from wsss.files import atomic_write

IGNORED = 255
INK, PAPER, FRAME = (28, 32, 38), (255, 255, 255), (208, 212, 218)


@dataclass(frozen=True)
class Panel:
    """One picture of a montage, uint8 [H, W, 3], with the lines of text below it."""

    image_HW3: np.ndarray
    caption: str = ""


@dataclass(frozen=True)
class Example:
    """All that is known of one image: ground truth, score maps in [0, 1] by class name, label maps by name.

    image_HW3 uint8; truth_HW and the label maps uint8 [H, W] with 255 = ignored; score maps float [H, W].
    """

    id: str
    image_HW3: np.ndarray
    truth_HW: np.ndarray | None
    scores: Mapping[str, np.ndarray]
    labels: Mapping[str, np.ndarray]


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


def colour_mask(label_HW: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Labels uint8 [H, W] in the colours of a palette uint8 [256, 3]: uint8 [H, W, 3]."""
    return palette[label_HW]


def image_miou(label_HW: np.ndarray, truth_HW: np.ndarray) -> float | None:
    """Mean IoU in [0, 1] over the classes in truth or prediction; pixels with truth 255 do not count."""
    valid_HW = truth_HW != IGNORED
    label, truth = label_HW[valid_HW], truth_HW[valid_HW]
    present = np.union1d(label, truth)
    found = [np.sum((label == c) & (truth == c)) / np.sum((label == c) | (truth == c)) for c in present]
    return float(np.mean(found)) if found else None


def choose(images_csv: str | Path, ids: Sequence[str], count: int) -> dict[str, list[str]]:
    """Ids to show: fixed (evenly spaced over `ids`); best and worst by an evaluation's images file (columns id, miou).

    At most `count` each; ties go by id. UserError when the file lacks a column.
    """
    with open(images_csv, encoding="utf-8", newline="") as stream:
        reader = csv.DictReader(stream)
        if not {"id", "miou"} <= set(reader.fieldnames or ()):
            raise UserError(f"{images_csv}: needs the columns id and miou; run the evaluation again")
        rows = list(reader)
    ids = sorted(ids)
    ranked = sorted((float(row["miou"]), row["id"]) for row in rows if row["miou"] not in ("", "nan"))
    fixed = [ids[index * len(ids) // count] for index in range(count)] if len(ids) > count else ids
    best = sorted(ranked, key=lambda pair: (-pair[0], pair[1]))[:count]
    return {"fixed": fixed, "best": [key for _, key in best], "worst": [key for _, key in ranked[:count]]}


def qualitative(examples: Sequence[Example], palette: np.ndarray, out: str | Path, *, height: int = 180) -> None:
    """Write a PNG, a row per example: image, ground truth, class maps, label maps with their IoU in %."""
    rows = []
    for example in examples:
        row = [Panel(example.image_HW3, example.id)]
        if example.truth_HW is not None:
            row.append(Panel(colour_mask(example.truth_HW, palette), "ground truth"))
        row += [Panel(overlay(example.image_HW3, score_HW), name) for name, score_HW in example.scores.items()]
        for name, label_HW in example.labels.items():
            score = None if example.truth_HW is None else image_miou(label_HW, example.truth_HW)
            caption = name if score is None else f"{name}\nIoU {100 * score:.1f}"
            row.append(Panel(colour_mask(label_HW, palette), caption))
        rows.append(row)
    montage(rows, out, height=height)


def montage(rows: Sequence[Sequence[Panel]], out: str | Path, *, height: int = 180) -> None:
    """Write a PNG of rows of panels, each `height` pixels high (wide ones lower), captions below."""
    if not rows or not all(rows):
        raise ValueError("a montage needs at least one row, and every row at least one panel")
    gap, line = max(6, height // 16), max(12, height // 11)
    font = _font(max(10, height // 14))
    drawn = [[_fit(panel.image_HW3, height) for panel in row] for row in rows]
    boxes = [[max(picture.width, height // 2) for picture in row] for row in drawn]
    texts = [
        [_wrap(panel.caption, font, box) for panel, box in zip(row, widths, strict=True)]
        for row, widths in zip(rows, boxes, strict=True)
    ]
    tops, bottom = [], gap
    for pictures, captions in zip(drawn, texts, strict=True):
        tops.append(bottom)
        bottom += max(p.height for p in pictures) + max(len(lines) for lines in captions) * line + 2 * gap
    width = max(sum(widths) + gap * (len(widths) + 1) for widths in boxes)
    sheet = Image.new("RGB", (width, bottom), PAPER)
    brush = ImageDraw.Draw(sheet)
    for top, pictures, widths, captions in zip(tops, drawn, boxes, texts, strict=True):
        left, floor = gap, top + max(p.height for p in pictures)
        for picture, box, lines in zip(pictures, widths, captions, strict=True):
            sheet.paste(picture, (left, top))
            brush.rectangle((left - 1, top - 1, left + picture.width, top + picture.height), outline=FRAME)
            for index, text in enumerate(lines):
                brush.text((left, floor + 4 + index * line), text, fill=INK, font=font)
            left += box + gap
    with atomic_write(out) as temporary:
        sheet.save(temporary, format="PNG", optimize=True)


def _fit(image_HW3: np.ndarray, height: int) -> Image.Image:
    """Picture of the given height, or lower where it would be wider than twice that height."""
    picture = Image.fromarray(np.ascontiguousarray(image_HW3, np.uint8))
    factor = min(height / picture.height, 2 * height / picture.width)
    size = max(1, round(picture.width * factor)), max(1, round(picture.height * factor))
    return picture.resize(size, Image.Resampling.LANCZOS if factor < 1 else Image.Resampling.NEAREST)


def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")), size)


def _wrap(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Lines of a caption, each cut with an ellipsis where it is wider than its panel."""
    lines = []
    for line in text.splitlines():
        cut = line
        while cut and font.getlength(cut) > width:
            cut = cut[:-2] + "…" if len(cut) > 2 else ""
        lines.append(cut)
    return lines
