"""Loading profiles: what is taken, and what is said when something is off."""

from pathlib import Path

import pytest
from profile_makers import FIELDS, make_profile
from pydantic import ValidationError

from pipeline.config.profiles import Profile, load_profile
from pipeline.domain.errors import ConfigurationError

HEAD = "name: mine\ninstructions: Look.\n"


def write_profile(folder: Path, fields: str, *, head: str = HEAD) -> str:
    path = folder / "mine.yaml"
    path.write_text(f"{head}fields:\n{fields}\n", encoding="utf-8")
    return str(path)


def complaint_about(path: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load_profile(path)
    return str(caught.value)


def test_profile_keeps_the_order_of_its_fields() -> None:
    assert list(make_profile().fields) == list(FIELDS)


def test_profile_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        make_profile().name = "other"  # type: ignore[misc]


def test_unknown_profile_name_lists_near_and_shipped_ones() -> None:
    text = complaint_about("produkt")
    assert "'produkt' is no shipped profile; did you mean product?" in text
    assert "real-estate" in text


def test_profile_name_like_no_other_lists_the_shipped_ones_as_a_sentence() -> None:
    text = complaint_about("zzz")
    assert "scene, text. For a file of yours, give its path" in text


def test_profile_name_can_be_looked_up_in_another_folder(tmp_path: Path) -> None:
    write_profile(tmp_path, "  a: {type: boolean}")
    assert load_profile("mine", folder=tmp_path).name == "mine"


def test_missing_profile_file_is_named(tmp_path: Path) -> None:
    assert complaint_about(str(tmp_path / "no.yaml")).endswith("No such file or directory")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ("  a: {type: txt}", "line 4: fields.a: type 'txt' is not allowed; must be one of 'text'"),
        ("  a: {max: 3}", "line 4: fields.a: `type` is missing"),
        ("  a: {type: text, max_lenght: 3}", "a.max_lenght: unknown key; did you mean max_length?"),
        ("  a: {type: text, max_length: 0}", "a.max_length: 0 is not allowed; must be at least 1"),
        (
            "  a: {type: text, max_length: yes}",
            "a.max_length: True is not allowed; must be a whole",
        ),
        ("  a: {type: one_of}", "fields.a: give either `values` or `vocabulary`"),
        ("  a: {type: one_of, values: []}", "fields.a.values: the list of values is empty"),
        (
            "  a: {type: one_of, values: red}",
            "fields.a.values: 'red' is not allowed; must be a list",
        ),
        ("  a: {type: one_of, values: [' ']}", "fields.a.values[0]"),
        ("  a: {type: one_of, values: [red, Red]}", "'Red' is listed twice; 'red' has it already"),
        ("  a: {type: one_of, values: [red, red]}", "'red' is listed twice"),
        (
            "  a: {type: one_of, values: [b, {value: c, aliases: [B]}]}",
            "'B' is listed twice; 'b' has it already",
        ),
        ("  a: {type: number, min: 5, max: 1}", "fields.a: min 5 is above max 1"),
        ("  a: {type: number, min: .inf}", "fields.a.min: inf is not allowed; must be a finite"),
        ("  a b: {type: boolean}", "fields.a b: is no usable field name"),
        ("  tags: {type: keywords}", "fields.tags: is a column that every record has already"),
        ("  Confidence: {type: boolean}", "fields.Confidence: is a column"),
        ("  a: {type: boolean}\n  A: {type: boolean}", "fields.A: differs from fields.a in case"),
        (
            "  a: {type: boolean}\n  a: {type: text}",
            "line 5: not valid YAML: the key a is given tw",
        ),
        (
            "  a: {type: boolean, measure: colour}",
            "fields.a.measure: 'colour' is not allowed; must",
        ),
        ("  a: {type: boolean, measure: colors}", "measure colors needs type many_of or keywords"),
        (
            "  a: {type: number, max: 100, measure: contrast}",
            "measure contrast gives 0 to 1: leave out",
        ),
        ("  {}", "fields: is missing or empty"),
        ("  [a]", "must be a section"),
    ],
)
def test_fault_in_a_field_is_told(tmp_path: Path, fields: str, said: str) -> None:
    text = complaint_about(write_profile(tmp_path, fields))
    assert said in text
    assert text.startswith(str(tmp_path / "mine.yaml"))


@pytest.mark.parametrize(
    ("written", "read_as"),
    [
        ("no", "bool False"),
        ("on", "bool True"),
        ("2024-01-31", "date datetime.date(2024, 1, 31)"),
        ("12", "int 12"),
        ("1:30", "int 90"),
        ("1.5", "float 1.5"),
        ("~", "nothing"),
    ],
)
def test_value_that_yaml_misreads_is_to_be_quoted(
    tmp_path: Path, written: str, read_as: str
) -> None:
    path = write_profile(tmp_path, f"  a: {{type: one_of, values: [x, {written}]}}")
    said = f'values[1]: YAML reads {written} as {read_as}; put it in quotes: "{written}"'
    assert said in complaint_about(path)


