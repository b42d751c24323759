"""What a scan lists, in what order, and what it survives."""

import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.settings import LibrarySettings
from pipeline.domain.errors import EnvironmentFault
from pipeline.domain.images import ImageRef
from pipeline.sources.local import LocalSource

pytestmark = pytest.mark.anyio


def put(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


async def scan(source: LocalSource) -> list[ImageRef]:
    return [image async for chunk in source.scan() for image in chunk]


async def listed(root: Path, **settings: Any) -> list[str]:
    images = await scan(LocalSource(root, LibrarySettings(**settings)))
    return [image.uri.removeprefix(f"{root}/") for image in images]


async def test_files_come_before_subfolders_each_by_name(tmp_path: Path) -> None:
    put(tmp_path, "b.jpg", "a/2.jpg", "a/1.jpg", "a/z/0.jpg", "c/3.jpg", "a.jpg")
    expected = ["a.jpg", "b.jpg", "a/1.jpg", "a/2.jpg", "a/z/0.jpg", "c/3.jpg"]
    assert await listed(tmp_path) == expected


async def test_ref_has_path_size_and_mtime(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg")
    os.utime(tmp_path / "a.jpg", ns=(0, 1_234_567_890_123_456_789))
    assert await scan(LocalSource(tmp_path, LibrarySettings())) == [
        ImageRef(uri=f"{tmp_path}/a.jpg", size=1, version="1234567890123456789")
    ]


async def test_root_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "in/a.jpg")
    monkeypatch.chdir(tmp_path)
    source = LocalSource(Path("in"), LibrarySettings())
    assert source.root == f"{tmp_path}/in"
    assert [image.uri for image in await scan(source)] == [f"{tmp_path}/in/a.jpg"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.jpg", True),
        ("a.JPEG", True),
        ("a.heic", True),
        ("no-extension", True),
        ("a.txt", False),
        ("a.jpg.xmp", False),
        ("a.mp4", False),
        (".hidden.jpg", False),
        ("._a.jpg", False),
        (".thumbnails/a.jpg", False),
        ("@eaDir/a.jpg", False),
        ("__MACOSX/a.jpg", False),
    ],
)
async def test_default_lists_what_may_be_an_image(
    tmp_path: Path, name: str, expected: bool
) -> None:
    put(tmp_path, name)
    assert await listed(tmp_path) == [name] * expected


async def test_hidden_names_are_listed_when_wanted(tmp_path: Path) -> None:
    put(tmp_path, ".a.jpg", "@eaDir/b.jpg")
    assert await listed(tmp_path, hidden=True) == [".a.jpg", "@eaDir/b.jpg"]


async def test_root_with_a_hidden_name_is_listed(tmp_path: Path) -> None:
    put(tmp_path, ".photos/a.jpg")
    assert await listed(tmp_path / ".photos") == ["a.jpg"]


async def test_include_decides_instead_of_the_extension(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "b.raw", "in/c.raw")
    assert await listed(tmp_path, include=("*.raw",)) == ["b.raw", "in/c.raw"]


async def test_exclude_wins_over_include(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "small/b.jpg", "in/small/c.jpg", "in/d.jpg")
    found = await listed(tmp_path, include=("**/*.jpg",), exclude=("small", "d.*"))
    assert found == ["a.jpg"]


async def test_excluded_folder_is_not_entered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "a.jpg", "cache/b.jpg", "cache/deep/c.jpg")
    entered = spy_on_scandir(monkeypatch)
    assert await listed(tmp_path, exclude=("cache/**",)) == ["a.jpg"]
    assert entered == [str(tmp_path)]


async def test_single_file_is_a_library_whatever_its_name(tmp_path: Path) -> None:
    put(tmp_path, "odd.xyz")
    assert await listed(tmp_path / "odd.xyz") == [f"{tmp_path}/odd.xyz"]


async def test_links_are_left_alone_by_default(tmp_path: Path) -> None:
    put(tmp_path, "lib/a.jpg", "out/b.jpg")
    (tmp_path / "lib/folder").symlink_to(tmp_path / "out")
    (tmp_path / "lib/file.jpg").symlink_to(tmp_path / "out/b.jpg")
    assert await listed(tmp_path / "lib") == ["a.jpg"]


async def test_followed_links_are_listed_under_their_own_name(tmp_path: Path) -> None:
    put(tmp_path, "lib/a.jpg", "out/b.jpg")
    (tmp_path / "lib/folder").symlink_to(tmp_path / "out")
    (tmp_path / "lib/file.jpg").symlink_to(tmp_path / "out/b.jpg")
    found = await listed(tmp_path / "lib", follow_symlinks=True)
    assert found == ["a.jpg", "file.jpg", "folder/b.jpg"]


async def test_link_loops_are_cut(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "in/b.jpg")
    (tmp_path / "in/up").symlink_to(tmp_path)
    (tmp_path / "in/self").symlink_to(tmp_path / "in")
    assert await listed(tmp_path, follow_symlinks=True) == ["a.jpg", "in/b.jpg"]


@pytest.mark.parametrize("follow", [False, True])
async def test_dangling_and_endless_links_are_nothing(tmp_path: Path, follow: bool) -> None:
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (tmp_path / "ring.jpg").symlink_to(tmp_path / "ring.jpg")
    source = LocalSource(tmp_path, LibrarySettings(follow_symlinks=follow))
    assert await scan(source) == []
    assert source.unlistable == 0


async def test_root_that_is_a_link_is_followed(tmp_path: Path) -> None:
    put(tmp_path, "real/a.jpg")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert await listed(tmp_path / "link") == ["a.jpg"]


