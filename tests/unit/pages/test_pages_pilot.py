"""The page of a pilot: nothing of strangers gets out of its place, nothing is fetched."""

import re
from base64 import b64decode, b64encode
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pictures import UPRIGHT, corners, jpeg, open_bytes, rotated

from pipeline.pages.figures import write_count, write_duration, write_share, write_usd
from pipeline.pages.markup import foreign, text
from pipeline.pages.pilot import Card, Figure, LanePrice, PilotPage, StratumRow, render_pilot
from pipeline.pages.thumbnail import make_thumbnail

HOSTILE = "\"><script>alert(1)</script><img src=x onerror=alert(2)>'&lt;\u202egpj.exe\x1b[2J\ud800"


def make_card(**given: Any) -> Card:
    values = {
        "name": "hats/a.jpg", "uri": "/photos/hats/a.jpg", "stratum": "hats, jpg",
        "state": "done", "thumbnail": b"\xff\xd8", "fields": {"title": "A hat"},
        "confidence": None, "needs_review": False, "review": "none",
        "tokens": "900 tokens in, 20 out", "cost": "$0.0010",
    }  # fmt: skip
    return Card(**{**values, **given})


def make_page(*cards: Card, **given: Any) -> PilotPage:
    values: dict[str, Any] = {
        "title": "Pilot", "lead": "Two of ten.", "command": "tagpipe tag photos", "notes": (),
        "figures": (Figure(name="Images", figure="2"),),
        "lanes": (LanePrice(lane="flex", low="$1.00", expected="$2.00", high="$3.00"),),
        "shares": (), "asked": (Figure(name="profile", figure="general"),),
        "strata": (
            StratumRow(name="hats", waiting="9", sampled="2", failed="0", per_image="$0.0010"),
        ),
    }  # fmt: skip
    return PilotPage(cards=cards, **{**values, **given})


class Outline(HTMLParser):
    """Tags with their attributes, and whether each that is opened is closed."""

    VOID = ("meta", "img", "input", "br")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_names_and_answers_of_strangers_stay_text() -> None:
    card = make_card(
        name=HOSTILE, uri=HOSTILE, stratum=HOSTILE, fields={HOSTILE: [HOSTILE, {"a": HOSTILE}]}
    )
    failed = make_card(state="failed", cause="refused", meaning="no", message=HOSTILE)
    page = render_pilot(
        make_page(card, failed, title=HOSTILE, command=HOSTILE, notes=[HOSTILE], lead=HOSTILE)
    )
    plain = render_pilot(
        make_page(
            replace(card, name="n", uri="u", stratum="s", fields={"f": ["v", "w"]}),
            replace(failed, message="m"), notes=["n"],
        )
    )  # fmt: skip
    seen, expected = Outline(page), Outline(plain)
    assert [tag for tag, _ in seen.tags] == [tag for tag, _ in expected.tags]
    assert [set(found) for _, found in seen.tags] == [set(found) for _, found in expected.tags]
    assert not re.search("[\x00-\x08\x0b-\x1f\u202e]", page)
    page.encode()


@given(value=st.text(st.characters()))
def test_any_text_is_one_piece_of_text(value: str) -> None:
    outline = Outline(f'<p title="{text(value)}">{text(value)}</p>')
    assert [tag for tag, _ in outline.tags] == ["p"]
    assert not outline.open


def test_text_from_right_to_left_turns_nothing_around_it() -> None:
    arabic = "قبعة حمراء"
    page = render_pilot(make_page(make_card(name=f"{arabic}.jpg", fields={"title": arabic})))
    assert f"<bdi>{arabic}.jpg</bdi>" in page
    assert f'<dd dir="auto">{arabic}</dd>' in page
    assert "\u202e" not in foreign("a\u202eb")


