"""What is read off a run of bench, for the statements."""

import statistics
from typing import Any

Record = dict[str, Any]
Round = dict[str, Record]  # by the key of the run


def step_ms(record: Record) -> float:
    return record["step_ms"]["median"]


def phase_ms(record: Record, phase: str) -> float:
    """What a phase costs the average rank: computation, and communication that nothing hides."""
    of_phase = record["phases"][phase]
    return of_phase["compute_ms"] + of_phase["exposed_communication_ms"]


def compute_ms(record: Record) -> float:
    return sum(phase["compute_ms"] for phase in record["phases"].values())


def exposed_ms(record: Record) -> float:
    return sum(phase["exposed_communication_ms"] for phase in record["phases"].values())


def gflops(record: Record) -> float:
    config = record["config"]
    work = 6 * config["tokens"] * config["in_features"] * config["out_features"]
    return work / step_ms(record) / 1e6


def collective(record: Record, phase: str) -> Record:
    """The one collective of a phase, as the byte contract lists it."""
    found = [c for c in record["bytes"]["collectives"] if c["phase"] == phase]
    assert len(found) == 1, found
    return found[0]


def ranks_op(record: Record, **wanted: str) -> Record:
    """The first op of all ranks that is as wanted: phase="forward", action="collective"."""
    return next(
        op
        for op in record["ranks"]["ops"]
        if all(op[name] == value for name, value in wanted.items())
    )


def dx_collective(record: Record) -> Record:
    """An all-reduce in row mode and an all-gather in column mode, each beside the product of dW: the
    two are in the same situation, unlike those of the forward pass."""
    return ranks_op(record, phase="backward", action="collective")


def product_spread(record: Record) -> float:
    """Longest over shortest rank, in the same step, of the matrix products: equal work."""
    products = [op for op in record["ranks"]["ops"] if op["action"] == "gemm"]
    return statistics.mean(op["longest_over_shortest"] for op in products)


def others(values: list[float]) -> float:
    """Of all ranks but rank 0."""
    return statistics.mean(values[1:])


def element_bytes(dtype: str) -> int:
    return {"fp64": 8, "bf16": 2, "fp16": 2}.get(dtype, 4)


def update_gbps(record: Record, rank: int) -> float:
    """The update of W reads W and dW and writes W: 10^9 bytes a second."""
    config = record["config"]
    elements = config["in_features"] * config["out_features"] / config["tp"]
    shard = elements * element_bytes(config["dtype"])
    update = ranks_op(record, action="sgd", name="w.updated")
    return 3 * shard / update["time_us"][rank] / 1e3
