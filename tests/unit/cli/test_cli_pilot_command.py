"""The command that goes on after a pilot."""

import shlex

import pytest

from pipeline.cli.pilot import write_command


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ("tagpipe tag photos --sample 50", "tagpipe tag photos"),
        ("tagpipe tag --sample=50 --seed 3 photos", "tagpipe tag photos"),
        ("/usr/bin/tagpipe tag p --sample 5 --sample-page x.html --sample-export --budget 5",
         "tagpipe tag p --budget 5"),
        ("run.py tag p --sample 5", "python run.py tag p"),
        ("/x/pipeline/__main__.py tag p --seed=1 --sample 5", "python -m pipeline tag p"),
        ("tagpipe tag --sample 5 -- --sample", "tagpipe tag -- --sample"),
    ],
)  # fmt: skip
def test_the_command_is_the_same_without_the_sample(given: str, left: str) -> None:
    assert write_command(given.split()) == left


def test_words_are_quoted_for_a_shell() -> None:
    words = ["tagpipe", "tag", "my photos", "--where", "path=*/$(rm -rf ~)/'*", "--sample", "5"]
    assert shlex.split(write_command(words)) == words[:-2]


@pytest.mark.parametrize(
    "url", ["postgresql://me:s3cret@host/db", "http://:s3cret@host/v1", "postgres://a:s3cret@b@c/d"]
)
def test_passwords_are_left_out(url: str) -> None:
    command = write_command(["tagpipe", "tag", "p", "--ledger", url, f"--ledger={url}"])
    assert "s3cret" not in command
    assert command.count("***@") == 2
