"""Shared by all tests: one async back end, and an environment that nobody's shell leaks into."""

import os

import pytest


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No key, proxy or setting of the developer's own reaches a test."""
    for name in list(os.environ):
        if name.startswith(("OPENAI_", "TAGPIPE_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
