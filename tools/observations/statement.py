"""What a statement consists of, and the runs of bench that all of them need together."""

from dataclasses import dataclass, field
from typing import Callable

from tools.observations import quantities as q
from tools.observations.decide import Rule
from tools.observations.measure import Run, Shape, step_run
from tools.observations.quantities import Round

MODES = ("row", "column")


@dataclass(frozen=True)
class Number:
    """A quantity shown beside the decision."""

    name: str
    unit: str
    of: Callable[[Round], float]


@dataclass(frozen=True)
class Condition:
    name: str
    value: Callable[[Round], float]  # of a round; the rule is asked about its median
    rule: Rule
    numbers: list[Number]
    because: dict[str, str] = field(
        default_factory=dict
    )  # where the statement's reasons do not fit


@dataclass(frozen=True)
class Statement:
    id: str
    says: str
    tested: str  # which quantity, against what
    reasons: dict[str, str]  # by outcome: "holds" stands for "holds when" too
    conditions: list[Condition] = field(default_factory=list)


@dataclass(frozen=True)
class Settings:
    backend: str
    shapes: list[Shape]
    cores: int

    @property
    def tuned(self) -> list[Shape]:
        """Sizes that differ in the bytes of their collectives alone, for latencies."""
        first = self.shapes[0]
        features = first.in_features
        return [Shape(tokens, features, features, first.dtype) for tokens in (1, 16, 256, 4096)]


def step_key(mode: str, shape: Shape) -> str:
    return f"{mode} {shape}"


def dp_key(shape: Shape) -> str:
    return f"row dp 2 {shape}"


RINGS = (Shape(20, 1000, 1000, "fp32"), Shape(21, 1001, 1001, "fp32"))


def ring_key(shape: Shape) -> str:
    return f"ring of 4 {shape}"


def runs(settings: Settings) -> list[Run]:
    """Everything that the statements need, each once."""
    made: dict[str, Run] = {}

    def add(run: Run) -> None:
        made.setdefault(run.key, run)

    for shape in settings.shapes + settings.tuned:
        for mode in MODES:
            add(step_run(step_key(mode, shape), mode, shape))
    for shape in settings.shapes:
        add(step_run(dp_key(shape), "row", shape, tp=1, dp=2))
    first = settings.shapes[0]
    if settings.backend == "sim":
        for shape in RINGS:
            add(step_run(ring_key(shape), "column", shape, "--algorithm=ring", tp=4))
        for algorithm in ("ring", "direct"):
            largest = settings.tuned[-1]
            key = f"column {algorithm} {largest}"
            add(step_run(key, "column", largest, f"--algorithm={algorithm}"))
        add(step_run("crowded", "row", first, tp=max(2, 2 * settings.cores)))
    else:
        add(step_run("eager", "row", first, "--graph=false"))
    return list(made.values())


def ms(name: str, key: str, of: Callable[[q.Record], float]) -> Number:
    return Number(name, "ms", lambda r: of(r[key]))
