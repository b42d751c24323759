import re
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
from fractions import Fraction
from pathlib import Path

import pytest

from pipeline.config.settings import LedgerSettings, LimitSettings, Settings
from pipeline.costs.drift import Slope
from pipeline.costs.models import ModelSpec, load_models
from pipeline.diagnosis import (
    Finding,
    FolderFacts,
    Health,
    check_batch_folder,
    check_batch_server,
    check_configuration,
    check_detail,
    check_disk,
    check_drift,
    check_export,
    check_extra,
    check_finish_by,
    check_ledger,
    check_library,
    check_model,
    check_prices,
    check_reasoning,
    describe_findings,
)
from pipeline.domain.vision import Detail, ServiceTier

TODAY = date(2026, 11, 20)
TABLE = load_models(on=TODAY)
ROOMY = FolderFacts(exists=True, is_writable=True, free_bytes=50_000_000_000)


def find(name: str) -> ModelSpec:
    spec = TABLE.find(name)
    assert spec is not None
    return spec


def judge_price(
    spec: ModelSpec, *, tier: ServiceTier = ServiceTier.AUTO, detail: Detail = Detail.HIGH
) -> Finding:
    return check_prices("m", spec, tier=tier, detail=detail)


def test_configuration_names_what_differs_from_the_defaults() -> None:
    settings = Settings(limits=LimitSettings(max_attempts=3))
    found = check_configuration(settings, file="nightly.yaml")
    assert found.text == "nightly.yaml; set: limits.max_attempts=3"
    assert check_configuration(Settings(), file=None).text == "no file; all defaults"


def test_password_in_the_ledger_s_address_is_not_shown() -> None:
    settings = Settings(ledger=LedgerSettings(url="postgresql://me:hunter2@db/tags"))
    assert "hunter2" not in check_configuration(settings, file=None).text


def test_known_priced_model_is_good() -> None:
    spec = replace(find("gpt-5.4-mini"), retired_on=None, assumed=False)
    assert check_model("m", spec, today=TODAY, known=TABLE).health is Health.GOOD
    assert judge_price(spec).health is Health.GOOD


def test_unknown_model_is_a_warning() -> None:
    assert check_model("m", None, today=TODAY, known=TABLE).health is Health.WARNING


@pytest.mark.parametrize(
    ("retired_on", "health"),
    [
        (date(2026, 11, 20), Health.BAD),
        (date(2026, 11, 21), Health.WARNING),
        (date(2027, 2, 18), Health.WARNING),
        (date(2027, 2, 19), Health.GOOD),
    ],
)
def test_retirement_stops_and_its_approach_warns(retired_on: date, health: Health) -> None:
    spec = replace(find("gpt-5.4-mini"), retired_on=retired_on, successor="gpt-6-mini")
    found = check_model("m", spec, today=TODAY, known=TABLE)
    assert found.health is health
    assert str(retired_on) in found.text
    assert (found.mend is not None and "gpt-6-mini" in found.mend) == (health is not Health.GOOD)


@pytest.mark.parametrize("change", [{"prices": None}, {"assumed": True}])
def test_prices_that_are_missing_or_unconfirmed_warn(change: dict[str, object]) -> None:
    spec = replace(find("gpt-5.4-mini"), **change)  # type: ignore[arg-type]
    assert judge_price(spec).health is Health.WARNING


@pytest.mark.parametrize(
    ("model", "tier", "health"),
    [
        ("gpt-4.1-mini", ServiceTier.AUTO, Health.GOOD),
        ("gpt-4.1-mini", ServiceTier.PRIORITY, Health.GOOD),
        ("gpt-4.1-mini", ServiceTier.FLEX, Health.WARNING),
        ("gpt-5.4-mini", ServiceTier.FLEX, Health.GOOD),
    ],
)
def test_price_is_looked_up_for_the_tier_asked_for(
    model: str, tier: ServiceTier, health: Health
) -> None:
    found = judge_price(find(model), tier=tier)
    assert found.health is health
    assert (f"service tier {tier}" in found.text) == (tier is not ServiceTier.AUTO)


def test_detail_whose_size_is_a_guess_is_not_confirmed() -> None:
    found = judge_price(find("gpt-5.4-mini"), detail=Detail.LOW)
    assert found.health is Health.WARNING
    assert "not confirmed by the maker" in found.text


@pytest.mark.parametrize(
    ("model", "effort", "limit", "warns"),
    [
        ("gpt-5.4-mini", None, 500, True),
        ("gpt-6.2-sol", None, 500, True),
        ("gpt-5.1", None, 500, True),
        ("o3", None, 24_999, True),
        ("o3", None, 25_000, False),
        ("gpt-5.4-mini", "low", 500, False),
        ("gpt-4.1-mini", None, 500, False),
        ("gpt-4o-mini", None, 500, False),
    ],
)
def test_thinking_that_nobody_bounds_warns(
    model: str, effort: str | None, limit: int, warns: bool
) -> None:
    found = check_reasoning(model, find(model), effort=effort, max_output_tokens=limit)
    assert (found is not None) == warns
    if found is not None:
        assert found.health is Health.WARNING
        assert "provider.reasoning_effort" in str(found.mend)


def test_every_model_of_the_thinking_families_is_marked() -> None:
    family = re.compile(r"gpt-[56]|o\d")
    unmarked = [n for n in TABLE.names if bool(family.match(n)) != find(n).reasons]
    assert unmarked == ["gpt-5-chat-latest"]


