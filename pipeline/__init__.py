"""tagpipe: tags large image libraries with a vision LLM.

Rooms in the order of the flow: sources, preprocess, tagging, limits, providers, ledger, exporters;
costs, config and domain lie below them, the engine knows their order, bootstrap builds them, the
cli is the door. The map and the walk of one image: docs/architecture.md.
"""

__version__ = "0.1.0"
