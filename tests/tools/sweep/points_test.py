"""Which points a sweep has, and in which order they run."""

import os
import tempfile
import unittest

from tools.common.program import UserError
from tools.sweep import options
from tools.sweep.points import Point, order, plan
from tools.sweep.presets import PRESETS


def points(*arguments: str) -> list[Point]:
    return plan(options.parse(arguments))


def parameters(name: str) -> int:
    return sum(rows * columns for rows, columns in PRESETS[name].layers.values())


class PlanTest(unittest.TestCase):
    def test_is_the_seeds_job_unless_told_otherwise(self) -> None:
        self.assertEqual({point.key for point in points()}, {
            f"bench --mode={mode} --backend=sim --tp=2 --dp=1 --algorithm=auto --tokens=20 "
            "--in_features=1000 --out_features=1000 --dtype=fp32" for mode in ("row", "column")})

    def test_has_every_combination_once(self) -> None:
        found = points("--tp=2,4,4", "--dp=1,3", "--shape=8x9x10,8x9x11", "--dtype=fp32,bf16",
                       "--algorithm=ring,tree", "--mode=column", "--backend=sim")
        self.assertEqual(len(found), 2 * 2 * 2 * 2 * 2)
        self.assertEqual(len({point.key for point in found}), len(found))

    def test_names_layers_of_one_size_together(self) -> None:
        found = points("--preset=llama3-8b", "--mode=row")
        self.assertEqual(sorted(point.layers for point in found), [
            ("llama3-8b.down",), ("llama3-8b.gate", "llama3-8b.up"), ("llama3-8b.o",),
            ("llama3-8b.qkv",)])
        self.assertEqual({point.point["tokens"] for point in found}, {2048})
        self.assertEqual({point.point["dtype"] for point in found}, {"bf16"})

    def test_layers_add_up_to_the_published_sizes(self) -> None:
        # Parameters of the linear layers of all blocks: what the models' names say, without the
        # embeddings (of 128,256 words, in and out, and of 50,257).
        for name, blocks, embeddings, total in (
                ("llama3-8b", 32, 2 * 128256 * 4096, 8.03e9),
                ("llama3-70b", 80, 2 * 128256 * 8192, 70.6e9),
                ("gpt3-175b", 96, 50257 * 12288, 174.6e9)):
            found = blocks * parameters(name) + embeddings
            self.assertEqual(f"{found:.2e}", f"{total:.2e}", name)

    def test_runs_no_algorithm_where_it_is_not_heeded(self) -> None:
        self.assertEqual(len(points("--backend=nccl", "--algorithm=ring,tree")), 2)
        found = points("--collective=all_reduce,all_gather", "--algorithm=ring,tree")
        self.assertEqual(sorted((point.point["collective"], point.point["algorithm"])
                                for point in found),
                         [("all_gather", "auto"), ("all_reduce", "ring"), ("all_reduce", "tree")])

    def test_collectives_preset_has_all_of_them(self) -> None:
        found = points("--preset=collectives,seed", "--dtype=fp32")
        self.assertEqual([point.tool for point in found].count("collectives"), 5)
        self.assertEqual([point.tool for point in found].count("bench"), 2)

    def test_transformers_have_what_is_given_of_theirs(self) -> None:
        found = points("--model=llama-tiny,smollm2-135m", "--tp=1,2", "--dtype=bf16", "--batch=4",
                       "--sequence_parallel=false,true", "--part=block")
        self.assertEqual(len(found), 2 * 2 * 2)
        self.assertIn("bench --model=llama-tiny --backend=sim --tp=2 --dp=1 --algorithm=auto "
                      "--dtype=bf16 --part=block --batch=4 --sequence_parallel=true",
                      {point.key for point in found})
        both = points("--model=llama-tiny", "--shape=8x8x8", "--mode=row")
        self.assertEqual(["model" in point.point for point in both], [False, True])
        with self.assertRaisesRegex(UserError, "--overlap: transformers have it; name one with"):
            points("--overlap=true")
        with self.assertRaisesRegex(UserError, "--batch=8: the sweep itself sets --batch"):
            points("--model=llama-tiny", "--batch=4", "--bench_flags=--batch=8")

    def test_flags_are_part_of_the_key(self) -> None:
        plain, steps = points()[0], points("--bench_flags=--steps=50 --verify=off")[0]
        self.assertEqual(steps.key, plain.key + " --steps=50 --verify=off")

    def test_flags_may_not_say_what_the_point_says(self) -> None:
        for flag in ("--tp=4", "-tp=4", "--mode=row", "--tokens=1"):
            with self.assertRaisesRegex(UserError, f"{flag}: the sweep itself sets --"):
                points(f"--bench_flags={flag}")
        with self.assertRaisesRegex(UserError, "the sweep itself sets --factor"):
            points("--collective=all_reduce", "--collectives_flags=--factor=2")
        with self.assertRaisesRegex(UserError, "--steps is there more than once"):
            points("--bench_flags=--steps=5 --steps=6")
        self.assertEqual(points("--bench_flags=--factor=2")[0].flags, ("--factor=2",))


