"""The figures of a report about training steps, from what was measured."""

from tools.report import floors
from tools.report.cases import CHARTED, Group, Names
from tools.report.load import PHASES
from tools.report.tables import Cell, Column, Figure, Table, given

PHASE_COLORS = {"forward": 0, "backward": 2, "gradient_sync": 3, "optimizer": 1}
PHASE_NAMES = {"gradient_sync": "gradient synchronisation"}


def _charted(groups: list[Group]) -> str:
    if len(groups) <= CHARTED:
        return ""
    return f" The chart shows the first {CHARTED} of {len(groups)} cases, the table all."


def _said(text: str, names: Names) -> str:
    return f"{text} All of it: {names.shared}." if names.shared else text


def step_time(groups: list[Group], names: Names) -> Figure:
    table = Table(
        names.head(
            Column("median", "ms"),
            Column("runs"),
            Column("fastest run's median", "ms"),
            Column("slowest run's median", "ms"),
            Column("min", "ms"),
            Column("p99", "ms"),
            Column("max", "ms"),
            Column("products alone", "ms"),
            Column("throughput", "tokens/s"),
            Column("throughput", "GFLOP/s"),
            *([] if names.full else [given("layers")]),
        )
    )
    for group in groups:
        case, medians = group.case, group.step_ms("median")
        table.rows.append(
            names.row(
                group,
                group.median,
                len(medians),
                min(medians),
                max(medians),
                min(group.step_ms("min")),
                *group.highest(),
                group.products,
                case.tokens / group.median * 1e3,
                case.flops_per_rank * case.tp * case.dp / group.median / 1e6,
                *([] if names.full else [group.layers]),
            )
        )
    return Figure(
        "step-time",
        "Step time by mode and size",
        "measured",
        _said(
            "Median time of a step of the slowest rank, and over the runs where there are several. "
            "The line on a bar reaches from the shortest step to p99, or to the longest where a run "
            "has fewer than 100 steps; an arrow says that it goes on." + _charted(groups),
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
        lines = names.lines(group.case, "mode")
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
            "high": of(lambda group: group.highest()[0] or group.highest()[1]),
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
    columns = []
    for phase in PHASES:
        name = PHASE_NAMES.get(phase, phase)
        columns.append(Column(f"{name}: compute", "ms"))
        columns.append(Column(f"{name}: exposed communication", "ms"))
    table = Table(names.head(Column("step", "ms"), *columns, Column("rest of the step", "ms")))
    parts: dict[str, list[float]] = {}
    for group in groups:
        times = group.times()
        row: list[Cell] = []
        for phase in PHASES:
            for part, kind in ((times.compute, "compute"), (times.exposed, "exposed")):
                row.append(part[phase])
                parts.setdefault(f"{phase} {kind}", []).append(part[phase])
        rest = group.median - times.accounted
        parts.setdefault("rest", []).append(max(rest, 0.0))
        table.rows.append(names.row(group, group.median, *row, rest))
    shown = [("rest", "rest of the step", 6, False)]
    for phase, color in reversed(PHASE_COLORS.items()):
        name = PHASE_NAMES.get(phase, phase)
        shown.insert(0, (f"{phase} exposed", f"{name}: exposed communication", color, True))
        shown.insert(0, (f"{phase} compute", f"{name}: compute", color, False))
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
                {"name": title, "color": color, "striped": striped, "values": parts[part][:CHARTED]}
                for part, title, color, striped in shown
                if any(parts[part])
            ],
        },
    )


def exposed(groups: list[Group], names: Names) -> Figure:
    table = Table(
        names.head(
            Column("exposed", "ms"),
            Column("communication", "ms"),
            Column("hidden", "ms"),
            Column("exposed, of the communication", "%"),
            Column("exposed, of the step", "%"),
        )
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
        table.rows.append(names.row(group, shown, total, total - shown, share, of_step))
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
                {"name": "exposed", "color": 5, "striped": True, "values": seen[:CHARTED]},
                {"name": "hidden behind computation", "color": 5, "values": hidden[:CHARTED]},
            ],
        },
    )


def roofline(groups: list[Group], names: Names, peaks: floors.Peaks) -> Figure:
    table = Table(
        names.head(
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
        )
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
            names.row(
                group,
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
            )
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
