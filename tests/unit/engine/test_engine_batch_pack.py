"""The file of a batch: what a full disk does not take is thrown away all the same."""

import errno
import io
from pathlib import Path
from typing import cast

import pytest

from pipeline.domain.errors import EnvironmentFault
from pipeline.engine.batch.pack import Pack
from pipeline.ledger.batches import Batch


class _FullDisk(io.BytesIO):
    def write(self, _: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    def close(self) -> None:
        """As a buffered file: it fails once, and is closed all the same."""
        is_first = not self.closed
        super().close()
        if is_first:
            raise OSError(errno.ENOSPC, "No space left on device")


class _Batch:
    def __init__(self, file: Path) -> None:
        self.file = file


def test_a_pack_that_the_disk_did_not_take_can_be_thrown_away(tmp_path: Path) -> None:
    file = tmp_path / "pack.jsonl"
    file.touch()
    pack = Pack(cast("Batch", _Batch(file)), _FullDisk())
    with pytest.raises(EnvironmentFault, match=r"batch\.folder"):
        pack.write([b"line\n"], 1)
    with pytest.raises(EnvironmentFault):
        pack.seal()
    pack.throw_away()
    assert not file.exists()
