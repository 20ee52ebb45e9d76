"""Statements about patterns of communication."""

from typing import Callable

from tools.observations import quantities as q
from tools.observations.decide import FAILS, HOLDS, UNCLEAR, UNTESTED, Above, Differs, Exactly
from tools.observations.measure import Shape
from tools.observations.quantities import Round
from tools.observations.statement import RINGS, Condition, Number, Settings, Statement, ring_key, step_key


def _ring(s: Settings) -> Statement:
    def condition(name: str, shape: Shape) -> Condition:
        key = ring_key(shape)

        def sent(rank_of: Callable[[list[int]], int]) -> Callable[[Round], float]:
            return lambda r: rank_of(
                q.ranks_op(r[key], phase="forward", action="collective")["bytes_sent"]
            )

        return Condition(
            name,
            lambda r: sent(max)(r) / sent(min)(r),
            Exactly(other_than=1),
            [Number("most", "bytes", sent(max)), Number("least", "bytes", sent(min))],
        )

    if s.backend != "sim":
        return Statement(
            "ring",
            "A ring is asymmetric: its ranks have different workloads.",
            "bytes that each rank sends in a ring all-reduce, counted",
            {
                UNTESTED: "No ring runs over peer memory, and NCCL does not tell what each rank "
                "sends. The simulator's ring, where bytes are counted, says when it is uneven."
            },
        )
    even, uneven = RINGS
    return Statement(
        "ring",
        "A ring is asymmetric: its ranks have different workloads.",
        "most over least bytes that a rank sends in a ring all-reduce over 4 ranks, counted: not 1",
        {
            HOLDS: "Every rank of a ring sends each block but one, twice: in an all-reduce all send "
            "the same. Only where the array does not divide by the ranks are some blocks one element "
            "longer, and a rank sends so much more or less. No rank leads."
        }
        | {
            FAILS: "Every rank of a ring sends all blocks but one, twice, and the blocks are equal."
        },
        [
            condition("the array divides by the ranks", even),
            condition("the array does not divide", uneven),
        ],
    )


def _leader(s: Settings) -> Statement:
    def condition(shape: Shape) -> Condition:
        key = step_key("column", shape)

        def done(of: Callable[[list[float]], float]) -> Callable[[Round], float]:
            return lambda r: of(q.dx_collective(r[key])["done_us"])

        def product(of: Callable[[list[float]], float]) -> Callable[[Round], float]:
            return lambda r: of(q.ranks_op(r[key], phase="backward", action="gemm")["done_us"])

        first, rest = done(lambda us: us[0]), done(q.others)
        return Condition(
            str(shape),
            lambda r: rest(r) / first(r),
            Above(1),
            [
                Number("rank 0 done", "µs", first),
                Number("others done", "µs", rest),
                Number("rank 0's part of dX done", "µs", product(lambda us: us[0])),
                Number("others' parts of dX done", "µs", product(q.others)),
            ],
        )

    return Statement(
        "leader",
        "In an all-gather rank 0, which leads the ring, is done before the others.",
        "when the other ranks are done with dX's all-gather (column mode) over when rank 0 is, since the "
        "step's begin: above 1",
        {
            HOLDS: "Not by a role in the ring, where no rank leads and each needs a block of "
            "another: the times of the parts that are gathered show who was ahead.",
            FAILS: "No rank leads: each is done once the last block has come to it. The times of "
            "the parts that are gathered show who was ahead.",
            UNCLEAR: "No rank leads: each is done once the last block has come to it, and which one "
            "that is changes from run to run.",
        },
        [condition(shape) for shape in s.shapes],
    )


def _symmetry(s: Settings) -> Statement:
    def condition(shape: Shape) -> Condition:
        row, column = step_key("row", shape), step_key("column", shape)

        def spread(key: str) -> Callable[[Round], float]:
            return lambda r: q.dx_collective(r[key])["done_spread_us"]

        return Condition(
            str(shape),
            lambda r: spread(column)(r) / max(spread(row)(r), 1e-3),
            Above(1),
            [
                Number("all-gather", "µs", spread(column)),
                Number("all-reduce", "µs", spread(row)),
            ],
        )

    return Statement(
        "symmetry",
        "Ranks leave an all-reduce closer together than an all-gather, though not at the same time.",
        "last rank done less first rank done within a step, dX's all-gather (column mode) over dX's "
        "all-reduce (row mode): above 1",
        {
            HOLDS: "In an all-reduce each rank's result needs all others' last contribution; a rank "
            "can leave an all-gather as soon as it has read what the others had ready.",
            FAILS: "In either a rank leaves when the last bytes have come to it, and an all-reduce "
            "has more rounds in which ranks can drift apart.",
            UNCLEAR: "In either a rank leaves when the last bytes have come to it.",
        },
        [condition(shape) for shape in s.shapes],
    )


def _memory(s: Settings) -> Statement:
    def condition(shape: Shape) -> Condition:
        key = step_key("row", shape)
        return Condition(
            str(shape),
            lambda r: q.update_gbps(r[key], 1) / q.update_gbps(r[key], 0),
            Differs(),
            [
                Number(f"rank {rank}", "GB/s", lambda r, rank=rank: q.update_gbps(r[key], rank))
                for rank in (0, 1)
            ],
        )

    return Statement(
        "memory",
        "Ranks use their memory bandwidth to different degrees.",
        "bandwidth of rank 1 over that of rank 0 in the update of W, the step's one op that does "
        "little but read and write: differs from 1",
        {
            HOLDS: "The shards are equal, so it is the processors that differ: their clock, their "
            "share of the memory, or who else uses them.",
            UNCLEAR: "The shards are equal and so are the processors: what one run shows is not there "
            "in the next.",
        },
        [condition(shape) for shape in s.shapes],
    )


STATEMENTS = (_ring, _leader, _symmetry, _memory)
