"""Reading: training samples from JPEG files, and stored score maps."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from bench.pictures import photographs, scores
from bench.race import Row, race
from wsss.data.images import read_rgb
from wsss.data.transforms import MEAN, STD, Augmentation
from wsss.stores import Store, Writer

CROP, LONG = 512, (320, 640)
RECORDS = 128


def rows() -> Iterator[Row]:
    """One sample, and the size and the reading of stores."""
    with tempfile.TemporaryDirectory() as folder:
        yield _sample(Path(folder))
        yield from _stores(Path(folder))


def _sample(folder: Path) -> Row:
    path = folder / "photograph.jpg"
    Image.fromarray(photographs(1)[0]).save(path, quality=90)
    equal = (read_rgb(path) == np.asarray(Image.open(path).convert("RGB"))).all()
    augment = Augmentation(crop=CROP, resize="long_side", values=LONG)
    mine, anchor = race(
        lambda: [augment(read_rgb(path), np.random.default_rng(seed)) for seed in range(8)],
        lambda: [_plain(path, np.random.default_rng(seed)) for seed in range(8)],
        rounds=7,
    )
    text = "decoded alike" if equal else "decoded differently"
    return Row("training sample, 512 crop", "Pillow, numpy", mine / 8, anchor / 8, 3.5, text)


def _plain(path: Path, rng: np.random.Generator) -> np.ndarray:
    image = Image.open(path).convert("RGB")
    factor = rng.integers(*LONG, endpoint=True) / max(image.size)
    width, height = (round(side * factor) for side in image.size)
    image_HW3 = np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))
    normal_HW3 = (image_HW3 / np.float32(255) - np.float32(MEAN)) / np.float32(STD)
    if rng.random() < 0.5:
        normal_HW3 = normal_HW3[:, ::-1]
    top, left = (int(rng.integers(abs(side - CROP), endpoint=True)) for side in (height, width))
    (y, top), (x, left) = ((at, 0) if side >= CROP else (0, at) for side, at in ((height, top), (width, left)))
    part_HW3 = normal_HW3[y : y + CROP, x : x + CROP]
    cut_HW3 = np.zeros((CROP, CROP, 3), np.float32)
    cut_HW3[top : top + part_HW3.shape[0], left : left + part_HW3.shape[1]] = part_HW3
    return np.ascontiguousarray(cut_HW3.transpose(2, 0, 1))


def _stores(folder: Path) -> Iterator[Row]:
    order = [str(i) for i in np.random.default_rng(0).permutation(RECORDS)]
    with Writer(folder / "maps.store") as writer:
        for i, (rgb_HW3, classes) in enumerate((p, 1 + (i % 2)) for i, p in enumerate(photographs(4) * (RECORDS // 4))):
            score_KHW = scores(rgb_HW3, classes)
            small_Khw = np.stack([cv2.resize(m, (125, 94), interpolation=cv2.INTER_AREA) for m in score_KHW])
            np.save(folder / f"{i}.npy", score_KHW)
            writer.add(str(i), small_Khw.astype(np.float16))
    large = sum(path.stat().st_size for path in folder.glob("*.npy"))
    store = Store(folder / "maps.store")
    mine, anchor = race(
        lambda: [store[id].array.copy() for id in order], lambda: [np.load(folder / f"{id}.npy") for id in order]
    )
    size = (folder / "maps.store").stat().st_size
    megabytes = [round(10582 / RECORDS * part / 1e6) for part in (size, large)]
    text = "{} MB against {} MB for 10,582 images: {:.0f} x".format(*megabytes, large / size)
    yield Row("score maps, read", "one .npy an image, full size", mine / RECORDS, anchor / RECORDS, 10, text)
