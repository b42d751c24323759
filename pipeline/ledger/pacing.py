"""Which processes ask with the same key at this moment, so that they share its rate."""

from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

from sqlalchemy import Connection, delete, select, tuple_

from pipeline.domain.jobs import RunId
from pipeline.ledger.database import Database
from pipeline.ledger.dialects import insert_replacing
from pipeline.ledger.tables import pacers

Demand: TypeAlias = tuple[float, bool]
"""What a process uses of a rate a second, and whether it would use more."""

_SEEN_MS: Final = 3_000
"""Who was not seen for so long takes no share."""
_KEPT_MS: Final = 60_000


class Pacers:
    """The processes at work on one ledger, as one of them sees them.

    It waits for no ledger: whoever asks keeps the last shares.
    """

    def __init__(self, database: Database, run: RunId) -> None:
        self._database = database
        self._run = run

    async def announce(
        self, demands: Mapping[str, Demand], *, now_ms: int
    ) -> Mapping[str, Sequence[Demand]]:
        """Say what this run uses of each account; return what others use of the same ones.

        Raises:
            LedgerAway: nothing was said, and nothing is known.
        """

        def announce(connection: Connection) -> list[tuple[str, float, bool]]:
            self._write(connection, demands, now_ms)
            found = connection.execute(
                select(pacers.c.account, pacers.c.use_per_second, pacers.c.is_hungry)
                .where(pacers.c.run_id != self._run, pacers.c.seen_at >= now_ms - _SEEN_MS)
                .order_by(pacers.c.run_id)
            )
            return [tuple(row) for row in found]

        rows = await self._database.transact(announce)
        return {
            account: [(use, is_hungry) for name, use, is_hungry in rows if name == account]
            for account in demands
        }

    async def leave(self) -> None:
        """Free this run's shares at once; else the others miss it a little later.

        Raises:
            LedgerAway: they will miss it a little later.
        """
        own = delete(pacers).where(pacers.c.run_id == self._run)
        await self._database.transact(lambda connection: connection.execute(own).close())

    def _write(self, connection: Connection, demands: Mapping[str, Demand], now_ms: int) -> None:
        rows = [
            {
                "run_id": self._run,
                "account": account,
                "use_per_second": use,
                "is_hungry": is_hungry,
                "seen_at": now_ms,
            }
            for account, (use, is_hungry) in demands.items()
        ]
        if rows:
            connection.execute(insert_replacing(connection, pacers), rows)
        key = tuple_(pacers.c.run_id, pacers.c.account)
        # those that somebody else has locked are being removed, or have come back to life
        old = (
            select(pacers.c.run_id, pacers.c.account)
            .where(pacers.c.seen_at < now_ms - _KEPT_MS)
            .with_for_update(skip_locked=True)
        )
        connection.execute(delete(pacers).where(key.in_(old)))
