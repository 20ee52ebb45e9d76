"""Cases: the runs that repeat each other, brought together, and how a figure names them."""

import statistics
from dataclasses import dataclass
from typing import Any

from tools.reports.load import PHASES, Case, Step
from tools.reports.tables import Cell, Column, given

# A chart of more bars than this is read by nobody; the table has them all.
CHARTED = 24

KEY_COLUMNS = [
    given("mode"),
    given("tokens × in → out"),
    given("dtype"),
    given("tp"),
    given("dp"),
    given("backend"),
    given("algorithm"),
    given("reduction"),
    given("flags"),
]


@dataclass(frozen=True)
class Times:
    """Of a step, in ms, each the median over the repeats."""

    compute: dict[str, float]  # by phase
    exposed: dict[str, float]
    communication: dict[str, float]

    @property
    def accounted(self) -> float:
        return sum(self.compute.values()) + sum(self.exposed.values())


class Group:
    """All runs of one case."""

    def __init__(self, case: Case, steps: list[Step]) -> None:
        self.case = case
        self.steps = steps

    @property
    def layers(self) -> str:
        return ", ".join(sorted({layer for step in self.steps for layer in step.layers}))

    def step_ms(self, quantity: str) -> list[float]:
        return [step.result["step_ms"][quantity] for step in self.steps]

    @property
    def median(self) -> float:
        return statistics.median(self.step_ms("median"))

    @property
    def products(self) -> float | None:
        """The matrix products alone: a floor that was measured."""
        known = [step.result.get("products_ms") for step in self.steps]
        known = [ms for ms in known if ms is not None]
        return statistics.median(known) if known else None

    def times(self) -> Times:
        def median_of(quantity: str) -> dict[str, float]:
            return {
                phase: statistics.median(s.result["phases"][phase][quantity] for s in self.steps)
                for phase in PHASES
            }

        return Times(
            compute=median_of("compute_ms"),
            exposed=median_of("exposed_communication_ms"),
            communication=median_of("communication_ms"),
        )

    @property
    def ranks(self) -> dict[str, Any] | None:
        """Of the run whose step is the median one; a mean over runs would be no run at all."""
        known = [step for step in self.steps if step.result.get("ranks")]
        if not known:
            return None
        known.sort(key=lambda step: step.result["step_ms"]["median"])
        return known[(len(known) - 1) // 2].result["ranks"]


def group_steps(steps: list[Step]) -> list[Group]:
    """By case, the two modes of a size side by side, small sizes first."""
    by_case: dict[Case, list[Step]] = {}
    for step in steps:
        by_case.setdefault(step.case, []).append(step)

    def order(case: Case) -> tuple:
        work = case.tokens * case.in_features * case.out_features
        fields = tuple(getattr(case, name) for name in _FIELDS if name not in ("mode", "size"))
        sizes = (work, case.tokens, case.in_features, case.out_features)
        return (case.backend, sizes, fields, case.mode != "row", case.mode)

    return [Group(case, by_case[case]) for case in sorted(by_case, key=order)]


# In the order of KEY_COLUMNS.
_FIELDS = ("mode", "size", "dtype", "tp", "dp", "backend", "algorithm", "reduction", "flags")


class Names:
    """Names cases by what tells them apart, and says once what all of them share; or in full."""

    def __init__(self, groups: list[Group], full: bool) -> None:
        def differs(name: str) -> bool:
            return full or len({getattr(group.case, name) for group in groups}) > 1

        always = {"mode", "size"}
        self._shown = [i for i, name in enumerate(_FIELDS) if name in always or differs(name)]
        shared = [i for i in range(len(_FIELDS)) if i not in self._shown and groups]
        written = [self._write(groups[0].case, i) for i in shared]
        self.shared = ", ".join(word for word in written if word)

    @staticmethod
    def _write(case: Case, i: int) -> str:
        value = getattr(case, _FIELDS[i])
        prefix = {
            "tp": "tp ",
            "dp": "dp ",
            "backend": "backend ",
            "algorithm": "algorithm ",
            "reduction": "sums ",
        }.get(_FIELDS[i], "")
        return f"{prefix}{value}" if value != "" else ""

    @property
    def columns(self) -> list[Column]:
        return [KEY_COLUMNS[i] for i in self._shown]

    def cells(self, case: Case) -> list[Cell]:
        return [getattr(case, _FIELDS[i]) for i in self._shown]

    def lines(self, case: Case, with_mode: bool = True) -> list[str]:
        """As the label of a bar: the size, and below it the mode and what else differs."""
        rest = [self._write(case, i) for i in self._shown if _FIELDS[i] not in ("mode", "size")]
        below = ", ".join(word for word in [case.mode if with_mode else "", *rest] if word)
        return [case.size, below] if below else [case.size]