def test_nothing_is_fetched_and_only_our_own_script_may_run() -> None:
    page = render_pilot(make_page(make_card(), make_card(thumbnail=None)))
    outline = Outline(page)
    assert not outline.open
    addresses = [value for _, found in outline.tags for key, value in found.items()
                 if key in {"src", "href", "srcset", "action"}]  # fmt: skip
    assert addresses == ["data:image/jpeg;base64," + b64encode(b"\xff\xd8").decode()]
    assert "url(" not in page
    assert "@import" not in page
    policy = next(str(found["content"]) for _, found in outline.tags if "http-equiv" in found)
    assert policy.startswith("default-src 'none'; img-src data:;")
    for kind in ("style", "script"):
        content = re.search(f"<{kind}>(.*?)</{kind}>", page, re.DOTALL)
        assert content is not None
        digest = b64encode(sha256(content[1].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy


def test_each_value_of_an_answer_is_written_as_what_it_is() -> None:
    fields = {"title": "A hat", "pieces": 2, "in_use": False, "brand": None, "colors": [],
              "tags": ["red", "felt"]}  # fmt: skip
    page = render_pilot(make_page(make_card(fields=fields, confidence=0.875, needs_review=True)))
    assert page.count('<span class="nothing">nothing</span>') == 2
    assert '<dd dir="auto">no</dd>' in page
    assert '<span class="tag"><bdi>red</bdi></span>' in page
    assert "confidence 88%" in page
    assert "needs review" in page


def test_what_failed_says_why_and_what_that_means() -> None:
    card = make_card(
        state="failed", cause="truncated", meaning="copy it again", message="ends early", fields={}
    )
    page = render_pilot(make_page(card, make_card()))
    for words in ("truncated", "copy it again", "ends early", "Only failed or to review (1)"):
        assert words in page
    assert page.count('data-odd="1"') == 1


def test_a_page_of_a_library_without_anything_to_say_still_stands() -> None:
    page = render_pilot(make_page(lanes=(), asked=(), strata=(), figures=()))
    assert not Outline(page).open


def test_thumbnails_are_small_upright_and_without_metadata() -> None:
    turned = rotated(6, width=960, height=640)
    data = make_thumbnail(turned, max_bytes=10**7, max_pixels=10**8)
    assert data is not None
    assert b"Exif" not in data
    assert corners(data) == UPRIGHT
    assert open_bytes(data).size == (320, 213)
    small = make_thumbnail(jpeg(40, 30), max_bytes=10**7, max_pixels=10**8)
    assert small is not None
    assert open_bytes(small).size == (40, 30)


@pytest.mark.parametrize("data", [b"", b"no picture", jpeg(640, 480)[:900]])
def test_what_is_no_picture_has_no_thumbnail(data: bytes) -> None:
    assert make_thumbnail(data, max_bytes=10**7, max_pixels=10**8) is None


@pytest.mark.parametrize(
    ("nanos", "words"),
    [
        (None, "unknown"), (0, "$0.00"), (1_234_567_000_000, "$1,234.57"), (450_000_000, "$0.45"),
        (1_600_000, "$0.0016"), (120_000, "$0.00012"), (3, "$0.000000003"),
    ],
)  # fmt: skip
def test_dollars_have_two_digits_that_count(nanos: int | None, words: str) -> None:
    assert write_usd(nanos) == words


def test_figures_read_well() -> None:
    assert [write_share(one) for one in (None, 0.0, 0.004, 0.5)] == [
        "unknown", "0 %", "0.4 %", "50 %",
    ]  # fmt: skip
    assert [write_count(one) for one in (1_234.4, 2_500_000)] == ["1,234", "2.5 million"]
    assert [write_duration(one) for one in (None, 40, 600, 12_600)] == [
        "unknown", "40 s", "10 min", "3.5 h",
    ]  # fmt: skip


def test_pictures_in_the_page_can_be_decoded() -> None:
    thumbnail = make_thumbnail(jpeg(800, 600), max_bytes=10**7, max_pixels=10**8)
    page = render_pilot(make_page(make_card(thumbnail=thumbnail)))
    encoded = re.search(r"base64,([^\"]+)", page)
    assert encoded is not None
    assert b64decode(encoded[1]) == thumbnail
