"""One trace of all ranks, of the traces of each, for Perfetto: their tracks below each other.

Times stay as they are. The ranks of a host share a clock; those of several hosts do not."""

import json
import pathlib
from typing import Any

from tools.common.program import UserError
from tools.report.traces import rank_and_run, read_trace

# Where the numbers that join arrows are; each is one rank's own.
_FLOW_PHASES = ("s", "t", "f")
_PIDS = 1000  # of a rank


def merge(paths: list[pathlib.Path]) -> str:
    """JSON. Raises UserError: not all of one run, or a rank twice."""
    by_rank: dict[int, tuple[pathlib.Path, dict[str, Any]]] = {}
    runs: dict[str, pathlib.Path] = {}
    for path in paths:
        trace = read_trace(path)
        rank, run = rank_and_run(path, trace)
        runs[run] = path
        if len(runs) > 1:
            raise UserError(f"{path}: is of {run}, and {paths[0]} is not; merge one run at a time")
        if rank in by_rank:
            raise UserError(f"{path}: rank {rank} is in {by_rank[rank][0]}, too; name one of them")
        by_rank[rank] = path, trace
    events: list[Any] = []
    for rank in sorted(by_rank):
        events += _of_rank(rank, by_rank[rank][1]["traceEvents"])
    first = by_rank[min(by_rank)][1]
    kept = {name: first[name] for name in ("schemaVersion", "times", "clock") if name in first}
    merged = {**kept, "mergedRanks": sorted(by_rank), "traceEvents": events}
    try:
        return json.dumps(merged, ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n"
    except ValueError as error:
        raise UserError(f"{paths[0].parent}: a trace holds a number beyond all floats") from error


def _of_rank(rank: int, events: list[Any]) -> list[Any]:
    pids: dict[str, int] = {}

    def moved(event: Any) -> Any:
        if not isinstance(event, dict):
            return event
        new = dict(event)
        if "pid" in event:
            new["pid"] = _PIDS * (rank + 1) + pids.setdefault(json.dumps(event["pid"]), len(pids))
        if event.get("ph") in _FLOW_PHASES and "id" in event:
            new["id"] = f"{rank}.{event['id']}"
        args = event.get("args")
        if event.get("name") == "process_sort_index" and isinstance(args, dict):
            within = args.get("sort_index")
            new["args"] = {"sort_index": _PIDS * rank + (within if isinstance(within, int) else 0)}
        return new

    return [moved(event) for event in events]
