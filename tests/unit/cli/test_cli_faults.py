import json

import pytest

from pipeline.cli.faults import pick_cause, report_fault
from pipeline.domain.errors import (
    BudgetExhausted,
    ConfigurationError,
    EnvironmentFault,
    MissingExtraError,
)

FAULT = EnvironmentFault("the disk is full")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigurationError("limits.x: unknown"), 2),
        (MissingExtraError("reading HEIC", "heic"), 2),
        (FAULT, 1),
        (BudgetExhausted("no room"), 4),
        (KeyboardInterrupt(), 130),
        (ZeroDivisionError("oops"), 1),
    ],
)
def test_each_kind_of_error_has_its_exit_code(error: BaseException, code: int) -> None:
    assert report_fault(error, as_json=False) == code


@pytest.mark.parametrize(
    ("group", "cause"),
    [
        ([FAULT], FAULT),
        ([ExceptionGroup("inner", [FAULT])], FAULT),
        ([FAULT, bug := ZeroDivisionError("oops")], bug),
        ([FAULT, stop := KeyboardInterrupt()], stop),
        ([stop, bug], bug),
    ],
)
def test_error_that_matters_is_picked_out_of_groups(
    group: list[BaseException], cause: BaseException
) -> None:
    assert pick_cause(BaseExceptionGroup("outer", group)) is cause


def test_foreseen_fault_is_one_line_without_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    report_fault(ExceptionGroup("tasks", [FAULT]), as_json=False)
    assert capsys.readouterr().err == "error: the disk is full\n"


def test_bug_shows_its_traceback_and_says_that_it_is_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    report_fault(ZeroDivisionError("oops"), as_json=False)
    shown = capsys.readouterr()
    assert "ZeroDivisionError: oops" in shown.err
    assert "a bug in tagpipe" in shown.err
    assert shown.out == ""


def test_with_json_a_fault_is_the_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    report_fault(ConfigurationError("limits.x: unknown"), as_json=True)
    assert json.loads(capsys.readouterr().out) == {
        "error": {"kind": "usage", "message": "limits.x: unknown", "exit_code": 2}
    }
