"""Files of allowed values."""

from pathlib import Path

import pytest

from pipeline.config.fields import OneOfField
from pipeline.config.profiles import load_profile
from pipeline.config.vocabularies import read_vocabulary
from pipeline.domain.errors import ConfigurationError


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("v.yaml", "- red\n- {value: gray, aliases: [grey]}\n"),
        ("v.yml", "red:\ngray: [grey]\n"),
        ("v.json", '{"red": [], "gray": ["grey"]}'),
    ],
)
def test_yaml_vocabulary_gives_values_and_aliases(tmp_path: Path, name: str, text: str) -> None:
    choices = read_vocabulary(write(tmp_path / name, text))
    assert [(c.value, c.aliases) for c in choices] == [("red", ()), ("gray", ("grey",))]


def test_flat_vocabulary_is_one_term_a_line(tmp_path: Path) -> None:
    path = write(tmp_path / "v.txt", "\ufeff# colours\nred\n\n  no \r\n2024\n")
    assert [choice.value for choice in read_vocabulary(path)] == ["red", "no", "2024"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- red\n- no\n", 'line 2: [1]: YAML reads no as bool False; put it in quotes: "no"'),
        ("red: grey\n", "must be a list"),
        ("- red\n- RED\n", "'RED' is listed twice"),
        ("no: [x]\n", 'line 1: not valid YAML: the key no is not text in YAML; quote it: "no"'),
        ("just words\n", "must be a list of values"),
        ("", "must be a list of values"),
    ],
)
def test_fault_in_a_vocabulary_names_that_file(tmp_path: Path, text: str, said: str) -> None:
    path = write(tmp_path / "v.yaml", text)
    with pytest.raises(ConfigurationError) as caught:
        read_vocabulary(path)
    assert str(caught.value).startswith(str(path))
    assert said in str(caught.value)


def test_vocabulary_path_is_relative_to_the_profile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "deep" / "words" / "v.txt", "oak\nash\n")
    profile = "name: p\ninstructions: x\nfields: {wood: {type: one_of, vocabulary: words/v.txt}}\n"
    path = write(tmp_path / "deep" / "p.yaml", profile)
    monkeypatch.chdir(tmp_path)
    wood = load_profile(str(path)).fields["wood"]
    assert isinstance(wood, OneOfField)
    assert [choice.value for choice in wood.values] == ["oak", "ash"]


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("{type: one_of, vocabulary: v.txt, values: [a]}", "give either `values` or `vocabulary`"),
        ("{type: one_of, vocabulary: none.txt}", "none.txt: cannot be read"),
        ("{type: one_of, vocabulary: [a]}", "fields.wood.vocabulary: ['a'] is not allowed"),
        ("{type: text, vocabulary: v.txt}", "fields.wood.vocabulary: unknown key"),
    ],
)
def test_misplaced_vocabulary_is_told(tmp_path: Path, field: str, said: str) -> None:
    text = f"name: p\ninstructions: x\nfields:\n  wood: {field}\n"
    path = write(tmp_path / "p.yaml", text)
    with pytest.raises(ConfigurationError) as caught:
        load_profile(str(path))
    assert said in str(caught.value)
