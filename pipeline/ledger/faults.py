"""What a database's complaint means: come back later, or never mind trying again."""

import sqlite3
from typing import Final

from sqlalchemy.exc import DBAPIError, InterfaceError

from pipeline.domain.errors import EnvironmentFault, LedgerAway

CONNECT_TIMEOUT_SECONDS: Final = 5

# The low byte is the primary code, https://www.sqlite.org/rescode.html
_SQLITE_LATER: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CANTOPEN,
    }
)
# Classes and codes of https://www.postgresql.org/docs/current/errcodes-appendix.html:
# 08 connection, 53 no room or memory, 57 stopped or starting up; deadlock, serialization, a lock
# not had in time, a transaction that slept too long, a standby that does not take writes yet.
_POSTGRES_LATER: Final = ("08", "53", "57", "40001", "40P01", "55P03", "25P03", "25006")


def name_fault(error: DBAPIError | OSError, ledger: str) -> EnvironmentFault:
    """Our word for a fault of the driver; ``LedgerAway`` when the same may work later.

    Args:
        error: what the driver raised; a server that is away is an ``OSError`` of the socket.
        ledger: the ledger's address, fit for people.
    """
    cause = error.orig if isinstance(error, DBAPIError) else error
    # drivers add details and hints in lines of their own, and are silent on a time-out
    said = "; ".join(str(cause).splitlines())
    said = said or f"no answer within {CONNECT_TIMEOUT_SECONDS} s"
    kind = LedgerAway if _may_pass(error) else EnvironmentFault
    return kind(f"the ledger {ledger} failed: {said}")


def _may_pass(error: DBAPIError | OSError) -> bool:
    if isinstance(error, OSError | InterfaceError) or error.connection_invalidated:
        return True  # a connection that was closed is no database error, to the drivers
    if isinstance(error.orig, sqlite3.Error):
        return error.orig.sqlite_errorcode & 0xFF in _SQLITE_LATER
    return str(getattr(error.orig, "sqlstate", None)).startswith(_POSTGRES_LATER)
