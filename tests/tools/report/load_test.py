"""What a report reads: good files whole, bad ones with one line that says where."""

import json
import pathlib
import tempfile
import unittest

from tools.common.program import UserError
from tools.report.headline import headline
from tools.report.load import Data, load

_SWEEP = pathlib.Path("tests/tools/report/sweep.jsonl")


class LoadTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.lines = _SWEEP.read_text().splitlines()

    def load_text(self, text: str | bytes) -> Data:
        path = self.folder / "input.jsonl"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return load([path])

    def refuse(self, text: str | bytes, *said: str) -> None:
        with self.assertRaises(UserError) as raised:
            self.load_text(text)
        self.assertEqual(str(raised.exception).count("\n"), 0)
        for words in said:
            self.assertIn(words, str(raised.exception))

    def changed(self, change) -> str:
        """The sweep, `change` done to its first record."""
        record = json.loads(self.lines[0])
        change(record)
        return "\n".join([json.dumps(record), *self.lines[1:]]) + "\n"

    def test_reads_every_line(self) -> None:
        data = load([_SWEEP])
        self.assertEqual(len(data.steps), 9)
        self.assertEqual(len([t for t in data.transfers if t.within == "collectives"]), 6)
        self.assertEqual(len(data.failures), 2)
        self.assertIn("it must be free or seeded", data.failures[0][1])
        self.assertEqual(len(data.hosts), 1)
        first = json.loads(self.lines[0])["bench"]
        self.assertEqual(data.steps[0].result, first["results"][0])
        self.assertEqual(data.steps[0].case.tokens, first["config"]["tokens"])

    def test_an_interrupted_run_is_no_failed_one(self) -> None:
        for line, tool in ((0, "bench"), (9, "collectives")):
            record = json.loads(self.lines[line])[tool]
            data = self.load_text(json.dumps(record | {"complete": False, "ok": False}))
            self.assertEqual((len(data.interrupted), data.failures), (1, []))
            self.assertIn("1 run was interrupted.", headline(data, []))
        data = load([_SWEEP])
        self.assertIn("2 runs failed.", headline(data, []))
        data.interrupted = ["a", "b"]
        data.failures.pop()
        self.assertEqual(headline(data, [])[-2:], ["1 run failed.", "2 runs were interrupted."])

    def test_reads_one_line_as_one_record(self) -> None:
        self.assertEqual(len(self.load_text(self.lines[0]).steps), 1)

    def test_a_transformers_step_has_sizes_of_its_own(self) -> None:
        def make(record):
            bench = record["bench"]
            for name in ("tokens", "in_features", "out_features"):
                del bench["config"][name]
            bench["config"]["model"] = {
                "name": "llama-tiny", "hidden": 128, "batch": 4, "sequence": 16, "micro_batches": 2,
                "within_documents": True, "sequence_parallel": False, "recompute": True, "clip": 1.0,
            }
            for result in bench["results"]:
                result["flops"] = {"model": 7.0e9}

        case = self.load_text(self.changed(make)).steps[0].case
        self.assertEqual(
            case.size, "llama-tiny 4×16, 2 micro-batches, within documents, recompute"
        )
        self.assertEqual(case.tokens, 64)

        def hidden(record):
            make(record)
            record["bench"]["config"]["model"] |= {"overlap": True, "strands": 2}

        self.assertEqual(
            self.load_text(self.changed(hidden)).steps[0].case.size,
            "llama-tiny 4×16, 2 micro-batches, 2 strands, within documents, recompute, overlap",
        )

        def without_masters(record):
            make(record)
            record["bench"]["config"]["model"]["masters"] = False

        self.assertEqual(
            self.load_text(self.changed(without_masters)).steps[0].case.size,
            "llama-tiny 4×16, 2 micro-batches, within documents, recompute, no masters",
        )

        def part(record):
            make(record)
            record["bench"]["config"]["model"]["part"] = "block"

        of_part = self.load_text(self.changed(part)).steps[0].case
        self.assertEqual(of_part.size, case.size.replace("tiny", "tiny block"))
        self.assertEqual(case.flops_per_rank, 7.0e9 / (case.tp * case.dp))

        def without(record):
            make(record)
            del record["bench"]["results"][0]["flops"]

        self.refuse(self.changed(without), "flops")

    def test_runs_of_other_engine_flags_are_other_cases(self) -> None:
        def flags(given: list[str], **config: str | int | bool) -> str:
            def make(record):
                record["flags"] = given
                record["bench"]["config"].update(config)

            return self.load_text(self.changed(make)).steps[0].case.flags

        self.assertEqual(flags([], scheduler="free", graph=True, sum_part_bytes=-1), "")
        seeded = flags([], scheduler="seeded", graph=False)
        self.assertEqual(seeded, "--scheduler=seeded --graph=false")
        self.assertEqual(flags(["--steps=5"], peers="never"), "--steps=5 --peers=never")
        self.assertEqual(flags(["--peers=never"], peers="never"), "--peers=never")

    def test_a_torn_last_line_is_named(self) -> None:
        torn = "\n".join(self.lines[:3]) + "\n" + self.lines[3][:100]
        self.refuse(torn, "line 4", "torn", "resume the sweep")

    def test_a_broken_line_is_named(self) -> None:
        broken = "\n".join([self.lines[0], "{]", self.lines[1]])
        self.refuse(broken, "line 2", "not whole JSON")

    def test_another_schema_is_refused(self) -> None:
        self.refuse(self.changed(lambda r: r.update(schema=2)), "line 1", "schema 2", "schema 1")

    def test_nothing_is_refused(self) -> None:
        self.refuse("", "empty")
        self.refuse("\n\n", "empty")

    def test_what_no_tool_of_ours_wrote_is_refused(self) -> None:
        self.refuse("[]", "is not what bench, collectives, sweep or predict writes")
        self.refuse('{"a": 1}', "config is missing")
        self.refuse(b"\x93NUMPY\x01", "not text in UTF-8")
        self.refuse("hello\n", "line 1", "not whole JSON")
        self.refuse("[" * 100000 + "\n", "nested too deeply")

    def test_a_run_that_is_there_twice_is_refused(self) -> None:
        self.refuse("\n".join([self.lines[0], self.lines[0]]) + "\n", "line 2", "repeat 0")

    def test_what_is_missing_or_no_number_is_named(self) -> None:
        def result(record: dict) -> dict:
            return record["bench"]["results"][0]

        self.refuse(
            self.changed(lambda r: result(r)["step_ms"].pop("median")),
            "line 1",
            "bench.results[0].step_ms.median is missing",
        )
        self.refuse(
            self.changed(lambda r: result(r)["step_ms"].update(min="fast")),
            'bench.results[0].step_ms.min is "fast", not a finite number',
        )
        self.refuse(
            self.changed(lambda r: result(r)["ranks"]["ops"][0]["time_us"].pop()),
            "ranks.ops[0].time_us does not have one value for each of 2 ranks",
        )
        self.refuse(
            self.changed(lambda r: r["bench"]["config"].update(tokens=0)), "has a size below 1"
        )
        self.refuse(self.changed(lambda r: r.pop("bench")), "has neither bench nor error")
        nan = self.changed(lambda r: result(r)["step_ms"].update(min=float("nan")))
        self.refuse(nan, "line 1", "NaN")
        self.refuse(nan.replace("NaN", "1e999"), "step_ms.min is Infinity, not a finite number")

    def test_a_file_that_is_named_twice_is_refused(self) -> None:
        with self.assertRaisesRegex(UserError, "sweep.jsonl: it is named twice"):
            load([_SWEEP, pathlib.Path("tests/../tests/tools/report/sweep.jsonl")])

    def test_a_file_that_cannot_be_read_is_named(self) -> None:
        with self.assertRaisesRegex(UserError, "nowhere.json: No such file"):
            load([self.folder / "nowhere.json"])
        with self.assertRaisesRegex(UserError, "Is a directory"):
            load([self.folder])


if __name__ == "__main__":
    unittest.main()