@pytest.mark.parametrize(
    ("model", "detail", "api", "health"),
    [
        ("gpt-4o", Detail.HIGH, "chat", Health.GOOD),
        ("gpt-4o", Detail.ORIGINAL, "responses", Health.BAD),
        ("gpt-5.4", Detail.ORIGINAL, "chat", Health.BAD),
        ("gpt-5.4", Detail.ORIGINAL, "responses", Health.GOOD),
    ],
)
def test_detail_must_be_offered_by_model_and_api(
    model: str, detail: Detail, api: str, health: Health
) -> None:
    found = check_detail(detail, find(model), api=api)
    assert found is not None
    assert found.health is health


def test_detail_of_an_unknown_model_is_not_judged() -> None:
    assert check_detail(Detail.HIGH, None, api="chat") is None


def test_ledger_of_another_revision_says_how_to_upgrade() -> None:
    found = check_ledger("l.db", "0001", ROOMY, head="0002")
    assert found.health is Health.BAD
    assert found.mend is not None
    assert "tagpipe db upgrade" in found.mend


@pytest.mark.parametrize("revision", [None, "0002"])
def test_ledger_that_is_new_or_up_to_date_is_good(revision: str | None) -> None:
    assert check_ledger("l.db", revision, ROOMY, head="0002").health is Health.GOOD


def test_places_that_cannot_be_written_are_bad() -> None:
    closed = replace(ROOMY, is_writable=False)
    assert check_ledger("l.db", None, closed, head="0002").health is Health.BAD
    assert check_export("tags.csv", closed).health is Health.BAD


@pytest.mark.parametrize(
    ("free", "health"), [(999_999_999, Health.BAD), (1_000_000_000, Health.GOOD)]
)
def test_a_gigabyte_must_be_free(free: int, health: Health) -> None:
    assert check_disk("var", replace(ROOMY, free_bytes=free)).health is health


def test_library_without_images_warns() -> None:
    assert check_library("photos", [], has_more=False).health is Health.WARNING
    assert check_library("photos", ["a.jpg"], has_more=True).text == "photos: a.jpg and more"


def test_missing_extra_names_the_command_that_brings_it() -> None:
    found = check_extra("heic", "reads HEIC pictures", is_installed=False)
    assert (found.health, found.mend) == (Health.WARNING, "pip install 'tagpipe[heic]'")


def test_document_has_one_entry_for_each_finding() -> None:
    found = check_extra("heic", "reads HEIC pictures", is_installed=True)
    assert describe_findings([found]) == [
        {"health": "good", "what": "extra", "text": found.text, "mend": None}
    ]


def test_folder_that_is_yet_to_be_made_is_judged_by_the_one_above(tmp_path: Path) -> None:
    from pipeline.cli.doctor import look_at_folder

    facts = look_at_folder(tmp_path / "new" / "deeper" / "tags.csv")
    assert (facts.exists, facts.is_writable) == (False, True)
    (tmp_path / "file").write_text("no folder")
    assert not look_at_folder(tmp_path / "file" / "tags.csv").is_writable


def test_drift_is_told_with_the_multiplier_that_mends_it() -> None:
    spec = replace(find("gpt-5.4-mini"), multiplier=Fraction(12, 10))
    found = check_drift("gpt-x", Slope(answers=80, factor=Fraction(105, 100)), spec)
    assert found is not None
    assert found.health is Health.WARNING
    assert "5.0 % more picture tokens" in found.text
    assert found.mend is not None
    assert "multiplier of 1.26" in found.mend


def test_model_that_counts_as_its_formula_says_is_no_finding() -> None:
    for slope in (Slope(answers=80, factor=Fraction(1)), Slope(answers=80, factor=None)):
        assert check_drift("gpt-x", slope, find("gpt-5.4-mini")) is None


def test_room_for_the_files_of_batches_is_looked_for() -> None:
    assert check_batch_folder("b", ROOMY, needed_bytes=600_000_000).health is Health.GOOD
    tight = replace(ROOMY, free_bytes=599_999_999)
    found = check_batch_folder("b", tight, needed_bytes=600_000_000)
    assert (found.health, "0.6 GB at a time" in found.text) == (Health.WARNING, True)
    locked = replace(ROOMY, is_writable=False)
    assert check_batch_folder("b", locked, needed_bytes=1).health is Health.BAD


@pytest.mark.parametrize(
    ("host", "is_known"),
    [
        ("api.openai.com", True),
        ("eu.api.openai.com", True),
        ("mine.openai.azure.com", True),
        ("localhost", False),
        ("openai.com.example.org", False),
    ],
)
def test_only_some_servers_are_known_to_take_batches(host: str, is_known: bool) -> None:
    found = check_batch_server(host)
    assert (found is None) is is_known
    assert found is None or found.health is Health.WARNING


def test_deadline_is_read_before_the_night() -> None:
    now = datetime(2026, 11, 20, 22, 30, tzinfo=timezone(timedelta(hours=1)))
    found = check_finish_by("06:00", now)
    assert found.text == "all is to be done by 2026-11-21 06:00, in 7 h 30 min"
    assert check_finish_by("soon", now).health is Health.BAD
    assert check_finish_by("2026-11-20T22:00", now).health is Health.BAD
