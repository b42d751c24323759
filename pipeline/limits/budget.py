"""The run's money: reserve the worst case before sending, settle on the answer."""

import anyio

from pipeline.domain.errors import BudgetExhausted
from pipeline.domain.usage import NanoDollars, to_usd


class Budget:
    """A cap that true spend cannot pass, as long as no request costs more than was reserved.

    Args:
        cap: nano-dollars this run may spend; None for no cap.
        needs_price: refuse a request without a known price, cap or no cap, instead of counting
            it as free.
    """

    def __init__(self, cap: NanoDollars | None, *, needs_price: bool = False) -> None:
        self.cap = cap
        self._needs_price = needs_price
        self.spent = 0
        self.reserved = 0
        self._changed = anyio.Event()

    @property
    def is_nearly_spent(self) -> bool:
        """Whether it is time to warn: four fifths are gone."""
        return self.cap is not None and 5 * self.spent >= 4 * self.cap > 0

    async def reserve(self, worst: NanoDollars | None) -> NanoDollars:
        """Set the worst case of one request aside; wait while others may still free room.

        Args:
            worst: nano-dollars, or None when the model has no known price.

        Raises:
            BudgetExhausted: there is no room and nothing in flight that could free some,
                or a price is needed and there is none.
        """
        if worst is None and self._needs_price:
            raise BudgetExhausted(
                "a budget is set but the model's price is unknown: add the model to a file named "
                "under `models:` in the configuration, allow it with limits.allow_unpriced, or run "
                "without a budget"
            )
        worst = worst or NanoDollars(0)
        if self.cap is not None:
            await self._wait_for_room(worst)
        self.reserved += worst
        return worst

    def has_room(self, worst: NanoDollars | None) -> bool:
        """Whether ``reserve`` would let a request through at once."""
        return self.cap is None or self.spent + self.reserved + (worst or 0) <= self.cap

    def take_over(self, reserved: int) -> None:
        """Hold what requests that an earlier run sent can still cost, whatever the cap says."""
        self.reserved += reserved

    def give_back(self, reserved: int) -> None:
        """What was held is not needed: its requests were never sent."""
        self.settle(NanoDollars(reserved), NanoDollars(0))

    def settle(self, reserved: NanoDollars, cost: NanoDollars | None) -> None:
        """Give a reservation back and book what was paid.

        Args:
            reserved: as ``reserve`` gave it.
            cost: nano-dollars; None when nobody knows (the answer was lost, the price is not
                known): the worst is booked then, so that the cap holds.
        """
        self.reserved -= reserved
        self.spent += reserved if cost is None else cost
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    async def _wait_for_room(self, worst: NanoDollars) -> None:
        assert self.cap is not None  # noqa: S101  asked only with a cap
        while not self.has_room(worst):
            if not self.reserved:
                raise BudgetExhausted(
                    f"the budget of ${to_usd(self.cap)} has ${to_usd(self.cap - self.spent)} left "
                    f"and the next request may cost ${to_usd(worst)}; the same command again goes "
                    "on with a budget of its own, --budget says how large; --budget-day caps "
                    "all runs of a day"
                )
            await self._changed.wait()
