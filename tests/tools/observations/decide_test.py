"""The rule that decides, in each of its outcomes."""

import json
import math
import pathlib
import random
import unittest

from tools.observations.decide import (
    FAILS,
    HOLDS,
    UNCLEAR,
    UNTESTED,
    Above,
    Differs,
    Exactly,
    Interval,
    Within,
    interval,
    overall,
    rounds_needed,
)


class IntervalTest(unittest.TestCase):
    def test_is_the_one_that_bench_finds(self) -> None:
        cases = json.loads(pathlib.Path(__file__).with_name("intervals.json").read_text())
        self.assertGreater(len(cases), 8)
        for case in cases:
            found = interval(case["values"], case["miss"])
            low = -math.inf if case["low"] is None else case["low"]
            high = math.inf if case["high"] is None else case["high"]
            self.assertEqual(found, Interval(low, case["median"], high))

    def test_lies_between_the_order_statistics_of_the_sign_test(self) -> None:
        # From the binomial distribution: of 10 values the 2nd and 9th miss the median with
        # 2 * 11 / 1024, about 0.0215; the 3rd and 8th with 2 * 56 / 1024, about 0.109.
        values = [float(value) for value in range(1, 11)]
        random.Random(1).shuffle(values)
        self.assertEqual(interval(values, 0.05), Interval(2, 5.5, 9))
        self.assertEqual(interval(values, 22 / 1024), Interval(2, 5.5, 9))
        self.assertEqual(interval(values, 21 / 1024), Interval(1, 5.5, 10))
        self.assertEqual(interval(values, 112 / 1024), Interval(3, 5.5, 8))

    def test_is_unbounded_where_rounds_are_too_few(self) -> None:
        five = interval([1.0, 1.0, 1.0, 1.0, 1.0], 0.05)  # 2 / 32 is above 0.05
        self.assertEqual(five, Interval(-math.inf, 1, math.inf))
        self.assertEqual(interval([1.0] * 6, 0.05), Interval(1, 1, 1))  # 2 / 64 is not

    def test_the_rounds_that_are_needed_are_those_that_bound_it(self) -> None:
        for conditions in range(1, 40):
            n = rounds_needed(conditions)
            self.assertTrue(math.isfinite(interval([1.0] * n, 0.05 / conditions).low))
            self.assertFalse(math.isfinite(interval([1.0] * (n - 1), 0.05 / conditions).low))

    def test_misses_as_seldom_as_it_says(self) -> None:
        draw = random.Random(7)
        tries = 4000
        missed = 0
        for _ in range(tries):
            at = interval([draw.expovariate(1) for _ in range(12)], 0.05)
            missed += not at.low <= math.log(2) <= at.high
        # A seed fixes the draws; 0.05 is what the rule promises of an interval.
        self.assertLess(missed / tries, 0.05)
        self.assertGreater(missed, 0)


class RuleTest(unittest.TestCase):
    def test_above(self) -> None:
        rule = Above(1)
        self.assertEqual(rule.decide(Interval(1.1, 1.2, 1.3)), HOLDS)
        self.assertEqual(rule.decide(Interval(0.7, 0.8, 0.9)), FAILS)
        self.assertEqual(rule.decide(Interval(0.9, 1.2, 1.3)), UNCLEAR)
        self.assertEqual(rule.decide(Interval(1, 1, 1)), FAILS)
        self.assertEqual(rule.decide(Interval(-math.inf, 9, math.inf)), UNCLEAR)

    def test_within(self) -> None:
        rule = Within(2, 3)
        self.assertEqual(rule.decide(Interval(2.1, 2.5, 3)), HOLDS)
        self.assertEqual(rule.decide(Interval(0.9, 1, 1.9)), FAILS)
        self.assertEqual(rule.decide(Interval(3.1, 4, 5)), FAILS)
        self.assertEqual(rule.decide(Interval(1.9, 2.5, 2.9)), UNCLEAR)
        self.assertEqual(rule.decide(Interval(2.1, 2.5, 3.1)), UNCLEAR)
        self.assertEqual(rule.decide(Interval(-math.inf, 2.5, math.inf)), UNCLEAR)

    def test_differs(self) -> None:
        rule = Differs()
        self.assertEqual(rule.decide(Interval(1.1, 1.2, 1.3)), HOLDS)
        self.assertEqual(rule.decide(Interval(0.7, 0.8, 0.9)), HOLDS)
        self.assertEqual(rule.decide(Interval(0.9, 1, 1.1)), UNCLEAR)
        self.assertEqual(rule.decide(Interval(1, 1, 1)), UNCLEAR)

    def test_exactly(self) -> None:
        self.assertEqual(Exactly(1).decide(Interval(-math.inf, 1, math.inf)), FAILS)
        self.assertEqual(Exactly(1).decide(Interval(-math.inf, 1.01, math.inf)), HOLDS)
        self.assertEqual(Exactly(0).decide(Interval(0, 0, 0)), FAILS)


class OverallTest(unittest.TestCase):
    def test_says_each_outcome(self) -> None:
        self.assertEqual(overall([("a", HOLDS), ("b", HOLDS)]), "holds")
        self.assertEqual(overall([("a", FAILS), ("b", FAILS)]), "does not hold")
        self.assertEqual(overall([("a", UNCLEAR), ("b", UNCLEAR)]), "not distinguishable")
        self.assertEqual(overall([("a", HOLDS), ("b", FAILS), ("c", HOLDS)]), "holds when: a; c")
        self.assertEqual(overall([("a", UNCLEAR), ("b", HOLDS)]), "holds when: b")
        self.assertEqual(
            overall([("a", FAILS), ("b", UNCLEAR), ("c", FAILS)]),
            "does not hold (2 of 3 conditions; the others are not distinguishable)",
        )
        self.assertEqual(overall([]), UNTESTED)


if __name__ == "__main__":
    unittest.main()
