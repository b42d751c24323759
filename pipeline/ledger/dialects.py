"""Statements that the two databases spell differently."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import orjson
from sqlalchemy import ColumnElement, Connection, Table, any_, bindparam, func, select
from sqlalchemy.dialects import sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

AnyConnection: TypeAlias = AsyncConnection | Connection
"""A connection that is only asked which database it leads to."""


def among(
    connection: AnyConnection, column: ColumnElement[Any], values: Sequence[Any]
) -> ColumnElement[bool]:
    """``column IN (values)`` with one bound parameter however many values there are."""
    if connection.dialect.name == "sqlite":
        listed = func.json_each(orjson.dumps(values).decode()).table_valued("value")
        return column.in_(select(listed.c.value))
    from sqlalchemy.dialects.postgresql import ARRAY

    return column == any_(bindparam(None, list(values), type_=ARRAY(column.type)))


def insert_new(connection: AnyConnection, table: Table) -> Any:
    """An INSERT that leaves existing rows alone (``ON CONFLICT DO NOTHING``)."""
    return _insert(connection, table).on_conflict_do_nothing()


def insert_adding(connection: AnyConnection, table: Table) -> Any:
    """An INSERT that adds to a row with the same key: all columns outside the key are amounts."""
    statement = _insert(connection, table)
    return statement.on_conflict_do_update(
        index_elements=list(table.primary_key),
        set_={c.name: c + statement.excluded[c.name] for c in table.c if not c.primary_key},
    )


def insert_replacing(connection: AnyConnection, table: Table) -> Any:
    """An INSERT that overwrites a row with the same key."""
    statement = _insert(connection, table)
    return statement.on_conflict_do_update(
        index_elements=list(table.primary_key),
        set_={c.name: statement.excluded[c.name] for c in table.c if not c.primary_key},
    )


def _insert(connection: AnyConnection, table: Table) -> Any:
    if connection.dialect.name == "sqlite":
        return sqlite.insert(table)
    from sqlalchemy.dialects import postgresql

    return postgresql.insert(table)
