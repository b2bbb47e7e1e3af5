import hashlib
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.unit.voc_fixture import Server, entry_of, serve
from wsss.data import download
from wsss.data.download import checksum_fault, fetch, import_archive, read_downloads
from wsss.errors import UserError

CONTENT = np.random.default_rng(0).bytes(300_001)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serve(CONTENT) as running:
        yield running


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "archives" / "a.tar"


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ways(server: Server) -> list[str]:
    return [way for way, _ in server.requests]


def only(target: Path) -> bool:
    """The target is whole and nothing else lies beside it."""
    return target.read_bytes() == CONTENT and list(target.parent.iterdir()) == [target]


def test_first_mirror_that_works_is_enough(server: Server, target: Path) -> None:
    fetch(entry_of(CONTENT, f"{server.url}/good", f"{server.url}/plain"), target)
    assert only(target)
    assert server.requests == [("good", None)]


def test_file_that_is_there_is_not_downloaded_again(server: Server, target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(CONTENT)
    before = target.stat()
    fetch(entry_of(CONTENT, f"{server.url}/good"), target)
    assert server.requests == []
    assert target.stat().st_mtime_ns == before.st_mtime_ns


def test_file_with_wrong_checksum_is_replaced(server: Server, target: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target.parent.mkdir()
    target.write_bytes(CONTENT[::-1])
    fetch(entry_of(CONTENT, f"{server.url}/good"), target)
    assert only(target)
    assert "wrong checksum" in capsys.readouterr().err


def test_dead_missing_and_damaged_mirrors_are_passed_over(
    server: Server, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dead = f"http://127.0.0.1:{closed_port()}/a.tar"
    bad = [f"{server.url}/{way}" for way in ("gone", "page", "longer", "wrong")]
    fetch(entry_of(CONTENT, dead, *bad, f"{server.url}/plain"), target)
    assert only(target)
    said = capsys.readouterr().err
    for pattern in (
        rf"{dead}: cannot be reached: Connection refused",
        r"/gone: answers 404",
        r"/page: answers with a web page",
        r"/longer: offers 300002 bytes, expected 300001",
        r"/wrong: wrong checksum: expected md5 \w{32}, found \w{32}",
    ):
        assert re.search(pattern, said)


@pytest.mark.parametrize("way", ["wrong", "truncated", "gone"])
def test_nothing_stands_at_the_target_if_all_fail(server: Server, target: Path, way: str) -> None:
    entry = entry_of(CONTENT, f"{server.url}/{way}")
    with pytest.raises(UserError, match=r"place the file by hand at .*a\.tar, or set data\.archives"):
        fetch(entry, target)
    assert not target.exists()
    assert [path.name for path in target.parent.iterdir()] == ([".a.tar.part"] if way == "truncated" else [])


def test_error_is_one_line_with_every_mirror_and_its_reason(server: Server, target: Path) -> None:
    entry = entry_of(CONTENT, f"{server.url}/truncated", f"{server.url}/wrong", f"{server.url}/gone")
    with pytest.raises(UserError) as error:
        fetch(entry, target)
    reasons = r"/truncated \(truncated: 150000 of 300001 bytes arrived\), .*/wrong \(wrong .*/gone \(answers"
    assert re.search(reasons, str(error.value))
    assert "\n" not in str(error.value)


def test_truncated_answer_is_continued_at_the_next_mirror(server: Server, target: Path) -> None:
    fetch(entry_of(CONTENT, f"{server.url}/truncated", f"{server.url}/good"), target)
    assert only(target)
    assert server.requests[-1] == ("good", "bytes=150000-")


def test_server_that_breaks_off_is_continued_by_range(server: Server, target: Path) -> None:
    fetch(entry_of(CONTENT, f"{server.url}/cut"), target)
    assert only(target)
    assert server.requests == [("cut", None), ("cut", "bytes=150000-"), ("cut", "bytes=225000-")]


def test_interrupted_transfer_is_continued_by_the_next_run(
    server: Server, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    entry = entry_of(CONTENT, f"{server.url}/good")
    with monkeypatch.context() as patch:
        patch.setattr(download, "_BLOCK", 1 << 14)
        patch.setattr(download, "_lines", lambda *_: interrupt)
        with pytest.raises(KeyboardInterrupt):
            fetch(entry, target)
    assert not target.exists()
    kept = target.with_name(".a.tar.part").stat().st_size
    assert 0 < kept < len(CONTENT)
    fetch(entry, target)
    assert only(target)
    assert server.requests[-1] == ("good", f"bytes={kept}-")


def test_killed_transfer_is_continued_by_the_next_run(server: Server, target: Path) -> None:
    entry = entry_of(CONTENT, f"{server.url}/stall")
    script = (
        "from wsss.data.download import Archive, fetch\n"
        f"fetch(Archive.model_validate({entry.model_dump()!r}), {str(target)!r})\n"
    )
    part = target.with_name(".a.tar.part")
    running = subprocess.Popen([sys.executable, "-c", script], cwd=Path(__file__).parents[2])
    try:
        deadline = time.monotonic() + 30
        while not (part.exists() and part.stat().st_size) and time.monotonic() < deadline:
            time.sleep(0.02)
    finally:
        running.kill()
        running.wait()
    assert [path.name for path in target.parent.iterdir()] == [part.name]
    kept = part.stat().st_size
    fetch(entry_of(CONTENT, f"{server.url}/good"), target)
    assert only(target)
    assert server.requests[-1] == ("good", f"bytes={kept}-")


def test_server_without_ranges_starts_anew(server: Server, target: Path) -> None:
    target.parent.mkdir()
    target.with_name(".a.tar.part").write_bytes(CONTENT[:1000])
    fetch(entry_of(CONTENT, f"{server.url}/plain"), target)
    assert only(target)


@pytest.mark.parametrize("left", [b"x" * 1000, b"x" * len(CONTENT), b"x" * (len(CONTENT) + 5)])
def test_useless_earlier_part_does_not_spoil_a_good_mirror(server: Server, target: Path, left: bytes) -> None:
    target.parent.mkdir()
    target.with_name(".a.tar.part").write_bytes(left)
    fetch(entry_of(CONTENT, f"{server.url}/good"), target)
    assert only(target)


def test_part_longer_than_a_file_of_unknown_size(server: Server, target: Path) -> None:
    target.parent.mkdir()
    target.with_name(".a.tar.part").write_bytes(b"x" * (len(CONTENT) + 5))
    entry = entry_of(CONTENT, f"{server.url}/good").model_copy(update={"bytes": None})
    fetch(entry, target)
    assert only(target)


def test_stalled_server_counts_as_broken_off(server: Server, target: Path) -> None:
    fetch(entry_of(CONTENT, f"{server.url}/stall", f"{server.url}/good"), target, timeout=0.3)
    assert only(target)


def test_full_disk_is_not_blamed_on_the_mirror(server: Server, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(*_: object) -> int:
        raise OSError(28, os.strerror(28))

    full = type("Full", (), {"write": no_space})()
    written = download._append
    monkeypatch.setattr(download, "_append", lambda stream, block, part: written(full, block, part))
    with pytest.raises(UserError, match="No space left on device"):
        fetch(entry_of(CONTENT, f"{server.url}/good", f"{server.url}/plain"), target)
    assert ways(server) == ["good"]
    assert not target.exists()


def test_progress_without_a_terminal_is_plain_lines(
    server: Server, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fetch(entry_of(CONTENT, f"{server.url}/good"), target)
    assert re.search(r"a\.tar: 0 of 0 MB, 0 s left, [\d.]+ MB/s\n", capsys.readouterr().err)
    target.unlink()
    fetch(entry_of(CONTENT, f"{server.url}/good"), target, progress=False)
    assert "MB/s" not in capsys.readouterr().err


def test_progress_on_a_terminal_is_a_bar(
    server: Server, target: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    fetch(entry_of(CONTENT, f"{server.url}/good"), target)
    assert only(target)
    assert "300.0/300.0 kB" in capsys.readouterr().err


def test_archive_without_address_says_who_has_it(target: Path) -> None:
    with pytest.raises(UserError, match=r"VOC2012test\.tar: no public address \(.*place the file by hand"):
        fetch(read_downloads()["voc_test"], target)
    assert list(target.parent.iterdir()) == []


def test_import_links_a_checked_file(tmp_path: Path, target: Path) -> None:
    mine = tmp_path / "mine.tar"
    mine.write_bytes(CONTENT)
    import_archive(mine, target, entry_of(CONTENT))
    assert only(target)
    assert target.samefile(mine)
    import_archive(mine, target, entry_of(CONTENT))
    assert only(target)


def test_import_copies_where_links_are_impossible(
    tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_link(*_: object) -> None:
        raise OSError(18, os.strerror(18))

    mine = tmp_path / "mine.tar"
    mine.write_bytes(CONTENT)
    monkeypatch.setattr(os, "link", no_link)
    import_archive(mine, target, entry_of(CONTENT))
    assert only(target)
    assert not target.samefile(mine)


def test_import_follows_a_symbolic_link(tmp_path: Path, target: Path) -> None:
    (tmp_path / "mine.tar").write_bytes(CONTENT)
    (tmp_path / "link.tar").symlink_to("mine.tar")
    import_archive(tmp_path / "link.tar", target, entry_of(CONTENT))
    assert only(target)
    assert not target.is_symlink()


def test_import_refuses_another_file(tmp_path: Path, target: Path) -> None:
    mine = tmp_path / "mine.tar"
    mine.write_bytes(CONTENT[::-1])
    expected, found = (hashlib.md5(each).hexdigest() for each in (CONTENT, CONTENT[::-1]))
    with pytest.raises(UserError, match=rf"mine\.tar: wrong checksum: expected md5 {expected}, found {found}"):
        import_archive(mine, target, entry_of(CONTENT))
    with pytest.raises(UserError, match=r"does not exist"):
        import_archive(tmp_path / "none.tar", target, entry_of(CONTENT))
    with pytest.raises(UserError, match=r"is a folder.*data\.devkit"):
        import_archive(tmp_path, target, entry_of(CONTENT))
    assert not target.exists()


def test_sha256_alone_is_checked(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(CONTENT[::-1])
    entry = entry_of(CONTENT).model_copy(update={"md5": None})
    assert "expected sha256" in (checksum_fault(tmp_path / "a.tar", entry) or "")


def test_addresses_of_the_project() -> None:
    entries = read_downloads()
    assert list(entries) == ["voc_trainval", "voc_test", "sbd", "resnet38"]
    assert entries["voc_trainval"].md5 == "6cd6e144f989b92b3379bac3b3de84fd"
    assert entries["sbd"].md5 == "82b4d87ceb2ed10f6038a1cba92111cb"
    assert entries["voc_test"].mirrors == ()
    for name in ("voc_trainval", "sbd"):
        assert len(entries[name].mirrors) >= 2
        assert all(address.endswith(entries[name].file) for address in entries[name].mirrors)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sbd: {file: a.tgz, mirrors: [], terms: x, md: 1}", r"sbd: unknown key 'md'; did you mean 'md5'"),
        ("sbd: {file: a.tgz, mirrors: ['ftp://x/a'], terms: x}", r"sbd\.mirrors\.0"),
        ("sbd: {file: a.tgz, mirrors: [], terms: x, md5: 12}", r"sbd\.md5"),
        ("sbd: none", r"sbd: "),
    ],
)
def test_faults_in_the_address_file_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "downloads.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_downloads(path)
