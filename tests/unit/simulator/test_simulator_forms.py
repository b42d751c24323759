"""Lists come page by page without a gap, and files live as long as asked."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.simulator.errors import ApiError
from pipeline.simulator.forms import make_page, read_form_lifetime, read_lifetime


@given(count=st.integers(0, 40), limit=st.integers(1, 10))
def test_pages_follow_one_another_without_a_gap(count: int, limit: int) -> None:
    documents = [{"id": f"x{number}"} for number in range(count)]
    query, seen = {"limit": str(limit)}, []
    while True:
        page = make_page(documents, query, limit=20, most=100)
        seen += page["data"]
        if not page["has_more"]:
            break
        query["after"] = page["last_id"]
        assert len(page["data"]) == limit
    assert seen == documents


@pytest.mark.parametrize("query", [{"limit": "0"}, {"limit": "x"}, {"limit": "9"}, {"after": "y"}])
def test_odd_questions_for_a_page_are_refused(query: dict[str, str]) -> None:
    with pytest.raises(ApiError):
        make_page([{"id": "x"}], query, limit=4, most=8)


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [
        (None, None),
        ({"anchor": "created_at", "seconds": 3600}, 3600),
        ({"anchor": "created_at", "seconds": 2_592_000}, 2_592_000),
    ],
)
def test_lifetime_is_read(asked: Any, seconds: float | None) -> None:
    assert read_lifetime({"expires_after": asked}, "expires_after") == seconds


@pytest.mark.parametrize(
    "asked",
    [
        {"seconds": 3600},
        {"anchor": "created_at"},
        {"anchor": "created_at", "seconds": 3599},
        {"anchor": "created_at", "seconds": 2_592_001},
        {"anchor": "created_at", "seconds": "3600"},
        3600,
    ],
)
def test_odd_lifetime_is_refused(asked: Any) -> None:
    with pytest.raises(ApiError):
        read_lifetime({"expires_after": asked}, "expires_after")


def test_form_says_the_same_in_fields() -> None:
    fields = {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
    assert read_form_lifetime(fields) == 3600
    assert read_form_lifetime({}) is None
    with pytest.raises(ApiError):
        read_form_lifetime({"expires_after[seconds]": "soon"})
