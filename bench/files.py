"""Training samples against PIL and numpy, and stores of score maps against one .npy file per image."""

import tempfile
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from bench.measure import Row, interleaved, photographs, smooth_scores
from wsss.data.images import read_rgb
from wsss.data.transforms import MEAN, STD, Augmentation
from wsss.stores import Store, Writer

IMAGES, STORED = 10_582, 120
CROP, SIDES, SAMPLES = 512, (320, 640), 201


def rows() -> list[Row]:
    """One sample at a time; maps of a part of the images, scaled up."""
    with tempfile.TemporaryDirectory() as folder:
        return [_sample(Path(folder)), *_store(Path(folder))]


def _sample(folder: Path) -> Row:
    path = folder / "photograph.jpg"
    cv2.imwrite(str(path), photographs(1)[0][..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])
    augmentation = Augmentation(crop=CROP, resize="long_side", values=SIDES)
    drawn = [iter([np.random.default_rng(seed) for seed in range(SAMPLES + 1)]) for _ in range(2)]  # the same sizes
    same = (read_rgb(path) == np.asarray(Image.open(path).convert("RGB"))).all()
    ours_ms, anchor_ms = interleaved(
        lambda: augmentation(read_rgb(path), next(drawn[0])), lambda: _plain(path, next(drawn[1])), rounds=SAMPLES
    )
    found = f"decoded pixels {'equal' if same else 'DIFFERENT'}"
    return Row("training sample, 500x375 JPEG to 512 crop", "PIL + numpy", ours_ms, anchor_ms, 3.5, found)


def _plain(path: Path, rng: np.random.Generator) -> np.ndarray:
    """Decode, resize, normalise, mirror, and cut or pad, each on the whole image."""
    image = Image.open(path).convert("RGB")
    scale = rng.integers(*SIDES, endpoint=True) / max(image.size)
    size = round(image.width * scale), round(image.height * scale)
    value_HW3 = np.asarray(image.resize(size, Image.Resampling.BICUBIC)).astype(np.float32)
    value_HW3 = (value_HW3 / 255 - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
    if rng.random() < 0.5:
        value_HW3 = value_HW3[:, ::-1]
    out_HW3 = np.zeros((CROP, CROP, 3), np.float32)
    (height, width), (y, x) = np.minimum(value_HW3.shape[:2], CROP), rng.integers(0, 2, 2)
    from_y, from_x = (rng.integers(0, n - m + 1) for n, m in zip(value_HW3.shape, (height, width), strict=False))
    to_y, to_x = y * (CROP - height) // 2, x * (CROP - width) // 2
    out_HW3[to_y : to_y + height, to_x : to_x + width] = value_HW3[from_y : from_y + height, from_x : from_x + width]
    return np.ascontiguousarray(out_HW3.transpose(2, 0, 1))


def _store(folder: Path) -> list[Row]:
    full_KHW = smooth_scores(2)
    small_Khw = np.stack([cv2.resize(one, (125, 94)) for one in full_KHW])
    ids = [f"image_{number}" for number in range(STORED)]
    with Writer(folder / "maps.store") as store:
        for number, id in enumerate(ids):  # one class, or two: VOC has 1.5 per image
            keys = number % 2 + 1
            store.add(id, small_Khw[:keys].astype(np.float16), classes=list(range(keys)), size=[375, 500])
            plain = {"keys": np.arange(keys), "cam": small_Khw[:keys], "high_res": full_KHW[:keys]}
            np.save(folder / f"{id}.npy", plain)  # type: ignore[arg-type]  # a pickled dict, as irn writes it
    maps = Store(folder / "maps.store")
    shuffled = np.random.default_rng(0).permutation(ids).tolist()
    ours_ms, anchor_ms = interleaved(
        lambda: [float(maps[id].array[0, 0, 0]) for id in shuffled],
        lambda: [np.load(folder / f"{id}.npy", allow_pickle=True).item()["high_res"][0, 0, 0] for id in shuffled],
    )
    scale = IMAGES / STORED
    bytes_ours = (folder / "maps.store").stat().st_size * scale
    bytes_anchor = sum(file.stat().st_size for file in folder.glob("*.npy")) * scale
    name = f"store of {IMAGES:,} images ({STORED} measured)"
    exact = "float16 at stride 4, checksums verified; read from memory"
    return [
        Row(f"{name}: megabytes", "one .npy per image", bytes_ours / 1e6, bytes_anchor / 1e6, 30, exact),
        Row(f"{name}: reading", "one .npy per image", ours_ms * scale, anchor_ms * scale, 10, exact),
    ]
