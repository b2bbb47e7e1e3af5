"""The archive for VOC's evaluation server."""

import tarfile

import numpy as np
import pytest

from wsss import targets
from wsss.archive import pack
from wsss.config import resolve
from wsss.data.images import read_mask, write_mask
from wsss.data.manifest import Manifest, Sample, write_manifest
from wsss.errors import UserError


@pytest.fixture
def data(tmp_path):
    samples = {key: Sample(key, tmp_path / f"{key}.jpg", 5, 4, ()) for key in ("2008_000006", "2008_000011")}
    write_manifest(tmp_path, Manifest(samples, ("cat",), {"test": tuple(samples)}))
    for number, key in enumerate(samples):
        write_mask(tmp_path / f"shard-{number}" / f"{key}.png", np.full((4, 5), number, np.uint8))
    return tmp_path


def test_predictions_of_all_shards_lie_where_the_server_looks(data):
    folders = [data / "shard-0", data / "shard-1"]
    for name in ("one.tgz", "two.tgz"):
        pack(data=data, split="test", folders=folders, out=data / name)
    with tarfile.open(data / "one.tgz") as archive:
        archive.extractall(data / "out", filter="data")
    found = sorted((data / "out/results/VOC2012/Segmentation/comp6_test_cls").glob("*.png"))
    assert [path.stem for path in found] == ["2008_000006", "2008_000011"]
    assert (read_mask(found[1]) == 1).all()


def test_missing_predictions_are_named(data):
    with pytest.raises(UserError, match=r"1 of 2 predictions are missing, first 2008_000011\.png"):
        pack(data=data, split="test", folders=[data / "shard-0"], out=data / "one.tgz")
    assert not (data / "one.tgz").exists()


def test_archives_are_made_only_where_the_test_images_are():
    without, with_test = resolve({}), resolve({"data": {"test": "VOC2012test.tar"}})
    table = targets.built_tables(with_test)["vwe/table3"]
    assert targets.archives(without, table) == []
    chains = [chain for chain, _ in targets.archives(with_test, table)]
    assert ("vwe_hspp_r50", "ms_vwe", "irn_r50", "irn_walk", "irn_hard", "deeplabv2_r101", "plain_crf") in chains
    assert all(chain[-1] in ("plain", "plain_crf") for chain in chains)
