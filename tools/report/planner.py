"""The figures of a sweep of predict: what a step would take on which mesh. All of it is predicted."""

from collections.abc import Callable

from tools.report.plans import Configuration, Plan
from tools.report.tables import Cell, Column, Figure, Table, given, write

_GIB = 2**30
_NAMES = ("tp", "dp", "sequence-parallel", "recompute")


def _predicted(name: str, unit: str = "") -> Column:
    return Column(name, unit, "predicted")


def _facts(c: Configuration) -> list[Cell]:
    return [c.tp, c.dp, *("yes" if flag else "no" for flag in (c.sequence_parallel, c.recompute))]


def _of(plan: Plan) -> str:
    """What it is of, and how far it may be trusted: at the end of each caption."""
    text = f" All of it: {plan.model} {plan.step}, predicted for {plan.machine}"
    if plan.unvalidated:
        text += f", unvalidated ({plan.unvalidated})"
    elif plan.fitted_on:
        text += f", fitted on {plan.fitted_on:,} measured points"
    return text + "."


def _which(plan: Plan) -> str:
    return "that fit" if plan.some_fit else "though none fits"


def _least(
    configurations: list[Configuration], key: Callable[[Configuration], float]
) -> dict[int, list[tuple[int, float]]]:
    """By tp its (dp, the least of `key`), dp rising."""
    least: dict[tuple[int, int], float] = {}
    for c in configurations:
        least[c.tp, c.dp] = min(key(c), least.get((c.tp, c.dp), float("inf")))
    lines: dict[int, list[tuple[int, float]]] = {}
    for (tp, dp), value in sorted(least.items()):
        lines.setdefault(tp, []).append((dp, value))
    return lines


def _over_dp(lines: dict[int, list[tuple[int, float]]], y: str) -> dict:
    return {
        "type": "lines",
        "x": "dp",
        "y": y,
        "logy": True,
        "ticks": sorted({dp for points in lines.values() for dp, _ in points}),
        "series": [
            {"name": f"tp {tp}: predicted", "points": points, "line": True}
            for tp, points in lines.items()
        ],
    }


def _step_time(plan: Plan) -> Figure:
    table = Table(
        [
            *map(given, _NAMES),
            given("GPUs"),
            _predicted("step, closed form", "ms"),
            _predicted("step, replayed", "ms"),
            _predicted("GPU-seconds a step"),
            given("fits, predicted"),
        ]
    )
    for c in plan.configurations:
        fits = "yes" if c.fits else "no"
        cost = c.closed_ms * c.gpus / 1e3
        table.rows.append([*_facts(c), c.gpus, c.closed_ms, c.step_ms, cost, fits])
    return Figure(
        "plan-step-time",
        f"Step time of {plan.model} over tp and dp",
        "predicted",
        "Of each mesh the fastest of the configurations "
        f"{_which(plan)}, with or without sequence parallelism and recomputation. By the closed form, "
        "without contention; the first ones were replayed, too, as the table says." + _of(plan),
        table,
        _over_dp(_least(plan.candidates, lambda c: c.closed_ms), "ms a step"),
    )


def _memory(plan: Plan) -> Figure:
    table = Table(
        [
            *map(given, _NAMES),
            _predicted("memory of the fullest rank", "GiB"),
            given("memory of a device", "GiB"),
            _predicted("of the device", "%"),
        ]
    )
    for c in plan.configurations:
        share = 100 * c.memory_bytes / plan.memory_bytes
        device = plan.memory_bytes / _GIB
        table.rows.append([*_facts(c), c.memory_bytes / _GIB, device, share])
    lines = _least(list(plan.configurations), lambda c: c.memory_bytes / _GIB)
    chart = _over_dp(lines, "GiB a rank")
    ends = (chart["ticks"][0], chart["ticks"][-1])
    chart["series"].append(
        {
            "name": f"what a device has: {write(plan.memory_bytes / _GIB)} GiB",
            "points": [(dp, plan.memory_bytes / _GIB) for dp in ends],
            "line": True,
            "dashed": True,
        }
    )
    return Figure(
        "plan-memory",
        "Memory of a rank against what the machine has",
        "predicted",
        "Of each mesh the configuration that needs least. What is below the dashed line fits."
        + _of(plan),
        table,
        chart,
    )


def _frontier(plan: Plan) -> Figure:
    table = Table(
        [
            given("GPUs"),
            *map(given, _NAMES),
            _predicted("step, closed form", "ms"),
            _predicted("times faster than the fewest GPUs"),
            _predicted("of the ideal", "%"),
        ]
    )
    frontier = plan.frontier
    for c in frontier:
        times = frontier[0].closed_ms / c.closed_ms
        ideal = c.gpus / frontier[0].gpus
        table.rows.append([c.gpus, *_facts(c), c.closed_ms, times, 100 * times / ideal])
    rest = [(c.gpus, c.closed_ms) for c in plan.candidates if c not in frontier]
    series = [
        {
            "name": "the fastest with so many GPUs: predicted",
            "points": [(c.gpus, c.closed_ms) for c in frontier],
            "line": True,
        }
    ]
    if rest:
        series.append({"name": "others: predicted", "points": rest, "line": False})
    return Figure(
        "plan-frontier",
        "Step time against the number of GPUs",
        "predicted",
        f"Of the configurations {_which(plan)}. The table has those of the line: with as many GPUs or "
        "fewer none is faster. The ideal is to be faster by as much as there are more GPUs."
        + _of(plan),
        table,
        {
            "type": "lines",
            "x": "GPUs",
            "y": "ms a step",
            "logy": True,
            "ticks": sorted({c.gpus for c in plan.candidates}),
            "series": series,
        },
    )


def planner(plans: list[Plan]) -> list[Figure]:
    made = []
    for number, plan in enumerate(plans, start=1):
        for figure in (_step_time(plan), _memory(plan), _frontier(plan)):
            if number > 1:
                figure.id += f"-{number}"
                figure.title += f" ({number})"
            made.append(figure)
    return made


def said_of(plans: list[Plan]) -> list[str]:
    """Sentences for the headline."""
    said = []
    for plan in plans:
        best = plan.best
        text = (
            f"Predicted for {plan.model} {plan.step} on {plan.machine}"
            f"{', unvalidated' if plan.unvalidated else ''}: {write(best.closed_ms)} ms a step with "
            f"{best.name}, on {best.gpus:,} GPUs"
        )
        if not plan.some_fit:
            text += "; none fits into the memory"
        said.append(text + ".")
    return said


def summary_rows(plans: list[Plan]) -> list[list[Cell]]:
    rows: list[list[Cell]] = []
    for plan in plans:
        fit = sum(1 for c in plan.configurations if c.fits)
        rows.append(
            [
                "predicted",
                f"{len(plan.configurations)} configurations of {plan.model} {plan.step}, of which "
                f"{fit} fit",
            ]
        )
    return rows


def environment_rows(plans: list[Plan]) -> list[list[Cell]]:
    return [
        [
            "predicted machine",
            f"{plan.machine}: {plan.machine_in_words}"
            + (f"; unvalidated ({plan.unvalidated})" if plan.unvalidated else ""),
        ]
        for plan in plans
    ]
