"""The built-in data set: generated images in VOC layout with the difficulties of weak supervision.

An object is a body with a small disc on it. The disc's mark (cross, ring, ...) is the class; bodies (beast,
cart, plant) look alike for all classes that have them. Every class favours a ground texture and a companion
class; signs without a mark, stones and sticks are background. Fixed once; do not tune it to a method.

Shapes: H height, W width; a trailing 3 is red, green, blue.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from wsss.data.drawing import Pose, bar, coverage, ellipse, grey, hue, noise
from wsss.data.ground_truth import GroundTruth, write_ground_truth
from wsss.data.images import encode_mask
from wsss.data.manifest import Manifest, Sample, write_manifest
from wsss.data.shapes_parts import BODIES, MARKS, SCENES, Body, body, coat, glyph, scene
from wsss.errors import UserError
from wsss.files import atomic_folder, write_text

CLASSES = len(MARKS)
_BODY_OF_CLASS = ("beast", "beast", "beast", "cart", "cart", "cart", "plant", "plant")
_SCENE_OF_CLASS = ("meadow", "water", "brick", "sand", "asphalt", "meadow", "water", "brick")
_STRIDE = 4
_SMALLEST_OBJECT = 28.0
_QUALITY = [cv2.IMWRITE_JPEG_QUALITY, 92]


@dataclass(frozen=True)
class Picture:
    """An image, uint8 [H, W, 3], its class ids, uint8 [H, W] (0 background, 255 border), and its labels."""

    image_HW3: np.ndarray
    label_HW: np.ndarray
    labels: tuple[int, ...]


@dataclass(frozen=True)
class _Layer:
    colour_HW3: np.ndarray
    alpha_HW: np.ndarray
    label: int


def generate(out: Path, *, train: int, val: int, size: tuple[int, int], seed: int, classes: int = CLASSES) -> None:
    """Write the data set to the folder `out`: `voc/` in VOC layout and the four data files.

    `train` and `val` count images, `size` is the shortest and longest side in pixels, `classes` is 2..8.
    An image depends on the seed, its split and its number only. UserError for settings that cannot be met.
    """
    if not 2 <= classes <= CLASSES:
        raise UserError(f"shapes: classes is {classes}; choose 2 to {CLASSES}")
    if not 48 <= size[0] <= size[1]:
        raise UserError(f"shapes: size is {list(size)}; give shortest and longest side, 48 pixels or more")
    splits: dict[str, list[Sample]] = {}
    with atomic_folder(out / "voc") as folder:
        for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
            (folder / name).mkdir(parents=True)
        for position, (split, count) in enumerate((("train", train), ("val", val))):
            splits[split] = []
            for number in range(count):
                picture = paint((seed, position, number), size, classes)
                splits[split].append(_write(folder, f"{split}_{number + 1:05d}", picture, out / "voc"))
            lines = "".join(f"{sample.id}\n" for sample in splits[split])
            write_text(folder / "ImageSets" / "Segmentation" / f"{split}.txt", lines)
        samples = [sample for group in splits.values() for sample in group]
        _write_labels(folder, samples, MARKS[:classes])
    ids = {split: tuple(sample.id for sample in group) for split, group in splits.items()}
    masks = {s.id: GroundTruth(out / "voc" / "SegmentationClass" / f"{s.id}.png", "shapes") for s in samples}
    write_manifest(out, Manifest({sample.id: sample for sample in samples}, MARKS[:classes], ids))
    write_ground_truth(out, masks)


def paint(seed: tuple[int, int, int], size: tuple[int, int], classes: int = CLASSES) -> Picture:
    """Paint one image; `seed` is (data set seed, split, number). The number fixes the main class."""
    rng = np.random.default_rng(seed)
    sides = [side for side in range(size[0], size[1] + 1) if side % _STRIDE] or [size[0]]
    height, width = (int(side) for side in rng.choice(sides, 2))
    main = seed[2] % classes
    favourite = rng.random() < 0.4
    kind = _SCENE_OF_CLASS[main] if favourite else str(rng.choice(SCENES))
    image_HW3 = scene(rng, kind, (height, width))
    label_HW = np.zeros((height, width), np.uint8)
    for layer in [*_clutter(rng, (height, width)), *_objects(rng, (height, width), main, classes)]:
        image_HW3 += (layer.colour_HW3 - image_HW3) * layer.alpha_HW[..., None]
        label_HW[layer.alpha_HW > 0.5] = layer.label
    labels = tuple(int(label) for label in np.unique(label_HW) if label)
    return Picture(_photograph(rng, image_HW3), _with_border(label_HW), labels)


def _objects(rng: np.random.Generator, size: tuple[int, int], main: int, classes: int) -> list[_Layer]:
    """One to three objects, far to near; none hides a mark or much of another object."""
    count = int(rng.choice([1, 2, 3], p=[0.5, 0.35, 0.15]))
    shortest, longest = ((0.45, 1.1), (0.42, 0.8), (0.36, 0.6))[count - 1]
    layers: list[_Layer] = []
    taken_HW, marks_HW = np.zeros(size, np.float32), np.zeros(size, np.float32)
    for number in range(count):
        label = main if number == 0 else _companion(rng, main, classes)
        figure = body(rng, _BODY_OF_CLASS[label])
        length = max(_SMALLEST_OBJECT, rng.uniform(shortest, longest) * min(size))
        for _ in range(20):
            pose = _pose(rng, size, length, figure.mark)
            whole_HW = coverage([pose(p) for p in (*figure.coat, *figure.limbs, *figure.dark)], size)
            hides = (whole_HW * taken_HW).sum() > 0.2 * whole_HW.sum() or (whole_HW * marks_HW).any()
            if number == 0 or not hides:
                layers += _figure(rng, size, pose, figure, label)
                taken_HW = np.maximum(taken_HW, whole_HW)
                marks_HW = np.maximum(marks_HW, coverage([pose(ellipse(*figure.mark, figure.mark[2]))], size))
                break
    return layers


def _companion(rng: np.random.Generator, main: int, classes: int) -> int:
    """Class of a further object: often the most common class, or the main class's partner."""
    candidates = np.array([0, (main + classes // 2) % classes, rng.integers(classes)])
    return int(rng.choice(candidates, p=[0.35, 0.35, 0.3]))


def _pose(rng: np.random.Generator, size: tuple[int, int], length: float, mark: tuple[float, float, float]) -> Pose:
    """A random pose whose mark lies inside the image; the body may leave it a little."""
    height, width = size
    tilt, mirrored = rng.normal(0, 0.12), bool(rng.random() < 0.5)
    at_x, at_y = Pose(0, 0, length, tilt, mirrored)(np.array([mark[:2]]))[0]
    reach, room = mark[2] * length + 1, 0.35 * length
    x = rng.uniform(max(room, reach - at_x), max(width - room, reach - at_x + 1))
    y = rng.uniform(max(room, reach - at_y), max(height - room, reach - at_y + 1))
    x, y = min(x, width - reach - at_x), min(y, height - reach - at_y)
    return Pose(x, y, length, tilt, mirrored)


def _figure(rng: np.random.Generator, size: tuple[int, int], pose: Pose, figure: Body, label: int) -> list[_Layer]:
    """Layers of an object: limbs, coat, dark parts, and the disc with the mark of class `label` (0-based)."""
    colour_HW3 = coat(rng, _BODY_OF_CLASS[label], size, pose)
    shades = ((figure.limbs, colour_HW3 * 0.8), (figure.coat, colour_HW3), (figure.dark, colour_HW3 * 0.35))
    layers = [_Layer(shade, coverage([pose(p) for p in parts], size), label + 1) for parts, shade in shades]
    return layers + _disc(rng, size, pose, figure.mark, label)


def _disc(
    rng: np.random.Generator,
    size: tuple[int, int],
    pose: Pose,
    place: tuple[float, float, float],
    label: int | None,
) -> list[_Layer]:
    """A rimmed disc with a class mark; without a class, a blank sign of any hue, which is background."""
    x, y, radius = place
    if label is None:
        plate = hue(rng.random(), rng.uniform(0.1, 0.5), rng.uniform(0.5, 0.9))
    else:
        plate = hue(label / CLASSES + rng.normal(0, 0.02), rng.uniform(0.85, 1), rng.uniform(0.75, 1))
    rim = grey(rng.uniform(0.05, 0.2))
    name = 0 if label is None else label + 1
    layers = [
        _Layer(rim, coverage([pose(ellipse(x, y, radius, radius))], size), name),
        _Layer(plate, coverage([pose(ellipse(x, y, 0.88 * radius, 0.88 * radius))], size), name),
    ]
    if label is not None:
        filled, cut = (coverage([pose(p * radius * 0.95 + (x, y)) for p in part], size) for part in glyph(MARKS[label]))
        layers.append(_Layer(grey(0.96), filled * (1 - cut), name))
    return layers


def _clutter(rng: np.random.Generator, size: tuple[int, int]) -> list[_Layer]:
    """Background things: stones, sticks, and sometimes a sign like the discs but without a mark."""
    layers = []
    for _ in range(rng.integers(0, 4)):
        pose = Pose(rng.uniform(0, size[1]), rng.uniform(0.3, 1) * size[0], rng.uniform(6, 22))
        outline = ellipse(0, 0, 0.5, rng.uniform(0.3, 0.5), rng.normal(0, 0.12, 18))
        stone_HW3 = coat(rng, str(rng.choice(BODIES)), size, pose)
        layers.append(_Layer(stone_HW3, coverage([pose(outline)], size), 0))
    for _ in range(rng.integers(0, 3)):
        x, y, angle = rng.uniform(0, size[1]), rng.uniform(0, size[0]), rng.uniform(0, np.pi)
        pose = Pose(x, y, rng.uniform(15, 45), angle)
        stick = coverage([pose(bar((-0.5, 0), (0.5, 0), 0.06))], size)
        layers.append(_Layer(hue(0.08, 0.5, rng.uniform(0.2, 0.6)), stick, 0))
    if rng.random() < 0.3:
        pose = Pose(rng.uniform(8, size[1] - 8), rng.uniform(8, size[0] - 8), rng.uniform(30, 60))
        post = coverage([pose(bar((0, 0), (0, 0.6), 0.06))], size)
        layers.append(_Layer(grey(0.4), post, 0))
        layers += _disc(rng, size, pose, (0.0, 0.0, 0.125), None)
    return layers


def _photograph(rng: np.random.Generator, image_HW3: np.ndarray) -> np.ndarray:
    """Uneven light, colour cast, slight blur and sensor noise; uint8 [H, W, 3]."""
    size = image_HW3.shape[:2]
    light_HW = rng.uniform(0.9, 1.1) * (0.9 + 0.2 * noise(rng, size, (45, 45)))
    image_HW3 = image_HW3 * light_HW[..., None] * rng.normal(1, 0.015, 3).astype(np.float32)
    image_HW3 = cv2.GaussianBlur(image_HW3, (0, 0), rng.uniform(0.35, 0.7))
    noise_HW3 = rng.uniform(0.005, 0.02) * rng.standard_normal(image_HW3.shape, np.float32)
    return np.round((image_HW3 + noise_HW3).clip(0, 1) * 255).astype(np.uint8)


def _with_border(label_HW: np.ndarray) -> np.ndarray:
    """Ids with 255 on both sides of every boundary, as the official masks have it."""
    kernel = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    edge_HW = cv2.dilate(label_HW, kernel) != cv2.erode(label_HW, kernel)
    return np.where(edge_HW, np.uint8(255), label_HW)


def _write(folder: Path, name: str, picture: Picture, final: Path) -> Sample:
    """Write image and mask below `folder`, which will be moved to `final`; the image's sample."""
    bgr_HW3 = cv2.cvtColor(picture.image_HW3, cv2.COLOR_RGB2BGR)
    encoded = cv2.imencode(".jpg", bgr_HW3, _QUALITY)[1]
    (folder / "JPEGImages" / f"{name}.jpg").write_bytes(encoded.tobytes())
    (folder / "SegmentationClass" / f"{name}.png").write_bytes(encode_mask(picture.label_HW))
    height, width = picture.label_HW.shape
    return Sample(name, final / "JPEGImages" / f"{name}.jpg", width, height, picture.labels)


def _write_labels(folder: Path, samples: list[Sample], names: tuple[str, ...]) -> None:
    rows = [f"JPEGImages/{s.id}.jpg,{' '.join(names[label - 1] for label in s.labels)}\n" for s in samples]
    write_text(folder / "labels.csv", "".join(["image,labels\n", *rows]))
    write_text(folder / "classes.txt", "".join(f"{name}\n" for name in names))
