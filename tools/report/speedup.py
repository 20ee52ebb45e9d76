"""The figure that holds the same step at several degrees of tp against each other."""

from dataclasses import replace

from tools.report.cases import Group, Names
from tools.report.load import Case
from tools.report.tables import Column, Figure, Table, given


def _by_tp(groups: list[Group]) -> list[list[Group]]:
    """Of each case that was run at more than one degree of tp its groups, tp rising."""
    same: dict[Case, list[Group]] = {}
    for group in groups:
        same.setdefault(replace(group.case, tp=0), []).append(group)
    several = [sorted(of_case, key=lambda g: g.case.tp) for of_case in same.values()]
    return [of_case for of_case in several if len(of_case) > 1]


def speedup(groups: list[Group], names: Names) -> Figure | None:
    cases = _by_tp(groups)
    if not cases:
        return None
    table = Table(
        names.head(
            Column("speed-up"),
            given("over tp"),
            Column("median", "ms"),
            Column("of the ideal", "%"),
        )
    )
    series = []
    for of_case in cases:
        base = of_case[0]
        points = []
        for group in of_case:
            times = base.median / group.median
            ideal = group.case.tp / base.case.tp
            points.append((group.case.tp, times))
            table.rows.append(
                names.row(group, times, base.case.tp, group.median, 100 * times / ideal)
            )
        name = ", ".join(reversed(names.lines(base.case, "tp")))
        series.append({"name": name, "points": points, "line": True})
    degrees = sorted({group.case.tp for of_case in cases for group in of_case})
    bases = sorted({of_case[0].case.tp for of_case in cases})
    if len(bases) == 1:
        ideal_points = [(tp, tp / bases[0]) for tp in (degrees[0], degrees[-1])]
        name = f"ideal: tp over {bases[0]} (not measured)"
        series.append({"name": name, "points": ideal_points, "line": True, "dashed": True})
    shared = f" All of it: {names.shared}." if names.shared else ""
    return Figure(
        "speed-up",
        "Speed-up over tp",
        "measured",
        f"How many times faster a step is than at the lowest tp that was run, tp {_listed(bases)}. "
        "Where ranks are threads and outnumber the cores, no more speed can be had." + shared,
        table,
        {
            "type": "lines",
            "x": "tp",
            "y": "times faster",
            "ticks": degrees,
            "series": series,
        },
    )


def _listed(numbers: list[int]) -> str:
    return " or ".join(map(str, numbers))
