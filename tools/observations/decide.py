"""The rule by which measurements decide a statement. Nobody decides by hand.

Every number of a statement is measured once a round; in a round everything is run, in an order drawn
anew. A ratio is formed within its round, so that what drifts from round to round cancels. Of the
values of all rounds, two order statistics bound their median: the interval of the sign test, which
asks for no distribution. With n rounds the interval from the k-th smallest to the k-th largest misses
the median with probability 2 * P(Binomial(n, 1/2) < k). (W. R. Thompson, On confidence ranges for the
median and other expectation distributions for populations of unknown distribution form, 1936.)

A statement may miss in 5 of 100 cases, all its conditions together: each gets its share (Bonferroni).

  above t     holds: the whole interval is above t; does not: none of it; else not distinguishable
  within a b  holds: all within; does not hold: all outside, on one side; else not distinguishable
  differs     holds: 1 is outside; else not distinguishable (nothing proves that two are equal)
  exactly     counts, which have no spread: holds or does not

Too few rounds for the share: the interval is unbounded, and nothing can be told apart.
"""

import math
import statistics
from dataclasses import dataclass

MISS = 0.05  # of a statement, all its conditions together

HOLDS = "holds"
FAILS = "does not hold"
UNCLEAR = "not distinguishable"
UNTESTED = "not tested"


@dataclass(frozen=True)
class Interval:
    low: float
    median: float
    high: float


def interval(values: list[float], miss: float) -> Interval:
    """Of the median of values, at least one: misses it with a probability of at most `miss`."""
    assert values and 0 < miss < 1
    ordered = sorted(values)
    n = len(ordered)
    taken, below = 0, 0.0  # below: P(Binomial(n, 1/2) < taken)
    while taken < n // 2:
        more = below + math.comb(n, taken) / 2**n
        if 2 * more > miss:
            break
        taken, below = taken + 1, more
    middle = statistics.median(ordered)
    if taken == 0:
        return Interval(-math.inf, middle, math.inf)
    return Interval(ordered[taken - 1], middle, ordered[n - taken])


def rounds_needed(conditions: int) -> int:
    """The fewest rounds that give each of so many conditions a bounded interval."""
    return math.ceil(1 + math.log2(conditions / MISS))


@dataclass(frozen=True)
class Above:
    threshold: float

    def decide(self, at: Interval) -> str:
        if at.low > self.threshold:
            return HOLDS
        return FAILS if at.high <= self.threshold else UNCLEAR


@dataclass(frozen=True)
class Within:
    lowest: float
    highest: float

    def decide(self, at: Interval) -> str:
        if self.lowest <= at.low and at.high <= self.highest:
            return HOLDS
        return FAILS if at.high < self.lowest or at.low > self.highest else UNCLEAR


@dataclass(frozen=True)
class Differs:
    def decide(self, at: Interval) -> str:
        return HOLDS if at.low > 1 or at.high < 1 else UNCLEAR


@dataclass(frozen=True)
class Exactly:
    """Of a count, or of what follows from counts: whether it is another than this."""

    other_than: float

    def decide(self, at: Interval) -> str:
        return HOLDS if at.median != self.other_than else FAILS


Rule = Above | Within | Differs | Exactly


def overall(outcomes: list[tuple[str, str]]) -> str:
    """One sentence for (condition, outcome) of all conditions of a statement."""
    if not outcomes:
        return UNTESTED
    where = {
        outcome: [condition for condition, found in outcomes if found == outcome]
        for outcome in (HOLDS, FAILS, UNCLEAR)
    }
    if len(where[HOLDS]) == len(outcomes):
        return HOLDS
    if where[HOLDS]:
        return f"holds when: {'; '.join(where[HOLDS])}"
    if not where[FAILS]:
        return UNCLEAR
    if where[UNCLEAR]:
        return (
            f"{FAILS} ({len(where[FAILS])} of {len(outcomes)} conditions; the others are {UNCLEAR})"
        )
    return FAILS
