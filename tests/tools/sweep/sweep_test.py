"""The sweep tool as a user runs it: killed, interrupted, resumed, and given bad input."""

import collections
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from collections.abc import Callable

from tools.sweep.records import read

SWEEP = os.path.abspath("tools/sweep/sweep")
FAKE_BENCH = os.path.abspath("tests/tools/sweep/fake_bench.sh")
PATIENCE = 60.0  # seconds for what takes a moment; nothing passes or fails by how long it took


def wait_until(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not happened():
        if time.monotonic() > end:
            raise AssertionError("it did not happen")
        time.sleep(0.01)


def lives(process: int) -> bool:
    """Whether a process runs; one that nobody has asked after yet (a zombie) does not."""
    try:
        with open(f"/proc/{process}/stat", encoding="utf-8") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # gone before, or while it was read
        return False


class SweepTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.output = os.path.join(self.folder, "sweep.jsonl")
        self.log = os.path.join(self.folder, "log")

    def start(self, *arguments: str, **fake: str) -> subprocess.Popen:
        environment = {**os.environ, "FAKE_LOG": self.log, **fake}
        environment.pop("BUILD_WORKING_DIRECTORY", None)
        usual = [flag for flag in (f"--bench={FAKE_BENCH}", f"--output={self.output}")
                 if not any(given.startswith(flag.split("=")[0] + "=") for given in arguments)]
        process = subprocess.Popen(
            [SWEEP, *usual, *arguments], text=True,
            cwd=self.folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        return process

    def sweep(self, *arguments: str, **fake: str) -> tuple[int, str, str]:
        process = self.start(*arguments, **fake)
        out, err = process.communicate()
        return process.returncode, out, err

    def started(self) -> list[tuple[int, str]]:
        """Of each run that the fake saw: its process, and its flags without the result's path."""
        if not os.path.exists(self.log):
            return []
        with open(self.log, encoding="utf-8") as file:
            lines = [line.split() for line in file if line.endswith("\n")]
        return [(int(process), " ".join(flag for flag in flags if not flag.startswith("--json=")))
                for process, *flags in lines]

    def hang(self, at: int, *arguments: str) -> tuple[subprocess.Popen, int]:
        """A sweep whose run number `at` (of all that the log has seen) hangs, and that run."""
        process = self.start(*arguments, FAKE_HANG_AT=str(at))
        wait_until(lambda: len(self.started()) >= at)
        return process, self.started()[at - 1][0]

    POINTS = ("--shape=" + ",".join(f"{n}x8x8" for n in range(1, 11)), "--repeats=2")
    RUNS = 10 * 2 * 2  # shapes, modes, repeats

    def check_complete(self) -> None:
        records = read(self.output)
        with open(self.output, "rb") as file:
            self.assertEqual(file.read().count(b"\n"), len(records))
        runs = collections.Counter((record["key"], record["repeat"]) for record in records)
        self.assertEqual(set(runs.values()), {1})
        self.assertEqual(len(runs), self.RUNS)
        for record in records:
            self.assertNotIn("error", record)
            result = record["bench"]["results"][0]
            self.assertEqual({name: record["point"][name] for name in result}, result)

    def test_killed_again_and_again_it_loses_nothing(self) -> None:
        for at in (1, 7, 20, 41):
            process, child = self.hang(at, *self.POINTS)
            process.kill()
            process.wait()
            wait_until(lambda: not lives(child))  # else it would run beside the next sweep
        # Four runs hung and were lost with their sweep; all others were kept.
        self.assertEqual(len(read(self.output)), 41 - 4)
        status, out, err = self.sweep(*self.POINTS)
        self.assertEqual((status, err), (0, ""))
        self.assertIn("40 of 40 runs done (37 of them before), 0 failed", out)
        self.assertTrue(out.endswith(f"\nnext: report {self.output}\n"), out)
        self.check_complete()
        self.assertEqual(len(self.started()), self.RUNS + 4)

    def test_a_torn_line_is_run_again(self) -> None:
        process, _ = self.hang(20, *self.POINTS)
        process.kill()
        process.wait()
        torn = read(self.output)[-1]
        with open(self.output, "r+b") as file:  # as a machine that dies may leave it
            file.truncate(os.path.getsize(self.output) - 30)
        self.assertEqual(self.sweep(*self.POINTS)[0], 0)
        self.check_complete()
        commands = [flags for _, flags in self.started()]
        # Once in each repeat, once again for the torn line; the one that hung may be the same.
        again = commands.count(torn["key"].removeprefix("bench "))
        self.assertEqual(again, 3)

    def test_interrupted_it_says_so_and_ends_its_own_child_only(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            bystander = subprocess.Popen(["sleep", "1000"])
            self.addCleanup(bystander.wait)
            self.addCleanup(bystander.kill)
            process, child = self.hang(len(self.started()) + 3, *self.POINTS)
            process.send_signal(number)
            out, err = process.communicate()
            self.assertFalse(lives(child))
            self.assertTrue(lives(bystander.pid))
            self.assertEqual(process.returncode, 130)
            self.assertEqual(err, "sweep: interrupted; the same command goes on from there\n")
            self.assertIn("of 40 runs done", out)
        self.assertEqual(self.sweep(*self.POINTS)[0], 0)
        self.check_complete()

    def test_two_sweeps_do_not_share_a_file(self) -> None:
        self.hang(2, *self.POINTS)
        status, out, err = self.sweep(*self.POINTS)
        self.assertEqual((status, out), (1, ""))
        self.assertIn("another sweep is writing it", err)

    def test_a_point_that_cannot_run_is_kept_and_said(self) -> None:
        status, out, err = self.sweep("--shape=1x8x8,2x8x8", FAKE_FAIL="row")
        self.assertEqual((status, err), (1, ""))
        self.assertIn("4 of 4 runs done, 2 failed", out)
        self.assertEqual(out.count("this machine has 1"), 2)
        errors = {record["point"]["mode"]: record.get("error") for record in read(self.output)}
        self.assertEqual(errors, {"row": "bench: 2 ranks need 2 GPUs; this machine has 1",
                                  "column": None})
        # It is there, so it is not tried again, and still said.
        status, out, _ = self.sweep("--shape=1x8x8,2x8x8")
        self.assertEqual((status, len(self.started())), (1, 4))
        self.assertIn("(4 of them before), 2 failed", out)

    def test_a_failed_check_has_result_and_error(self) -> None:
        self.assertEqual(self.sweep("--mode=row", FAKE_DEFECT="row")[0], 1)
        record, = read(self.output)
        self.assertEqual(record["exit"], 1)
        self.assertIn("check failed", record["error"])
        self.assertEqual(record["bench"]["results"][0]["mode"], "row")

    def test_a_run_past_its_time_is_ended(self) -> None:
        status, out, _ = self.sweep("--mode=row,column", "--timeout=2", FAKE_HANG_AT="1")
        self.assertEqual(status, 1)
        self.assertIn("2 of 2 runs done, 1 failed", out)
        record = read(self.output)[0]
        self.assertIsNone(record["exit"])
        self.assertEqual(record["error"], "bench was ended after 2 s (--timeout)")
        self.assertNotIn("bench", record)
        self.assertFalse(lives(self.started()[0][0]))

    def test_says_why_a_tool_died(self) -> None:
        program = os.path.join(self.folder, "dies")
        for body, words in (("kill -SEGV $$", "bench died of SIGSEGV"),
                            ("exit 3", "bench ended with 3 and wrote no result"),
                            ('echo "{}" >"${!#/--json=/}"; exit 3',
                             "bench: a check could not decide; see its result"),
                            ("exit 0", "bench ended with 0 and wrote no result"),
                            ('printf "{" >"${!#/--json=/}"; exit 0',
                             "bench ended with 0 and wrote no result"),
                            ('printf "one\\ntwo\\xff\\n\\n" >&2; exit 1', "two\ufffd")):
            with open(program, "w", encoding="utf-8") as file:
                file.write(f"#!/bin/bash\n{body}\n")
            os.chmod(program, 0o755)
            if os.path.exists(self.output):
                os.remove(self.output)
            self.sweep("--mode=row", f"--bench={program}")
            self.assertEqual(read(self.output)[0]["error"], words)

    def test_record_has_what_the_schema_says(self) -> None:
        self.sweep("--preset=llama3-8b", "--mode=row", "--tp=4", "--bench_flags=--steps=50",
                   NCCL_NVLS_ENABLE="0")
        records = read(self.output)
        self.assertEqual(len(records), 4)
        record = next(record for record in records if record["point"]["out_features"] == 14336)
        self.assertEqual(record["layers"], ["llama3-8b.gate", "llama3-8b.up"])
        self.assertEqual(record["flags"], ["--steps=50"])
        self.assertEqual(record["command"], [FAKE_BENCH, *record["key"].split()[1:]])
        self.assertEqual(record["point"], {
            "mode": "row", "backend": "sim", "tp": 4, "dp": 1, "algorithm": "auto",
            "tokens": 2048, "in_features": 4096, "out_features": 14336, "dtype": "bf16"})
        self.assertEqual(record["host"]["environment"]["NCCL_NVLS_ENABLE"], "0")
        self.assertEqual((record["schema"], record["repeat"], record["exit"]), (1, 0, 0))
        self.assertRegex(record["time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")

    def test_what_ran_must_be_what_was_asked_for(self) -> None:
        # A fake that believes what no flag says, as bench does under another launcher's variables.
        program = os.path.join(self.folder, "other")
        for config, said in (
                ('"tp": 4', "bench ran --tp=4 where --tp=2 was asked for"),
                ('"modes": ["row", "column"]', "ran --mode=row,column where --mode=row was asked"),
                ('"tp": 2, "modes": ["row"]', None),
                ('"model": {"name": "gpt2", "batch": 4}', "ran --model=gpt2 where --model=a was"),
                ('"model": {"name": "a", "overlap": false}', "ran --overlap=False where --overlap="),
                ('"model": {"name": "a", "overlap": true}', None)):
            with open(program, "w", encoding="utf-8") as file:
                file.write("#!/bin/bash\n"
                           "for flag; do [[ $flag == --json=* ]] && json=${flag#*=}; done\n"
                           f"echo '{{\"config\": {{{config}}}, \"results\": []}}' >$json\n")
            os.chmod(program, 0o755)
            if os.path.exists(self.output):
                os.remove(self.output)
            what = ["--model=a", "--overlap=true"] if "model" in config else ["--mode=row"]
            status, _, _ = self.sweep(*what, f"--bench={program}")
            record, = read(self.output)
            self.assertEqual((status, "bench" in record), (1, False) if said else (0, True))
            self.assertIn(said or "", record.get("error", ""))

    def test_ends_with_a_table(self) -> None:
        _, out, _ = self.sweep("--shape=1x8x8,2x8x8", "--repeats=2", FAKE_STEP="1.5")
        table = out.split("\n\n")[1].splitlines()
        self.assertEqual(table[0], "bench: backend sim, tp 2, dp 1, algorithm auto, in 8, out 8, "
                         "dtype fp32 (measured)")
        self.assertEqual(table[1].split(), "mode tokens runs step ms min max".split())
        self.assertEqual([line.split() for line in table[2:]],
                         [[mode, tokens, "2", "1.5", "1.5", "1.5"]
                          for tokens in "12" for mode in ("row", "column")])

    def test_a_standard_output_that_is_full_fails_and_loses_no_run(self) -> None:
        with open("/dev/full", "wb") as full:
            done = subprocess.run([SWEEP, f"--bench={FAKE_BENCH}", f"--output={self.output}"],
                                  env={**os.environ, "FAKE_LOG": self.log}, stdout=full,
                                  stderr=subprocess.PIPE, text=True)
        self.assertEqual((done.returncode, done.stderr),
                         (1, "sweep: cannot write the standard output: No space left on device\n"))
        self.assertEqual(len(read(self.output)), 2)

    def test_runs_the_real_tools(self) -> None:
        output = os.path.join(self.folder, "real.jsonl")
        finished = subprocess.run(
            [SWEEP, "--preset=seed", "--collective=all_reduce", "--max_bytes=4096",
             "--model=llama-tiny", "--batch=2", "--sequence=8", "--sequence_parallel=true",
             "--bench_flags=--steps=1", "--collectives_flags=--steps=1", f"--output={output}"],
            capture_output=True, text=True, check=False)
        self.assertEqual((finished.returncode, finished.stderr), (0, ""), finished.stdout)
        tools = collections.Counter(record["tool"] for record in read(output))
        self.assertEqual(tools, {"bench": 3, "collectives": 1})
        self.assertIn("batch 2, sequence 8,\n  sequence_parallel true (measured)\n", finished.stdout)
        self.assertRegex(finished.stdout, r"  runs  step ms +min +max  tokens/s\n")
        for record in read(output):
            self.assertTrue(record[record["tool"]]["ok"])
            self.assertTrue(record[record["tool"]]["results"])

    def test_finds_the_tools_of_its_bundle(self) -> None:
        # There bench is in libexec/, too, but only bin/bench starts it with its libraries.
        tools = os.path.abspath("tools")
        libexec = os.path.join(self.folder, "libexec")
        for part in ("common", "sweep"):
            shutil.copytree(os.path.join(tools, part), os.path.join(libexec, "tools", part))
        for place in ("bin", "libexec"):
            os.makedirs(os.path.join(self.folder, place), exist_ok=True)
            shutil.copy(FAKE_BENCH, os.path.join(self.folder, place, "bench"))
        environment = {"PATH": os.environ["PATH"], "FAKE_LOG": self.log}
        environment["PYTHONPATH"] = libexec
        subprocess.run([sys.executable, os.path.join(libexec, "tools/sweep/__main__.py"),
                        f"--output={self.output}"], env=environment, check=True,
                       stdout=subprocess.DEVNULL)
        self.assertEqual({record["command"][0] for record in read(self.output)},
                         {os.path.join(self.folder, "bin/bench")})

    def test_bad_input_gets_one_line(self) -> None:
        for argument, words in (
                ("--tp=0", "argument --tp: '0'"), ("--tp=2;4", "argument --tp"),
                ("--dtype=fp8", "'fp8': it must be among"), ("--preset=llama4", "'llama4'"),
                ("--shape=20x1000", "TOKENSxINxOUT"), ("--shape=20x0x5", "TOKENSxINxOUT"),
                ("--mode=diagonal", "'diagonal'"), ("--repeats=0", "argument --repeats"),
                ("--timeout=nan", "number of seconds"), ("--timeout=0", "number of seconds"),
                ("--min_bytes=99999999999", "--max_bytes"), ("--bench_flags=steps", "'steps'"),
                ("--bench_flags=--json=x", "sweep itself reads"),
                ("--bench_flags=--tp=4", "itself sets --tp"),
                ("--tp=2", "more than once"), ("--bench_flags='", "No closing"),
                ("--bench=/nowhere/bench", "there is no such program"),
                ("--nonsense", "--nonsense"),
                ("--output=/nowhere/x.jsonl", "cannot write /nowhere/x.jsonl"),
                ("--config=/nowhere/x.yaml", "cannot read /nowhere/x.yaml"), ("row", "row")):
            status, out, err = self.sweep(argument, "--tp=2")
            self.assertEqual((status, out), (1, ""), argument)
            self.assertIn(words, err)
            self.assertRegex(err, r"\Asweep: [^\n]*\n\Z", argument)
        self.assertEqual(self.started(), [])

    def test_a_file_is_not_both_read_and_written(self) -> None:
        with open(self.output, "w", encoding="utf-8") as file:
            file.write("tp: 2\n")
        for flag in (f"--config={self.output}", f"--bench={self.output}"):
            os.chmod(self.output, 0o755)
            words = f"--output would overwrite {self.output}, which {flag.split('=')[0]} names"
            status, out, err = self.sweep(flag)
            self.assertEqual((status, out), (1, ""))
            self.assertRegex(err, rf"\Asweep: {words}, .*\n\Z")

    def test_shows_no_bar_but_on_a_terminal(self) -> None:
        master, slave = os.openpty()
        process = subprocess.Popen([SWEEP, f"--bench={FAKE_BENCH}", f"--output={self.output}"],
                                   env={**os.environ, "FAKE_LOG": self.log}, stderr=slave,
                                   stdout=subprocess.DEVNULL)
        os.close(slave)
        shown = b""
        while chunk := self.read_terminal(master):
            shown += chunk
        os.close(master)
        self.assertEqual(process.wait(), 0)
        self.assertIn("0 of 2", shown.decode())
        self.assertIn("1 of 2", shown.decode())
        self.assertIn(" left", shown.decode())
        self.assertTrue(shown.endswith(b"\r\033[K"))

    @staticmethod
    def read_terminal(master: int) -> bytes:
        try:
            return os.read(master, 4096)
        except OSError:  # the other side is closed
            return b""


if __name__ == "__main__":
    unittest.main()
