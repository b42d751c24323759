"""Whether who answered is who was asked: models and lanes have more than one name."""

import re
from typing import Final

from pipeline.costs.rates import name_lane
from pipeline.domain.vision import ServiceTier

# Snapshots are dated -2024-08-06, -20241022 or, the oldest, -0613.
_MONTH_AND_DAY: Final = r"(?:0[1-9]|1[0-2])-?(?:0[1-9]|[12]\d|3[01])"
_DATE: Final = re.compile(rf"-(?:20\d\d-?)?{_MONTH_AND_DAY}", re.ASCII)
_DATED: Final = re.compile(rf".+{_DATE.pattern}", re.ASCII)
_FINE_TUNED: Final = "ft:"


def is_same_model(asked: str, answered: str) -> bool:
    """Whether the model that answered is the one that was asked for.

    A dated snapshot answers for the name without a date; another date, or none, does not answer
    for a snapshot. Case, a path before the name (``openai/``, ``models/``) and ``:latest`` do not
    count. Fine-tuned models compare whole.
    """
    wanted, found = _bare(asked), _bare(answered)
    if wanted == found:
        return bool(wanted)
    if wanted.startswith(_FINE_TUNED) or _DATED.fullmatch(wanted) or not wanted:
        return False
    return found.startswith(wanted) and _DATE.fullmatch(found, len(wanted)) is not None


def _bare(name: str) -> str:
    lower = name.strip().casefold()
    if lower.startswith(_FINE_TUNED):
        return lower
    return lower.rpartition("/")[2].removesuffix(":latest")


def is_same_tier(asked: ServiceTier, answered: str | None) -> bool:
    """Whether the lane that answered is the one that was asked for.

    ``auto`` leaves it to the server, and a server that says nothing contradicts nobody.
    """
    if asked is ServiceTier.AUTO or not answered:
        return True
    word = answered.strip().lower()
    return (name_lane(word) or word) == name_lane(asked.value)
