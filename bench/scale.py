"""Time and memory of everything that grows with the number of images, on synthetic data sets in a temporary folder.

    python bench/scale.py [--images 10582 100000 1000000] [--parts manifest stores ...] [--shards 16 64 256]

Every part runs in a process of its own, so that its peak memory is its own; a line per part and size says seconds,
microseconds per image, peak memory above that of the imports, and bytes per image. `plan` is `snakemake -n` of the
papers on VOC by number of shards. Images are real but few: names are hard links, or rows that name the same file.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from PIL import Image

from wsss.classify import chance_loss
from wsss.data.ground_truth import GroundTruth, read_ground_truth, write_ground_truth
from wsss.data.images import write_mask
from wsss.data.manifest import Manifest, Sample, read_manifest, shard_of, write_manifest
from wsss.data.own import build
from wsss.data.pngs import Pngs
from wsss.data.rows import Rows
from wsss.evaluate import evaluate
from wsss.stores import Store, Writer

ROOT = Path(__file__).resolve().parents[1]
CLASSES = tuple(f"class{number}" for number in range(20))
MASKS = 100
WIDTH, HEIGHT = 64, 48
PER_SHARD = 5000
LINKS = 60_000  # of one file; file systems allow 65,000


def ids(images: int) -> list[str]:
    """Names like VOC's."""
    return [f"2008_{number:07d}" for number in range(images)]


def labels(number: int) -> tuple[int, ...]:
    """One to three of the 20 classes."""
    return tuple(sorted({1 + number % 20, 1 + number * 7 % 20, 1 + number * 13 % 20}))


def written(folder: Path, images: int) -> None:
    """The data stage's four files for so many images, whose masks are a hundred files."""
    names = ids(images)
    for number in range(MASKS):
        label_HW = np.zeros((HEIGHT, WIDTH), np.uint8)
        label_HW[8:40, 8:56] = labels(number)[0]
        write_mask(folder / f"{number}.png", label_HW)

    def sample(n: int) -> Sample:
        return Sample(names[n], folder / f"JPEGImages/{names[n]}.jpg", WIDTH, HEIGHT, labels(n % MASKS))

    write_manifest(folder, Manifest(Rows(names, sample), CLASSES, {"train": tuple(names)}))
    write_ground_truth(folder, Rows(names, lambda n: GroundTruth(folder / f"{n % MASKS}.png", "own")))


