"""Properties of whatever reads what users and earlier stages wrote: a right answer, or a UserError of one line."""

import io
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from wsss import interface
from wsss.config import read_yaml, resolve
from wsss.data.csv_table import read_list, read_table
from wsss.data.ground_truth import GroundTruth, read_ground_truth, write_ground_truth
from wsss.data.images import read_mask, read_rgb, read_size
from wsss.data.layouts import recognise
from wsss.data.manifest import Manifest, Sample, Samples, read_manifest, shard_of, write_manifest
from wsss.data.own import collect
from wsss.errors import UserError, one_line
from wsss.settings import Settings
from wsss.stores import Store
from wsss.targets import faults
from wsss.thresholds import read_evaluation

FILES = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
KEYS = sorted(Settings.model_fields)
LEAF = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
VALUE = st.recursive(
    LEAF,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
WORD = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp", "Zs")), min_size=1, max_size=12)


def answer(work, *arguments):
    """What a reader gives, or its error, which must be one printable line."""
    try:
        return work(*arguments)
    except UserError as error:
        fault = error
    assert str(fault).isprintable()
    return fault


@given(st.text())
def test_any_text_becomes_one_printable_line(text):
    line = one_line(text)
    assert line.isprintable()
    assert len(line.splitlines()) <= 1
    assert line == text or not text.isprintable()


@FILES
@given(st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=6), VALUE, max_size=2))
def test_any_overlay_is_settings_or_one_line(overlay):
    found = answer(resolve, overlay)
    assert isinstance(found, Settings | UserError)
    if isinstance(found, Settings):
        assert all(line.isprintable() for line in faults(found))


@FILES
@given(st.dictionaries(st.sampled_from(["pooling", "dropout", "head_lr", "init", "x"]), LEAF, max_size=2))
def test_any_options_are_filled_up_or_named(given_options):
    found = answer(interface.options, "methods", "cam", given_options, "classify.x.options")
    if isinstance(found, UserError):
        assert str(found).startswith("classify.x.options.")
    else:
        assert set(found) == {"pooling", "dropout", "head_lr", "init"}
        assert interface.options("methods", "cam", found, "again") == found


@FILES
@given(content=st.dictionaries(st.text(max_size=6) | st.integers(0, 9), VALUE, max_size=4) | VALUE)
def test_settings_are_what_yaml_says(tmp_path, content):
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(content, allow_unicode=True, sort_keys=False), encoding="utf-8")
    plain = yaml.safe_load(path.read_text(encoding="utf-8"))
    found = answer(read_yaml, path)
    assert repr(found) == repr(plain) if isinstance(plain, dict) else isinstance(found, UserError)


@FILES
@given(content=st.binary(max_size=200))
def test_any_bytes_are_a_file_of_each_kind_or_one_line(tmp_path, content):
    path = tmp_path / "f.csv"
    path.write_bytes(content)
    readers = [read_yaml, read_list, read_rgb, read_mask, read_size, read_evaluation, Store]
    for reader in (*readers, lambda p: read_table(p, {"image"})):
        answer(reader, path)


@FILES
@given(text=st.text(max_size=120))
def test_any_table_is_a_data_set_or_lines_of_faults(tmp_path, text):
    (tmp_path / "labels.csv").write_text(f"image,labels\n{text}", encoding="utf-8", errors="replace")
    found = answer(lambda: collect(recognise(tmp_path, kind="csv")))
    assert isinstance(found, UserError) or all(one_line(fault).isprintable() for fault in found.faults)


@st.composite
def manifests(draw):
    classes = tuple(draw(st.lists(WORD, min_size=1, max_size=4, unique=True)))
    names = draw(st.lists(WORD, min_size=1, max_size=6, unique=True))
    labels = st.sets(st.integers(1, len(classes))).map(lambda found: tuple(sorted(found)))
    side = st.integers(1, 10**5)
    samples = {
        key: Sample(key, Path("/", key.replace("/", "_")), draw(side), draw(side), draw(labels)) for key in names
    }
    splits = draw(st.dictionaries(st.sampled_from("abc"), st.sets(st.sampled_from(names), min_size=1).map(tuple)))
    return Manifest(samples, classes, splits)


@FILES
@given(manifest=manifests())
def test_a_manifest_is_read_as_it_was_written(tmp_path, manifest):
    write_manifest(tmp_path, manifest)
    found = read_manifest(tmp_path)
    assert (dict(found.samples), found.classes, found.splits) == (manifest.samples, manifest.classes, manifest.splits)
    truth = {key: GroundTruth(sample.image, "own") for key, sample in manifest.samples.items()}
    write_ground_truth(tmp_path, truth)
    assert dict(read_ground_truth(tmp_path)) == truth


@FILES
@given(manifest=manifests(), file=st.sampled_from(["manifest.csv", "splits.csv", "classes.txt"]), data=st.data())
def test_a_damaged_manifest_is_read_or_named(tmp_path, manifest, file, data):
    write_manifest(tmp_path, manifest)
    content = bytearray((tmp_path / file).read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / file).write_bytes(content)
    found = answer(read_manifest, tmp_path)
    if isinstance(found, Manifest):
        for split in found.splits:
            answer(lambda name=split: list(found.split(name)))


@given(st.integers(0, 60), st.integers(1, 80))
def test_shards_part_the_samples_evenly(images, count):
    keys = tuple(map(str, range(images)))
    samples = Samples({}, keys)
    parts = [shard_of(samples, f"{index}-of-{count}").ids for index in range(1, count + 1)]
    assert tuple(key for part in parts for key in part) == keys
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"])
def test_damaged_images_are_read_or_named(tmp_path, kind, capfd):
    rng = np.random.default_rng(0)
    stream, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(rng.integers(0, 255, (9, 12, 3), np.uint8)).save(
        stream, kind, **({} if kind in ("BMP", "GIF") else {"exif": exif})
    )
    for _ in range(150):
        content = bytearray(stream.getvalue())
        for place in rng.integers(0, min(len(content), 400), rng.integers(1, 5)):
            content[place] = rng.integers(256)
        (tmp_path / "x.jpg").write_bytes(content)
        found = answer(read_rgb, tmp_path / "x.jpg")
        assert isinstance(found, UserError) or (found.dtype == np.uint8 and found.ndim == 3 and found.flags.writeable)
        answer(read_mask, tmp_path / "x.jpg")
        answer(read_size, tmp_path / "x.jpg")
    capfd.readouterr()  # what decoders' C libraries say of damaged files
