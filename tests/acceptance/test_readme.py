"""Every command in the README works as it stands there."""

import re
import shlex
from pathlib import Path

import pytest
from command_line import ROOT, finish, make_library, run, simulator, start
from databases import make_url

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
LINES = [line.split("#")[0].strip() for block in BLOCKS for line in block.splitlines()]
COMMANDS = [line for line in LINES if line.startswith("tagpipe ")]
SERVERS = {"http://localhost:11434/v1", "http://127.0.0.1:8790/v1"}
POSTGRES = "postgresql://user@host/db"


def fill_folder(folder: Path) -> None:
    make_library(folder / "photos", 2)
    [profile] = re.findall(r"```yaml\n(# shoes.yaml.*?)```", README, re.DOTALL)
    (folder / "shoes.yaml").write_text(profile)
    (folder / "configs").symlink_to(ROOT / "configs")


@pytest.mark.parametrize("command", [c for c in COMMANDS if "simulate" not in c])
def test_command_of_the_readme_works(tmp_path: Path, command: str) -> None:
    fill_folder(tmp_path)
    if not command.startswith("tagpipe tag"):
        assert run(tmp_path, "tag", "photos", "-q").code == 0
    with simulator(tmp_path) as base_url:
        words = [base_url if word in SERVERS else word for word in shlex.split(command)[1:]]
        words = ["sim-qwen" if word == "qwen3-vl" else word for word in words]
        words = [make_url("postgres", tmp_path) if word == POSTGRES else word for word in words]
        variables = {"OPENAI_API_KEY": "sk-x", "OPENAI_BASE_URL": base_url}
        if "configs/nightly.yaml" in words:
            words += ["--set", "library.url=photos", "--set", "exports=[]"]
        done = run(tmp_path, *words, **variables)
    assert done.code == 0, done.err + done.out


def test_simulator_of_the_readme_starts(tmp_path: Path) -> None:
    [command] = [c for c in COMMANDS if "simulate" in c]
    process = start(tmp_path, *shlex.split(command)[1:])
    assert process.stdout is not None
    try:
        assert "127.0.0.1:8790" in process.stdout.readline()
    finally:
        process.terminate()
        finish(process)


def test_make_targets_of_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = {line.split()[1] for line in LINES if line.startswith("make ")}
    assert targets == {"demo", "test"}
    assert all(f"\n{target}:" in makefile for target in targets)


@pytest.mark.parametrize("link", re.findall(r"\]\(((?!http)[^)]+)\)", README))
def test_link_of_the_readme_leads_somewhere(link: str) -> None:
    assert (ROOT / link).exists()
