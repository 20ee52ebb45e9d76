"""Traces in the JSON of Chrome and PyTorch's profiler, as `bench --profile` writes them: one a rank."""

import gzip
import json
import pathlib
import re
import zlib
from dataclasses import dataclass
from typing import Any

from tools.common.program import UserError, reason
from tools.report.node import refuse_constant

_STEP = re.compile(r"ProfilerStep#\d+")
_ON_DEVICE = ("kernel", "gpu_memcpy", "gpu_memset")
# The GPU backend's kernels have nccl:: in their names, whatever they do.
_COMMUNICATION = re.compile(
    r"nccl(?!::)|gloo|all_?reduce|all_?gather|reduce_?scatter|all_?to_?all|broadcast|barrier", re.I
)
_NOTHING: dict[str, Any] = {}


@dataclass(frozen=True)
class Slice:
    track: str
    name: str
    kind: str  # a phase, "compute" or "communication"
    begin_us: float
    end_us: float


@dataclass(frozen=True)
class Trace:
    file: str
    run: str  # the ranks of one run share it: the folder's name without the rank
    rank: int
    step: str
    slices: list[Slice]


@dataclass(frozen=True)
class _Rank:
    """One file: what its rank did."""

    path: pathlib.Path
    run: str
    rank: int
    events: list[Any]
    spans: list[dict[str, Any]]

    def steps(self) -> list[dict[str, Any]]:
        return [span for span in self.spans if _STEP.fullmatch(span["name"])]


def load_traces(paths: list[pathlib.Path]) -> list[Trace]:
    """Of each run one step, the same on all its ranks: that of median length on its first rank.

    Raises UserError."""
    by_run: dict[str, list[_Rank]] = {}
    for path in paths:
        rank = _load_rank(path)
        of_run = by_run.setdefault(rank.run, [])
        for other in of_run:
            if other.rank == rank.rank:
                raise UserError(
                    f"{path}: rank {rank.rank} of {rank.run} is in {other.path}, too; name one"
                )
        of_run.append(rank)
    traces: list[Trace] = []
    for ranks in by_run.values():
        ranks.sort(key=lambda rank: rank.rank)
        steps = sorted(ranks[0].steps(), key=lambda step: step["dur"])
        name = steps[(len(steps) - 1) // 2]["name"]
        traces += [_trace(rank, name) for rank in ranks]
    return traces


def _load_rank(path: pathlib.Path) -> _Rank:
    trace = read_trace(path)
    events = trace["traceEvents"]
    number, run = rank_and_run(path, trace)
    rank = _Rank(path, run, number, events, [event for event in events if _is_span(event)])
    if not rank.steps():
        raise UserError(f"{path}: no ProfilerStep#N in it; was it written by bench --profile?")
    return rank


def _trace(rank: _Rank, name: str) -> Trace:
    steps = [step for step in rank.steps() if step["name"] == name]
    if not steps:
        raise UserError(f"{rank.path}: {name} is not in it, but in the trace of another rank")
    slices = _slices_within(steps[0], rank.spans, _track_names(rank.events))
    if not slices:
        raise UserError(f"{rank.path}: {name} holds no op")
    return Trace(rank.path.name, rank.run, rank.rank, name, slices)


def read_trace(path: pathlib.Path) -> dict[str, Any]:
    """Whose traceEvents are a list, of whatever. Raises UserError."""
    try:
        raw = path.read_bytes()
        text = gzip.decompress(raw) if path.suffix == ".gz" else raw
        trace = json.loads(text, parse_constant=refuse_constant)
    except (ValueError, EOFError, RecursionError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path}: not a whole trace: {error}") from error
    except OSError as error:
        raise UserError(f"{path}: {reason(error)}") from error
    if not isinstance(trace, dict):
        raise UserError(f"{path}: not a trace, which is an object with traceEvents")
    if not isinstance(trace.get("traceEvents"), list):
        raise UserError(f"{path}: no traceEvents in it, so it is no trace")
    if "mergedRanks" in trace:
        raise UserError(f"{path}: merged of several ranks; give the traces of each rank")
    return trace


def _is_span(event: Any) -> bool:
    return (
        isinstance(event, dict)
        and event.get("ph") == "X"
        and isinstance(event.get("name"), str)
        and _is_time(event.get("ts"))
        and _is_time(event.get("dur"))
    )


def _is_time(value: Any) -> bool:
    # A number beyond all floats, or NaN, which Python reads though JSON has none, is no time.
    return isinstance(value, (int, float)) and abs(value) < 1e300 and not isinstance(value, bool)


def _args(event: dict[str, Any]) -> dict[str, Any]:
    args = event.get("args")
    return args if isinstance(args, dict) else _NOTHING


def _track(event: dict[str, Any]) -> str:
    """A process and a thread in it, which a trace may name by any JSON."""
    return json.dumps([event.get("pid"), event.get("tid")])


def _track_names(events: list[Any]) -> dict[str, str]:
    return {
        _track(event): _short(name)
        for event in events
        if isinstance(event, dict)
        and event.get("name") == "thread_name"
        and isinstance(name := _args(event).get("name"), str)
    }


def _short(track: str) -> str:
    """compute, of "compute stream, a CPU worker"."""
    return track.partition(" stream")[0]


def _name(op: dict[str, Any]) -> str:
    """The kernel, and what it computes where the trace says so."""
    value = _args(op).get("value")
    return f"{value}: {op['name']}" if isinstance(value, str) else op["name"]


def _slices_within(
    step: dict[str, Any], spans: list[dict[str, Any]], names: dict[str, str]
) -> list[Slice]:
    begin, end = step["ts"], step["ts"] + step["dur"]
    inside = [s for s in spans if begin <= s["ts"] + s["dur"] / 2 <= end and s is not step]
    kernels = [span for span in inside if span.get("cat") in _ON_DEVICE]
    ops = [
        op
        for op in kernels or [span for span in inside if span.get("cat") == "cpu_op"]
        if not _STEP.fullmatch(op["name"])
    ]
    launchers = {_id(span): span["name"] for span in spans if span.get("cat") == "cpu_op"}
    launchers.pop("", None)
    # On GPUs a step is enqueued before it begins.
    first = min((op["ts"] for op in ops), default=begin)
    return [
        Slice(
            track=names.get(_track(op)) or f"track {op.get('tid')}",
            name=_name(op),
            kind=_kind(op, launchers.get(_id(op), "")),
            begin_us=op["ts"] - first,
            end_us=op["ts"] - first + op["dur"],
        )
        for op in sorted(ops, key=lambda op: op["ts"])
    ]


def _id(span: dict[str, Any]) -> str:
    """Which op a kernel belongs to; "" if to none."""
    id = _args(span).get("External id")
    return "" if id is None else json.dumps(id)


def _kind(op: dict[str, Any], launcher: str) -> str:
    if _COMMUNICATION.search(launcher) or _COMMUNICATION.search(op["name"]):
        return "communication"
    phase = _args(op).get("phase")
    return phase if isinstance(phase, str) else "compute"


def rank_and_run(path: pathlib.Path, trace: dict[str, Any]) -> tuple[int, str]:
    """Whose trace it is, and a name that the ranks of one run share."""
    folder = re.fullmatch(r"profiler_logs_rank_(\d+)_(.*)", path.resolve().parent.name)
    info = trace.get("distributedInfo")
    rank = info.get("rank") if isinstance(info, dict) else None
    if not isinstance(rank, int) or isinstance(rank, bool):
        rank = int(folder[1]) if folder else 0
    return rank, f"{folder[2]} mode" if folder else path.parent.name or "trace"
