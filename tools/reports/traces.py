"""Traces in the JSON of Chrome and PyTorch's profiler, as `bench --profile` writes them: one a rank."""

import gzip
import json
import pathlib
import re
from dataclasses import dataclass
from typing import Any

from tools.reports.load import BadInput

_STEP = re.compile(r"ProfilerStep#\d+")
_ON_DEVICE = ("kernel", "gpu_memcpy", "gpu_memset")
_COMMUNICATION = re.compile(
    r"nccl|gloo|all_?reduce|all_?gather|reduce_?scatter|all_?to_?all|broadcast|barrier", re.I
)
# So that the page stays small enough for a phone.
_MOST_SLICES = 2000


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


def load_trace(path: pathlib.Path) -> Trace:
    """The step of median length of a trace. Raises BadInput."""
    trace = _read(path)
    events = trace.get("traceEvents")
    if not isinstance(events, list):
        raise BadInput(f"{path}: no traceEvents in it, so it is no trace")
    spans = [event for event in events if _is_span(event)]
    steps = [span for span in spans if _STEP.fullmatch(span["name"])]
    if not steps:
        raise BadInput(f"{path}: no ProfilerStep#N in it; was it written by bench --profile?")
    steps.sort(key=lambda span: span["dur"])
    step = steps[(len(steps) - 1) // 2]
    slices = _slices_within(step, spans, _track_names(events))
    if not slices:
        raise BadInput(f"{path}: {step['name']} holds no op")
    rank, run = _who(path, trace)
    return Trace(path.name, run, rank, step["name"], slices[:_MOST_SLICES])


def _read(path: pathlib.Path) -> dict[str, Any]:
    try:
        raw = path.read_bytes()
        trace = json.loads(gzip.decompress(raw) if path.suffix == ".gz" else raw)
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror or error}") from error
    except (ValueError, EOFError) as error:
        raise BadInput(f"{path}: not a whole trace: {error}") from error
    if not isinstance(trace, dict):
        raise BadInput(f"{path}: not a trace, which is an object with traceEvents")
    return trace


def _is_span(event: Any) -> bool:
    return (
        isinstance(event, dict)
        and event.get("ph") == "X"
        and isinstance(event.get("name"), str)
        and all(isinstance(event.get(key), (int, float)) for key in ("ts", "dur"))
    )


def _track_names(events: list[Any]) -> dict[tuple[Any, Any], str]:
    return {
        (event.get("pid"), event.get("tid")): str(event.get("args", {}).get("name", ""))
        for event in events
        if isinstance(event, dict) and event.get("name") == "thread_name"
    }


def _slices_within(
    step: dict[str, Any], spans: list[dict[str, Any]], names: dict[tuple[Any, Any], str]
) -> list[Slice]:
    begin, end = step["ts"], step["ts"] + step["dur"]
    inside = [s for s in spans if begin <= s["ts"] + s["dur"] / 2 <= end and s is not step]
    kernels = [span for span in inside if span.get("cat") in _ON_DEVICE]
    ops = kernels or [span for span in inside if span.get("cat") == "cpu_op"]
    return [
        Slice(
            track=names.get((op.get("pid"), op.get("tid"))) or f"track {op.get('tid')}",
            name=op["name"],
            kind=_kind(op),
            begin_us=op["ts"] - begin,
            end_us=op["ts"] - begin + op["dur"],
        )
        for op in sorted(ops, key=lambda op: op["ts"])
        if not _STEP.fullmatch(op["name"])
    ]


def _kind(op: dict[str, Any]) -> str:
    if _COMMUNICATION.search(op["name"]):
        return "communication"
    args = op.get("args")
    phase = args.get("phase") if isinstance(args, dict) else None
    return phase if isinstance(phase, str) else "compute"


def _who(path: pathlib.Path, trace: dict[str, Any]) -> tuple[int, str]:
    folder = re.fullmatch(r"profiler_logs_rank_(\d+)_(.*)", path.resolve().parent.name)
    info = trace.get("distributedInfo")
    rank = info.get("rank") if isinstance(info, dict) else None
    if not isinstance(rank, int):
        rank = int(folder[1]) if folder else 0
    return rank, f"{folder[2]} mode" if folder else path.parent.name or "trace"
