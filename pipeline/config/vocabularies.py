"""Files of allowed values, read in place of a field's ``values``."""

from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from pipeline.config.complaints import explain, place_in, show
from pipeline.config.documents import Document, read_document, read_text
from pipeline.config.fields import Choice, Choices
from pipeline.domain.errors import ConfigurationError

_YAML_SUFFIXES = frozenset({".yaml", ".yml", ".json"})
_CHOICES: TypeAdapter[tuple[Choice, ...]] = TypeAdapter(Choices)


def read_vocabulary(path: Path) -> tuple[Choice, ...]:
    """Values of a vocabulary file, in its order.

    YAML files hold a list, or a mapping of term to its aliases. Any other file is plain text:
    one term a line; empty lines and lines that start with ``#`` are left out.

    Raises:
        ConfigurationError: the file cannot be read, or a value in it is off.
    """
    document = _read(path)
    try:
        return _CHOICES.validate_python(document.data)
    except ValidationError as error:
        raise explain(
            error,
            model=None,
            data=document.data,
            place=place_in(document),
            written=document.written,
        ) from error


def _read(path: Path) -> Document:
    if path.suffix.lower() in _YAML_SUFFIXES:
        return read_document(path)
    lines = (line.strip() for line in read_text(path).splitlines())
    return Document(path, [line for line in lines if line and not line.startswith("#")], None)


def inline_vocabularies(document: Document) -> Any:
    """The profile's data with every ``vocabulary: file`` replaced by its values.

    Paths are relative to the profile's own file.

    Raises:
        ConfigurationError: a vocabulary cannot be used, or a choice has no list or two.
    """
    data = document.data
    if not isinstance(data, dict) or not isinstance(data.get("fields"), dict):
        return data
    fields = {name: _inline(document, name, field) for name, field in data["fields"].items()}
    return {**data, "fields": fields}


def _inline(document: Document, name: str, field: Any) -> Any:
    if not isinstance(field, dict) or field.get("type") not in {"one_of", "many_of"}:
        return field
    where = f"{place_in(document)(('fields', name))}: fields.{name}"
    if ("values" in field) == ("vocabulary" in field):
        raise ConfigurationError(f"{where}: give either `values` or `vocabulary` (a file)")
    if "values" in field:
        return field
    given = field["vocabulary"]
    if not isinstance(given, str) or not given:
        raise ConfigurationError(f"{where}.vocabulary: {show(given)} is not allowed; give a path")
    values = read_vocabulary(document.path.parent / given)
    kept = {key: value for key, value in field.items() if key != "vocabulary"}
    return {**kept, "values": [choice.model_dump() for choice in values]}
