"""Behaviours written down: those that are shipped, and the user's own files."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipeline.config.complaints import explain, place_in, suggest
from pipeline.config.documents import read_document
from pipeline.config.paths import configs_folder
from pipeline.domain.errors import ConfigurationError
from pipeline.simulator.behavior import Behavior


def list_shipped() -> dict[str, Path]:
    """Shipped behaviours by name."""
    return {path.stem: path for path in sorted((configs_folder() / "simulator").glob("*.yaml"))}


def read_behavior(name: str) -> dict[str, Any]:
    """Read the fields that a file sets; a path to a plan in it is taken from where the file is.

    Args:
        name: of a shipped behaviour, or the path of a YAML or JSON file.

    Raises:
        ConfigurationError: there is no such file, or it is wrong; names the line.
    """
    path = _find(name)
    document = read_document(path)
    written = {} if document.data is None else document.data
    if not isinstance(written, dict):
        raise ConfigurationError(f"{path}: must be keys with values")
    try:
        behavior = Behavior.model_validate(written)
    except ValidationError as error:
        raise explain(
            error,
            model=Behavior,
            data=written,
            place=place_in(document),
            written=document.written,
        ) from error
    fields = {key: getattr(behavior, key) for key in written}
    if behavior.fault_plan:
        fields["fault_plan"] = path.parent / behavior.fault_plan
    return fields


def _find(name: str) -> Path:
    shipped = list_shipped()
    path = Path(name)
    if name in shipped and not path.exists():
        return shipped[name]
    if path.suffix or path.exists():
        return path
    raise ConfigurationError(f"no behaviour is called {name}; {suggest(name, shipped)}")
