"""Figures about the ranks of a run: how they differ, and one step as a timeline."""

from typing import Any

from tools.report.cases import CHARTED, Group, Names
from tools.report.figures import PHASE_COLORS, PHASE_NAMES
from tools.report.tables import Cell, Column, Figure, Table, given
from tools.report.traces import Slice, Trace

COLLECTIVE = "collective"
# What a chart can hold on a phone. The table has all.
_CHARTED_SLICES = 2000
_COLORS = {
    **{phase: (PHASE_NAMES.get(phase, phase), color) for phase, color in PHASE_COLORS.items()},
    "communication": ("communication", 5),
    "compute": ("compute", 4),
}


def skew(groups: list[Group], names: Names) -> Figure | None:
    known = [group for group in groups if group.ranks]
    if not known:
        return None
    table = Table(
        names.head(
            Column("duration", "µs"),
            given("rank"),
            given("op"),
            given("action"),
            Column("done after the step's begin", "µs"),
            Column("sent in a step", "bytes"),
            Column("longest over shortest rank"),
            Column("last rank's done less first's", "µs"),
        )
    )
    labels: list[list[str]] = []
    compute: list[float] = []
    communication: list[float] = []
    for group in known:
        ranks = group.ranks
        for op in ranks["ops"]:
            for rank, time_us in enumerate(op["time_us"]):
                table.rows.append(
                    names.row(
                        group,
                        time_us,
                        rank,
                        op["name"],
                        op["action"],
                        op["done_us"][rank],
                        op["bytes_sent"][rank],
                        op["longest_over_shortest"],
                        op["done_spread_us"],
                    )
                )
        for rank in range(len(ranks["step_ms"])):
            size, below = names.lines(group.case)
            labels.append([size, f"{below}, rank {rank}"])
            compute.append(_total_ms(ranks, rank, False))
            communication.append(_total_ms(ranks, rank, True))
    note = ""
    if len(labels) > CHARTED:
        note = f" The chart shows the first {CHARTED} of {len(labels)} ranks, the table all."
    shared = f" All of it: {names.shared}." if names.shared else ""
    return Figure(
        "skew",
        "Rank skew",
        "measured",
        "The same step on each rank: medians over its steps. The rank that comes to a collective "
        "first waits there for the others, so a rank with little computation has much "
        "communication." + note + shared,
        table,
        {
            "type": "bars",
            "stacked": True,
            "unit": "ms of the rank",
            "labels": labels[:CHARTED],
            "series": [
                {"name": "computation", "color": 4, "values": compute[:CHARTED]},
                {
                    "name": "collectives, waiting included",
                    "color": 5,
                    "values": communication[:CHARTED],
                },
            ],
        },
    )


def _total_ms(ranks: dict[str, Any], rank: int, collectives: bool) -> float:
    return sum(
        op["time_us"][rank] / 1e3
        for op in ranks["ops"]
        if (op["action"] == COLLECTIVE) == collectives
    )


def timelines(groups: list[Group], names: Names, traces: list[Trace]) -> list[Figure]:
    """Of the traces if there are any; else of the largest step of each mode."""
    by_run: dict[str, list[Trace]] = {}
    for trace in traces:
        by_run.setdefault(trace.run, []).append(trace)
    if by_run:
        return [
            _of_traces(i, run, names.full, of_run) for i, (run, of_run) in enumerate(by_run.items())
        ]
    largest: dict[str, Group] = {}
    for group in groups:
        if group.ranks:
            largest[group.case.mode] = group  # groups come in the order of their size
    return [_of_group(i, names.full, group) for i, group in enumerate(largest.values())]


def _of_group(number: int, full: bool, group: Group) -> Figure:
    slices: list[Slice] = []
    for op in group.ranks["ops"]:
        communicates = op["action"] == COLLECTIVE
        for rank, end in enumerate(op["done_us"]):
            track = f"rank {rank} {'communication' if communicates else 'compute'}"
            kind = "communication" if communicates else op["phase"]
            slices.append(Slice(track, op["name"], kind, end - op["time_us"][rank], end))
    case = group.case
    return _figure(
        number,
        f"Timeline of one step: {case.mode} mode",
        f"{case.size}, {case.dtype}, tp {case.tp}, dp {case.dp}. Each op ends when "
        "it was done after the step's begin on its own rank, and is as long as it took: medians over the "
        "steps, so ops of a track may seem to overlap a little.",
        slices,
        _facts_of(group) if full else {},
    )


def _facts_of(group: Group) -> dict[str, Cell]:
    names = Names([group], full=True)
    heads = [column.name for column in names.facts_head()]
    return dict(zip(heads, names.row(group, None)))


def _of_traces(number: int, run: str, full: bool, traces: list[Trace]) -> Figure:
    slices = [
        Slice(f"rank {trace.rank} {s.track}", s.name, s.kind, s.begin_us, s.end_us)
        for trace in sorted(traces, key=lambda trace: trace.rank)
        for s in trace.slices
    ]
    steps = ", ".join(sorted({trace.step for trace in traces}))
    files = ", ".join(trace.file for trace in traces)
    return _figure(
        number,
        f"Timeline of one step: {run}",
        f"{steps} of the traces {files}: the step of median length on the first rank. Each rank's "
        "step begins with its first op.",
        slices,
        {"run": run} if full else {},
    )


def _figure(
    number: int, title: str, caption: str, slices: list[Slice], facts: dict[str, Cell]
) -> Figure:
    """`facts`: cells that each row of the table begins with, by column."""
    columns = [given(name) for name in ("rank", "track", "op", "kind")]
    table = Table([*map(given, facts), *columns, Column("begin", "µs"), Column("end", "µs")])
    tracks = sorted({s.track for s in slices}, key=_track_order)
    for s in sorted(slices, key=lambda s: (tracks.index(s.track), s.begin_us)):
        _, rank, track = s.track.split(" ", 2)
        row: list[Cell] = [*facts.values(), int(rank), track, s.name, s.kind]
        table.rows.append([*row, s.begin_us, s.end_us])
    # The longest are what there is to see; all in their order, so that the page is always the same.
    longest = sorted(range(len(slices)), key=lambda i: slices[i].begin_us - slices[i].end_us)
    shown = [slices[i] for i in sorted(longest[:_CHARTED_SLICES])]
    if len(shown) < len(slices):
        caption += (
            f" The chart shows the {len(shown):,} longest of {len(slices):,} ops, the table all."
        )
    series: dict[str, dict] = {}
    for s in shown:
        name, color = _COLORS.get(s.kind, (s.kind, 6))
        bars = series.setdefault(s.kind, {"name": name, "color": color, "bars": []})
        bars["bars"].append([tracks.index(s.track), s.begin_us, s.end_us, s.name])
    return Figure(
        f"timeline-{number}" if number else "timeline",
        title,
        "measured",
        caption,
        table,
        {
            "type": "timeline",
            "unit": "µs since the step's begin",
            "tracks": tracks,
            "series": list(series.values()),
        },
    )


def _track_order(track: str) -> tuple[int, str]:
    """rank 2 before rank 10, and compute above communication."""
    _, rank, rest = track.split(" ", 2)
    return (int(rank), "" if rest == "compute" else rest)
