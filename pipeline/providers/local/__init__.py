"""The offline analyser: answers a profile's measurable fields without asking any model."""

from pipeline.providers.local.provider import LOCAL_MODEL, LocalProvider

__all__ = ["LOCAL_MODEL", "LocalProvider"]
