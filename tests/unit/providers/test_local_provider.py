"""The offline analyser as a provider: whole questions, answered or left empty."""

import json
import threading
from datetime import datetime
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import encode, jpeg, pattern, photo, truncated
from PIL import Image, ImageDraw, ImageFont

from pipeline.domain.errors import RequestRejected, TerminalError
from pipeline.domain.images import ImageFormat, ImageInfo, PreparedImage
from pipeline.domain.outcomes import Cause
from pipeline.domain.usage import TokenUsage
from pipeline.domain.vision import Detail, FieldQuestion, FinishReason, Question, VisionRequest
from pipeline.providers.base import Provider
from pipeline.providers.local import LOCAL_MODEL, LocalProvider
from pipeline.providers.local import text as text_module
from pipeline.providers.local.answers import answer_fields
from pipeline.providers.local.text import TextReader

COLORS = (
    "Black", "White", "Grey", "Red", "Orange", "Yellow", "Green", "Blue", "Purple", "Pink",
    "Brown", "Beige", "Multicolour",
)  # fmt: skip


def field(name: str, kind: str, *values: str, **more: Any) -> FieldQuestion:
    return FieldQuestion(**({"name": name, "type": kind, "measure": name, "values": values} | more))


ALL_FIELDS = (
    field("colors", "many_of", *COLORS, max_items=3),
    field("color", "one_of", *COLORS, measure="colors"),
    field("few_colors", "one_of", "Teal", "Plaid", measure="colors"),
    field("palette", "keywords", max_items=4),
    field("brightness", "number"),
    field("contrast", "number"),
    field("sharpness", "number"),
    field("orientation", "one_of", "Landscape", "Portrait", "Square"),
    field("transparency", "boolean"),
    field("plain_background", "boolean"),
    field("kind", "one_of", "photo", "graphic", "document", "other"),
    field("camera", "text"),
    field("taken_at", "text"),
    field("descriptors", "keywords", max_items=6),
    field("title", "text", measure=None),
    field("mood", "one_of", "calm", "loud", measure="unheard_of"),
)


def prepare(data: bytes, **info: Any) -> PreparedImage:
    facts: dict[str, Any] = {"format": ImageFormat.JPEG, "width": 640, "height": 480} | info
    return PreparedImage(
        data=data,
        media_type="image/jpeg",
        width=640,
        height=480,
        fingerprint=b"",
        info=ImageInfo(**facts),
    )


def ask(data: bytes, *fields: FieldQuestion, **info: Any) -> dict[str, Any]:
    return dict(answer_fields(fields, prepare(data, **info), TextReader()))


def request_for(image: PreparedImage, *fields: FieldQuestion) -> VisionRequest:
    question = Question(
        name="test",
        instructions="",
        schema=b"{}",
        fields=fields,
        model=LOCAL_MODEL,
        detail=Detail.AUTO,
        max_output_tokens=100,
        fingerprint="",
    )
    return VisionRequest(question=question, image=image)


@pytest.fixture
def provider() -> LocalProvider:
    return LocalProvider(limiter=anyio.CapacityLimiter(2))


@pytest.mark.anyio
async def test_answer_is_free_and_names_every_field(provider: LocalProvider) -> None:
    response = await provider.ask(request_for(prepare(jpeg()), *ALL_FIELDS))
    assert response.text is not None
    assert list(json.loads(response.text)) == [field.name for field in ALL_FIELDS]
    assert response.finish is FinishReason.STOP
    assert response.usage == TokenUsage()
    assert response.model == LOCAL_MODEL


@pytest.mark.anyio
async def test_same_bytes_get_the_same_answer(provider: LocalProvider) -> None:
    request = request_for(prepare(jpeg(seed=4)), *ALL_FIELDS)
    assert (await provider.ask(request)).text == (await provider.ask(request)).text


@pytest.mark.anyio
async def test_work_is_done_in_the_threads_of_the_limiter(
    provider: LocalProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers = []

    def remember(*_: object) -> dict[str, Any]:
        workers.append((threading.current_thread(), provider._limiter.borrowed_tokens))
        return {}

    monkeypatch.setattr("pipeline.providers.local.provider.answer_fields", remember)
    await provider.ask(request_for(prepare(b"")))
    ((thread, borrowed),) = workers
    assert thread is not threading.main_thread()
    assert borrowed == 1


def test_provider_tells_what_it_is(provider: LocalProvider) -> None:
    seam: Provider = provider
    assert (seam.name, seam.reads_metadata, seam.is_partial) == ("local", True, True)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "data",
    [b"", b"not a picture", truncated(jpeg()), truncated(encode(pattern(), "png"), 0.9),
     encode(pattern(), "gif")],
    ids=["empty", "text", "cut jpeg", "cut png", "gif"],
)  # fmt: skip
async def test_broken_bytes_are_rejected_for_good(provider: LocalProvider, data: bytes) -> None:
    with pytest.raises(RequestRejected) as caught:
        await provider.ask(request_for(prepare(data), field("brightness", "number")))
    assert isinstance(caught.value, TerminalError)
    assert caught.value.cause is Cause.REJECTED
    assert caught.value.__cause__ is not None


