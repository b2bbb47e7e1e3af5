import io
import stat
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from wsss.data.archives import unpack
from wsss.errors import UserError

NOISE = np.random.default_rng(0).bytes(20_000)
FILES = {"top/a.bin": NOISE, "top/inner/b.txt": b"b\n", "top/inner/c d \u00e9.txt": b""}


def make_tar(path: Path, *members: tarfile.TarInfo, mode: str = "w") -> Path:
    with tarfile.open(path, mode) as tar:
        tar.addfile(folder("top"))
        for name, content in FILES.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for member in members:
            tar.addfile(member, io.BytesIO(b""))
    return path


def folder(name: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type = tarfile.DIRTYPE
    return member


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def make_zip(path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in FILES.items():
            file.writestr(name, content)
    return path


def content_of(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def refused(archive: Path, out: Path, message: str) -> None:
    """Unpacking fails with the message and leaves nothing, also nothing beside the folder."""
    before = sorted(out.parent.iterdir())
    with pytest.raises(UserError, match=message):
        unpack(archive, out)
    assert sorted(out.parent.iterdir()) == before


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_tar_files_of_all_kinds(tmp_path: Path, mode: str) -> None:
    # SBD's benchmark.tgz is opened by what it holds, not by its name.
    unpack(make_tar(tmp_path / "a.tgz", mode=mode), tmp_path / "out")
    assert content_of(tmp_path / "out") == FILES


def test_zip(tmp_path: Path) -> None:
    unpack(make_zip(tmp_path / "a.zip"), tmp_path / "out")
    assert content_of(tmp_path / "out") == FILES


def test_names_that_begin_with_a_dot_folder(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.addfile(folder("./"))
        member = tarfile.TarInfo("./top/a.bin")
        member.size = 2
        tar.addfile(member, io.BytesIO(b"ok"))
    unpack(tmp_path / "a.tar", tmp_path / "out", keep=["top"])
    assert content_of(tmp_path / "out") == {"top/a.bin": b"ok"}


def test_keep_limits_what_is_written(tmp_path: Path) -> None:
    link = special("top/link", tarfile.SYMTYPE, "/etc/passwd")
    archive = make_tar(tmp_path / "a.tar", link)
    unpack(archive, tmp_path / "out", keep=["top/inner", "top/a"])
    assert set(content_of(tmp_path / "out")) == {"top/inner/b.txt", "top/inner/c d \u00e9.txt"}
    with pytest.raises(UserError, match=r"a\.tar: holds nothing of VOCdevkit/VOC2012; is it the right"):
        unpack(archive, tmp_path / "out", keep=["VOCdevkit/VOC2012"])


def test_older_folder_is_replaced_only_by_a_whole_one(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "old").write_text("old")
    broken = tmp_path / "broken.tar"
    broken.write_bytes(make_tar(tmp_path / "a.tar").read_bytes()[:15_000])
    refused(broken, out, r"broken\.tar: truncated")
    assert content_of(out) == {"old": b"old"}
    unpack(tmp_path / "a.tar", out)
    assert content_of(out) == FILES


@pytest.mark.parametrize("name", ["/etc/evil", "../evil", "top/../../evil", "top\\..\\..\\evil", "//evil"])
def test_members_outside_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    archive = make_tar(tmp_path / "a.tar", tarfile.TarInfo(name))
    refused(archive, tmp_path / "out", "member '.*evil' points outside")


@pytest.mark.parametrize(
    ("kind", "target", "word"),
    [
        (tarfile.SYMTYPE, "../..", "link"),
        (tarfile.SYMTYPE, "a.bin", "link"),
        (tarfile.LNKTYPE, "/etc/passwd", "link"),
        (tarfile.FIFOTYPE, "", "special file"),
        (tarfile.CHRTYPE, "", "special file"),
        (tarfile.BLKTYPE, "", "special file"),
    ],
)
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes, target: str, word: str) -> None:
    archive = make_tar(tmp_path / "a.tar", special("top/evil", kind, target))
    refused(archive, tmp_path / "out", f"a.tar: member 'top/evil' is a {word}")


def test_zip_members_outside_the_folder_and_links_are_refused(tmp_path: Path) -> None:
    make_zip(tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "a.zip", "a") as file:
        file.writestr("../evil", "x")
    refused(tmp_path / "a.zip", tmp_path / "out", "member '../evil' points outside")
    link = zipfile.ZipInfo("evil")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as file:
        file.writestr(link, "/etc/passwd")
    refused(tmp_path / "b.zip", tmp_path / "out", "member 'evil' is a link")


def test_modes_are_not_taken_over(tmp_path: Path) -> None:
    member = tarfile.TarInfo("top/run")
    member.mode = 0o4777
    unpack(make_tar(tmp_path / "a.tar", member), tmp_path / "out")
    assert (tmp_path / "out" / "top" / "run").stat().st_mode & 0o7111 == 0


@pytest.mark.parametrize("mode", ["w", "w:gz"])
@pytest.mark.parametrize("share", [0.0, 0.2, 0.6, 0.9])
def test_truncated_tar(tmp_path: Path, mode: str, share: float) -> None:
    # An uncompressed tar ends with empty blocks up to 10,240 bytes: 0.9 of the content, not of the file.
    whole = make_tar(tmp_path / "whole", mode=mode).read_bytes()
    end = len(whole) if mode == "w:gz" else len(whole.rstrip(b"\0"))
    (tmp_path / "a.tar").write_bytes(whole[: int(share * end)])
    refused(tmp_path / "a.tar", tmp_path / "out", r"a\.tar: truncated, damaged")


@pytest.mark.parametrize("rest", [b"garbage!" * 200, b"garbage!"])
def test_damaged_header_is_not_the_end(tmp_path: Path, rest: bytes) -> None:
    whole = make_tar(tmp_path / "whole").read_bytes()
    (tmp_path / "a.tar").write_bytes(whole[: whole.index(b"top/inner/b.txt")] + rest)
    refused(tmp_path / "a.tar", tmp_path / "out", r"a\.tar: truncated, damaged.*a header is damaged")


def test_tar_without_the_closing_block_of_zeros(tmp_path: Path) -> None:
    whole = make_tar(tmp_path / "whole").read_bytes()
    used = -(-len(whole.rstrip(b"\0")) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
    (tmp_path / "a.tar").write_bytes(whole[:used])
    unpack(tmp_path / "a.tar", tmp_path / "out")
    assert content_of(tmp_path / "out") == FILES


def test_damaged_zip_and_gzip(tmp_path: Path) -> None:
    whole = make_zip(tmp_path / "whole.zip").read_bytes()
    (tmp_path / "a.zip").write_bytes(whole[: len(whole) // 2])
    refused(tmp_path / "a.zip", tmp_path / "out", r"a\.zip: truncated, damaged")
    (tmp_path / "a.zip").write_bytes(whole[:5000] + bytes(100) + whole[5100:])
    refused(tmp_path / "a.zip", tmp_path / "out", r"a\.zip: truncated, damaged")
    whole = make_tar(tmp_path / "whole.tgz", mode="w:gz").read_bytes()
    (tmp_path / "a.tgz").write_bytes(whole[:5000] + bytes(100) + whole[5100:])
    refused(tmp_path / "a.tgz", tmp_path / "out", r"a\.tgz: .*damaged")


def test_no_archive_at_all(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_text("<html>" * 500)
    refused(tmp_path / "a.tar", tmp_path / "out", r"a\.tar: truncated, damaged or no archive")
    refused(tmp_path / "none.tar", tmp_path / "out", r"none\.tar: cannot be unpacked .*No such file")
