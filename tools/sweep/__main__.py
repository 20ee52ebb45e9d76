#!/usr/bin/env python3
"""sweep: runs bench or collectives over many points; see docs/sweeping.md and sweep --help."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType

from tools.common import program
from tools.common.files import resolve
from tools.common.program import INTERRUPTED, UserError
from tools.sweep import options, points, runner, table
from tools.sweep.progress import ProgressBar
from tools.sweep.records import Record, RecordFile

_Runs = list[tuple[points.Point, int]]


def _find(tool: str, named: str) -> str:
    """The program of a tool: as named, or where a build, a bundle or a clone has it."""
    here = os.path.dirname(os.path.abspath(__file__))
    beside = (f"../../../bin/{tool}", f"../{tool}/{tool}", f"../../bazel-bin/tools/{tool}/{tool}")
    places = ([os.path.abspath(resolve(named))] if named else
              [os.path.join(here, place) for place in beside])
    for place in places:
        if os.path.isfile(place) and os.access(place, os.X_OK):
            return os.path.normpath(place)
    if named:
        raise UserError(f"--{tool}={named}: there is no such program")
    raise UserError(f"there is no {tool} beside this program; build it "
                     f"(bazelw build //tools:{tool}) or name it (--{tool}=PATH)")


def _summarise(planned: list[points.Point], runs: _Runs, file: RecordFile, name: str,
               before: int) -> bool:
    """Says what the file, called `name`, has of these runs. Whether all are there and none failed."""
    wanted = {(point.key, repeat) for point, repeat in runs}
    records = [record for record in file.records if (record["key"], record["repeat"]) in wanted]
    errors: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        if "error" in record:
            errors.setdefault((record["key"], record["error"]), []).append(record)
    failed = sum(len(group) for group in errors.values())
    of_before = f" ({before} of them before)" if before else ""
    print(f"{name}: {len(records)} of {len(wanted)} runs done{of_before}, {failed} failed")
    for (key, error), group in errors.items():
        times = f" ({len(group)} times)" if len(group) > 1 else ""
        print(f"  failed{times}: {key}: {error}")
    for line in table.render(planned, records):
        print(line)
    if any(record["tool"] in record for record in records):  # has a result
        print(f"\nnext: report {name}")
    return failed == 0 and len(records) == len(wanted)


def _run_all(runs: _Runs, file: RecordFile, settings: dict[str, str], timeout: float) -> None:
    done = {(record["key"], record["repeat"]) for record in file.records}
    rest = [(point, repeat) for point, repeat in runs if (point.key, repeat) not in done]
    host = runner.host_facts()
    bar = ProgressBar(len(runs), len(runs) - len(rest))
    try:
        for point, repeat in rest:
            bar.running(point.key)
            record = runner.run(point, repeat, settings[point.tool], host, timeout)
            file.append(record)
            bar.finished("error" in record)
    finally:
        bar.clear()


def sweep(arguments: Sequence[str]) -> int:
    """Runs a sweep; the exit status. Errors: UserError."""
    settings = options.parse(arguments)
    planned = points.plan(settings)
    runs = points.order(planned, settings.repeats, settings.order_seed)
    programs = {tool: _find(tool, getattr(settings, tool))
                for tool in dict.fromkeys(point.tool for point in planned)}
    inputs = {f"--{tool}": [path] for tool, path in programs.items()}
    program.check_distinct({"--output": settings.output}, inputs | {"--config": [settings.config]})
    with RecordFile(str(resolve(settings.output))) as file:
        known = {(record["key"], record["repeat"]) for record in file.records}
        before = sum((point.key, repeat) in known for point, repeat in runs)
        try:
            _run_all(runs, file, programs, settings.timeout)
        except KeyboardInterrupt:
            _summarise(planned, runs, file, settings.output, before)
            program.say("sweep", "interrupted; the same command goes on from there")
            return INTERRUPTED
        return 0 if _summarise(planned, runs, file, settings.output, before) else 1


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> int:
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGHUP, _interrupt)
    return program.run("sweep", lambda: sweep(sys.argv[1:]))


if __name__ == "__main__":
    sys.exit(main())
