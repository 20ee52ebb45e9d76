"""What a report says first: which mode wins, by how much, on which machine."""

import math
from dataclasses import dataclass, replace

from tools.observations.decide import MISS, Interval, interval, rounds_needed
from tools.report.cases import Group
from tools.report.load import Case, Data
from tools.report.tables import write

_SHARED = (("size", ""), ("dtype", ""), ("tp", "tp "), ("dp", "dp "))  # what cases differ in
_NEEDED = rounds_needed(1)  # repeats, for their ratios to have a bounded interval


@dataclass(frozen=True)
class Contest:
    """The two modes of one case."""

    row: Group
    column: Group
    ratio: Interval | None  # of row's time over column's; None where too few ran in turns to tell

    @property
    def winner(self) -> str:
        """The name of the mode or, where the two can't be told apart, ""."""
        if self.ratio is None or self.ratio.low <= 1 <= self.ratio.high:
            return ""
        return "row" if self.ratio.high < 1 else "column"

    @property
    def less(self) -> float:
        """The share of a step's time that the winner saves."""
        assert self.ratio is not None
        return _saved(self.ratio.median)

    @property
    def bounds(self) -> tuple[float, float]:
        """The interval of that."""
        assert self.ratio is not None
        low, high = sorted((_saved(self.ratio.low), _saved(self.ratio.high)))
        return low, high


def _saved(ratio: float) -> float:
    return 1 - min(ratio, 1 / ratio)


def contests(groups: list[Group]) -> list[Contest]:
    """Of the cases in which a layer is split at all: at tp 1 the modes do the same."""
    by_case: dict[Case, dict[str, Group]] = {}
    for group in groups:
        if group.case.tp > 1:
            by_case.setdefault(replace(group.case, mode=""), {})[group.case.mode] = group
    return [
        Contest(modes["row"], modes["column"], _ratio(modes["row"], modes["column"]))
        for modes in by_case.values()
        if modes.keys() >= {"row", "column"}
    ]


def _ratio(row: Group, column: Group) -> Interval | None:
    """Of one run of bench its own, of steps in turns; of more the interval of the runs' ratios, each
    formed of what ran together, so that what drifts cancels: the rule of tools/observations/decide.py."""
    of_column = {step.together: step for step in column.steps}
    ratios = []
    for step in row.steps:
        other = of_column.get(step.together)
        if other is None:
            continue
        own = step.ratio if step.ratio == other.ratio else None
        low, median, high = (_number((own or {}).get(name)) for name in ("low", "median", "high"))
        if len(row.steps) == len(column.steps) == 1 and low and median and high:
            return Interval(low, median, high)
        medians = [s.result["step_ms"]["median"] for s in (step, other)]
        ratios.append(median or medians[0] / medians[1])
    return interval(ratios, MISS) if len(ratios) >= _NEEDED else None


def _number(value: object) -> float | None:
    good = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value if good and 0 < value < 1e15 else None  # type: ignore[operator, return-value]


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
        both = f"{row} a step in row mode and {column} in column mode"
        if contest.ratio:
            return f"The two modes are not distinguishable: {both}{where}."
        return f"{both}{where}; which mode wins, {_NEEDED} repeats or more would tell."
    fast, slow = (row, column) if contest.winner == "row" else (column, row)
    other = "column" if contest.winner == "row" else "row"
    low, high = contest.bounds
    return (
        f"{contest.winner.capitalize()} mode wins by {_percent(contest.less)} of a step "
        f"({_percent(low)} to {_percent(high)}): {fast} against {slow} in {other} mode{where}."
    )


def _several(found: list[Contest]) -> str:
    parts = []
    for mode in ("row", "column"):
        won = sorted(contest.less for contest in found if contest.winner == mode)
        if won:
            by = _percent(won[0]) if len(won) == 1 else f"{_percent(won[0])} to {_percent(won[-1])}"
            parts.append(f"{mode} mode wins {len(won)} of {len(found)} cases, by {by} of a step")
    same = sum(1 for contest in found if contest.ratio and not contest.winner)
    if same:
        parts.append(f"in {same} of {len(found)} cases the modes are not distinguishable")
    untold = sum(1 for contest in found if contest.ratio is None)
    if untold:
        parts.append(f"in {untold} of {len(found)} cases {_NEEDED} repeats or more would tell "
                     "which mode wins")
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]} {_where([contest.row for contest in found])}."


def _no_contest(groups: list[Group]) -> str:
    fastest = min(groups, key=lambda group: group.median)
    models = all(group.case.model for group in groups)  # which have no modes
    if len(groups) == 1:
        what = "A step takes" if models else f"{fastest.case.mode.capitalize()} mode takes"
        return f"{what} {write(fastest.median)} ms{'' if models else ' a step'} {_where(groups)}."
    slowest = max(groups, key=lambda group: group.median)
    said = f"A step takes {write(fastest.median)} to {write(slowest.median)} ms {_where(groups)}."
    if not models:
        return f"{said} No step that is split over tp was run in both modes."
    differs = [f"{prefix}{getattr(fastest.case, name)}" for name, prefix in _SHARED
               if len({getattr(group.case, name) for group in groups}) > 1]
    return f"{said} The fastest is {', '.join(differs)}." if differs else said


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
    for name, prefix in _SHARED:
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


def counted(runs: int) -> str:
    return "1 run" if runs == 1 else f"{runs} runs"


def _troubles(data: Data) -> list[str]:
    said = []
    checked = [s for s in data.steps if s.result.get("equivalence")]
    wrong = sum(1 for s in checked if not s.result["equivalence"].get("ok"))
    if wrong:
        said.append(
            f"{wrong} of {len(checked)} verified runs are not found to agree with the unsharded step."
        )
    bytes_wrong = sum(1 for s in data.steps if not s.result["bytes"].get("ok"))
    if bytes_wrong:
        said.append(f"{bytes_wrong} of {len(data.steps)} runs moved other bytes than they must.")
    elements = sum(t.wrong or 0 for t in data.transfers)
    if elements:
        said.append(f"{elements:,} elements of collectives are wrong.")
    if data.failures:
        said.append(f"{counted(len(data.failures))} failed.")
    if data.interrupted:
        count = len(data.interrupted)
        said.append(f"{counted(count)} {'was' if count == 1 else 'were'} interrupted.")
    return said
