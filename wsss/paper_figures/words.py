"""Visual words: the images that hold most of a word, framed by whether they agree on its class (VWE Figure 5).

Letters: N words, h w the word map, H W the image.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wsss.data.ground_truth import GroundTruth, read_ground_truth
from wsss.data.images import read_mask, read_rgb
from wsss.data.manifest import Sample, read_manifest
from wsss.figures import GREEN, RED, Panel, sheet, spotlight
from wsss.paper_figures.inputs import Inputs
from wsss.stores import Store

IGNORED = 255
SIDE = 112


@dataclass(frozen=True)
class Sighting:
    """A word in an image: its share of the image's pixels, and the class under most of them."""

    id: str
    share: float
    label: int


@dataclass(frozen=True)
class Word:
    """A word's dominant class, and its images: those of that class first, each group by falling share."""

    number: int
    label: int
    sightings: tuple[Sighting, ...]

    @property
    def right(self) -> int:
        """How many of the images are of the dominant class."""
        return sum(sighting.label == self.label for sighting in self.sightings)


def draw(inputs: Inputs, out: str | Path, *, split: str, words: int, images: int) -> None:
    """Write the figure as a PNG: a row for each of `words` words with the `images` images that hold most of it.

    See wsss.figure_settings.Words. Images whose class is unknown (no mask and not exactly one label) are left out.
    """
    manifest, truth = read_manifest(inputs.data), read_ground_truth(inputs.data)
    names = ("background", *manifest.classes)
    maps = Store(inputs.maps[0])
    found: dict[int, list[Sighting]] = defaultdict(list)
    for sample in manifest.split(split):
        for number, sighting in sightings(sample, truth.get(sample.id), maps[sample.id].array):
            found[number].append(sighting)
    shown = spread([word(number, seen, images) for number, seen in found.items()], words, images)
    if not shown:
        print("no image has a mask or a single label: the figure is empty", flush=True)
    rows = [[panel(manifest.samples[s.id], maps[s.id].array, each, s) for s in each.sightings] for each in shown]
    labels = [f"word {each.number}\n{names[each.label]}\n{each.right} of {len(each.sightings)}" for each in shown]
    empty = [[Panel(np.full((1, 1, 3), 255, np.uint8), "no class is known")]]
    sheet(rows or empty, out, labels=labels, cell=(SIDE, SIDE))


def sightings(sample: Sample, truth: GroundTruth | None, word_hw: np.ndarray) -> list[tuple[int, Sighting]]:
    """Every word of an image's map whose class is known: by the mask, or by the image's only label without one."""
    word_HW = enlarged(word_hw, (sample.height, sample.width))
    if truth is None:
        counts = np.bincount(word_HW.reshape(-1))
        alone = sample.labels if len(sample.labels) == 1 else ()
        return [
            (number, Sighting(sample.id, counts[number] / word_HW.size, label))
            for label in alone
            for number in np.flatnonzero(counts).tolist()
        ]
    pairs = np.bincount((word_HW.astype(np.int64) * 256 + read_mask(truth.mask)).reshape(-1))
    pairs_N256 = np.pad(pairs, (0, -len(pairs) % 256)).reshape(-1, 256)
    known_N255 = pairs_N256[:, :IGNORED]
    return [
        (number, Sighting(sample.id, pairs_N256[number].sum() / word_HW.size, int(known_N255[number].argmax())))
        for number in np.flatnonzero(known_N255.sum(1)).tolist()
    ]


def word(number: int, seen: Sequence[Sighting], images: int) -> Word:
    """The word's `images` largest sightings, and their most frequent class (the smallest id of several)."""
    largest = sorted(seen, key=lambda sighting: (-sighting.share, sighting.id))[:images]
    votes = Counter(sighting.label for sighting in largest)
    label = min(votes, key=lambda each: (-votes[each], each))
    return Word(number, label, tuple(sorted(largest, key=lambda sighting: sighting.label != label)))


def spread(found: Sequence[Word], count: int, images: int) -> list[Word]:
    """`count` words, evenly spread over their ranking by purity: neither the best alone nor the worst.

    Ranked are words of a foreground class that fill a row of `images`; where these are too few, others follow them.
    """

    def rank(each: Word) -> tuple[bool, bool, float, float, int]:
        filled, share = len(each.sightings), sum(sighting.share for sighting in each.sightings)
        return filled < images, each.label == 0, -each.right / filled, -share, each.number

    ranked = sorted(found, key=rank)
    proper = [each for each in ranked if rank(each)[:2] == (False, False)]
    print(f"{len(found)} words in use, {len(proper)} of them of a foreground class in {images} images", flush=True)
    if len(proper) < count:
        return ranked[:count]
    return [proper[round(place * (len(proper) - 1) / max(count - 1, 1))] for place in range(count)]


def panel(sample: Sample, word_hw: np.ndarray, shown: Word, sighting: Sighting) -> Panel:
    """The square of an image around a word, whose pixels are bright; green where the class is the word's own."""
    mask_HW = enlarged(word_hw, (sample.height, sample.width)) == shown.number
    picture_HW3 = spotlight(read_rgb(sample.image), mask_HW)
    side = min(mask_HW.shape)
    corner = [
        min(max(round(places.mean()) - side // 2, 0), size - side)
        for places, size in zip(np.nonzero(mask_HW), mask_HW.shape, strict=True)
    ]
    square = np.s_[corner[0] : corner[0] + side, corner[1] : corner[1] + side]
    return Panel(picture_HW3[square], frame=GREEN if sighting.label == shown.label else RED)


def enlarged(word_hw: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A word map at size (H, W): every pixel has the word of the position it lies in."""
    rows, columns = ((np.arange(n) * m) // n for n, m in zip(size, word_hw.shape, strict=True))
    return word_hw[np.ix_(rows, columns)]
