"""Files from elsewhere cannot run code, grow without bounds, or write outside their folder."""

import os
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat

from tests.unit.own_fixture import voc_set
from wsss.backbones import tiny
from wsss.backbones.weights import read_weights
from wsss.checkpoint import State, resume
from wsss.config import read_yaml
from wsss.data.archives import unpack
from wsss.data.own import collect, recognise
from wsss.data.sbd import read_mat
from wsss.data.voc import read_labels
from wsss.errors import UserError
from wsss.job import Job
from wsss.stores import Store

BOMB = (
    '<!DOCTYPE x [<!ENTITY a "ha">'
    + "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True))
    + "]><annotation><object><name>&i;</name></object></annotation>"
)
SECRET = '<!DOCTYPE x [<!ENTITY e SYSTEM "{}">]><annotation><object><name>&e;</name></object></annotation>'


class Hostile:
    """Makes a folder when a pickle of it is read."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.fixture
def mark(tmp_path):
    """A folder that only code from a file would make."""
    yield tmp_path / "made"
    assert not (tmp_path / "made").exists()


def test_the_hostile_pickle_of_these_tests_is_hostile(tmp_path):
    pickle.loads(pickle.dumps(Hostile(tmp_path / "made")))
    assert (tmp_path / "made").is_dir()


@pytest.mark.parametrize("name", ["w.pth", "w.pt", "w.safetensors", "w.params"])
@pytest.mark.parametrize("form", ["torch", "pickle"])
def test_weights_run_no_code(tmp_path, mark, name, form):
    path = tmp_path / name
    content = {"stem.weight": Hostile(mark)}
    path.write_bytes(pickle.dumps(content)) if form == "pickle" else torch.save(content, path)
    with pytest.raises(UserError, match=name):
        read_weights(path)


def test_checkpoints_run_no_code(tmp_path, mark, capsys):
    model, path = tiny.build(), tmp_path / "c.ckpt"
    torch.save({"fingerprint": "x", "model": Hostile(mark)}, path)
    assert resume(Job(path, "x", 1), model, torch.optim.SGD(model.parameters(), lr=1)) == State()
    assert "starting afresh" in capsys.readouterr().out


def test_stores_and_matlab_files_run_no_code(tmp_path, mark):
    path = tmp_path / "x.store"
    path.write_bytes(pickle.dumps(Hostile(mark)))
    with pytest.raises(UserError, match=r"x\.store"):
        Store(path)
    path.write_bytes(pickle.dumps(np.array([Hostile(mark)])))
    with pytest.raises(UserError, match=r"x\.store: broken"):
        read_mat(path)
    savemat(tmp_path / "x.mat", {"GTcls": {"Segmentation": np.array([[{"a": 1}]], object)}})
    with pytest.raises(UserError, match=r"x\.mat: "):
        read_mat(tmp_path / "x.mat")


def test_settings_run_no_code(tmp_path, mark):
    for tag in ("!!python/object/apply:os.mkdir", "!!python/name:os.mkdir", "!!python/module:os"):
        (tmp_path / "c.yaml").write_text(f"seeds: {tag} ['{mark}']\n")
        with pytest.raises(UserError, match=r"c\.yaml: is not valid YAML"):
            read_yaml(tmp_path / "c.yaml")


@pytest.mark.parametrize("kind", ["bomb", "foreign file"])
def test_annotations_neither_grow_nor_read_other_files(tmp_path, kind):
    (tmp_path / "secret").write_text("cat")
    text = BOMB if kind == "bomb" else SECRET.format((tmp_path / "secret").as_uri())
    root = voc_set(tmp_path / "own", {"a": "cat", "b": "dog"})
    (root / "Annotations/a.xml").write_text(text)
    found = collect(recognise(root))
    assert found.entries["a"].labels == ()
    assert found.faults == ["Annotations/a.xml: is no valid XML (it has a document type declaration); correct it"]
    with pytest.raises(UserError, match="document type"):
        read_labels(root / "Annotations/a.xml")


@pytest.mark.parametrize("kind", ["tar", "zip"])
@pytest.mark.parametrize("name", ["../made", "/tmp/../made", "a/../../made", "..\\made"])
def test_archives_stay_in_their_folder(tmp_path, mark, kind, name):
    path = tmp_path / f"a.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as file:
            file.writestr(name, b"x")
    else:
        with tarfile.open(path, "w") as tar:
            tar.addfile(tarfile.TarInfo(name))
    with pytest.raises(UserError, match="points outside its folder"):
        unpack(path, tmp_path / "out")
    assert sorted(item.name for item in tmp_path.iterdir()) == [path.name]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_archives_bring_no_links_and_no_devices(tmp_path, mark, kind):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        link = tarfile.TarInfo("out")
        link.type, link.linkname = kind, str(tmp_path)
        tar.addfile(link)
        tar.addfile(tarfile.TarInfo("out/made"))
    with pytest.raises(UserError, match=r"member 'out' is a (link|special file)"):
        unpack(tmp_path / "a.tar", tmp_path / "folder")
    assert [item.name for item in tmp_path.iterdir()] == ["a.tar"]
