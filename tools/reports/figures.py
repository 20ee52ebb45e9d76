"""The figures of a report about training steps, from what was measured."""

import statistics

from tools.reports import floors
from tools.reports.cases import CHARTED, Group, Names
from tools.reports.load import PHASES, Data, Transfer
from tools.reports.tables import Cell, Column, Figure, Table, given

_PHASE_NAMES = {"gradient_sync": "gradient synchronisation"}


def _charted(groups: list[Group]) -> str:
    if len(groups) <= CHARTED:
        return ""
    return f" The chart shows the first {CHARTED} of {len(groups)} cases, the table all."


def _said(text: str, names: Names) -> str:
    return f"{text} All of it: {names.shared}." if names.shared else text


def step_time(groups: list[Group], names: Names) -> Figure:
    table = Table(
        [
            *names.columns,
            Column("runs"),
            Column("median", "ms"),
            Column("fastest run's median", "ms"),
            Column("slowest run's median", "ms"),
            Column("min", "ms"),
            Column("p99", "ms"),
            Column("products alone", "ms"),
            Column("throughput", "tokens/s"),
            Column("throughput", "GFLOP/s"),
            given("layers"),
        ]
    )
    for group in groups:
        case, medians = group.case, group.step_ms("median")
        table.rows.append(
            [
                *names.cells(case),
                len(medians),
                group.median,
                min(medians),
                max(medians),
                min(group.step_ms("min")),
                max(group.step_ms("p99")),
                group.products,
                case.tokens / group.median * 1e3,
                case.flops_per_rank * case.tp * case.dp / group.median / 1e6,
                group.layers,
            ]
        )
    return Figure(
        "step-time",
        "Step time by mode and size",
        "measured",
        _said(
            "Median time of a step of the slowest rank, and over the runs where there are several. "
            "The line on a bar reaches from the shortest step to p99; an arrow says that it goes on."
            + _charted(groups),
            names,
        ),
        table,
        _step_chart(groups, names),
    )


def _step_chart(groups: list[Group], names: Names) -> dict:
    """A bar a mode beside each other, a place on the axis a size."""
    places: list[list[str]] = []
    modes: dict[str, dict[int, Group]] = {}
    for group in groups[:CHARTED]:
        lines = names.lines(group.case, with_mode=False)
        if lines not in places:
            places.append(lines)
        modes.setdefault(group.case.mode, {})[places.index(lines)] = group

    def series(mode: str, at: dict[int, Group]) -> dict:
        def of(quantity) -> list[float | None]:
            return [quantity(at[i]) if i in at else None for i in range(len(places))]

        return {
            "name": f"{mode} mode",
            "color": {"row": 0, "column": 1}.get(mode, 2),
            "values": of(lambda group: group.median),
            "low": of(lambda group: min(group.step_ms("min"))),
            "high": of(lambda group: max(group.step_ms("p99"))),
        }

    values = [group.median for group in groups[:CHARTED]]
    return {
        "type": "bars",
        "unit": "ms a step",
        "log": max(values) > 50 * min(values),
        "labels": places,
        "series": [series(mode, at) for mode, at in modes.items()],
    }


def phases(groups: list[Group], names: Names) -> Figure:
    table = Table(list(names.columns))
    for phase in PHASES:
        name = _PHASE_NAMES.get(phase, phase)
        table.columns.append(Column(f"{name}: compute", "ms"))
        table.columns.append(Column(f"{name}: exposed communication", "ms"))
    table.columns.append(Column("rest of the step", "ms"))
    parts: dict[str, list[float]] = {}
    for group in groups:
        times = group.times()
        row: list[Cell] = list(names.cells(group.case))
        for phase in PHASES:
            for part, kind in ((times.compute, "compute"), (times.exposed, "exposed")):
                row.append(part[phase])
                parts.setdefault(f"{phase} {kind}", []).append(part[phase])
        rest = group.median - times.accounted
        parts.setdefault("rest", []).append(max(rest, 0.0))
        table.rows.append([*row, rest])
    shown = [
        ("forward compute", "forward, compute", 0),
        ("forward exposed", "forward, exposed communication", 5),
        ("backward compute", "backward, compute", 2),
        ("backward exposed", "backward, exposed communication", 4),
        ("gradient_sync exposed", "gradient synchronisation, exposed", 3),
        ("gradient_sync compute", "gradient synchronisation, compute", 6),
        ("optimizer compute", "optimizer", 1),
        ("optimizer exposed", "optimizer, exposed communication", 6),
        ("rest", "rest of the step", 7),
    ]
    return Figure(
        "phases",
        "Where the time of a step goes",
        "measured",
        _said(
            "Means over steps and ranks, of the average rank. Exposed communication is what no "
            "computation of the same rank hides, waiting for other ranks included. The rest is the "
            "step of the slowest rank less all of these: launching, and what the average rank does "
            "not see. It is below zero where ops overlap or the mean is above the median."
            + _charted(groups),
            names,
        ),
        table,
        {
            "type": "bars",
            "stacked": True,
            "unit": "ms of the average rank",
            "labels": [names.lines(group.case) for group in groups[:CHARTED]],
            "series": [
                {"name": title, "color": color, "values": parts[part][:CHARTED]}
                for part, title, color in shown
                if any(parts[part])
            ],
        },
    )


