"""Damaged photographs and masks, met by `wsss check`."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from tests.bad_input.case import Case, Meeting, check
from tests.unit.own_fixture import mask, photo

ROWS = ("a.jpg,cat,train", "b.jpg,dog,train", "c.jpg,cat dog,train", "d.jpg,dog,val")


def sound(root: Path, rows: tuple[str, ...] = ROWS, header: str = "image,labels,split") -> Path:
    """A CSV with four photographs and their masks, two classes, two splits: nothing is wrong with it."""
    for row in rows:
        name, labels, *_ = row.split(",")
        photo(root / name)
        ids = [("cat", "dog").index(label) + 1 for label in labels.split()]
        mask(root / "masks" / f"{Path(name).stem}.png", [*ids, 255])
    (root / "labels.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    (root / "classes.txt").write_text("cat\ndog\n", encoding="utf-8")
    return root


def broken(name: str, damage: Callable[[Path], object], *says: str) -> Case:
    """A sound data set that `damage` breaks in one place."""

    def given(root: Path) -> Meeting:
        damage(sound(root))
        return check(root)

    return Case(name, given, says)


def content(name: str, data: bytes) -> Callable[[Path], object]:
    """The file `name` holds `data` instead."""
    return lambda root: (root / name).write_bytes(data)


def cut(name: str, share: float = 0.5) -> Callable[[Path], object]:
    """The file `name` ends too early."""
    return lambda root: (root / name).write_bytes((data := (root / name).read_bytes())[: int(len(data) * share)])


def saved(name: str, image: Image.Image, kind: str, share: float = 1.0) -> Callable[[Path], object]:
    """The file `name` is this image, or the first part of it."""

    def damage(root: Path) -> None:
        image.save(root / name, kind)
        cut(name, share)(root)

    return damage


def noise(mode: str = "RGB", size: tuple[int, int] = (20, 16)) -> Image.Image:
    """An image of (width, height) that does not compress."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), np.uint8)).convert(mode)


def giant(root: Path) -> None:
    """A small JPEG whose header claims 60,000 x 60,000 pixels."""
    data = bytearray((root / "a.jpg").read_bytes())
    start = data.index(b"\xff\xc0")
    data[start + 5 : start + 9] = (60_000).to_bytes(2, "big") * 2
    (root / "a.jpg").write_bytes(data)


def wrong_checksum(root: Path) -> None:
    """A PNG whose pixels are another image's, so that the checksum of its data is wrong."""
    noise().save(root / "a.jpg", "PNG")
    data = bytearray((root / "a.jpg").read_bytes())
    data[data.index(b"IDAT") + 12] ^= 0xFF
    (root / "a.jpg").write_bytes(data)


def folder_in_place(root: Path) -> None:
    (root / "a.jpg").unlink()
    (root / "a.jpg").mkdir()


def loose_link(root: Path) -> None:
    (root / "a.jpg").unlink()
    (root / "a.jpg").symlink_to("gone.jpg")


DEEP = Image.fromarray(np.full((16, 20), 300, np.uint16))
AGAIN = "copy the file again"
SAVE = "save class ids 0..C (255 = ignore) as 8-bit palette or grey PNG"

CASES = [
    broken("JPEG cut in half", cut("a.jpg"), "own/a.jpg: JPEG is truncated", AGAIN),
    broken("JPEG without its last two bytes", cut("a.jpg", 0.998), "own/a.jpg: JPEG is truncated", AGAIN),
    broken("JPEG of two bytes", content("a.jpg", b"\xff\xd8"), "own/a.jpg: JPEG is truncated", AGAIN),
    broken("empty JPEG", content("a.jpg", b""), "own/a.jpg: is empty", AGAIN),
    broken("web page named as a JPEG", content("a.jpg", b"<html>404</html>"), "own/a.jpg: cannot be decoded", AGAIN),
    broken("zeros named as a JPEG", content("a.jpg", bytes(500)), "own/a.jpg: cannot be decoded (not an image)"),
    broken("JPEG that claims to be giant", giant, "own/a.jpg: claims 60000x60000 pixels", "make it smaller"),
    broken("PNG with a wrong checksum", wrong_checksum, "own/a.jpg: cannot be decoded", AGAIN),
    broken("PNG cut in half", saved("a.jpg", noise(), "PNG", 0.5), "own/a.jpg: PNG is truncated", AGAIN),
    broken("WebP cut in half", saved("a.jpg", noise(), "WEBP", 0.5), "own/a.jpg: cannot be decoded", AGAIN),
    broken("BMP cut in half", saved("a.jpg", noise(), "BMP", 0.5), "own/a.jpg: cannot be decoded", AGAIN),
    broken("TIFF cut in half", saved("a.jpg", noise(), "TIFF", 0.5), "own/a.jpg: cannot be decoded", AGAIN),
    broken("GIF cut in half", saved("a.jpg", noise(), "GIF", 0.3), "own/a.jpg: cannot be decoded", AGAIN),
    broken("folder named as an image", folder_in_place, "labels.csv row 2: image 'a.jpg' does not exist"),
    broken("link to an image that is gone", loose_link, "labels.csv row 2: image 'a.jpg' does not exist"),
    broken("RGB mask", saved("masks/a.png", noise(), "PNG"), "masks/a.png: mask has colour mode RGB", SAVE),
    broken("RGBA mask", saved("masks/a.png", noise("RGBA"), "PNG"), "masks/a.png: mask has colour mode RGBA", SAVE),
    broken("grey mask with transparency", saved("masks/a.png", noise("LA"), "PNG"), "a.png: mask has colour mode LA"),
    broken("16-bit mask", saved("masks/a.png", DEEP, "PNG"), "masks/a.png: mask has colour mode I;16", SAVE),
    broken("JPEG mask", saved("masks/a.png", noise("L"), "JPEG"), "a.png: mask is a JPEG", "save it as palette PNG"),
    broken("mask cut in half", cut("masks/a.png"), "masks/a.png: PNG is truncated", AGAIN),
    broken("empty mask", content("masks/a.png", b""), "masks/a.png: is empty", AGAIN),
    broken(
        "mask of another size",
        lambda root: mask(root / "masks/a.png", [1], size=(21, 16)),
        "masks/a.png: is 21x16 but its image is 20x16",
        "they must have the same size",
    ),
    broken(
        "mask that lies on its side",
        lambda root: mask(root / "masks/a.png", [1], size=(16, 20)),
        "masks/a.png: is 16x20 but its image is 20x16",
    ),
    broken(
        "mask with ids outside the classes",
        lambda root: mask(root / "masks/a.png", [1, 3, 254]),
        "masks/a.png: holds ids 3, 254, but the last class has 2",
    ),
    broken(
        "masks of black and white alone",
        lambda root: [mask(root / f"masks/{name}.png", [255]) for name in "abcd"],
        "all masks hold only 0 (background) and 255 (ignore)",
        "write class ids 1 to 2",
    ),
    broken(
        "mask without an image",
        lambda root: mask(root / "masks/ghost.png", [1]),
        "masks/ghost.png: is a mask without an image",
        "remove it or add its image",
    ),
]
