"""The shipped table, and what a user lays over it."""

from collections.abc import Callable
from datetime import date
from fractions import Fraction
from pathlib import Path

import pytest

from pipeline.config.documents import read_document
from pipeline.config.paths import configs_folder
from pipeline.costs.data_file import read_data_file
from pipeline.costs.models import ModelSpec, ModelTable, load_models
from pipeline.costs.prices import price
from pipeline.domain.errors import ConfigurationError
from pipeline.domain.usage import TokenUsage
from pipeline.domain.vision import Detail, PromptCaching

TODAY = date(2026, 11, 20)
TABLE = load_models(on=TODAY)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write_file(text: str, name: str = "mine.yaml") -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write_file


def find(model: str, table: ModelTable = TABLE) -> ModelSpec:
    spec = table.find(model)
    assert spec is not None
    return spec


def nano_per_input_token(spec: ModelSpec) -> int | None:
    return price(spec, TokenUsage(input=1), None)


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("gpt-4o", "gpt-4o"),
        ("gpt-4o-2024-08-06", "gpt-4o"),
        ("gpt-4o-2024-05-13", "gpt-4o-2024-05-13"),
        ("gpt-4.1-mini-2025-04-14", "gpt-4.1-mini"),
        ("ft:gpt-4o-2024-08-06:team:tags:abc", "ft:gpt-4o-2024-08-06"),
        ("ft:gpt-4o-mini-2024-07-18:team::abc:ckpt-step-90", "ft:gpt-4o-mini"),
        ("ft:gpt-4.1-2025-04-14:team::abc", "ft:gpt-4.1"),
    ],
)
def test_names_that_servers_use_are_found(asked: str, found: str) -> None:
    assert find(asked).name == found


@pytest.mark.parametrize(
    "name", ["", "gpt-4", "gpt-4o-mini-search", "GPT-4o", "llava", "ft:", "ft:llava:team::a"]
)
def test_unknown_name_finds_nothing(name: str) -> None:
    assert TABLE.find(name) is None


def test_fine_tuned_model_without_a_listed_price_has_none() -> None:
    spec = find("ft:gpt-4o-2024-11-20:team::abc")
    assert spec.prices is None
    assert spec.sizing == find("gpt-4o").sizing


RETIREMENTS = {
    "2026-07-23": ["gpt-5-chat-latest", "computer-use-preview"],
    "2026-08-10": ["gpt-5.2-chat-latest", "gpt-5.3-chat-latest"],
    "2026-10-23": [
        "gpt-4.1-nano",
        "ft:gpt-4.1-nano-2025-04-14:team::a",
        "o4-mini",
        "o1",
        "o1-pro",
        "gpt-4-turbo",
        "gpt-4o-2024-05-13",
        "gpt-image-1",
    ],
    "2026-12-01": ["gpt-image-1-mini", "gpt-image-1.5", "chatgpt-image-latest"],
    "2026-12-11": [
        "gpt-5-2025-08-07",
        "gpt-5-mini-2025-08-07",
        "gpt-5-nano-2025-08-07",
        "o3-2025-04-16",
    ],
    "2027-01-20": ["gpt-realtime", "gpt-realtime-mini"],
    "2027-04-01": ["gpt-5.1", "gpt-5.4-nano", "gpt-5.3-codex"],
}


@pytest.mark.parametrize(
    ("day", "model"), [(day, model) for day, models in RETIREMENTS.items() for model in models]
)
def test_model_retires_on_its_announced_day(day: str, model: str) -> None:
    assert find(model).retired_on == date.fromisoformat(day)


@pytest.mark.parametrize(
    "model",
    [
        *("gpt-4o", "gpt-4o-mini", "gpt-4.1", "gpt-4.1-mini", "gpt-5.2", "gpt-5.4", "gpt-5.4-mini"),
        *("gpt-5.5", "gpt-5.6-sol", "gpt-5.6-terra", "gpt-5.6-luna", "gpt-6-luna", "gpt-6-astra"),
    ],
)
def test_model_without_an_announced_day_stays(model: str) -> None:
    assert not find(model).is_retired(date.max)


@pytest.mark.parametrize(
    ("model", "successor"),
    [
        ("gpt-5", "gpt-5.6-sol"),
        ("gpt-5-mini", "gpt-5.6-terra"),
        ("gpt-5-nano", "gpt-5.6-luna"),
        ("o3", "gpt-5.6-sol"),
        ("gpt-5.1", "gpt-6-sol"),
        ("gpt-5.4-nano", "gpt-6-luna"),
        ("gpt-5.3-codex", "gpt-6-sol"),
    ],
)
def test_successor_is_named_and_known(model: str, successor: str) -> None:
    assert find(model).successor == successor
    assert find(successor).prices is not None


def test_retirement_begins_on_its_day() -> None:
    spec = find("gpt-4.1-nano")
    assert not spec.is_retired(date(2026, 10, 22))
    assert spec.is_retired(date(2026, 10, 23))


