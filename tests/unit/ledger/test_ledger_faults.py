"""Which complaints of a database may pass, and which will not."""

import sqlite3

import pytest
from sqlalchemy.exc import DBAPIError

from pipeline.domain.errors import EnvironmentFault, LedgerAway
from pipeline.ledger.faults import name_fault


def complain(code: int) -> DBAPIError:
    error = sqlite3.OperationalError("as SQLite says it")
    error.sqlite_errorcode = code
    return DBAPIError("SELECT 1", {}, error)


class PostgresError(Exception):
    def __init__(self, sqlstate: str) -> None:
        super().__init__("as Postgres says it\nHINT: look at the log")
        self.sqlstate = sqlstate


@pytest.mark.parametrize(
    "code",
    [
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_BUSY_SNAPSHOT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR_WRITE,
        sqlite3.SQLITE_CANTOPEN,
    ],
)
def test_a_locked_or_full_sqlite_may_come_back(code: int) -> None:
    assert isinstance(name_fault(complain(code), "var/x.db"), LedgerAway)


@pytest.mark.parametrize(
    "code", [sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CONSTRAINT_UNIQUE]
)
def test_a_damaged_sqlite_will_not(code: int) -> None:
    assert not isinstance(name_fault(complain(code), "var/x.db"), LedgerAway)


@pytest.mark.parametrize("code", ["08006", "57P01", "57P03", "53100", "53300", "40P01", "40001"])
def test_a_postgres_that_restarts_or_has_no_room_may_come_back(code: str) -> None:
    error = DBAPIError("SELECT 1", {}, PostgresError(code))
    assert isinstance(name_fault(error, "postgresql://h/d"), LedgerAway)


@pytest.mark.parametrize("code", ["28P01", "3D000", "42P01", "23505"])
def test_a_postgres_that_refuses_will_not(code: str) -> None:
    error = DBAPIError("SELECT 1", {}, PostgresError(code))
    assert not isinstance(name_fault(error, "postgresql://h/d"), LedgerAway)


def test_a_server_that_cannot_be_reached_may_come_back() -> None:
    fault = name_fault(ConnectionRefusedError(111, "Connection refused"), "postgresql://h/d")
    assert isinstance(fault, LedgerAway)
    assert str(fault) == "the ledger postgresql://h/d failed: [Errno 111] Connection refused"


def test_the_fault_is_one_line_and_names_the_ledger() -> None:
    fault = name_fault(DBAPIError("SELECT 1", {}, PostgresError("28P01")), "postgresql://h/d")
    assert isinstance(fault, EnvironmentFault)
    assert str(fault) == (
        "the ledger postgresql://h/d failed: as Postgres says it; HINT: look at the log"
    )