def exposed(groups: list[Group], names: Names) -> Figure:
    table = Table(
        [
            *names.columns,
            Column("communication", "ms"),
            Column("exposed", "ms"),
            Column("hidden", "ms"),
            Column("exposed, of the communication", "%"),
            Column("exposed, of the step", "%"),
        ]
    )
    hidden: list[float] = []
    seen: list[float] = []
    for group in groups:
        times = group.times()
        total, shown = sum(times.communication.values()), sum(times.exposed.values())
        seen.append(shown)
        hidden.append(max(total - shown, 0.0))
        share = 100 * shown / total if total > 0 else None
        of_step = 100 * shown / group.median if group.median > 0 else None
        table.rows.append([*names.cells(group.case), total, shown, total - shown, share, of_step])
    return Figure(
        "exposed",
        "Exposed communication",
        "measured",
        _said(
            "Time of the average rank in collectives, waiting for other ranks included: what "
            "computation of the same rank hides, and what is exposed." + _charted(groups),
            names,
        ),
        table,
        {
            "type": "bars",
            "stacked": True,
            "unit": "ms of the average rank",
            "labels": [names.lines(group.case) for group in groups[:CHARTED]],
            "series": [
                {"name": "exposed", "color": 1, "values": seen[:CHARTED]},
                {"name": "hidden behind computation", "color": 0, "values": hidden[:CHARTED]},
            ],
        },
    )


def _grouped(transfers: list[Transfer]) -> list[tuple[Transfer, list[Transfer]]]:
    """Each different transfer with its repeats."""
    by_what: dict[tuple, list[Transfer]] = {}
    for t in transfers:
        what = (t.backend, t.kind, t.algorithm, t.members, t.dtype, t.nbytes, t.within)
        by_what.setdefault(what, []).append(t)
    return [(by_what[what][0], by_what[what]) for what in sorted(by_what)]


def bandwidth(data: Data) -> Figure:
    table = Table(
        [
            given("collective"),
            given("algorithm"),
            given("ranks"),
            given("dtype"),
            given("bytes"),
            given("in"),
            Column("runs"),
            Column("time", "µs"),
            Column("algbw", "GB/s"),
            Column("busbw", "GB/s"),
            Column("wrong elements"),
        ]
    )
    lines: dict[str, list[tuple[int, float]]] = {}
    for t, repeats in _grouped(data.transfers):
        busbw = statistics.median(repeat.busbw_gbps for repeat in repeats)
        table.rows.append(
            [
                t.kind,
                t.algorithm,
                t.members,
                t.dtype,
                t.nbytes,
                f"{t.backend}, {t.within}",
                len(repeats),
                statistics.median(repeat.time_us for repeat in repeats),
                statistics.median(repeat.algbw_gbps for repeat in repeats),
                busbw,
                None if t.wrong is None else sum(repeat.wrong or 0 for repeat in repeats),
            ]
        )
        if t.nbytes > 0 and busbw > 0:  # the others have no place on a logarithmic axis
            within = "" if t.within == "collectives" else ", in a step"
            name = f"{t.kind} {t.algorithm}, {t.members} ranks, {t.dtype}{within}"
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


def roofline(groups: list[Group], names: Names, peaks: floors.Peaks) -> Figure:
    table = Table(
        [
            *names.columns,
            Column("step", "ms"),
            Column("products alone", "ms"),
            Column("GEMM floor", "ms", "predicted"),
            Column("link floor", "ms", "predicted"),
            Column("step over its higher floor", "", "predicted"),
            Column("reached", "TFLOP/s a rank"),
            Column("intensity", "FLOP per byte sent", "given"),
            given("peak", "TFLOP/s"),
            given("link", "GB/s"),
            given("source of peak and link"),
        ]
    )
    points: dict[str, list[tuple[float, float]]] = {}
    roofs: dict[tuple[float, float], list[float]] = {}
    for group in groups:
        tflops, link, sources = peaks.of(group)
        gemm, wire = floors.gemm_floor_ms(group, tflops), floors.link_floor_ms(group, link)
        known = [floor for floor in (gemm, wire) if floor]
        sent = floors.bytes_per_rank(group)
        reached = group.case.flops_per_rank / group.median / 1e9
        intensity = group.case.flops_per_rank / sent if sent else None
        table.rows.append(
            [
                *names.cells(group.case),
                group.median,
                group.products,
                gemm,
                wire,
                group.median / max(known) if known else None,
                reached,
                intensity,
                tflops,
                link,
                "; ".join(dict.fromkeys(sources)) or None,
            ]
        )
        if intensity:
            name = f"{group.case.mode} mode, {group.case.dtype}: measured"
            points.setdefault(name, []).append((intensity, reached))
            if tflops and link:
                roofs.setdefault((tflops, link), []).append(intensity)
    series = [{"name": name, "points": at, "line": False} for name, at in points.items()]
    series += [_roof(*roof, at) for roof, at in roofs.items()]
    caption = (
        "What a rank reached against the operations that it does for each byte that it must send. "
        "No step can be above the roof: on the left the link, on the right the matrix units set it. "
    )
    if not roofs:
        caption += (
            "No roof is drawn: the peaks of this machine are not known. Give them with "
            "--peak_tflops and --link_gbps (of one rank; 10^9 bytes a second, one direction)."
        )
    return Figure(
        "roofline",
        "Roofline",
        "measured and predicted" if roofs else "measured",
        _said(caption, names),
        table,
        {
            "type": "lines",
            "x": "FLOP per byte sent by a rank",
            "y": "TFLOP/s of a rank",
            "logy": True,
            "series": series,
        },
    )


def _roof(tflops: float, link_gbps: float, intensities: list[float]) -> dict:
    ridge = tflops * 1e3 / link_gbps
    left, right = min([*intensities, ridge]) / 2, max([*intensities, ridge]) * 2
    points = [(x, min(tflops, x * link_gbps / 1e3)) for x in (left, ridge, right)]
    name = f"roof: {tflops:g} TFLOP/s, {link_gbps:g} GB/s: predicted"
    return {"name": name, "points": points, "line": True, "dashed": True}
