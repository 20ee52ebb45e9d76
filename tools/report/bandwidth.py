"""The figure about collectives: those that were timed alone, and those of each step."""

import statistics
from dataclasses import asdict

from tools.report.cases import Names
from tools.report.load import Data, Transfer
from tools.report.tables import Cell, Column, Figure, Table, given


def _grouped(transfers: list[Transfer]) -> list[list[Transfer]]:
    """The repeats of each different transfer."""
    by_what: dict[tuple, list[Transfer]] = {}
    for t in transfers:
        place = (t.origin.host, t.origin.processor, t.origin.commit)
        what = (t.backend, t.kind, t.algorithm, t.members, t.dtype, t.nbytes, t.within, *place)
        by_what.setdefault(what, []).append(t)
    return [by_what[what] for what in sorted(by_what)]


def _facts(repeats: list[Transfer]) -> list[Cell]:
    t = repeats[0]
    loads = [r.origin.load for r in repeats if r.origin.load is not None]
    known = asdict(t.case) if t.case else {"backend": t.backend, "dtype": t.dtype}
    dates = [r.origin.date for r in repeats if r.origin.date]
    known |= asdict(t.origin) | {"tp": t.tp, "dp": t.dp, "date": min(dates, default="")}
    # The collective's own algorithm stands beside it: that of the case is what was asked for.
    return Names.facts(known | {"load": max(loads, default=None)})


def bandwidth(data: Data, full: bool) -> Figure:
    facts = Names.facts_head() if full else []
    table = Table(
        [
            *facts,
            given("collective"),
            given("bytes"),
            Column("busbw", "GB/s"),
            Column("algbw", "GB/s"),
            Column("time", "µs"),
            given("ran as"),
            given("ranks"),
            *([] if full else [given("dtype"), given("in")]),
            Column("runs"),
            Column("wrong elements"),
        ]
    )
    lines: dict[str, list[tuple[int, float]]] = {}
    machines = {(t.origin.host, t.origin.processor) for t in data.transfers}
    for repeats in _grouped(data.transfers):
        t = repeats[0]
        busbw = statistics.median(repeat.busbw_gbps for repeat in repeats)
        table.rows.append(
            [
                *(_facts(repeats) if full else []),
                t.kind,
                t.nbytes,
                busbw,
                statistics.median(repeat.algbw_gbps for repeat in repeats),
                statistics.median(repeat.time_us for repeat in repeats),
                t.algorithm,
                t.members,
                *([] if full else [t.dtype, f"{t.backend}, {t.within}"]),
                len(repeats),
                None if t.wrong is None else sum(repeat.wrong or 0 for repeat in repeats),
            ]
        )
        if t.nbytes > 0 and busbw > 0:  # the others have no place on a logarithmic axis
            within = ", in a step" if t.case else ""
            where = f", {t.origin.host or t.origin.processor}" if len(machines) > 1 else ""
            name = f"{t.kind} {t.algorithm}, {t.members} ranks, {t.dtype}{where}{within}"
            lines.setdefault(name, []).append((t.nbytes, busbw))
    return Figure(
        "busbw",
        "Bus bandwidth against size",
        "measured",
        "algbw is the bytes of the whole array over the time; busbw is algbw times the factor of "
        "NVIDIA's nccl-tests, so that it can be held against the link's speed whatever the number "
        "of ranks. Medians over the runs. The time of a collective within a step is that of the rank "
        "that came last.",
        table,
        {
            "type": "lines",
            "x": "bytes of the whole array",
            "y": "busbw, GB/s",
            "bytes": True,
            "series": [
                {"name": name, "points": sorted(points), "line": "in a step" not in name}
                for name, points in lines.items()
            ],
        },
    )
