"""Archives of the form of VOC 2012 and SBD, a few images each, and a web server that misbehaves on demand."""

import hashlib
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat
from scipy.sparse import csc_matrix

from wsss.data.download import Archive
from wsss.data.voc_constants import CLASSES
from wsss.ops.palette import voc_palette

LABELS = {
    "2007_000032": ("aeroplane", "person", "aeroplane"),
    "2007_000033": ("aeroplane",),
    "2007_000039": ("tvmonitor",),
    "2008_000008": ("horse", "person"),
    "2008_000015": ("bottle",),
    "2008_000043": ("sofa", "cat"),
    "2009_000012": ("bird",),
    "2010_000002": ("dog",),
    "2011_003276": ("person",),
}
TRAIN = ("2007_000032", "2007_000039", "2009_000012")
VAL = ("2007_000033", "2008_000043")
SBD_TRAIN = ("2007_000032", "2007_000033", "2008_000008")
SBD_VAL = ("2008_000043", "2010_000002", "2008_000015")
TRAIN_AUG = ("2007_000032", "2007_000039", "2008_000008", "2008_000015", "2009_000012", "2010_000002")
TEST = ("2008_000006", "2011_003231")


def size_of(key: str) -> tuple[int, int]:
    """(width, height), different for every image."""
    return 20 + int(key[-3:]) % 13, 12 + int(key[2:4])


def label_of(key: str, *, border: bool) -> np.ndarray:
    """A mask, uint8 [H, W]: one block per class, with or without VOC's 255 border."""
    width, height = size_of(key)
    label_HW = np.zeros((height, width), np.uint8)
    for column, name in enumerate(dict.fromkeys(LABELS[key])):
        label_HW[2:9, 2 + 8 * column : 8 + 8 * column] = CLASSES.index(name) + 1
    if border:
        label_HW[2:9, 1] = 255
    return label_HW


def write_devkit(parent: Path) -> Path:
    """VOCdevkit/VOC2012 as the trainval archive unpacks it; returns VOC2012."""
    root = parent / "VOCdevkit" / "VOC2012"
    for key in LABELS:
        _image(root / "JPEGImages" / f"{key}.jpg", key)
        _annotation(root / "Annotations" / f"{key}.xml", key)
    for key in (*TRAIN, *VAL):
        _mask(root / "SegmentationClass" / f"{key}.png", label_of(key, border=True))
        _mask(root / "SegmentationObject" / f"{key}.png", label_of(key, border=True) > 0)
    for name, ids in (("train", TRAIN), ("val", VAL), ("trainval", (*TRAIN, *VAL))):
        _lines(root / "ImageSets" / "Segmentation" / f"{name}.txt", ids)
        _lines(root / "ImageSets" / "Main" / f"person_{name}.txt", [f"{key}  1" for key in ids])
    return root


def write_test(parent: Path) -> Path:
    """VOCdevkit/VOC2012 as the test archive unpacks it; returns VOC2012."""
    root = parent / "VOCdevkit" / "VOC2012"
    for key in TEST:
        _image(root / "JPEGImages" / f"{key}.jpg", key)
    _lines(root / "ImageSets" / "Segmentation" / "test.txt", TEST)
    return root


def write_sbd(parent: Path) -> Path:
    """benchmark_RELEASE/dataset as benchmark.tgz unpacks it; returns benchmark_RELEASE."""
    root = parent / "benchmark_RELEASE"
    for key in (*SBD_TRAIN, *SBD_VAL):
        _image(root / "dataset" / "img" / f"{key}.jpg", key)
        _matlab(root / "dataset" / "cls" / f"{key}.mat", label_of(key, border=False))
    _lines(root / "dataset" / "train.txt", SBD_TRAIN)
    _lines(root / "dataset" / "val.txt", SBD_VAL)
    _lines(root / "benchmark_code_RELEASE" / "README", ["code"])
    return root


def pack(folder: Path, archive: Path) -> Path:
    """Pack one folder under its own name; gzip when the name says so."""
    with tarfile.open(archive, "w:gz" if archive.suffix == ".tgz" else "w") as tar:
        tar.add(folder, folder.name)
    return archive


def entry_of(content: bytes, *mirrors: str, keep: tuple[str, ...] = ()) -> Archive:
    """The download entry of a file with this content."""
    md5, sha256 = hashlib.md5(content).hexdigest(), hashlib.sha256(content).hexdigest()
    return Archive(file="a.tar", mirrors=mirrors, bytes=len(content), md5=md5, sha256=sha256, keep=keep, terms="none")


class Server:
    """Serves `content` in the way that the address names; keeps (way, Range header) of every request.

    good: ranges allowed. plain: no ranges. truncated: half the body, no ranges. cut: as good, but half of
    what is left, until little is. wrong: other bytes of the same size. longer: one more byte. page: a web
    page. stall: says nothing after half. All else: 404.
    """

    def __init__(self, url: str, content: bytes) -> None:
        self.url, self.content, self.requests = url, content, list[tuple[str, str | None]]()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        way, asked = request.path.strip("/"), request.headers.get("Range")
        self.requests.append((way, asked))
        body = {"wrong": self.content[::-1], "longer": self.content + b"x"}.get(way, self.content)
        total, start = len(body), 0
        if way not in ("good", "plain", "truncated", "cut", "wrong", "longer", "page", "stall"):
            return request.send_error(404)
        if asked and way in ("good", "cut", "wrong"):
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= total:
                return request.send_error(416)
            request.send_response(206)
            request.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        else:
            request.send_response(200)
        request.send_header("Content-Type", "text/html" if way == "page" else "application/x-tar")
        request.send_header("Content-Length", str(total - start))
        request.end_headers()
        body = body[start:]
        half = way in ("truncated", "stall") or (way == "cut" and len(body) > total // 3)
        request.wfile.write(body[: len(body) // 2] if half else body)
        if way == "stall":
            time.sleep(2)
        return None


@contextmanager
def serve(content: bytes) -> Iterator[Server]:
    """A server on a free port of this machine for the length of the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.answer(self)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        server = Server(f"http://127.0.0.1:{listener.server_port}", content)
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            listener.shutdown()
            thread.join()


def _image(path: Path, key: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.linear_gradient("L").resize(size_of(key)).convert("RGB").save(path)


def _mask(path: Path, label_HW: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(label_HW.astype(np.uint8))
    image.putpalette(voc_palette().tobytes())
    image.save(path)


def _annotation(path: Path, key: str) -> None:
    part = "<part><name>head</name><bndbox><xmin>3</xmin></bndbox></part>"
    objects = "".join(
        f"<object>\n\t\t<name>{name}</name><pose>Left</pose><truncated>1</truncated>"
        f"<difficult>{number % 2}</difficult>{part if name == 'person' else ''}\n\t</object>"
        for number, name in enumerate(LABELS[key])
    )
    source = "<source><database>The VOC2008 Database</database><image>flickr</image></source>"
    _lines(path, [f"<annotation>\n\t<filename>{key}.jpg</filename>{source}{objects}\n</annotation>"])


def _matlab(path: Path, label_HW: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    boundaries = np.empty((20, 1), object)
    for number in range(20):
        boundaries[number, 0] = csc_matrix(label_HW == number + 1, dtype=np.float64)
    present = np.unique(label_HW[label_HW > 0]).astype(np.float64)[:, None]
    content = {"Boundaries": boundaries, "Segmentation": label_HW, "CategoriesPresent": present}
    savemat(path, {"GTcls": content}, do_compression=True)


def _lines(path: Path, lines: tuple[str, ...] | list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))