@pytest.mark.parametrize(
    ("model", "is_assumed"),
    [("gpt-6-sol", True), ("gpt-6-luna", True), ("gpt-6.2-astra", True), ("gpt-6-astra", False)],
)
def test_unconfirmed_models_say_so(model: str, is_assumed: bool) -> None:
    assert find(model).assumed is is_assumed


def test_low_detail_without_a_stated_limit_is_assumed() -> None:
    spec = find("gpt-4.1-mini")
    assert spec.is_assumed(Detail.LOW)
    assert not spec.is_assumed(Detail.HIGH)
    assert not find("gpt-4o").is_assumed(Detail.LOW)


@pytest.mark.parametrize(
    ("model", "offers"), [("gpt-4o", False), ("gpt-5.2", False), ("gpt-5.4", True)]
)
def test_original_detail_is_offered_by_newer_families(model: str, offers: bool) -> None:
    assert find(model).offers(Detail.ORIGINAL) is offers
    assert find(model).offers(Detail.LOW)


@pytest.mark.parametrize(
    ("model", "caching"),
    [
        ("gpt-5.6-luna", PromptCaching.MARKED),
        ("gpt-6.2-astra", PromptCaching.MARKED),
        ("gpt-5.5", PromptCaching.KEYED),
        ("ft:gpt-4.1-2025-04-14:team::a", PromptCaching.KEYED),
    ],
)
def test_way_of_caching_is_that_of_the_family(model: str, caching: PromptCaching) -> None:
    assert find(model).caching is caching


def test_user_says_how_a_model_caches(write: Callable[..., Path]) -> None:
    table = load_models(write("models: {mine: {like: gpt-6-luna, caching: keyed}}"), on=TODAY)
    assert find("mine", table).caching is PromptCaching.KEYED


@pytest.mark.parametrize(
    ("on", "nano"),
    [("2026-06-30", None), ("2026-08-20", 5000), ("2026-11-21", 4000), ("2026-11-22", 5000)],
)
def test_promotion_ends_with_its_last_day(on: str, nano: int | None) -> None:
    spec = find("gpt-5.6-sol", load_models(on=date.fromisoformat(on)))
    assert nano_per_input_token(spec) == nano


def test_spec_names_its_sources() -> None:
    assert find("gpt-5-mini").sources == (
        "OpenAI images guide, 2026-08",
        "OpenAI images guide, 2026-10-05",
        "OpenAI pricing page, 2026-09-03",
    )


def test_fast_and_strict_reading_agree() -> None:
    path = configs_folder() / "models.yaml"
    assert read_data_file(path)._value == read_document(path).data


def test_every_shipped_row_names_its_source() -> None:
    data = read_document(configs_folder() / "models.yaml").data
    rows = [row for model in data["models"].values() for row in model.get("prices", [])]
    rows += [row for model in data["models"].values() for row in model.get("multiplier", [])]
    rows += data["sizing"].values()
    assert all(row.get("source") for row in rows)


def test_user_adds_a_model_in_one_line(write: Callable[..., Path]) -> None:
    mine = write("models: {my-llava: {sizing: tiles-gpt-4o, prices: {input: 0.1, output: 0.4}}}")
    table = load_models(mine, on=TODAY)
    usage = TokenUsage(input=7, cached=2, output=3)
    assert price(find("my-llava", table), usage, None) == 7 * 100 + 3 * 400
    assert find("gpt-4o", table) == find("gpt-4o")


def test_user_row_wins_while_it_holds(write: Callable[..., Path]) -> None:
    row = "{from: 2026-11-01, until: 2026-11-30, input: 1, output: 1}"
    mine = write(f"models: {{gpt-4o: {{prices: [{row}]}}}}")
    paid = [
        nano_per_input_token(find("gpt-4o", load_models(mine, on=date.fromisoformat(day))))
        for day in ("2026-10-31", "2026-11-01", "2026-11-30", "2026-12-01")
    ]
    assert paid == [2500, 1000, 1000, 2500]


def test_later_file_wins_over_an_earlier_one(write: Callable[..., Path]) -> None:
    one = write("models: {gpt-4o: {prices: {input: 1, output: 1}}}", "one.yaml")
    two = write("models: {gpt-4o: {prices: {input: 2, output: 1}}}", "two.yaml")
    assert nano_per_input_token(find("gpt-4o", load_models(one, two, on=TODAY))) == 2000
    assert nano_per_input_token(find("gpt-4o", load_models(two, one, on=TODAY))) == 1000


def test_override_reaches_models_that_are_like_it(write: Callable[..., Path]) -> None:
    mine = write("models: {gpt-5: {prices: {input: 9, output: 9}}}")
    assert nano_per_input_token(find("gpt-5.1", load_models(mine, on=TODAY))) == 9000


