"""The reference page and the file of defaults say what the models say."""

import yaml

from pipeline.config.loading import load_settings
from pipeline.config.paths import configs_folder
from pipeline.config.reference import describe_defaults, describe_settings
from pipeline.config.settings import Settings

RENEW = "renew it: python -m pipeline.config.reference"


def test_reference_page_is_up_to_date() -> None:
    page = configs_folder().parent / "docs" / "configuration.md"
    assert page.read_text(encoding="utf-8") == describe_settings(), RENEW


def test_file_of_defaults_is_up_to_date() -> None:
    path = configs_folder() / "default.yaml"
    assert path.read_text(encoding="utf-8") == describe_defaults(), RENEW


def test_file_of_defaults_holds_every_key_with_its_default() -> None:
    path = configs_folder() / "default.yaml"
    assert yaml.safe_load(path.read_text(encoding="utf-8")) == Settings().model_dump(mode="json")
    assert load_settings(file=path) == Settings()


def test_page_explains_bounds_choices_and_null() -> None:
    page = describe_settings()
    assert "| `max_concurrency` | whole number, at least 1, at most 10,000 | `64` |" in page
    assert "| `api` | `chat`, `responses` | `chat` |" in page
    assert "| `budget_usd` | number, at least 0 or null | `null` |" in page
    assert "| `max_side` | `auto`, `original`, whole number, at least 1 | `auto` |" in page
