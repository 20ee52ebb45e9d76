"""Cases: the runs that repeat each other, brought together, and how a figure names them."""

import statistics
from dataclasses import asdict, dataclass
from typing import Any

from tools.report.load import PHASES, Case, Step
from tools.report.tables import Cell, Column, given

# A chart of more bars than this is read by nobody; the table has them all.
CHARTED = 24

# What tells cases apart for people, and how a table calls it: first what leads each of its rows, so
# that on a narrow page the number that it is about stands beside it; then the rest.
_LEAD = {"mode": "mode", "size": "tokens × in → out", "tp": "tp"}
_REST = {
    "dtype": "dtype",
    "dp": "dp",
    "backend": "backend",
    "algorithm": "algorithm",
    "reduction": "reduction",
    "flags": "flags",
    "machine": "machine",
    "commit": "commit",
}
_FIELDS = (*_LEAD, *_REST)
# For programs: all of it, one fact a column, and what the runs say of their time and place.
_FACTS = (
    *("backend", "mode", "model", "tokens", "in_features", "out_features", "dtype", "tp", "dp"),
    *("algorithm", "reduction", "flags", "layers", "host", "processor", "commit", "date", "load"),
)


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

    @property
    def date(self) -> str:
        """When the first of the runs began."""
        return min((step.origin.date for step in self.steps if step.origin.date), default="")

    @property
    def load(self) -> float | None:
        """The highest before any of the runs."""
        known = (step.origin.load for step in self.steps if step.origin.load is not None)
        return max(known, default=None)

    @property
    def machine(self) -> str:
        """Its name and what computed there."""
        host = self.steps[0].host
        gpus = [str(host[name]).partition(",")[0] for name in sorted(host) if name[:3] == "gpu"]
        if self.case.backend == "sim" or not gpus:
            cores = host.get("cores")
            what = [self.case.processor, f"{cores} cores" if cores else ""]
        else:
            counted = {gpu: gpus.count(gpu) for gpu in gpus}
            what = [f"{n} × {gpu}" if n > 1 else gpu for gpu, n in counted.items()]
        return ", ".join(word for word in [self.case.host, *what] if word)

    def highest(self) -> tuple[float | None, float]:
        """p99, which below 100 steps a run tells nothing that the maximum does not, and maximum."""
        runs = [step.result.get("step_ms_all") or [] for step in self.steps]
        bounds = [step.result["step_ms"] for step in self.steps]
        p99 = max(of_run.get("p99") or of_run["median"] for of_run in bounds)
        known = [ms for run in runs for ms in run] + [of_run.get("max") or 0 for of_run in bounds]
        return (p99 if min(map(len, runs)) >= 100 else None), max(p99, *known)

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


class Names:
    """Names cases by what tells them apart, and says once what all of them share; or in full."""

    def __init__(self, groups: list[Group], full: bool) -> None:
        def differs(name: str) -> bool:
            return len({getattr(group.case, name) for group in groups}) > 1

        self.full = full
        self._shown = [name for name in _FIELDS if name in ("mode", "size") or differs(name)]
        shared = [name for name in _FIELDS if name not in self._shown and groups]
        written = [self._write(groups[0].case, name) for name in shared]
        self.shared = ", ".join(word for word in written if word)

    @staticmethod
    def _write(case: Case, name: str) -> str:
        value = getattr(case, name)
        prefix = {
            "tp": "tp ",
            "dp": "dp ",
            "backend": "backend ",
            "algorithm": "algorithm ",
            "reduction": "sums ",
            "machine": "on ",
            "commit": "commit ",
        }.get(name, "")
        return f"{prefix}{value}" if value != "" else ""

    def head(self, main: Column, *others: Column) -> list[Column]:
        """Of a table about cases: `main` is the number that its rows are about."""
        if self.full:
            return [*self.facts_head(), main, *others]
        lead = [given(_LEAD[name]) for name in self._shown if name in _LEAD]
        rest = [given(_REST[name]) for name in self._shown if name in _REST]
        return [*lead, main, *rest, *others]

    def row(self, group: Group, main: Cell, *others: Cell) -> list[Cell]:
        if self.full:
            facts = {"layers": group.layers, "date": group.date, "load": group.load}
            return [*self.facts({**asdict(group.case), **facts}), main, *others]
        lead = [getattr(group.case, name) for name in self._shown if name in _LEAD]
        rest = [getattr(group.case, name) for name in self._shown if name in _REST]
        return [*lead, main, *rest, *others]

    @staticmethod
    def facts_head() -> list[Column]:
        return [given(name) for name in _FACTS]

    @staticmethod
    def facts(known: dict[str, Any]) -> list[Cell]:
        return [known.get(name) for name in _FACTS]

    def lines(self, case: Case, *without: str) -> list[str]:
        """As the label of a bar: the size, and below it the mode and what else differs."""
        rest = [name for name in self._shown if name not in ("mode", "size", *without)]
        words = [
            "" if "mode" in without else case.mode,
            *(self._write(case, name) for name in rest),
        ]
        below = ", ".join(word for word in words if word)
        return [case.size, below] if below else [case.size]
