"""How the closing figures look to people."""

from decimal import Decimal

import pytest

from pipeline.cli.summary import _facts_of_quote, _facts_of_saving, format_bytes, format_share

BY = "by sending right-sized pictures"


def quote(quoted: str, difference: str, **causes: str) -> dict[str, object]:
    return {"quoted_usd": quoted, "difference_usd": difference, "causes": causes}


def test_difference_is_told_with_its_causes_in_hundredths_of_the_quote() -> None:
    document = quote("0.01", "0.00018", output="0.00021", cache="-0.00003", input="0.000000001")
    assert list(_facts_of_quote(document, "0.01")) == [
        ("quote", "$0.01", "difference +1.8 %: output +2.1 %, cache \N{MINUS SIGN}0.3 %")
    ]


def test_what_came_as_quoted_needs_no_cause() -> None:
    [(_, _, remark)] = _facts_of_quote(quote("2", "0"), "2")
    assert remark == "difference 0.0 %"


def test_causes_of_several_words_are_words() -> None:
    causes = {"tried_again": "1", "follow_ups": "1", "not_billed": "-1"}
    [(_, _, remark)] = _facts_of_quote(quote("1", "1", **causes), "1")
    assert "tried again +100.0 %, follow-ups +100.0 %, not billed" in remark


def test_without_a_price_nothing_is_said_of_a_quote() -> None:
    assert list(_facts_of_quote(quote("0", "0"), "0")) == []


def test_what_is_under_way_is_told_as_an_estimate() -> None:
    [(name, figure, _)] = _facts_of_quote(quote("0", "0"), "1.5")
    assert (name, figure) == ("estimate", "$1.50")


def saved(tokens: int, sent: int, original: int) -> dict[str, int]:
    return {
        "bytes": original - sent,
        "picture_tokens": tokens,
        "sent_bytes": sent,
        "original_bytes": original,
    }


@pytest.mark.parametrize(
    ("document", "facts"),
    [
        (
            saved(41_000, 1_200_000_000, 9_300_000_000),
            [
                (
                    "saved",
                    "87 %",
                    "of the bytes (1.2 GB of 9.3 GB sent) and 41,000 picture tokens " + BY,
                )
            ],
        ),
        (
            saved(0, 500, 1_000),
            [("saved", "50 %", "of the bytes (500 B of 1.0 kB sent) " + BY)],
        ),
        (saved(7, 2, 1), [("saved", "7", "picture tokens " + BY)]),
        (saved(0, 0, 0), []),
        (saved(-3, 2, 1), []),
    ],
)
def test_savings_are_told_where_there_are_any(
    document: dict[str, int], facts: list[tuple[str, str, str]]
) -> None:
    assert list(_facts_of_saving(document)) == facts


def test_figures_are_short() -> None:
    assert [format_bytes(count) for count in (0, 999, 1_000, 999_960, 5 * 10**13)] == [
        "0 B", "999 B", "1.0 kB", "1.0 MB", "50.0 TB",
    ]  # fmt: skip
    assert format_share(Decimal("-0.0004")) == "0.0 %"
