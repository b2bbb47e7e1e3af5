"""What grows with the number of images grows in proportion, in time and in memory (bench/scale.py measures more)."""

import time
import tracemalloc

import pytest

from bench import scale
from wsss.data import layouts
from wsss.data.init import _shards
from wsss.data.manifest import read_manifest
from wsss.data.own import collect, make_splits, recognise
from wsss.stores import Store

FEW, MANY = 1000, 10_000


def seconds(work, repeats=3):
    """Processor time of the fastest of some repeats."""
    found = []
    for _ in range(repeats):
        began = time.process_time()
        work()
        found.append(time.process_time() - began)
    return min(found)


@pytest.fixture(scope="module")
def sizes(tmp_path_factory):
    """Synthetic data sets of two sizes, with their stores."""
    found = {}
    for images in (FEW, MANY):
        found[images] = tmp_path_factory.mktemp(f"images{images}")
        scale.written(found[images], images)
        scale.stored(found[images], images)
    return found


@pytest.mark.parametrize("part", [scale.read, scale.train, scale.shards, scale.truth, scale.read_stores])
def test_ten_times_the_images_take_ten_times_the_time(sizes, part):
    few, many = (seconds(lambda n=images: part(sizes[n], n)) for images in (FEW, MANY))
    assert many < 25 * max(few, 1e-3)


@pytest.mark.parametrize(
    ("part", "most"),
    [(read_manifest, 450), (scale.read_ground_truth, 350), (lambda f: Store(sorted(f.glob("*.store"))), 300)],
)
def test_an_image_costs_a_few_hundred_bytes(sizes, part, most):
    tracemalloc.start()
    kept = part(sizes[MANY])
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert kept is not None
    assert held / MANY < most


def test_samples_are_views(sizes):
    samples = read_manifest(sizes[MANY]).split("train")
    part = samples[2000:2005]
    assert part.ids == samples.ids[2000:2005]
    assert [sample.id for sample in part] == list(part.ids)
    assert part[0] == samples[2000]
    assert part[-1].labels == scale.labels(2004 % scale.MASKS)


def test_splits_and_shards_of_a_million_images():
    few, many = (seconds(lambda n=n: make_splits(scale.ids(n), 0.2), 1) for n in (10_000, 100_000))
    assert many < 25 * max(few, 1e-3)
    assert [_shards(n) for n in (1, 500, 501, 8000, 10_582, 80_000, 100_000, 1_000_000)] == [
        1,
        1,
        2,
        16,
        16,
        16,
        20,
        200,
    ]


def test_the_users_folder_is_read_in_proportion(tmp_path):
    for images in (FEW, MANY):
        (tmp_path / str(images)).mkdir()
        scale.linked(tmp_path / str(images), images)
    few, many = (seconds(lambda n=n: collect(recognise(tmp_path / str(n))), 2) for n in (FEW, MANY))
    assert many < 25 * max(few, 1e-3)
    assert len(layouts.folders(tmp_path)) == 5
