"""``python -m drills``: runs them one after another and prints one table."""

import argparse
import sys
from collections.abc import Iterator, Sequence

from drills.catalog import DRILLS, Drill, run_drill
from drills.verdict import NotRunHere, Scale, Verdict, print_verdicts


def main(words: Sequence[str] | None = None) -> int:
    """Exit code 1 if there was any problem."""
    given = _parse(words)
    scale = Scale(is_short=given.short, seed=given.seed)
    verdicts = list(_run_all(_choose(given.only), scale))
    print_verdicts(verdicts)
    return int(any(verdict.problems for verdict in verdicts))


def _parse(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="drills", description="Fault drills; see docs/drills.md")
    parser.add_argument("--short", action="store_true", help="the forms that run with the tests")
    parser.add_argument("--only", metavar="A,B", help=", ".join(drill.name for drill in DRILLS))
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of all chances")
    return parser.parse_args(words)


def _choose(names: str | None) -> list[Drill]:
    wanted = {drill.name for drill in DRILLS} if names is None else set(names.split(","))
    if unknown := wanted - {drill.name for drill in DRILLS}:
        sys.exit(f"no such drill: {', '.join(sorted(unknown))}")
    return [drill for drill in DRILLS if drill.name in wanted]


def _run_all(drills: Sequence[Drill], scale: Scale) -> Iterator[Verdict]:
    for drill in drills:
        for kind in drill.short_kinds if scale.is_short else drill.kinds:
            print(f"{drill.name} on {kind} ...", file=sys.stderr, flush=True)  # noqa: T201 - a script
            try:
                yield run_drill(drill, kind, scale)
            except NotRunHere as reason:
                yield Verdict(drill=drill.name, ledger=kind, remark=str(reason))


if __name__ == "__main__":
    sys.exit(main())
