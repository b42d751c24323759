"""How batches look to people, and which of them a command may touch."""

from dataclasses import replace
from pathlib import Path

import pytest
from rich.text import Text

from pipeline.cli.batch import draw_batches, draw_fates
from pipeline.domain.batches import BatchId, BatchState, RemoteState
from pipeline.domain.errors import UsageError
from pipeline.domain.jobs import RunId
from pipeline.engine.batch.tending import Fate, Tended, choose_batches
from pipeline.insights import describe_batches, sum_up_batches
from pipeline.ledger.batch_overview import BatchView
from pipeline.ledger.batches import Batch

HOUR_MS = 3_600_000


def make_batch(**changes: object) -> Batch:
    batch = Batch(
        id=BatchId(3), token="t", run_id=RunId(1), version_id=1, account="acc", endpoint="main",
        path="/v1/chat/completions", model="sim-1", state=BatchState.SUBMITTED, file=Path("f"),
        sha256=None, lines=2_500, bytes=9, tokens=9, input_file="file-1", remote_id="batch_1",
        remote_state=RemoteState.IN_PROGRESS, completed=1_240, failed=0, not_before_ms=0,
        opened_at_ms=0, submitted_at_ms=1, ended_at_ms=None, message=None,
    )  # fmt: skip
    return replace(batch, **changes)  # type: ignore[arg-type]


def make_view(
    *, keeper: str | None = None, is_unknown: bool = False, **changes: object
) -> BatchView:
    batch = make_batch(**changes)
    return BatchView(batch=batch, lines=batch.lines, keeper=keeper, is_unknown=is_unknown)


def draw(*views: BatchView, is_fresh: bool = True) -> list[str]:
    document = describe_batches(views, now_ms=2 * HOUR_MS)
    parts = draw_batches(document, is_fresh=is_fresh)
    return [part.plain if isinstance(part, Text) else part for part in parts]


def test_a_batch_says_where_it_stands_and_what_it_waits_for() -> None:
    assert draw(make_view(keeper="run 1 (process 7 on host)")) == [
        "batch 3: in work, 1,240 of 2,500 answered, 2 h 00 min old",
        "    sim-1 at main, batch_1",
        "    waits for the server",
        "1 batch is under way: 1,240 of 2,500 answered",
    ]


@pytest.mark.parametrize(
    ("changes", "state", "waits_for"),
    [
        ({}, "in work", "the server, then tagpipe tag"),
        ({"keeper": "run 1"}, "in work", "the server"),
        ({"remote_state": RemoteState.COMPLETED}, "answered, to be collected", "tagpipe tag"),
        ({"remote_state": None}, "at the server", "the server, then tagpipe tag"),
        ({"state": BatchState.PACKED}, "packed, not at the server yet", "tagpipe tag"),
        (
            {"state": BatchState.UPLOADED, "not_before_ms": 3 * HOUR_MS, "keeper": "run 1"},
            "uploaded, not submitted yet",
            "room at the server",
        ),
        ({"is_unknown": True}, "not known to the server any more", "tagpipe batch forget 3"),
        ({"state": BatchState.FORGOTTEN, "ended_at_ms": 1}, "forgotten", None),
    ],
)
def test_states_are_told_in_words(
    changes: dict[str, object], state: str, waits_for: str | None
) -> None:
    [one] = describe_batches([make_view(**changes)], now_ms=0)["batches"]  # type: ignore[arg-type]
    assert (one["state_in_words"], one["waits_for"]) == (state, waits_for)


def test_every_state_has_words() -> None:
    for state in BatchState:
        for remote in (None, *RemoteState):
            assert draw(make_view(state=state, remote_state=remote))


def test_what_a_server_says_cannot_steer_the_terminal() -> None:
    lines = draw(make_view(message="no \x1b[2J room", remote_id="batch_\x07"))
    assert not any(character in line for line in lines for character in "\x1b\x07")


def test_what_is_over_is_no_part_of_the_sum() -> None:
    over = make_view(state=BatchState.HARVESTED, ended_at_ms=HOUR_MS)
    assert sum_up_batches([make_view(failed=3), over]) == {
        "open": 1, "lines": 2_500, "answered": 1_240, "failed": 3, "by_state": {"submitted": 1},
    }  # fmt: skip
    assert draw(over)[0] == "batch 3: collected, 1,240 of 2,500 answered, took 1 h 00 min"
    assert draw(over)[-1] == "no batch is under way"


def test_figures_that_nobody_asked_for_again_say_so() -> None:
    assert draw(make_view(), is_fresh=False)[-1] == "as a run last heard; --refresh asks the server"


def test_fates_say_what_comes_next() -> None:
    ended = Tended(batch=make_batch(remote_state="cancelled"), fate=Fate.ENDED)
    given_up = Tended(batch=make_batch(), fate=Fate.GIVEN_UP, freed=1)
    assert list(draw_fates([ended, given_up])) == [
        "batch 3: cancelled, 1,240 of 2,500 answered",
        "batch 3: given up, nothing of it was worked on; 1 picture waits again",
        "tagpipe tag collects what is answered and asks about the rest",
    ]
    assert list(draw_fates([given_up]))[-1] == "tagpipe tag asks about them again"
    assert list(draw_fates([])) == ["there is no batch to cancel"]


@pytest.mark.parametrize(
    ("view", "ids", "why"),
    [
        (make_view(keeper="run 9 (process 7 on host)"), [3], "run 9 .*Ctrl-C"),
        (make_view(keeper="run 9 (process 7 on host)"), [], "run 9 .*Ctrl-C"),
        (make_view(), [4], "no batch 4"),
        (make_view(state=BatchState.HARVESTED), [3], "over already"),
        (make_view(account="other"), [3], "another address or key"),
    ],
)
def test_what_is_not_ours_to_touch_is_refused(view: BatchView, ids: list[int], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        choose_batches([view], ids, account="acc")


def test_all_means_those_of_this_account_that_are_not_over() -> None:
    other = make_view(id=BatchId(4), account="other", keeper="run 9")
    over = make_view(id=BatchId(5), state=BatchState.DISCARDED)
    assert choose_batches([make_view(), other, over], [], account="acc") == [make_batch()]
    assert choose_batches([other], [], account="acc") == []


def test_who_asks_no_server_may_name_a_batch_of_any() -> None:
    view = make_view(account="other")
    assert choose_batches([view, view], [3, 3], account=None) == [view.batch]
