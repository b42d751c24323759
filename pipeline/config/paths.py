"""Where the data files lie: beside the package in a checkout, inside it when installed."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent


def _data_folder(name: str) -> Path:
    in_checkout = _PACKAGE.parent / name
    return in_checkout if (_PACKAGE.parent / "pyproject.toml").is_file() else _PACKAGE / name


def configs_folder() -> Path:
    """The shipped ``configs/``: profiles, vocabularies, the model table, examples."""
    return _data_folder("configs")


def migrations_folder() -> Path:
    """The Alembic environment."""
    return _data_folder("migrations")