def test_field_name_that_yaml_misreads_is_to_be_quoted(tmp_path: Path) -> None:
    text = complaint_about(write_profile(tmp_path, "  on: {type: boolean}"))
    assert 'line 4: not valid YAML: the key on is not text in YAML; quote it: "on"' in text


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("confidence: logprobs", "line 3: confidence: logprobs is not available yet; use self"),
        (
            "confidence: maybe",
            "confidence: 'maybe' is not allowed; must be one of 'none' or 'self'",
        ),
        ("review_below: 0.5", "review_below: needs a confidence to compare; set confidence: self"),
        ("review_below: 5", "review_below: 5 is not allowed; must be at most 1"),
        ("detail: hi", "detail: 'hi' is not allowed; must be one of 'low', 'high', 'original'"),
        ("image: {max_side: big}", "image.max_side: 'big' is not allowed; use auto, original or"),
        ("image: {max_side: yes}", "image.max_side: True is not allowed"),
        ("image: {quality: 101}", "image.quality: 101 is not allowed; must be at most 100"),
        ("image: {qualty: 1}", "image.qualty: unknown key; did you mean quality?"),
        ("language: no", 'language: YAML reads no as bool False; put it in quotes: "no"'),
        ("language: English please", "language: 'English please' is no language code"),
        ("promt: x", "promt: unknown key; allowed: name, description, instructions"),
        ("max_output_tokens: 0", "max_output_tokens: 0 is not allowed; must be at least 1"),
    ],
)
def test_fault_in_a_profile_is_told(tmp_path: Path, line: str, said: str) -> None:
    head = f"{HEAD}{line}\n"
    assert said in complaint_about(write_profile(tmp_path, "  a: {type: boolean}", head=head))


def test_every_fault_is_told_at_once(tmp_path: Path) -> None:
    path = write_profile(tmp_path, "  a: {type: txt}\n  b: {type: text, max_length: 0}")
    assert len(complaint_about(path).splitlines()) == 2


@pytest.mark.parametrize("text", ["", "- a\n", "just words\n", "a: [1\n", "a: \x00\n"])
def test_file_that_is_no_profile_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    assert complaint_about(str(path)).startswith(str(path))


def words(count: int, length: int) -> list[str]:
    return [str(number).rjust(length, "v") for number in range(count)]


@pytest.mark.parametrize(
    ("lists", "is_allowed"),
    [
        ([words(1_000, 15)], True),
        ([words(1_000, 16)], False),
        ([words(250, 100)], True),
        ([words(251, 60)], False),
        ([words(500, 10), words(500, 10)], True),
        ([words(500, 10), words(501, 10)], False),
        ([words(250, 119), words(250, 119), words(250, 119), words(250, 119)], True),
        ([words(250, 120), words(250, 120), words(250, 120), words(250, 120)], False),
    ],
)
def test_limits_of_strict_schemas_are_checked_at_load(
    lists: list[list[str]], is_allowed: bool
) -> None:
    fields = {f"f{n}": {"type": "many_of", "values": values} for n, values in enumerate(lists)}
    if is_allowed:
        assert make_profile(fields).fields
    else:
        with pytest.raises(ValidationError, match=r"values|characters"):
            make_profile(fields)


def test_more_properties_than_a_strict_schema_takes_are_refused() -> None:
    fields = {f"f{number}": {"type": "boolean"} for number in range(5_000)}
    with pytest.raises(ValidationError, match="5000 are too many; allowed: 4,999"):
        make_profile(fields)


@pytest.mark.parametrize(
    ("name", "field", "measure"),
    [
        ("Colours", {"type": "many_of", "values": ["red"]}, "colors"),
        ("dominant_colors", {"type": "keywords"}, "colors"),
        ("colors", {"type": "text"}, None),
        ("keywords", {"type": "keywords"}, "descriptors"),
        ("keywords", {"type": "keywords", "measure": "none"}, None),
        ("keywords", {"type": "keywords", "measure": None}, None),
        ("sharpness", {"type": "number", "min": 0, "max": 1}, "sharpness"),
        ("sharpness", {"type": "number", "min": 0, "max": 10}, None),
        ("text", {"type": "text"}, None),
        ("anything", {"type": "text", "measure": "camera"}, "camera"),
    ],
)
def test_measurement_follows_from_the_name_if_the_type_fits(
    name: str, field: dict[str, object], measure: str | None
) -> None:
    profile = make_profile({name: field})
    assert profile.fields[name].measure == measure
    assert Profile.model_validate(profile.model_dump()) == profile
