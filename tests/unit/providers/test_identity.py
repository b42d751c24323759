"""Which server and account: the same for who shares a rate, and no key in it."""

from pathlib import Path
from typing import Any

import pytest
from scripted_api import PLANTED_KEY, make_settings

from pipeline.domain.errors import ConfigurationError
from pipeline.providers.identity import EndpointIdentity, identify_endpoint

ENVIRON = {"OPENAI_API_KEY": PLANTED_KEY, "KEY_B": "sk-other", "OPENAI_API_KEY_TEAM2": "sk-team"}


def identify(environ: dict[str, str] | None = None, **settings: Any) -> EndpointIdentity:
    return identify_endpoint(make_settings(**settings), ENVIRON | (environ or {}))


@pytest.mark.parametrize(
    ("settings", "host", "label"),
    [
        ({}, "api.openai.com", "api.openai.com"),
        ({"base_url": "http://127.0.0.1:8099/v1"}, "127.0.0.1", "127.0.0.1:8099"),
        ({"base_url": "http://[::1]:8099/v1?token=x"}, "::1", "[::1]:8099"),
        ({"api_key_env": "KEY_B"}, "api.openai.com", "api.openai.com#KEY_B"),
        ({"api_key_env": "OPENAI_API_KEY_TEAM2"}, "api.openai.com", "api.openai.com#TEAM2"),
    ],
)
def test_endpoint_is_named_by_host_and_key_variable(
    settings: dict[str, str], host: str, label: str
) -> None:
    identity = identify(**settings)
    assert (identity.host, identity.label) == (host, label)


def test_long_name_of_a_variable_is_cut() -> None:
    environ = {"K" * 100: "sk-long"}
    assert len(identify(environ, api_key_env="K" * 100).label) < 45


def test_account_is_the_same_for_the_same_key_however_it_is_given(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(f"{PLANTED_KEY}\n")
    same = [
        identify(),
        identify(base_url="https://api.openai.com/v1/"),
        identify({"MINE": PLANTED_KEY}, api_key_env="MINE"),
        identify({"MINE_FILE": str(file)}, api_key_env="MINE"),
    ]
    assert len({identity.account for identity in same}) == 1


def test_account_differs_by_server_key_organization_and_project() -> None:
    different = [
        identify(),
        identify(base_url="https://eu.api.openai.com/v1"),
        identify(api_key_env="KEY_B"),
        identify({"OPENAI_ORG_ID": "a"}),
        identify({"OPENAI_PROJECT_ID": "a"}),
        identify({"OPENAI_ORG_ID": "b"}),
    ]
    assert len({identity.account for identity in different}) == len(different)


def test_account_is_sixteen_hex_digits_that_hold_no_key() -> None:
    identity = identify()
    assert len(identity.account) == 16
    assert set(identity.account) <= set("0123456789abcdef")
    assert PLANTED_KEY not in repr(identity)


def test_server_that_needs_no_key_has_an_account_too() -> None:
    settings = make_settings(base_url="http://localhost:11434/v1")
    assert len(identify_endpoint(settings, {}).account) == 16


def test_missing_key_is_said_here_too() -> None:
    with pytest.raises(ConfigurationError, match="OPENAI_API_KEY"):
        identify_endpoint(make_settings(), {})
