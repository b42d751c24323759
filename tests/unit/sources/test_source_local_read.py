"""What a read returns, and the cause when it cannot."""

import errno
import os
import resource
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.settings import LibrarySettings
from pipeline.domain.errors import EnvironmentFault, ImageError
from pipeline.domain.images import ImageRef
from pipeline.domain.outcomes import Cause
from pipeline.sources.local import LocalSource, read_file, read_head


async def read(root: Path, path: Path, **settings: Any) -> bytes:
    source = LocalSource(root, LibrarySettings(**settings))
    return await source.read(ImageRef(uri=str(path), size=1, version="1"), max_bytes=10)


@pytest.mark.anyio
async def test_whole_file_comes_back(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"0123456789")
    assert await read(tmp_path, tmp_path / "a.jpg") == b"0123456789"


def make(path: Path, kind: str) -> None:
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind != "missing":
        path.write_bytes(b"" if kind == "empty" else b"x" * 11)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("kind", "cause"),
    [
        ("missing", Cause.MISSING),
        ("empty", Cause.EMPTY),
        ("big", Cause.TOO_LARGE),
        ("folder", Cause.UNREADABLE),
        ("fifo", Cause.UNREADABLE),
    ],
)
async def test_what_cannot_be_read_has_its_cause(tmp_path: Path, kind: str, cause: Cause) -> None:
    path = tmp_path / "a.jpg"
    make(path, kind)
    with pytest.raises(ImageError, match=str(path)) as caught:
        await read(tmp_path, path)
    assert caught.value.cause is cause


@pytest.mark.anyio
@pytest.mark.parametrize("most", [1, 9, 10, 11, 1_000])
async def test_a_head_has_as_many_bytes_as_are_asked_for(tmp_path: Path, most: int) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"0123456789")
    source = LocalSource(tmp_path, LibrarySettings())
    head = await source.read_head(ImageRef(uri=str(path), size=10, version="1"), max_bytes=most)
    assert head == b"0123456789"[:most]


@pytest.mark.parametrize(
    ("kind", "cause"),
    [
        ("missing", Cause.MISSING),
        ("empty", Cause.EMPTY),
        ("folder", Cause.UNREADABLE),
        ("fifo", Cause.UNREADABLE),
    ],
)
def test_a_head_that_cannot_be_read_has_its_cause(tmp_path: Path, kind: str, cause: Cause) -> None:
    make(tmp_path / "a.jpg", kind)
    with pytest.raises(ImageError) as caught:
        read_head(f"{tmp_path}/a.jpg", 10)
    assert caught.value.cause is cause


def test_a_head_is_read_however_large_the_file(tmp_path: Path) -> None:
    make(tmp_path / "a.jpg", "big")
    assert read_head(f"{tmp_path}/a.jpg", 3) == b"xxx"


def test_file_below_a_file_is_missing(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    with pytest.raises(ImageError) as caught:
        read_file(f"{tmp_path}/a/b.jpg", 10)
    assert caught.value.cause is Cause.MISSING


def test_large_file_is_refused_unread_and_names_the_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x" * 11)
    monkeypatch.setattr(os, "read", None)
    with pytest.raises(ImageError, match=r"11 bytes.*preprocess\.max_bytes allows 10"):
        read_file(f"{tmp_path}/a.jpg", 10)


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO, errno.ESTALE])
def test_refused_or_failing_disk_makes_it_unreadable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def fail(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    (tmp_path / "a.jpg").write_bytes(b"x")
    monkeypatch.setattr(os, "read", fail)
    with pytest.raises(ImageError, match=os.strerror(code)) as caught:
        read_file(f"{tmp_path}/a.jpg", 10)
    assert caught.value.cause is Cause.UNREADABLE


@pytest.mark.anyio
async def test_link_is_read_only_where_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "real.jpg").write_bytes(b"x")
    link = tmp_path / "link.jpg"
    link.symlink_to(tmp_path / "real.jpg")
    assert await read(tmp_path, link, follow_symlinks=True) == b"x"
    assert await read(link, link) == b"x"
    with pytest.raises(ImageError, match="follow_symlinks") as caught:
        await read(tmp_path, link)
    assert caught.value.cause is Cause.UNREADABLE


@pytest.mark.parametrize(("size_told", "data"), [(3, b"12345"), (8, b"12345")])
def test_file_that_changes_its_size_comes_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size_told: int, data: bytes
) -> None:
    (tmp_path / "a.jpg").write_bytes(data)
    tell_size(monkeypatch, size_told)
    assert read_file(f"{tmp_path}/a.jpg", 10) == data


def test_file_that_grows_beyond_the_limit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x" * 50)
    tell_size(monkeypatch, 3)
    with pytest.raises(ImageError) as caught:
        read_file(f"{tmp_path}/a.jpg", 10)
    assert caught.value.cause is Cause.TOO_LARGE


def tell_size(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """As if the file had had this size a moment before it is read."""
    real = os.fstat

    def lie(handle: int) -> os.stat_result:
        facts = list(real(handle))
        facts[6] = size
        return os.stat_result(facts)

    monkeypatch.setattr(os, "fstat", lie)


@pytest.mark.anyio
async def test_library_that_is_gone_blames_no_image(tmp_path: Path) -> None:
    root = tmp_path / "unmounted"
    with pytest.raises(EnvironmentFault, match=str(root)):
        await read(root, root / "a.jpg")


def test_running_out_of_handles_blames_no_image(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(EnvironmentFault, match="ulimit"):
            read_file(f"{tmp_path}/a.jpg", 10)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_reading_leaves_no_handle_open(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x" * 11)
    (tmp_path / "b.jpg").write_bytes(b"x")
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - numbers of handles, no files
    read_file(f"{tmp_path}/b.jpg", 10)
    with pytest.raises(ImageError):
        read_file(f"{tmp_path}/a.jpg", 10)
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208 - as above
