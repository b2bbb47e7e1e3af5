"""Odd inputs that are legal: what comes of them is right, and said."""

import contextlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from tests.bad_input.case import Legal, Outcome, check, settings
from tests.bad_input.image_files import noise, sound
from tests.unit.own_fixture import csv_set, folder_set, mask, photo
from wsss import cam, classify, evaluate, predict, pseudo, refine, segment, slices
from wsss.backbones import tiny
from wsss.checkpoint import State, resume, save
from wsss.config import resolve
from wsss.data.images import read_mask, read_rgb
from wsss.data.manifest import Manifest, read_manifest, shard_of
from wsss.data.own import build
from wsss.job import Job
from wsss.stores import Store

SIX = Image.Exif()
SIX[0x0112] = 6
ODD = [
    "two words.jpg",
    "it's.jpg",
    'say "hi".jpg',
    "a\nb.jpg",
    "-f.jpg",
    "$(id);&.jpg",
    "图像 été.jpg",
    "{x}.jpg",
    "%s.jpg",
]
IDS = ["two_words", "it_s", "say__hi_", "a_b", "_-f", "__id___", "图像_été", "_x_", "_s"]


def found(root: Path, **data: Any) -> Outcome:
    """What `wsss check` says, which is warnings at most."""
    outcome = check(root, **data)()
    assert outcome.status == 0, outcome.lines
    return outcome


def manifest(root: Path, **data: Any) -> Manifest:
    """What the data stage makes of the images at `root`."""
    build(root.parent / "data", root=root, **data)
    return read_manifest(root.parent / "data")


def photograph(name: str, image: Image.Image, kind: str, size: tuple[int, int] = (20, 16), **options: Any) -> Legal:
    """One image of a data set in this form; its pixels are those that Pillow shows."""

    def proves(root: Path) -> None:
        image.save(sound(root) / "a.jpg", kind, **options)
        mask(root / "masks/a.png", [1], size)
        assert found(root).lines == []
        sample = manifest(root).samples["a"]
        rgb_HW3 = read_rgb(root / "a.jpg")
        assert (sample.width, sample.height) == rgb_HW3.shape[1::-1] == size
        assert rgb_HW3.std() > 20
        assert rgb_HW3.flags.writeable

    return Legal(name, "becomes RGB, upright, at its own size", proves)


def odd_names(root: Path) -> None:
    rows = ['"' + name.replace('"', '""') + '",x y' for name in ODD]
    csv_set(root, rows, images=tuple(ODD))
    samples = manifest(root).samples
    assert list(samples) == IDS
    assert [sample.image.name for sample in samples.values()] == ODD
    assert all(read_rgb(sample.image).shape == (16, 20, 3) for sample in samples.values())


def numbers_as_names(root: Path) -> None:
    csv_set(root, ["007.jpg,x", "1e3.jpg,x", "0x10.jpg,y", "null.jpg,y", "true.jpg,x"])
    assert list(manifest(root).samples) == ["007", "1e3", "0x10", "null", "true"]


def spreadsheet(root: Path) -> None:
    photo(root / "a.jpg")
    photo(root / "b.jpg")
    (root / "set.csv").write_bytes(b"\xef\xbb\xbfImage;Labels\r\na.jpg;cat\r\n;\r\nb.jpg;cat dog\r\n")
    assert [sample.labels for sample in manifest(root).samples.values()] == [(1,), (1, 2)]


def absent_class(root: Path) -> None:
    (sound(root) / "classes.txt").write_text("cat\ndog\ncow\n")
    assert found(root).lines == ["warning: split 'train' has no image of: cow"]
    assert manifest(root).classes == ("cat", "dog", "cow")


def unlabelled(root: Path) -> None:
    sound(root, ("a.jpg,,train", "b.jpg,dog,train", "d.jpg,dog,val"))
    assert "warning: split 'train': 1 images have no labels and teach as negatives, first a" in found(root).lines
    assert manifest(root).samples["a"].labels == ()


def commas(root: Path) -> None:
    folder_set(root, [f"{name}/{number}.jpg" for name in ("cat, wild", "dog") for number in range(4)])
    assert manifest(root).classes == ("cat, wild", "dog")


def two_values(root: Path) -> None:
    Image.fromarray(np.eye(16, 20, dtype=bool)).save(sound(root) / "masks/a.png")
    assert read_mask(root / "masks/a.png").max() == 1
    assert found(root).lines == []


def shards(root: Path) -> None:
    samples = manifest(sound(root)).split("train")
    parts = [shard_of(samples, f"{index}-of-9").ids for index in range(1, 10)]
    assert [id for part in parts for id in part] == ["a", "b", "c"]


def text_number(root: Path) -> None:
    overlay = {"recipes": {"irn_cam": {"lr": "1e-3"}}, "classify": {"gap_r50": {"options": {"head_lr": "1e1"}}}}
    resolved = resolve(overlay)
    assert resolved.recipes["irn_cam"].lr == 0.001
    assert slices.train_config(resolved, "classify", "gap_r50")["options"]["head_lr"] == 10.0
    assert settings(overlay)(root)().status == 0


