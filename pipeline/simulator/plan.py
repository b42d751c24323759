"""A file that says which request meets which fault."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.config.documents import read_text
from pipeline.domain.errors import ConfigurationError
from pipeline.simulator.behavior import Fault


class PlannedFault(BaseModel):
    """One line of the file: what it leaves out or gives as null, it does not ask for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    picture: str | None = Field(None, pattern="^[0-9a-f]{1,64}$")
    """Beginning of the sha256 of the picture as sent, in hex."""
    request: int | None = Field(None, ge=1)
    """Of the requests that the limits let through, from 1."""
    time: int | None = Field(None, ge=1)
    """The how-manieth request about this picture, from 1."""
    fault: Fault | None
    """None: answered truly, whatever the shares say."""

    def is_for(self, picture: str, *, request: int, time: int) -> bool:
        return (
            (self.picture is None or picture.startswith(self.picture))
            and self.request in (None, request)
            and self.time in (None, time)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultPlan:
    """Planned faults in the order of the file; the first that fits counts."""

    lines: Sequence[PlannedFault] = ()

    def find(self, picture: str, *, request: int, time: int) -> PlannedFault | None:
        """The line for a request, if there is one."""
        fitting = (line for line in self.lines if line.is_for(picture, request=request, time=time))
        return next(fitting, None)


def read_plan(path: Path | None) -> FaultPlan:
    """Read a file of JSON lines; without one nothing is planned.

    Raises:
        ConfigurationError: the file cannot be read, or a line is wrong; names the line.
    """
    if path is None:
        return FaultPlan()
    numbered = enumerate(read_text(path).splitlines(), 1)
    return FaultPlan(lines=[_read_line(path, *line) for line in numbered if line[1].strip()])


def _read_line(path: Path, number: int, text: str) -> PlannedFault:
    try:
        return PlannedFault.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        what = f"{where}: {first['msg']}" if where else first["msg"]
        raise ConfigurationError(f"{path}, line {number}: {what}") from error