class OrderTest(unittest.TestCase):
    def test_every_point_runs_before_any_runs_again(self) -> None:
        found = points("--shape=" + ",".join(f"{n}x8x8" for n in range(1, 21)))
        runs = order(found, 3, 0)
        for repeat in range(3):
            part = runs[repeat * len(found):(repeat + 1) * len(found)]
            self.assertEqual({number for _, number in part}, {repeat})
            self.assertEqual({point.key for point, _ in part}, {point.key for point in found})

    def test_is_drawn_by_the_seed_for_each_repeat(self) -> None:
        found = points("--shape=" + ",".join(f"{n}x8x8" for n in range(1, 21)))

        def keys(seed: int, repeat: int) -> list[str]:
            return [point.key for point, number in order(found, 2, seed) if number == repeat]

        self.assertEqual(keys(1, 0), keys(1, 0))
        self.assertNotEqual(keys(1, 0), keys(1, 1))
        self.assertNotEqual(keys(1, 0), keys(2, 0))
        self.assertNotEqual(keys(1, 0), sorted(keys(1, 0)))


class OptionsTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = os.path.join(folder.name, "sweep.yaml")

    def write(self, text: str) -> str:
        with open(self.path, "w", encoding="utf-8") as file:
            file.write(text)
        return f"--config={self.path}"

    def test_a_file_says_the_same_as_the_command_line(self) -> None:
        config = self.write("preset: [seed]\ntp: [2, 4]\nmode: row\ndtype: bf16\nrepeats: 3\n"
                            "timeout: 1.5\nbench_flags: [--steps=50, --verify=off]\n")
        line = ("--preset=seed", "--tp=2,4", "--mode=row", "--dtype=bf16", "--repeats=3",
                "--timeout=1.5", "--bench_flags=--steps=50 --verify=off")
        from_file, from_line = vars(options.parse([config])), vars(options.parse(line))
        del from_file["config"], from_line["config"]
        self.assertEqual(from_file, from_line)

    def test_bytes_are_written_as_for_collectives(self) -> None:
        for text, number in (("1024", 1024), ("7B", 7), ("2K", 2048), ("2k", 2048),
                             ("2KB", 2048), ("2KiB", 2048), ("3miB", 3 << 20), ("64M", 64 << 20), ("1GiB", 1 << 30), ("1T", 1 << 40)):
            line = options.parse([f"--min_bytes={text}", "--max_bytes=1T"])
            self.assertEqual((line.min_bytes, line.max_bytes), (number, 1 << 40), text)
            config = self.write(f"min_bytes: {text}\nmax_bytes: 1T\n")
            self.assertEqual(options.parse([config]).min_bytes, number, text)
        # The same run has the same name, however it was asked for.
        keys = [[point.key for point in points("--collective=all_reduce", f"--max_bytes={text}")]
                for text in ("65536", "64K", "64KiB")]
        self.assertEqual(keys, [keys[0]] * 3)
        for text in ("", "M", "4Q", "4KK", "4 K", "4Ki", "1.5M", "-1", "+4", "0", "0K",
                     "9999999999T", "9" * 19, "\u0664K"):
            with self.assertRaises(UserError, msg=text) as raised:
                options.parse([f"--min_bytes={text}"])
            self.assertIn("a number of bytes, at least 1, such as 4096 or 64M",
                          str(raised.exception))

    def test_the_command_line_wins(self) -> None:
        config = self.write("tp: [2, 4]\nrepeats: 3\n")
        settings = options.parse([config, "--tp=8"])
        self.assertEqual((settings.tp, settings.repeats), ((8,), 3))

    def test_a_file_is_read_as_the_command_line_is(self) -> None:
        for text, flags in (
                ("tp: 010\n", ["--tp=010"]), ("tp: [2, 010]\n", ["--tp=2,010"]),
                ("tp: '2,4'\n", ["--tp=2,4"]), ("timeout: 1e3\n", ["--timeout=1e3"]),
                ("bench: no\n", ["--bench=no"]), ("bench: 2025-01-31\n", ["--bench=2025-01-31"]),
                ("output: 1.50\n", ["--output=1.50"]),
                ("bench_flags: --lr=010\n", ["--bench_flags=--lr=010"])):
            from_file = vars(options.parse([self.write(text)]))
            from_line = vars(options.parse(flags))
            del from_file["config"], from_line["config"]
            self.assertEqual(from_file, from_line, text)

    def test_bad_files_get_one_line(self) -> None:
        for text, words in (
                ("tp: [2, 4", "is no YAML"), ("- tp", "names with values"),
                ("", "names with values"),
                ("tp: 2\nrepeats: 1\ntp: 4", "line 3: 'tp' is there 2 times"),
                ("<<: {tp: 2}", "'<<' is no setting"), ('bench: "a\\0b"', "zero byte"),
                ("tpp: 2", "'tpp' is no setting"),
                ("config: x", "'config' is no setting"), ("a: &a [*a]", "is no YAML"),
                ("tp: {a: 1}", "'tp' must be"), ("tp:", "argument --tp: ''"),
                ("tp: []", "'tp' must be"),
                ("tp: true", "argument --tp: 'true'"), ("tp: 1_0", "argument --tp: '1_0'"),
                ("tp: 0x10", "argument --tp: '0x10'"), ("[tp]: 2", "is no YAML"),
                ("tp: two", "argument --tp: 'two'"),
                ("tp: 2.5", "argument --tp: '2.5'"),
                ("tp: !!python/object:os.system {}", "'tp' must be")):
            with self.assertRaises(UserError, msg=text) as caught:
                options.parse([self.write(text)])
            self.assertIn(words, str(caught.exception))
            self.assertNotIn("\n", str(caught.exception))


if __name__ == "__main__":
    unittest.main()