def afresh(write: Callable[[Path], object], says: str) -> Callable[[Path], None]:
    """A checkpoint of no use: the training begins at step 0, says why, and the file stays."""

    def proves(root: Path) -> None:
        model, path = tiny.build(), root / "c.ckpt"
        write(path)
        before, content = {key: value.clone() for key, value in model.state_dict().items()}, path.read_bytes()
        with contextlib.redirect_stdout(io.StringIO()) as said:
            state = resume(Job(path, "this work", 1), model, torch.optim.SGD(model.parameters(), lr=0.1))
        assert state == State()
        assert says in said.getvalue()
        assert "starting afresh" in said.getvalue()
        assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
        assert path.read_bytes() == content

    return proves


def of_other_work(path: Path) -> None:
    model = tiny.build()
    save(Job(path, "other settings", 1), model, torch.optim.SGD(model.parameters(), lr=0.1), State(step=9))


def whole_chain(root: Path) -> None:
    """Every stage, from the photograph to the score."""
    noise("CMYK", (67, 51)).save(photo(root / "été 1.jpg"), "JPEG")
    mask(root / "masks/été 1.png", [1, 255], (67, 51))
    (root / "classes.txt").write_text("rust\n")
    csv_set(root, ["été 1.jpg,rust"], images=("other.bmp",))
    data = manifest(root)
    assert (list(data.samples), data.splits) == (["été_1"], {"train": ("été_1",)})
    one = {"steps": 1, "epochs": None, "batch": 1, "lr": 1e-5}
    config = resolve({"preset": "tiny", "recipes": {"irn_cam": one, "deeplabv2": one}})
    job, part = Job(root / "c.ckpt", "x", 1), {"data": "data", "split": "train", "shard": "1-of-1"}
    training = {"data": "data", "split": "train", "seed": 0, "job": job, "initial_weights": None}
    learn = slices.train_config(config, "classify", "gap_r50")
    classify.train(**training, **learn, weights="c.safetensors", history="c.csv")
    look = slices.cam_config(config, "gap_r50", "ms_irn")
    cam.infer(**part, **look, weights="c.safetensors", out="c.store", job=job)
    assert Store("c.store")["été_1"].array.shape == (1, 13, 17)
    better = slices.refine_config(config, "crf_irn") | {"background": 0.2}
    refine.apply(**part, **better, scores="c.store", evaluation=None, out="r.store")
    pseudo.write(data="data", split="train", stores=["c.store"], evaluation=None, out="p", background=0.0)
    job = Job(root / "s.ckpt", "y", 1)
    learn = slices.train_config(config, "segment", "deeplabv2_r101")
    segment.train(**training | {"job": job}, **learn, labels=["p"], weights="s.safetensors", history="s.csv")
    look = slices.predict_config(config, "deeplabv2_r101", "plain")
    predict.infer(**part, **look, weights="s.safetensors", out="out", job=job)
    assert read_mask("out/été_1.png").shape == (51, 67)
    files = {"data": "data", "maps": ["out"], "out": "e.json", "out_images": "e.csv"}
    rules = {"fixed": None, "chooses": True, "train_evaluation": None, "holdout": 0, "convention": "present"}
    evaluate.evaluate(**files, **rules, split="train", contract={})
    assert Path("e.csv").read_text().startswith("id,miou\nété_1,0.")


CASES = [
    photograph("CMYK JPEG", noise("CMYK"), "JPEG"),
    photograph("grey JPEG", noise("L"), "JPEG"),
    photograph("progressive JPEG", noise(), "JPEG", progressive=True),
    photograph("JPEG that lies on its side", noise(), "JPEG", (16, 20), exif=SIX),
    photograph("PNG that lies on its side", noise(), "PNG", (16, 20), exif=SIX),
    photograph("16-bit PNG", Image.fromarray(np.arange(0, 64000, 200, np.uint16).reshape(16, 20)), "PNG"),
    photograph("palette PNG", noise("P"), "PNG"),
    photograph("PNG with transparency", noise("RGBA"), "PNG"),
    photograph("PNG of two values", noise("1"), "PNG"),
    photograph("GIF named as a JPEG", noise("P"), "GIF"),
    photograph("TIFF of two pages", noise(), "TIFF", save_all=True, append_images=[noise("L")]),
    photograph("image of one pixel's height", noise(size=(20, 1)), "PNG", (20, 1)),
    Legal("names with spaces, quotes, line breaks, commands", "are found, and their ids are safe", odd_names),
    Legal("names that look like numbers", "stay text", numbers_as_names),
    Legal("CSV as spreadsheets write it", "is read with any delimiter and byte order mark", spreadsheet),
    Legal("class without images", "stays a class, with a warning", absent_class),
    Legal("image without labels", "teaches as negative, with a warning", unlabelled),
    Legal("class folder with a comma", "is one class", commas),
    Legal("mask of two values", "holds ids 0 and 1", two_values),
    Legal("more shards than images", "leaves some shards empty and loses nothing", shards),
    Legal("number written as text", "1e-3 is a number, also among options", text_number),
    Legal(
        "checkpoint that was damaged",
        "is left aside",
        afresh(lambda path: path.write_bytes(b"PK\x03\x04 damaged"), "cannot be read"),
    ),
    Legal("empty checkpoint", "is left aside", afresh(lambda path: path.touch(), "cannot be read")),
    Legal("checkpoint of other work", "is left aside", afresh(of_other_work, "belongs to other settings")),
    Legal(
        "checkpoint that is none",
        "is left aside",
        afresh(lambda path: torch.save(torch.zeros(3), path), "belongs to other settings"),
    ),
    Legal("one CMYK image of one class", "goes through every stage to a score", whole_chain),
]
