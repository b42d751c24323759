"""Shared by all tests: one async back end, and an environment that nobody's shell leaks into."""

import os

import pytest


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No key, proxy, setting or window size of the developer's own reaches a test."""
    for name in list(os.environ):
        is_setting = name.startswith(("OPENAI_", "TAGPIPE_")) or name.lower().endswith("_proxy")
        if is_setting or name in {"COLUMNS", "LINES"}:
            monkeypatch.delenv(name)