@pytest.mark.parametrize("follow", [False, True])
async def test_fifos_and_sockets_are_never_listed(tmp_path: Path, follow: bool) -> None:
    os.mkfifo(tmp_path / "fifo.jpg")
    (tmp_path / "link.jpg").symlink_to(tmp_path / "fifo.jpg")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s.jpg"))
        assert await listed(tmp_path, follow_symlinks=follow) == []


async def test_odd_names_survive_the_round_trip(tmp_path: Path) -> None:
    put(tmp_path, "new\nline.jpg", "bild-ü-😀.jpg", "percent%41.jpg")
    put(tmp_path, os.fsdecode(b"latin-\xfc.jpg"), os.fsdecode(b"d\xff/in.jpg"))
    source = LocalSource(tmp_path, LibrarySettings())
    images = await scan(source)
    assert {image.uri for image in images} == {
        f"{tmp_path}/new\nline.jpg",
        f"{tmp_path}/bild-ü-😀.jpg",
        f"{tmp_path}/percent%41.jpg",
        f"file://{tmp_path}/latin-%FC.jpg",
        f"file://{tmp_path}/d%FF/in.jpg",
    }
    assert [await source.read(image, max_bytes=9) for image in images] == [b"x"] * 5


def spy_on_scandir(
    monkeypatch: pytest.MonkeyPatch, fault: OSError | None = None, at: str = "no folder"
) -> list[str]:
    """Note every folder that is listed; fail at one, as for a user who is not root."""
    entered: list[str] = []
    real = os.scandir

    def spy(path: str) -> Iterator[os.DirEntry[str]]:
        entered.append(path)
        if fault is not None and path == at:
            raise fault
        return real(path)

    monkeypatch.setattr(os, "scandir", spy)
    return entered


@pytest.mark.parametrize("fault", [PermissionError(13, "denied"), FileNotFoundError(2, "gone")])
async def test_unlistable_folder_is_passed_over_and_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    fault: OSError,
) -> None:
    put(tmp_path, "a/1.jpg", "b/2.jpg", "c/3.jpg")
    source = LocalSource(tmp_path, LibrarySettings())
    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING, "pipeline"):
        spy_on_scandir(patch, fault, at=f"{tmp_path}/b")
        found = [image.uri for image in await scan(source)]
    assert found == [f"{tmp_path}/a/1.jpg", f"{tmp_path}/c/3.jpg"]
    assert source.unlistable == 1
    assert source.unlistable_prefixes == (f"{tmp_path}/b/", f"file://{tmp_path}/b/")
    assert [(entry.message, vars(entry)["path"]) for entry in caplog.records] == [
        ("scan.unlistable", f"{tmp_path}/b")
    ]
    assert len(await scan(source)) == 3
    assert source.unlistable == 0


@pytest.mark.skipif(os.getuid() == 0, reason="root may list everything")
async def test_folder_without_permission_is_unlistable(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "locked/b.jpg")
    (tmp_path / "locked").chmod(0)
    source = LocalSource(tmp_path, LibrarySettings())
    found = await scan(source)
    (tmp_path / "locked").chmod(0o700)
    assert (len(found), source.unlistable) == (1, 1)


async def test_folder_that_vanishes_after_it_was_listed_is_unlistable(tmp_path: Path) -> None:
    put(tmp_path, *(f"a/{n:04}.jpg" for n in range(1_500)))
    source = LocalSource(tmp_path, LibrarySettings())
    chunks = source.scan()
    first = await anext(chunks)
    (tmp_path / "a").rename(tmp_path / "b")
    assert [chunk async for chunk in chunks] == []
    assert len(first) < 1_500
    assert source.unlistable_prefixes == (f"{tmp_path}/a/", f"file://{tmp_path}/a/")


async def test_file_that_vanishes_in_mid_scan_is_just_gone(tmp_path: Path) -> None:
    put(tmp_path, *(f"{n:04}.jpg" for n in range(1_500)))
    source = LocalSource(tmp_path, LibrarySettings())
    chunks = source.scan()
    first = await anext(chunks)
    (tmp_path / "1499.jpg").unlink()
    rest = [image async for chunk in chunks for image in chunk]
    assert (len(first) + len(rest), source.unlistable) == (1_499, 0)


async def test_first_chunk_arrives_before_the_tree_was_walked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, *(f"{folder:02}/{n:03}.jpg" for folder in range(40) for n in range(100)))
    entered = spy_on_scandir(monkeypatch)
    chunks = LocalSource(tmp_path, LibrarySettings()).scan()
    first = await anext(chunks)
    assert 0 < len(first) <= 1_000
    assert len(entered) < 15
    sizes = [len(chunk) async for chunk in chunks]
    assert max(sizes) <= 1_000
    assert len(first) + sum(sizes) == 4_000


async def test_foreign_files_do_not_hold_a_step_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "a.jpg", *(f"{folder}/{n}.txt" for folder in range(30) for n in range(100)))
    entered = spy_on_scandir(monkeypatch)
    chunks = LocalSource(tmp_path, LibrarySettings()).scan()
    assert len(await anext(chunks)) == 1
    assert len(entered) < 15


@pytest.mark.parametrize("kind", ["missing", "fifo", "locked"])
async def test_root_that_cannot_be_listed_is_a_fault_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    root = tmp_path / kind
    if kind == "fifo":
        os.mkfifo(root)
    if kind == "locked":
        root.mkdir()
        spy_on_scandir(monkeypatch, PermissionError(13, "denied"), at=str(root))
    with pytest.raises(EnvironmentFault, match=str(root)):
        await scan(LocalSource(root, LibrarySettings()))