def test_metadata_comes_from_the_original_file() -> None:
    found = ask(
        jpeg(),
        *ALL_FIELDS,
        width=800,
        height=1200,
        camera="Acme Pinhole 3",
        taken_at=datetime(2024, 5, 6, 7, 8, 9),  # noqa: DTZ001 - EXIF knows no zone
        has_transparency=True,
    )
    assert found["camera"] == "Acme Pinhole 3"
    assert found["taken_at"] == "2024-05-06T07:08:09"
    assert found["orientation"] == "Portrait"
    assert found["transparency"] is True
    assert "transparent" in found["descriptors"]


def test_unknown_and_unmeasured_fields_stay_empty() -> None:
    found = ask(jpeg(), *ALL_FIELDS)
    assert (found["title"], found["mood"], found["camera"], found["taken_at"]) == (None,) * 4


def test_leading_color_without_a_value_is_not_replaced_by_a_lesser_one() -> None:
    image = Image.new("RGB", (100, 100), "red")
    image.paste("blue", (0, 0, 30, 100))
    data = encode(image, "png")
    assert ask(data, field("colors", "one_of", "blue", "green")) == {"colors": None}
    assert ask(data, field("colors", "many_of", "blue", "green")) == {"colors": ["blue"]}
    assert ask(data, field("colors", "many_of", "pink", "green")) == {"colors": None}
    assert ask(data, field("colors", "many_of", *COLORS, max_items=1)) == {"colors": ["Red"]}


@pytest.mark.parametrize(
    ("measure", "kind"),
    [("brightness", "boolean"), ("transparency", "number"), ("colors", "text"),
     ("orientation", "keywords"), ("brightness", "text")],
)  # fmt: skip
def test_measurement_of_another_type_leaves_the_field_empty(measure: str, kind: str) -> None:
    assert ask(jpeg(), field(measure, kind)) == {measure: None}


def test_synonyms_of_measured_words_are_understood() -> None:
    data = encode(photo(), "png")
    assert ask(data, field("orientation", "one_of", "Horizontal", "Vertical")) == {
        "orientation": "Horizontal"
    }
    assert ask(data, field("kind", "one_of", "Photograph", "Drawing")) == {"kind": "Photograph"}


def descriptors(image: Image.Image, **info: Any) -> list[str]:
    words: list[str] = ask(encode(image, "png"), field("descriptors", "keywords"), **info)[
        "descriptors"
    ]
    return words


def test_descriptors_say_what_was_measured() -> None:
    image = Image.new("RGB", (400, 300), "#101010")
    ImageDraw.Draw(image).rectangle((150, 100, 250, 200), fill="#b00000")
    found = descriptors(image, width=400, height=300)
    assert found == ["landscape format", "plain background", "dark", "low contrast", "red", "black"]


def test_descriptors_know_gray_and_blurred_pictures() -> None:
    gray = photo(400, 300).convert("L")
    assert "black and white" in descriptors(gray)
    assert "blurred" not in descriptors(gray.resize((800, 600)).resize((400, 300)))
    soft = gray.resize((10, 8)).resize((400, 300), Image.Resampling.BICUBIC)
    assert "blurred" in descriptors(soft)


PICTURES = st.builds(
    lambda size, strip, mode: encode(
        Image.frombytes("RGB", (len(strip) // 3, 1), strip[: len(strip) // 3 * 3])
        .resize(size, Image.Resampling.NEAREST)
        .convert(mode),
        "png",
    ),
    st.tuples(st.integers(1, 64), st.integers(1, 64)),
    st.binary(min_size=3, max_size=60),
    st.sampled_from(["RGB", "L", "P", "RGBA", "LA", "1"]),
)


@given(PICTURES)
@settings(max_examples=150, deadline=None)
def test_no_picture_gets_an_answer_outside_the_allowed(data: bytes) -> None:
    found = ask(data, *ALL_FIELDS)
    for asked in ALL_FIELDS:
        value = found[asked.name]
        assert value is None or asked.measure
        if asked.type == "one_of":
            assert value is None or value in asked.values
        if asked.type == "many_of":
            assert value
            assert set(value) <= set(asked.values)
            assert len(value) == len(set(value)) <= asked.max_items  # type: ignore[operator]
        if asked.type == "number":
            assert 0 <= value <= 1


def test_text_is_empty_handed_without_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_module, "find_spec", lambda _: None)
    assert ask(jpeg(), field("text", "text")) == {"text": None}


def test_engine_is_made_once_and_only_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []

    class Engine:
        def __call__(self, data: bytes) -> "Engine":
            self.txts = (data.decode(), "below")
            return self

    def make_engine() -> Engine:
        made.append(engine := Engine())
        return engine

    monkeypatch.setattr(text_module, "find_spec", lambda _: True)
    monkeypatch.setattr(text_module, "_make_engine", make_engine)
    reader = TextReader()
    assert reader.read(b"tiny", shortest_side=7) == ""
    assert not made
    threads = [
        threading.Thread(target=reader.read, args=(b"x",), kwargs={"shortest_side": 90})
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert reader.read(b"above", shortest_side=90) == "above\nbelow"
    assert len(made) == 1


def test_printed_words_are_read() -> None:
    pytest.importorskip("rapidocr")
    image = Image.new("RGB", (360, 90), "white")
    draw = ImageDraw.Draw(image)
    draw.text((20, 20), "HARBOUR 1954", fill="black", font=ImageFont.load_default(40))
    found = ask(encode(image, "png"), field("text", "text"))
    assert "HARBOUR" in found["text"]
    assert "1954" in found["text"]
