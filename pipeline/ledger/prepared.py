"""Statements of the hot path: compiled once for each database, then run as they are.

Building and compiling a statement costs a hundred times what running it for one row does.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, cast

from sqlalchemy import (
    ColumnElement,
    Connection,
    Executable,
    Table,
    any_,
    bindparam,
    func,
    select,
)
from sqlalchemy.engine.interfaces import Compiled

from pipeline.ledger.dialects import insert_new

Among: TypeAlias = Callable[[ColumnElement[Any]], ColumnElement[bool]]
"""The condition that a column has one of the values that a lookup is run with."""
Row: TypeAlias = Mapping[str, Any]

_VALUES: Final = "among_values"


@dataclass(frozen=True, slots=True)
class _Compiled:
    sql: str
    names: Sequence[str]
    constants: Row

    @classmethod
    def of(cls, statement: Executable, connection: Connection) -> "_Compiled":
        compiled: Compiled = statement.compile(dialect=connection.dialect)  # type: ignore[attr-defined]
        names: Sequence[str] = compiled.positiontup  # type: ignore[attr-defined]
        return cls(
            str(compiled), names, {k: v for k, v in compiled.params.items() if v is not None}
        )


class Change:
    """An INSERT or UPDATE for many rows; each row is a mapping of its parameters."""

    def __init__(self, build: Callable[[Connection], Executable]) -> None:
        self._build = build
        self._compiled: dict[str, _Compiled] = {}

    def run(self, connection: Connection, rows: Sequence[Row]) -> None:
        """Run it for each row; nothing happens without rows."""
        if not rows:
            return
        name = connection.dialect.name
        if name not in self._compiled:
            self._compiled[name] = _Compiled.of(self._build(connection), connection)
        known = self._compiled[name]
        constants = known.constants
        values = [
            tuple(row[n] if n in row else constants.get(n) for n in known.names) for row in rows
        ]
        connection.exec_driver_sql(known.sql, values)


class Insertion:
    """An INSERT of many rows that leaves existing rows alone.

    On Postgres all rows are one statement, one array for each column.
    """

    def __init__(self, table: Table, names: Sequence[str]) -> None:
        self._names = names
        self._change = Change(lambda connection: _insert_each(connection, table, names))
        self._all = _insert_all(table, names)
        self._compiled: _Compiled | None = None

    def run(self, connection: Connection, rows: Sequence[Row]) -> None:
        """Insert the rows whose keys are not there yet; nothing happens without rows."""
        if connection.dialect.name == "sqlite":
            self._change.run(connection, rows)
        elif rows:
            if self._compiled is None:
                self._compiled = _Compiled.of(self._all, connection)
            arrays = {name: [row[name] for row in rows] for name in self._names}
            parameters = tuple(arrays[name] for name in self._compiled.names)
            connection.exec_driver_sql(self._compiled.sql, parameters)


def _insert_each(connection: Connection, table: Table, names: Sequence[str]) -> Executable:
    places: dict[str, Any] = {name: bindparam(name) for name in names}
    return cast("Executable", insert_new(connection, table).values(places))


def _insert_all(table: Table, names: Sequence[str]) -> Executable:
    from sqlalchemy.dialects import postgresql

    arrays = [bindparam(name, type_=postgresql.ARRAY(table.c[name].type)) for name in names]
    rows = func.unnest(*arrays).table_valued(*names).render_derived()
    chosen = select(*(rows.c[name] for name in names))
    return postgresql.insert(table).from_select(names, chosen).on_conflict_do_nothing()


class Lookup:
    """A SELECT of the rows that have one of some values."""

    def __init__(self, build: Callable[[Among], Executable]) -> None:
        self._build = build
        self._compiled: dict[tuple[str, int], _Compiled] = {}

    def run(self, connection: Connection, values: Sequence[Any], **given: Any) -> list[Any]:
        """The rows found for ``values``, in no order; ``given`` are its other parameters."""
        if not values:
            return []
        is_sqlite = connection.dialect.name == "sqlite"
        # few sizes, so that few texts are compiled; a value that is asked for twice is found once
        size = 1 << (len(values) - 1).bit_length() if is_sqlite else 0
        key = (connection.dialect.name, size)
        if key not in self._compiled:
            among = _among_each(size) if is_sqlite else _among_any
            self._compiled[key] = _Compiled.of(self._build(among), connection)
        known = self._compiled[key]
        told = {**known.constants, **given}
        if is_sqlite:
            padded = [*values, *[values[-1]] * (size - len(values))]
            told.update(zip((f"{_VALUES}_{n}" for n in range(size)), padded, strict=True))
        else:
            told[_VALUES] = list(values)
        parameters = tuple(told[name] for name in known.names)
        return list(connection.exec_driver_sql(known.sql, parameters))


class Query:
    """A SELECT with parameters of its own."""

    def __init__(self, build: Callable[[], Executable]) -> None:
        self._build = build
        self._compiled: dict[str, _Compiled] = {}

    def run(self, connection: Connection, **given: Any) -> list[Any]:
        """The rows found with the parameters given."""
        name = connection.dialect.name
        if name not in self._compiled:
            self._compiled[name] = _Compiled.of(self._build(), connection)
        known = self._compiled[name]
        told = {**known.constants, **given}
        parameters = tuple(told[each] for each in known.names)
        return list(connection.exec_driver_sql(known.sql, parameters))


def _among_each(size: int) -> Among:
    def among(column: ColumnElement[Any]) -> ColumnElement[bool]:
        places = [bindparam(f"{_VALUES}_{n}", type_=column.type) for n in range(size)]
        return column.in_(places)

    return among


def _among_any(column: ColumnElement[Any]) -> ColumnElement[bool]:
    from sqlalchemy.dialects.postgresql import ARRAY

    return column == any_(bindparam(_VALUES, type_=ARRAY(column.type)))