def test_model_that_is_like_a_retiring_one_does_not_retire(write: Callable[..., Path]) -> None:
    table = load_models(write("models: {mine: {like: gpt-5}}"), on=TODAY)
    assert find("mine", table).retired_on is None
    assert find("mine", table).prices == find("gpt-5").prices


def test_first_known_multiplier_counts_before_its_day(write: Callable[..., Path]) -> None:
    row = "{from: 2027-01-01, value: 1.5}"
    mine = write(f"models: {{mine: {{sizing: patches-1536, multiplier: [{row}]}}}}")
    assert find("mine", load_models(mine, on=TODAY)).multiplier == Fraction(3, 2)


def test_single_key_is_overridden_and_the_rest_kept(write: Callable[..., Path]) -> None:
    table = load_models(write("models: {gpt-5-mini: {multiplier: 1.3}}"), on=TODAY)
    assert find("gpt-5-mini", table).multiplier == Fraction(13, 10)
    assert find("gpt-5-mini", table).prices == find("gpt-5-mini").prices


def test_empty_list_forgets_prices(write: Callable[..., Path]) -> None:
    table = load_models(write("models: {gpt-4o: {prices: []}}"), on=TODAY)
    assert find("gpt-4o", table).prices is None


def test_empty_file_changes_nothing(write: Callable[..., Path]) -> None:
    table = load_models(write("# nothing yet\n"), on=TODAY)
    assert [find(n, table) for n in table.names] == [find(n) for n in TABLE.names]


FAULTS = {
    "model: {}": "model: unknown key; did you mean models?",
    "models: [gpt-4o]": "models: .*must be a section",
    "models: {4: {}}": "not text in YAML|must be a section",
    "models: {m: {like: gpt-4oo}}": "models.m.like: 'gpt-4oo' .*did you mean gpt-4o",
    "models: {m: {like: n}, n: {like: m}}": "like: '[mn]' is not allowed; must not lead back",
    "models: {m: {like: m}}": "must not lead back",
    "models: {m: {}}": "models.m.sizing .or like.: is missing",
    "models: {m: {sizing: tiles}}": "models.m.sizing: 'tiles' is not allowed; did you mean tiles-",
    "models: {m: {price: 3}}": "models.m.price: unknown key; did you mean prices?",
    "models: {gpt-4o: {prices: {input: 3}}}": "models.gpt-4o.prices.output: is missing",
    "models: {gpt-4o: {prices: [{input: x, output: 1}]}}": r"prices\[0\].input: 'x' .*a number",
    "models: {gpt-4o: {prices: {input: -1, output: 1}}}": "-1 is not allowed; .*0 or more",
    "models: {gpt-4o: {prices: {input: .nan, output: 1}}}": "must be a number",
    "models: {gpt-4o: {prices: {input: true, output: 1}}}": "must be a number",
    "models: {gpt-4o: {prices: {input: 1/0, output: 1}}}": "must be a number",
    "models: {gpt-4o: {prices: {input: 0.0000001, output: 1}}}": "at most six decimals",
    "models: {gpt-4o: {prices: {input: 1, output: 1, batch: yes}}}": "batch: True is not allowed",
    "models: {gpt-4o: {prices: {input: 1, output: 1, from: soon}}}": "from: 'soon' .*a date",
    "models: {gpt-4o: {prices: {input: 1, output: 1, from: '2026-13-01'}}}": "must be a date",
    "models: {o3: {prices: {input: 1, output: 1, from: 2026-02-02, until: 2026-02-01}}}": (
        "until: .*must not be before from"
    ),
    "models: {gpt-4o: {assumed: maybe}}": "must be true or false",
    "models: {gpt-4o: {caching: maybe}}": "must be one of keyed, marked",
    "models: {gpt-4o: {successor: 4}}": "must be text",
    "models: {gpt-4o: {long_context: {above: 1.5, input: 2, output: 2}}}": "a whole number",
    "sizing: {s: {}}": "sizing.s.scheme: is missing",
    "sizing: {s: {scheme: pixels}}": "'pixels' is not allowed; must be one of patches, tiles",
    "sizing: {s: {scheme: patches, low: {}, high: {}, auto: original}}": "one of low, high",
    "sizing: {s: {scheme: patches, low: {}, high: {max_patches: 0}}}": "whole number, 1 or more",
    "sizing: {s: {scheme: tiles, base: 1}}": "sizing.s.per_tile: is missing",
    "models: {gpt-4o: {}, gpt-4o: {}}": "the key gpt-4o is given twice",
    "models: {": "not valid YAML",
}


@pytest.mark.parametrize(("text", "complaint"), FAULTS.items())
def test_fault_names_file_key_and_what_is_allowed(
    write: Callable[..., Path], text: str, complaint: str
) -> None:
    with pytest.raises(ConfigurationError, match=complaint) as caught:
        load_models(write(f"# mine\n{text}"), on=TODAY)
    assert "mine.yaml, line 2" in str(caught.value)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"absent\.yaml: cannot be read"):
        load_models(tmp_path / "absent.yaml", on=TODAY)
