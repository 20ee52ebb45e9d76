"""What a report says first: which mode wins, by how much, on which machine."""

import math
from dataclasses import dataclass, replace

from tools.claims.decide import MISS, Interval, interval
from tools.reports.cases import Group
from tools.reports.load import Case, Data
from tools.reports.tables import write

_ENOUGH_RUNS = 7  # for their medians to have a bounded interval; with fewer, steps tell


@dataclass(frozen=True)
class Contest:
    """The two modes of one case."""

    row: Group
    column: Group
    winner: str  # "row", "column" or, where they are not distinguishable, ""

    @property
    def less(self) -> float:
        """The share of a step's time that the faster mode saves."""
        slow, fast = sorted((self.row.median, self.column.median), reverse=True)
        return 1 - fast / slow


def contests(groups: list[Group]) -> list[Contest]:
    by_case: dict[Case, dict[str, Group]] = {}
    for group in groups:
        by_case.setdefault(replace(group.case, mode=""), {})[group.case.mode] = group
    return [
        Contest(modes["row"], modes["column"], _winner(modes["row"], modes["column"]))
        for modes in by_case.values()
        if modes.keys() >= {"row", "column"}
    ]


def _winner(row: Group, column: Group) -> str:
    """By bench's own ratio, of steps in turns, where one run has both; else the intervals of the two
    medians, by the rule of tools/claims/decide.py, must have nothing in common."""
    if len(row.steps) == len(column.steps) == 1 and row.steps[0].ratio == column.steps[0].ratio:
        bounds = [(row.steps[0].ratio or {}).get(name) for name in ("low", "high")]
        if all(isinstance(bound, (int, float)) for bound in bounds):
            return "row" if bounds[1] < 1 else "column" if bounds[0] > 1 else ""
        if row.steps[0].ratio:
            return ""
    of_row, of_column = _interval(row), _interval(column)
    if of_row.high < of_column.low:
        return "row"
    return "column" if of_column.high < of_row.low else ""


def _interval(group: Group) -> Interval:
    runs = group.step_ms("median")
    return interval(runs if len(runs) >= _ENOUGH_RUNS else group.step_times(), MISS / 2)


def headline(data: Data, groups: list[Group]) -> list[str]:
    """Sentences."""
    found = contests(groups)
    if len(found) == 1:
        said = [_one(found[0])]
    elif found:
        said = [_several(found)]
    elif groups:
        said = [_no_contest(groups)]
    else:
        said = _collectives(data)
    return said + _troubles(data)


def _one(contest: Contest) -> str:
    row, column = f"{write(contest.row.median)} ms", f"{write(contest.column.median)} ms"
    where = f" {_where([contest.row])}"
    if not contest.winner:
        return f"Row and column mode are not distinguishable: {row} and {column} a step{where}."
    fast, slow = (row, column) if contest.winner == "row" else (column, row)
    other = "column" if contest.winner == "row" else "row"
    return (
        f"{contest.winner.capitalize()} mode wins: {fast} a step, {_percent(contest.less)} less than "
        f"the {slow} of {other} mode{where}."
    )


def _several(found: list[Contest]) -> str:
    parts = []
    for mode in ("row", "column"):
        won = sorted(contest.less for contest in found if contest.winner == mode)
        if won:
            by = _percent(won[0]) if len(won) == 1 else f"{_percent(won[0])} to {_percent(won[-1])}"
            parts.append(f"{mode} mode wins {len(won)} of {len(found)} cases, by {by} of a step")
    open_cases = sum(1 for contest in found if not contest.winner)
    if open_cases:
        parts.append(f"{open_cases} of {len(found)} cases are not distinguishable")
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]} {_where([contest.row for contest in found])}."


def _no_contest(groups: list[Group]) -> str:
    fastest = min(groups, key=lambda group: group.median)
    if len(groups) == 1:
        return f"{fastest.case.mode.capitalize()} mode takes {write(fastest.median)} ms a step {_where(groups)}."
    slowest = max(groups, key=lambda group: group.median)
    return (
        f"A step takes {write(fastest.median)} to {write(slowest.median)} ms {_where(groups)}. "
        "No case was run in both modes."
    )


def _collectives(data: Data) -> list[str]:
    alone = [t for t in data.transfers if t.busbw_gbps > 0]
    if not alone:
        return []
    best = max(alone, key=lambda t: t.busbw_gbps)
    machine = best.origin.host or best.origin.processor
    where = f" on {machine}" if machine else ""
    return [
        f"{best.kind} reaches a bus bandwidth of {write(best.busbw_gbps)} GB/s between "
        f"{best.members} ranks, at {best.nbytes:,} bytes{where}."
    ]


def _where(groups: list[Group]) -> str:
    """What all of them share, and the machines."""
    shared = []
    for name, prefix in (("size", ""), ("dtype", ""), ("tp", "tp "), ("dp", "dp ")):
        values = {getattr(group.case, name) for group in groups}
        if len(values) == 1:
            shared.append(f"{prefix}{values.pop()}")
    at = f"at {', '.join(shared)}" if shared else ""
    machines = list(dict.fromkeys(group.machine for group in groups))
    if len(machines) > 2:
        on = f"on {len(machines)} machines"
    else:
        on = " and ".join(f"on {machine}" for machine in machines if machine)
    return ", ".join(word for word in (at, on) if word)


def _percent(share: float) -> str:
    percent = 100 * share
    return f"{percent:.0f} %" if percent >= 9.5 or math.isclose(percent, 0) else f"{percent:.2g} %"


def _troubles(data: Data) -> list[str]:
    said = []
    checked = [s for s in data.steps if s.result.get("equivalence")]
    wrong = sum(1 for s in checked if not s.result["equivalence"].get("ok"))
    if wrong:
        said.append(f"{wrong} of {len(checked)} verified runs are not found to agree with the unsharded step.")
    bytes_wrong = sum(1 for s in data.steps if not s.result["bytes"].get("ok"))
    if bytes_wrong:
        said.append(f"{bytes_wrong} of {len(data.steps)} runs moved other bytes than they must.")
    elements = sum(t.wrong or 0 for t in data.transfers)
    if elements:
        said.append(f"{elements:,} elements of collectives are wrong.")
    if data.failures:
        said.append(f"{len(data.failures)} runs failed.")
    return said