def stored(folder: Path, images: int) -> list[Path]:
    """Stores of score maps, float16 at stride 4, in shards."""
    rng = np.random.default_rng(0)
    maps = [rng.random((len(labels(n)), HEIGHT // 4, WIDTH // 4)).astype(np.float16) for n in range(MASKS)]
    paths, names = [], ids(images)
    for start in range(0, images, PER_SHARD):
        paths.append(folder / f"{start}.store")
        with Writer(paths[-1]) as store:
            for n in range(start, min(start + PER_SHARD, images)):
                store.add(names[n], maps[n % MASKS], classes=list(labels(n % MASKS)), size=[HEIGHT, WIDTH])
    return paths


def read(folder: Path, images: int) -> object:
    """What every job does first: read the manifest."""
    return read_manifest(folder)


def train(folder: Path, images: int) -> object:
    """What training does before its first step: read the manifest and count the labels."""
    return chance_loss(read_manifest(folder).split("train"), len(CLASSES))


def shards(folder: Path, images: int) -> object:
    """Every shard of 5,000 images, from a manifest that is read once."""
    samples, count = read_manifest(folder).split("train"), -(-images // PER_SHARD)
    return sum(len(sample.id) for n in range(count) for sample in shard_of(samples, f"{n + 1}-of-{count}"))


def truth(folder: Path, images: int) -> object:
    """What the evaluation reads beside: where the masks lie."""
    return read_ground_truth(folder)


def read_stores(folder: Path, images: int) -> object:
    """All shards opened at once, then every record in random order, as training reads them."""
    store = Store(sorted(folder.glob("*.store")))
    names = store.ids
    return sum(store[names[n]].array.size for n in np.random.default_rng(0).permutation(images))


def scores(folder: Path, images: int) -> object:
    """The evaluation with the sweep over all thresholds, of images of 48 x 64."""
    rules = {"fixed": 0.5, "chooses": True, "train_evaluation": None, "holdout": 100, "convention": "present"}
    out = {"out": folder / "e.json", "out_images": folder / "e.csv"}
    return evaluate(data=folder, maps=sorted(folder.glob("*.store")), split="train", contract={}, **rules, **out)


def listing(folder: Path, images: int) -> object:
    """The list of a folder with a PNG per image, as segmentation reads it."""
    return Pngs([folder / "cat"])


def data(folder: Path, images: int) -> object:
    """The data stage on the user's own images, here one class folder: every image is decoded once."""
    return build(folder / "out", root=folder)


def linked(folder: Path, images: int) -> None:
    """So many names of a few small PNGs, as hard links."""
    (folder / "cat").mkdir()
    for n, name in enumerate(ids(images)):
        first = folder / "cat" / f"2008_{n // LINKS * LINKS:07d}.png"
        if n % LINKS:
            os.link(first, folder / "cat" / f"{name}.png")
        else:
            Image.fromarray(np.random.default_rng(n).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)).save(first)


def plan(folder: Path, count: int) -> object:
    """`snakemake -n` of the baseline's table on VOC, with so many shards of the training images."""
    for part in ("published", "wsss"):
        (folder / part).symlink_to(ROOT / part)
    config = folder / "shards.yaml"
    config.write_text(f'data: {{shards: {{train_aug: {count}, val: {-(-count // 4)}}}}}\nbuild: ["baseline/*"]\n')
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--quiet", "all", "--snakefile", str(ROOT / "Snakefile")]
    command += ["--directory", str(folder), "--configfile", str(config)]
    return subprocess.run(command, check=True, capture_output=True, env=os.environ | {"PYTHONPATH": str(ROOT)})


Work = Callable[[Path, int], object]
PARTS: dict[str, tuple[Work, Work]] = {
    **{work.__name__: (written, work) for work in (read, train, shards, truth)},
    "write_stores": (lambda folder, images: None, stored),
    "read_stores": (stored, read_stores),
    "scores": (lambda folder, images: (written(folder, images), stored(folder, images)), scores),
    **{work.__name__: (linked, work) for work in (listing, data)},
    "plan": (lambda folder, count: None, plan),
}
"""What is prepared, in another process, and what is measured."""


def measure(part: str, size: int) -> dict[str, float]:
    """Seconds, processor seconds and peak bytes above what the imports hold."""
    prepare, work = PARTS[part]
    with tempfile.TemporaryDirectory(prefix="wsss-scale-") as folder:
        if part != "plan":
            _elsewhere(prepare, Path(folder), size)
        whose = resource.RUSAGE_CHILDREN if part == "plan" else resource.RUSAGE_SELF
        before, began = resource.getrusage(whose), time.perf_counter()
        kept = work(Path(folder), size)
        seconds, after = time.perf_counter() - began, resource.getrusage(whose)
        del kept
    base = 0 if part == "plan" else before.ru_maxrss
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": seconds, "processor": used, "peak": (after.ru_maxrss - base) * 1024}


def _elsewhere(work: Work, folder: Path, size: int) -> None:
    """Do something in a fork, whose memory does not count here."""
    if not (child := os.fork()):
        work(folder, size)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


def main() -> None:
    """Measure every part at every size, each in a process of its own, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[10_582, 100_000, 1_000_000])
    parser.add_argument("--shards", type=int, nargs="+", default=[16, 64, 256])
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--one", nargs=2, metavar=("PART", "SIZE"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(given.one[0], int(given.one[1]))))
        return
    print("| part | size | seconds | processor seconds | µs each | peak MB | bytes each |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for part in given.parts:
        for size in given.shards if part == "plan" else given.images:
            command = [sys.executable, __file__, "--one", part, str(size)]
            answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            found = json.loads(answer.splitlines()[-1])
            seconds, cpu, peak = found["seconds"], found["processor"], found["peak"]
            line = f"| {part} | {size:,} | {seconds:.2f} | {cpu:.2f} | {cpu / size * 1e6:.1f} "
            print(f"{line}| {peak / 1e6:.0f} | {peak / size:.0f} |", flush=True)


if __name__ == "__main__":
    main()
