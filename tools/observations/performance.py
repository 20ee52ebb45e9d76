"""Statements about speed."""

from typing import Callable

from tools.observations import quantities as q
from tools.observations.decide import FAILS, HOLDS, UNCLEAR, Above, Differs, Within
from tools.observations.measure import Shape
from tools.observations.quantities import Round
from tools.observations.statement import MODES, Condition, Number, Settings, Statement, ms, step_key


def _row_against_column(s: Settings) -> Statement:
    def condition(shape: Shape) -> Condition:
        row, column = step_key("row", shape), step_key("column", shape)
        return Condition(
            str(shape),
            lambda r: q.step_ms(r[column]) / q.step_ms(r[row]),
            Within(2, 3),
            [ms("row", row, q.step_ms), ms("column", column, q.step_ms)],
        )

    reason = (
        "The modes do the same three products, and both have one all-gather and one all-reduce in "
        "a step, of the same sizes where in and out are equal: the one has forward what the other "
        "has backward. What differs is which of them computation hides, and how the shards suit the "
        "matrix kernels. A row mode whose all-gather is cut off from the reverse pass skips half of "
        "the step; timed so, it seems two to three times as fast."
    )
    return Statement(
        "row-against-column",
        "Splitting W by rows is 2 to 3 times as fast as splitting it by columns.",
        "step of column mode over step of row mode: between 2 and 3",
        {FAILS: reason, UNCLEAR: reason, HOLDS: "Measured so here; " + reason},
        [condition(shape) for shape in s.shapes],
    )


def _bottleneck(s: Settings) -> Statement:
    def condition(mode: str, shape: Shape) -> Condition:
        key = step_key(mode, shape)
        return Condition(
            f"{mode} {shape}",
            lambda r: q.exposed_ms(r[key]) / q.compute_ms(r[key]),
            Above(1),
            [ms("exposed", key, q.exposed_ms), ms("compute", key, q.compute_ms)],
        )

    return Statement(
        "bottleneck",
        "Communication is what costs the most in distributed training.",
        "exposed communication over computation of the average rank: above 1",
        {
            HOLDS: "There the products are too small for the machine: a collective's fixed cost, and "
            "waiting for the other rank, exceed them.",
            FAILS: "Computation grows with tokens × in × out, communication with tokens × (in + out): "
            "at these sizes the products outweigh it, and some of it is hidden behind dW.",
            UNCLEAR: "Both are of the same size here, within the spread of the runs.",
        },
        [condition(mode, shape) for shape in s.shapes for mode in MODES],
    )


def _latency(s: Settings) -> Statement:
    def condition(shape: Shape) -> Condition:
        row, column = step_key("row", shape), step_key("column", shape)

        def us(key: str) -> Callable[[Round], float]:
            return lambda r: q.collective(r[key], "backward")["time_us"]

        return Condition(
            f"{shape.tokens * shape.in_features * q.element_bytes(shape.dtype):,} bytes",
            lambda r: us(row)(r) / us(column)(r),
            Above(1),
            [Number("all-gather", "µs", us(column)), Number("all-reduce", "µs", us(row))],
        )

    return Statement(
        "latency",
        "An all-gather takes less time than an all-reduce.",
        "time of dX's all-reduce (row mode) over that of dX's all-gather (column mode), the same bytes "
        "beside the same product, on the rank that comes last: above 1",
        {
            HOLDS: "With P ranks an all-reduce moves 2 (P-1)/P of the array through each rank and "
            "adds; an all-gather moves half of that and only copies.",
            FAILS: "An all-gather moves half the bytes, but here something else sets its time.",
            UNCLEAR: "At these sizes a fixed cost that both have in common decides, and its spread "
            "covers the difference.",
        },
        [condition(shape) for shape in s.tuned],
    )


def _throughput(s: Settings) -> Statement:
    def differs(name: str, one: str, other: str) -> Condition:
        return Condition(
            name,
            lambda r: q.gflops(r[other]) / q.gflops(r[one]),
            Differs(),
            [Number(key, "GFLOP/s", lambda r, key=key: q.gflops(r[key])) for key in (one, other)],
        )

    smallest, largest = s.shapes[0], s.shapes[-1]
    conditions = [
        differs(f"size, {mode} mode", step_key(mode, smallest), step_key(mode, largest))
        for mode in MODES
    ]
    conditions += [
        differs(f"mode, {shape}", step_key("row", shape), step_key("column", shape))
        for shape in s.shapes
    ]
    if s.backend == "sim":
        keys = [f"column {algorithm} {s.tuned[-1]}" for algorithm in ("ring", "direct")]
        conditions.append(differs("algorithm of the all-reduce", *keys))
    return Statement(
        "throughput",
        "Throughput depends on the sizes of the tensors and on the pattern of communication.",
        "GFLOP/s of the one over GFLOP/s of the other (largest over smallest size, column over row, "
        "direct over ring): differs from 1",
        {
            HOLDS: "Thin matrices reach a fraction of the speed of large ones, fixed costs weigh more "
            "on short steps, and each mode and algorithm gives the machine differently shaped work.",
            UNCLEAR: "The difference is within the spread of the runs.",
        },
        conditions,
    )


STATEMENTS = (_row_against_column, _bottleneck, _latency, _throughput)
