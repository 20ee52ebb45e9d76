"""Sweeps of predict: configurations of a training step, and what each would take. All is predicted."""

from collections.abc import Iterator
from dataclasses import dataclass

from tools.common.origin import Origin, origin_of
from tools.report.node import Node


@dataclass(frozen=True)
class Configuration:
    tp: int
    dp: int
    sequence_parallel: bool
    recompute: bool
    closed_ms: float  # a step, by the closed form
    memory_bytes: float  # of the fullest rank
    fits: bool
    step_ms: float | None  # where it was predicted whole

    @property
    def gpus(self) -> int:
        return self.tp * self.dp

    @property
    def name(self) -> str:
        words = [f"tp {self.tp} dp {self.dp}"]
        words += ["sequence-parallel"] if self.sequence_parallel else []
        words += ["recompute"] if self.recompute else []
        return " ".join(words)


@dataclass(frozen=True)
class Plan:
    """One sweep, of one model on one machine."""

    model: str
    step: str  # batch, sequence and type in words
    machine: str
    machine_in_words: str
    memory_bytes: float  # of a device
    unvalidated: str  # why nobody should trust it; "" where measurements back it
    fitted_on: int  # points
    origin: Origin
    configurations: tuple[Configuration, ...]

    @property
    def candidates(self) -> list[Configuration]:
        """Those that fit; all where none does."""
        fit = [c for c in self.configurations if c.fits]
        return fit or list(self.configurations)

    @property
    def best(self) -> Configuration:
        return min(self.candidates, key=lambda c: c.closed_ms)

    @property
    def some_fit(self) -> bool:
        return any(c.fits for c in self.configurations)

    @property
    def frontier(self) -> list[Configuration]:
        """Of the candidates those that none with as many GPUs or fewer is as fast as; GPUs rising."""
        best: list[Configuration] = []
        for c in sorted(self.candidates, key=lambda c: (c.gpus, c.closed_ms)):
            if not best or c.closed_ms < best[-1].closed_ms:
                best.append(c)
        return best


def _flag(node: Node, key: str) -> bool:
    value = node.at(key).value
    if not isinstance(value, bool):
        raise node.at(key).fail("is neither true nor false")
    return value


def _configurations(run: Node) -> Iterator[Configuration]:
    for row in run.at("configurations").items():
        configuration = Configuration(
            tp=row.integer("tp"),
            dp=row.integer("dp"),
            sequence_parallel=_flag(row, "sequence_parallel"),
            recompute=_flag(row, "recompute"),
            closed_ms=row.positive("closed_ms"),
            memory_bytes=row.positive("memory_bytes"),
            fits=_flag(row, "fits"),
            step_ms=row.positive("step_ms") if row.has("step_ms") else None,
        )
        if min(configuration.tp, configuration.dp) < 1:
            raise row.fail("has a degree below 1")
        yield configuration


def _step_in_words(config: Node) -> str:
    """All that tells it from another one of the same model on the same machine."""
    words = [f"{config.integer('batch')}×{config.integer('sequence')}", config.text("dtype")]
    for name in ("micro_batches", "strands"):
        if config.has(name) and config.integer(name) > 1:
            words.append(f"{config.integer(name)} {name.replace('_', '-')}")
    if config.has("overlap") and _flag(config, "overlap"):
        words.append("overlap")
    if config.has("masters") and not _flag(config, "masters"):
        words.append("no masters")
    for name, usual in (("algorithm", "auto"), ("straggler", ""), ("link", "")):
        if config.has(name) and config.text(name) != usual:
            words.append(f"{name} {config.text(name)}")
    return ", ".join(words)


def read_plan(run: Node) -> Plan:
    """Of the JSON that predict wrote. Raises UserError."""
    if run.text("clock") != "predicted":
        raise run.at("clock").fail('is not "predicted"')
    config, machine = run.at("config"), run.at("machine")
    configurations = tuple(_configurations(run))
    if not configurations:
        raise run.at("configurations").fail("is empty")
    nodes = machine.integer("nodes")
    return Plan(
        model=config.text("model"),
        step=_step_in_words(config),
        machine=machine.text("name"),
        machine_in_words=f"{nodes:,} nodes of {machine.integer('devices_per_node')} "
        f"{machine.text('device')}",
        memory_bytes=machine.positive("memory_bytes"),
        unvalidated=machine.text("unvalidated"),
        fitted_on=machine.integer("fitted_on"),
        origin=origin_of(run.value),
        configurations=configurations,
    )
