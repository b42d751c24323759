"""Globs: a table of claims, and any glob against a reference that shares no code."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.errors import ConfigurationError
from pipeline.sources.globs import compile_globs


def matches(glob: str, path: str) -> bool:
    compiled = compile_globs([glob], setting="library.include")
    assert compiled is not None
    return compiled.fullmatch(path) is not None


@pytest.mark.parametrize(
    ("glob", "path", "expected"),
    [
        ("*.jpg", "a.jpg", True),
        ("*.jpg", "deep/down/a.jpg", True),
        ("*.jpg", "a.JPG", False),
        ("*.jpg", "a.jpg.txt", False),
        ("shoes/*.jpg", "shoes/a.jpg", True),
        ("shoes/*.jpg", "shoes/red/a.jpg", False),
        ("shoes/*.jpg", "old/shoes/a.jpg", False),
        ("./shoes/*.jpg", "shoes/a.jpg", True),
        ("/a.jpg", "a.jpg", True),
        ("/a.jpg", "b/a.jpg", False),
        ("**/a.jpg", "a.jpg", True),
        ("**/a.jpg", "x/y/a.jpg", True),
        ("**/a.jpg", "x/ba.jpg", False),
        ("shoes/**", "shoes/red/a.jpg", True),
        ("shoes/**", "shoes/", True),
        ("shoes/**", "shoesbox/a.jpg", False),
        ("a/**/z.png", "a/z.png", True),
        ("a/**/z.png", "a/b/c/z.png", True),
        ("a/**/z.png", "a/bz.png", False),
        ("**", "x/y.png", True),
        ("a**z", "abcz", True),
        ("a**z", "ab/cz", False),
        ("thumbs", "x/thumbs/", True),
        ("thumbs/", "x/thumbs/", True),
        ("thumbs/", "x/thumbs", False),
        ("thumbs/", "x/thumbs/small/a.jpg", True),
        ("?.jpg", "a.jpg", True),
        ("a?b", "a/b", False),
        ("[ab].jpg", "b.jpg", True),
        ("[!ab].jpg", "b.jpg", False),
        ("a[!b]c", "a/c", False),
        ("[a-c]1", "b1", True),
        ("[[]1].jpg", "[1].jpg", True),
        ("[].jpg", "[].jpg", True),
        ("a.jpg", "aXjpg", False),
        ("*.jpg", "line\nbreak.jpg", True),
        ("(1|2)+.jpg", "(1|2)+.jpg", True),
    ],
)
def test_glob_matches_as_documented(glob: str, path: str, expected: bool) -> None:
    assert matches(glob, path) is expected


def test_any_of_several_globs_is_enough() -> None:
    compiled = compile_globs(["*.png", "raw/*"], setting="library.include")
    assert compiled is not None
    assert [path for path in ("a.png", "raw/x", "a.jpg") if compiled.fullmatch(path)] == [
        "a.png",
        "raw/x",
    ]


def test_no_globs_are_no_expression() -> None:
    assert compile_globs((), setting="library.include") is None


def test_malformed_glob_names_the_setting_and_the_glob() -> None:
    with pytest.raises(ConfigurationError, match=r"library\.exclude: '\[z-a\]'"):
        compile_globs(["[z-a]"], setting="library.exclude")


def fits_name(glob: str, name: str) -> bool:
    if not glob:
        return not name
    if glob[0] == "*":
        return fits_name(glob[1:], name) or (name != "" and fits_name(glob, name[1:]))
    return name != "" and glob[0] in ("?", name[0]) and fits_name(glob[1:], name[1:])


def fits_names(globs: list[str], names: list[str]) -> bool:
    if not globs:
        return not names
    if globs[0] == "**" and len(globs) > 1:
        return any(fits_names(globs[1:], names[n:]) for n in range(len(names) + 1))
    if globs == ["**"]:
        return bool(names)
    return bool(names) and fits_name(globs[0], names[0]) and fits_names(globs[1:], names[1:])


def fits(glob: str, path: str) -> bool:
    names = path.split("/")
    if "/" not in glob:
        return glob == "**" or fits_name(glob, names[-1])
    return fits_names(glob.split("/"), names)


globs = st.lists(
    st.just("**") | st.text("ab.*?", min_size=1, max_size=4), min_size=1, max_size=4
).map("/".join)
paths = st.lists(st.text("ab.\n", min_size=1, max_size=4), min_size=1, max_size=5).map("/".join)


@given(globs.filter(lambda glob: not glob.startswith("./")), paths)
def test_any_glob_agrees_with_a_naive_reading(glob: str, path: str) -> None:
    assert matches(glob, path) is fits(glob, path)


@given(st.text(min_size=1).filter(lambda text: not set(text) & set("*?[/")))
def test_text_without_signs_matches_only_itself(name: str) -> None:
    assert matches(name, name)
    assert not matches(name, name + "x")
