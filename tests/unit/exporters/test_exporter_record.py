"""The flat row: its keys, its order, its times."""

from datetime import UTC, datetime, timedelta, timezone

import orjson
import pytest
from exporter_records import make_record
from hypothesis import given
from hypothesis import strategies as st

from pipeline.exporters.record import (
    FIXED_AFTER,
    FIXED_BEFORE,
    column_names,
    encode_record,
    flatten_record,
    mend_surrogates,
)


def test_fields_stand_between_the_fixed_columns() -> None:
    assert column_names(("title", "pieces")) == (*FIXED_BEFORE, "title", "pieces", *FIXED_AFTER)


def test_field_named_like_a_column_is_renamed_and_keeps_its_value() -> None:
    row = flatten_record(make_record(fields={"format": "square", "tags": None}), ("format", "tags"))
    assert (row["format"], row["field_format"], row["field_tags"]) == ("jpeg", "square", None)


@given(st.lists(st.sampled_from(["a", "tags", "field_tags", "field_field_tags"]), unique=True))
def test_column_names_never_collide(fields: list[str]) -> None:
    names = column_names(tuple(fields))
    assert len(set(names)) == len(names) == len(FIXED_BEFORE) + len(fields) + len(FIXED_AFTER)


def test_field_without_answer_is_none_and_a_foreign_one_is_left_out() -> None:
    row = flatten_record(make_record(fields={"old": 1}), ("title",))
    assert row["title"] is None
    assert "old" not in row


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2025, 5, 1, 12, tzinfo=UTC), "2025-05-01T12:00:00Z"),
        (datetime(2025, 5, 1, 12, 0, 0, 7, tzinfo=UTC), "2025-05-01T12:00:00.000007Z"),
        (
            datetime(2025, 5, 1, 14, tzinfo=timezone(timedelta(hours=2))),
            "2025-05-01T12:00:00Z",
        ),
        (datetime(2025, 5, 1, 12), "2025-05-01T12:00:00Z"),  # noqa: DTZ001 - naive is the case
        (None, None),
    ],
)
def test_times_are_utc_with_z(moment: datetime | None, text: str | None) -> None:
    assert flatten_record(make_record(tagged_at=moment), ())["tagged_at"] == text


def test_numbers_beyond_64_bits_are_kept() -> None:
    data = encode_record(make_record(fields={"n": 2**80}), ("n",))
    assert f'"n":{2**80}'.encode() in data


@given(st.text(st.characters(exclude_categories=())))
def test_any_text_becomes_valid_json(text: str) -> None:
    data = encode_record(make_record(fields={"title": text}), ("title",))
    assert orjson.loads(data)["title"] == mend_surrogates(text)


def test_surrogates_are_joined_or_replaced() -> None:
    assert mend_surrogates("a\ud83d\ude00b\ud83dc\ude00") == "a😀b\ufffdc\ufffd"
