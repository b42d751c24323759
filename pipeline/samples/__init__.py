"""The demo's sample library: small drawn pictures of every kind, format and fault we meet."""

from pipeline.samples.library import make_sample_library

__all__ = ["make_sample_library"]
