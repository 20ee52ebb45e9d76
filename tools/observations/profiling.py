"""Statements about what a profile of the step shows."""

from tools.observations import quantities as q
from tools.observations.decide import FAILS, HOLDS, UNCLEAR, Above, Exactly
from tools.observations.measure import Shape
from tools.observations.quantities import Round
from tools.observations.statement import (
    MODES,
    Condition,
    Number,
    Settings,
    Statement,
    dp_key,
    ms,
    step_key,
)

_MUCH = 0.1  # of the rest of a step


def _forward(s: Settings) -> Statement:
    phases = ("backward", "gradient_sync", "optimizer")

    def condition(mode: str, shape: Shape) -> Condition:
        key = step_key(mode, shape)
        return Condition(
            f"{mode} {shape}",
            lambda r: q.phase_ms(r[key], "forward") / max(q.phase_ms(r[key], p) for p in phases),
            Above(1),
            [
                ms(phase, key, lambda record, phase=phase: q.phase_ms(record, phase))
                for phase in ("forward", *phases)
            ],
        )

    return Statement(
        "forward",
        "The forward pass takes the most time.",
        "forward over the longest other phase, computation and exposed communication of each: above 1",
        {
            HOLDS: "The backward pass has two products to the forward's one; here forward has the "
            "exposed collective and the first wait of the step, which weigh more on a short step.",
            FAILS: "The backward pass has two products, dX and dW, to the forward pass's one.",
            UNCLEAR: "The backward pass has two products to the forward's one, but forward has the "
            "first wait of the step for the other rank, of the same size here.",
        },
        [condition(mode, shape) for shape in s.shapes for mode in MODES],
    )


def _durations(s: Settings) -> Statement:
    def condition(mode: str, shape: Shape) -> Condition:
        key = step_key(mode, shape)

        def collective(r: Round) -> float:
            return q.dx_collective(r[key])["longest_over_shortest"]

        def products(r: Round) -> float:
            return q.product_spread(r[key])

        return Condition(
            f"{mode} {shape}",
            lambda r: collective(r) / products(r),
            Above(1),
            [Number("collective", "×", collective), Number("products", "×", products)],
        )

    return Statement(
        "durations",
        "The same collective takes a different time on each rank.",
        "longest over shortest rank within a step, of dX's collective over the same of the "
        "products, whose work is equal on all ranks: above 1",
        {
            HOLDS: "A rank that comes early waits inside the collective for the one that comes late: "
            "its duration measures the difference before it, not the transfer.",
            FAILS: "Ranks come to the collective together, so nobody waits in it.",
            UNCLEAR: "Ranks come to the collective about together, so the wait in it is no larger than "
            "what the products vary.",
        },
        [condition(mode, shape) for shape in s.shapes for mode in MODES],
    )


def _gradient_sync(s: Settings) -> Statement:
    def condition(shape: Shape) -> Condition:
        key = dp_key(shape)

        def sync(r: Round) -> float:
            return q.phase_ms(r[key], "gradient_sync")

        def overhead(r: Round) -> float:
            return sync(r) / (q.compute_ms(r[key]) + q.exposed_ms(r[key]) - sync(r))

        return Condition(
            f"dp 2, {shape}",
            overhead,
            Above(_MUCH),
            [
                Number("synchronisation", "ms", sync),
                Number("step", "ms", lambda r: q.step_ms(r[key])),
            ],
        )

    def none(shape: Shape) -> Condition:
        key = step_key("row", shape)
        return Condition(
            f"dp 1, {shape}",
            lambda r: q.phase_ms(r[key], "gradient_sync"),
            Exactly(other_than=0),
            [Number("synchronisation", "ms", lambda r: q.phase_ms(r[key], "gradient_sync"))],
            {
                FAILS: "With dp 1 no two ranks hold the same part of W, and there is nothing to "
                "synchronise: averaging dW over tp would mix gradients of different weights."
            },
        )

    return Statement(
        "gradient-sync",
        "Synchronising gradients adds much to the time of a step.",
        "exposed synchronisation over the rest of the step, of the average rank, with the batch split "
        f'over two ranks: above {_MUCH}, which is how we read "much"',
        {
            HOLDS: "dW has in × out elements whatever the tokens, and its all-reduce comes last, so "
            "little is left to hide it behind.",
            FAILS: "With dp 2 the tokens give the products enough to do to outweigh dW's bytes.",
            UNCLEAR: "What it adds varies too much from run to run.",
        },
        [none(s.shapes[0]), *(condition(shape) for shape in s.shapes)],
    )


def _switching(s: Settings) -> Statement:
    first = s.shapes[0]
    normal = step_key("row", first)
    if s.backend == "sim":
        other, what = "crowded", f"{max(2, 2 * s.cores)} ranks on {s.cores} cores"
        tested = (
            "longest over shortest rank of the products within a step, with two ranks a core over the "
            "same with tp 2: above 1. A CPU has no CUDA contexts; this is the same question for threads"
        )
        reasons = {
            HOLDS: "Ranks that share a core are taken off it in the middle of an op.",
            FAILS: "Ranks that share a core are taken off it, but not more often in one than another.",
            UNCLEAR: "Ranks were taken off a core too seldom, or in both kinds of run.",
        }
    else:
        other, what = "eager", "launched op by op"
        tested = (
            "longest over shortest rank of the step's products, launched op by op over replayed as "
            "one CUDA graph: above 1. Each GPU has one context here, so none is ever switched; what "
            "is left of the statement is that launching from the CPU makes ranks differ"
        )
        reasons = {
            HOLDS: "Launching from the CPU makes ranks differ. No context was switched.",
            FAILS: "Each GPU works for one context, so there is nothing to switch to.",
            UNCLEAR: "Each GPU works for one context, so there is nothing to switch to.",
        }
    condition = Condition(
        f"{what}, {first}",
        lambda r: q.product_spread(r[other]) / q.product_spread(r[normal]),
        Above(1),
        [
            Number("usual", "×", lambda r: q.product_spread(r[normal])),
            Number(what, "×", lambda r: q.product_spread(r[other])),
            Number("usual", "times taken off a core", lambda r: r[normal]["taken_off_a_core"]),
            Number(what, "times taken off a core", lambda r: r[other]["taken_off_a_core"]),
        ],
    )
    return Statement(
        "switching",
        "Switching contexts makes the ranks' times differ.",
        tested,
        reasons,
        [condition],
    )


STATEMENTS = (_forward, _durations, _gradient_sync, _switching)
