"""Settings from flags, environment and file."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.loading import load_settings
from pipeline.config.paths import configs_folder
from pipeline.config.settings import Settings
from pipeline.domain.errors import ConfigurationError

CONCURRENCY = "limits.max_concurrency"


@pytest.fixture(autouse=True)
def empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(text: str, name: str = "mine.yaml") -> Path:
    Path(name).write_text(text, encoding="utf-8")
    return Path(name)


def complaint(**given: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(**given)
    return str(caught.value)


def test_nothing_said_means_the_defaults() -> None:
    assert load_settings() == Settings()


@pytest.mark.parametrize(
    ("given", "concurrency"),
    [
        ((), 64),
        (("file",), 2),
        (("file", "environ"), 3),
        (("file", "environ", "overrides"), 4),
        (("file", "environ", "overrides", "flags"), 5),
        (("file", "flags"), 5),
        (("environ", "flags"), 5),
    ],
)
def test_flags_win_over_set_over_environment_over_file(
    given: tuple[str, ...], concurrency: int
) -> None:
    everything: dict[str, Any] = {
        "file": write("limits: {max_concurrency: 2}\n"),
        "environ": {"TAGPIPE_LIMITS__MAX_CONCURRENCY": "3"},
        "overrides": [f"{CONCURRENCY}=9", f"{CONCURRENCY}=4"],
        "flags": {CONCURRENCY: 5},
    }
    settings = load_settings(**{name: everything[name] for name in given})
    assert settings.limits.max_concurrency == concurrency


def test_layers_meet_key_by_key() -> None:
    settings = load_settings(
        file=write("limits: {max_attempts: 2, memory_mb: 32}\n"),
        overrides=["limits={memory_mb: 64}"],
        flags={"limits.budget_usd": Decimal("1.5"), "provider.model": None},
    )
    limits = settings.limits
    assert (limits.max_attempts, limits.memory_mb, limits.budget_usd) == (2, 64, Decimal("1.5"))


def test_flag_that_is_not_given_changes_nothing() -> None:
    settings = load_settings(file=write("profile: scene\n"), flags={"profile": None})
    assert settings.profile == "scene"


def test_file_in_the_current_directory_is_read_unasked() -> None:
    write("profile: product\n", "tagpipe.yaml")
    assert load_settings().profile == "product"
    assert load_settings(file=write("profile: scene\n")).profile == "scene"


@pytest.mark.parametrize("text", ["", "# nothing\n", "limits:\n  # max_concurrency: 3\n"])
def test_commented_out_file_means_the_defaults(text: str) -> None:
    assert load_settings(file=write(text)) == Settings()


@pytest.mark.parametrize(
    ("override", "section", "value"),
    [
        ("limits.max_concurrency=8", "limits", {"max_concurrency": 8}),
        ("limits.budget_usd=0.1", "limits", {"budget_usd": Decimal("0.1")}),
        ("limits.budget_usd=null", "limits", {"budget_usd": None}),
        ("library.hidden=true", "library", {"hidden": True}),
        ("library.include=['**/*.jpg', b]", "library", {"include": ("**/*.jpg", "b")}),
        ("library.url=s3://b/p?x=1", "library", {"url": "s3://b/p?x=1"}),
        ("provider.model=4", "provider", {"model": "4"}),
        ('provider.model="a b"', "provider", {"model": "a b"}),
        ("provider.model=no", "provider", {"model": "no"}),
    ],
)
def test_text_becomes_what_the_key_asks_for(
    override: str, section: str, value: dict[str, Any]
) -> None:
    key, _, text = override.partition("=")
    variable = f"TAGPIPE_{key.replace('.', '__').upper()}"
    for given in ({"overrides": [override]}, {"environ": {variable: text}}):
        parsed = getattr(load_settings(**given), section).model_dump()
        assert {name: parsed[name] for name in value} == value


def test_empty_variable_counts_as_not_set() -> None:
    assert load_settings(environ={"TAGPIPE_PROFILE": ""}).profile == "general"


def test_variable_that_holds_the_key_is_no_setting() -> None:
    environ = {"TAGPIPE_KEY": "sk-1", "TAGPIPE_PROVIDER__API_KEY_ENV": "TAGPIPE_KEY"}
    assert load_settings(environ=environ).provider.api_key_env == "TAGPIPE_KEY"
    file = write("provider: {api_key_env: TAGPIPE_KEY}\n")
    assert load_settings(file=file, environ={"TAGPIPE_KEY": "sk-1"}).provider.model is None


def test_relative_paths_mean_the_current_directory() -> None:
    Path("deep").mkdir()
    file = write("models: [m.yaml]\nlog: {file: run.log}\n", "deep/mine.yaml")
    settings = load_settings(file=file)
    assert settings.models == (Path("m.yaml"),)
    assert settings.log.file == Path("run.log")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "limits:\n  max_concurency: 8\n",
            "mine.yaml, line 2: limits.max_concurency: unknown key; did you mean max_concurrency?",
        ),
        (
            "max_concurrency: 8\n",
            "mine.yaml, line 1: max_concurrency: unknown key; did you mean limits.max_concurrency?",
        ),
        ("limts: {max_attempts: 1}\n", "line 1: limts: unknown key; did you mean limits?"),
        ("zzz: 1\n", "zzz: unknown key; allowed: library, profile, models"),
        (
            "\nlimits:\n  max_concurrency: 0\n",
            "line 3: limits.max_concurrency: 0 is not allowed; must be at least 1",
        ),
        (
            "limits: {max_attempts: yes}\n",
            "limits.max_attempts: True is not allowed; must be a num",
        ),
        ("limits: {max_attempts: many}\n", "'many' is not allowed; must be a whole number"),
        ("limits: {timeout_s: 3}\n", "did you mean provider.timeout_s?"),
        ("limits: [1]\n", "line 1: limits: [1] is not allowed; must be a section"),
        ("profile: no\n", 'profile: YAML reads no as bool False; put it in quotes: "no"'),
        (
            "log: {level: loud}\n",
            "log.level: 'loud' is not allowed; must be one of 'debug', 'info'",
        ),
        (
            "library: {include: '*.jpg'}\n",
            "library.include: '*.jpg' is not allowed; must be a list",
        ),
        (
            "exports:\n  - {format: csv, path: a}\n  - {format: xls, path: b}\n",
            "line 3: exports[1].format: 'xls' is not allowed; must be one of 'csv'",
        ),
        ("exports:\n  - format: csv\n", "line 2: exports[0].path: is missing"),
        (
            "exports:\n  - {format: csv, pth: a}\n",
            "exports[0].pth: unknown key; did you mean path?",
        ),
        ("provider: {base_url: 'ftp://x'}\n", "'ftp://x' is not allowed; must start with http://"),
        ("- a\n", "mine.yaml: must hold `section:`"),
    ],
)
def test_fault_in_the_file_is_told(text: str, said: str) -> None:
    assert said in complaint(file=write(text))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"overrides": ["limits.max_concurrency=0"]},
            "--set limits.max_concurrency: '0' is not allowed; must be at",
        ),
        ({"overrides": ["provider.nope=1"]}, "--set provider.nope: unknown key"),
        ({"overrides": ["limits={nope: 1}"]}, "--set limits: limits.nope: unknown key"),
        ({"overrides": ["limits"]}, "--set 'limits': is not key.path=value"),
        ({"overrides": ["=3"]}, "--set '': is not key.path=value"),
        ({"overrides": ["library.include=[*.jpg]"]}, "--set library.include: the value is not val"),
        ({"overrides": ["exports.0.path=x"]}, "exports: {'0': {'path': 'x'}} is not allowed"),
        (
            {"overrides": ["profile=x", "profile.name=y"]},
            "profile is no section; give profile whole",
        ),
        (
            {"environ": {"TAGPIPE_LIMITS__MEMORY_MB": "lots"}},
            "TAGPIPE_LIMITS__MEMORY_MB: limits.memory_mb: 'lots' is not allowed; must be a whole",
        ),
        (
            {"environ": {"TAGPIPE_LIMITS_MEMORY_MB": "64"}},
            "MEMORY_MB: limits_memory_mb: unknown key; did you mean limits.memory_mb?",
        ),
        (
            {"flags": {"limits.budget_usd": Decimal(-1)}},
            "the flag for limits.budget_usd: -1 is not allowed; must be at",
        ),
        ({"file": Path("none.yaml")}, "none.yaml: cannot be read: No such file"),
    ],
)
def test_fault_elsewhere_names_where_it_was_given(given: dict[str, Any], said: str) -> None:
    assert said in complaint(**given)


def test_fault_of_the_file_that_a_flag_puts_right_is_no_fault() -> None:
    file = write("limits: {max_concurrency: 0}\n")
    assert load_settings(file=file, flags={CONCURRENCY: 1}).limits.max_concurrency == 1


KEY = "sk-proj-abc123"


@pytest.mark.parametrize(
    "given",
    [
        {"text": f"provider: {{api_key: {KEY}}}"},
        {"text": f"api_key: {KEY}"},
        {"text": f"provider: {{model: '{KEY}'}}"},
        {"text": f"library: {{include: [{KEY}]}}"},
        {"text": "provider: {api_key: geheim-abc123}"},
        {"overrides": [f"provider.api_key={KEY}"]},
        {"overrides": ["provider.api_key_env=AIza-abc123"]},
        {"overrides": [f"provider.api_key_env={KEY}"]},
        {"overrides": [f'provider.model="{KEY}"']},
        {"environ": {"TAGPIPE_PROVIDER__API_KEY": KEY}},
        {"flags": {"provider.model": KEY}},
    ],
)
def test_key_in_the_settings_is_refused_without_repeating_it(given: dict[str, Any]) -> None:
    if "text" in given:
        given = {"file": write(given["text"])}
    text = complaint(**given)
    assert "abc123" not in text
    assert "provider.api_key_env" in text


@pytest.mark.parametrize(
    "given",
    [
        {"overrides": [KEY]},
        {"overrides": ["provider.base_url=ftp://me:abc123@host"]},
        {"overrides": [f"limits.max_attempts=x {KEY}"]},
        {"overrides": [f"log.level=x-{KEY}"]},
    ],
)
def test_error_texts_hide_what_looks_secret(given: dict[str, Any]) -> None:
    assert "abc123" not in complaint(**given)


def test_example_for_the_night_is_valid() -> None:
    settings = load_settings(file=configs_folder() / "nightly.yaml")
    assert settings.limits.budget_usd == 20
    assert settings.provider.service_tier == "flex"
