import os
import signal
from collections.abc import Callable

import anyio
import pytest

from pipeline.cli.signals import obey_signals


@pytest.mark.anyio
async def test_each_signal_takes_the_next_step_and_the_last_repeats(
    capsys: pytest.CaptureFixture[str],
) -> None:
    send, taken = anyio.create_memory_object_stream[str](9)

    def make_step(name: str) -> Callable[[], str]:
        def step() -> str:
            send.send_nowait(name)
            return f"now {name}"

        return step

    with send, taken, anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            await group.start(obey_signals, [make_step("stop"), make_step("cancel")])
            for kind, name in (
                (signal.SIGINT, "stop"),
                (signal.SIGTERM, "cancel"),
                (signal.SIGINT, "cancel"),
            ):
                os.kill(os.getpid(), kind)
                assert await taken.receive() == name
            group.cancel_scope.cancel()
    assert capsys.readouterr().err == "now stop\nnow cancel\nnow cancel\n"
