"""How a tool ends, whatever becomes of what it prints."""

import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

from tools.common.program import UserError, check_distinct

_TOOL = """
import sys
from tools.common.program import Parser, UserError, run, write_each

def main():
    parser = Parser(prog="tool")
    parser.add_argument("--say", default="")
    parser.add_argument("--fail", default="")
    parser.add_argument("--list", action="append")
    arguments = parser.parse_args()
    print(arguments.say.replace("HALF", chr(0xd800)))
    if arguments.list:
        return write_each("tool", dict.fromkeys(arguments.list, "text"))
    if arguments.fail == "interrupted":
        raise KeyboardInterrupt
    if arguments.fail:
        raise UserError(arguments.fail)
    return 0

sys.exit(run("tool", main))
"""


class ProgramTest(unittest.TestCase):
    def tool(self, *arguments: str, stdout: object = subprocess.PIPE, shell: str = "") -> tuple:
        command = [sys.executable, "-c", _TOOL, *arguments]
        if shell:
            command = ["bash", "-c", f'"$0" "$@" {shell}', *command]
        environment = {**os.environ, "PYTHONPATH": os.getcwd(), "PYTHONIOENCODING": "ascii"}
        done = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, env=environment)
        return done.returncode, (done.stdout or b"").decode(), done.stderr.decode()

    def test_prints_what_it_said_in_utf_8(self) -> None:
        self.assertEqual(self.tool("--say=é HALF"), (0, "é ?\n", ""))

    def test_a_mistake_gets_one_line(self) -> None:
        self.assertEqual(self.tool("--fail=two\nlines"), (1, "\n", "tool: two lines\n"))
        for flags, words in (
            (["--nonsense"], "unrecognized arguments: --nonsense"),
            (["--sa=1"], "unrecognized arguments: --sa=1"),
            (["--say=1", "--say=2"], "argument --say: it is there more than once"),
        ):
            status, out, err = self.tool(*flags)
            self.assertEqual((status, out, err), (1, "", f"tool: {words}; see --help\n"))

    def test_a_file_that_cannot_be_written_costs_no_other(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            bad, good = f"{folder}/no/file", f"{folder}/file"
            status, out, err = self.tool(f"--list={bad}", f"--list={good}", "--say=x")
            self.assertEqual((status, out), (1, "x\n"))
            said = (
                f"tool: cannot write {bad}: No such file or directory\ntool: wrote {good} (0 KiB)\n"
            )
            self.assertEqual(err, said)
            with open(good, encoding="utf-8") as file:
                self.assertEqual(file.read(), "text")

    def test_ctrl_c_is_no_fault(self) -> None:
        self.assertEqual(self.tool("--fail=interrupted"), (130, "\n", "tool: interrupted\n"))

    def test_a_standard_output_that_is_full_fails(self) -> None:
        with open("/dev/full", "wb") as full:
            for flags in (["--say=x"], ["--help"]):
                status, _, err = self.tool(*flags, stdout=full)
                words = "tool: cannot write the standard output: No space left on device\n"
                self.assertEqual((status, err), (1, words))

    def test_a_standard_output_that_nobody_reads_fails(self) -> None:
        reader, writer = os.pipe()
        os.close(reader)
        status, _, err = self.tool(stdout=writer)
        os.close(writer)
        self.assertEqual(
            (status, err), (1, "tool: cannot write the standard output: Broken pipe\n")
        )

    def test_a_standard_output_that_is_closed_fails(self) -> None:
        status, _, err = self.tool(shell=">&-")
        self.assertEqual(
            (status, err), (1, "tool: cannot write the standard output: it is closed\n")
        )

    def test_nobody_need_hear_what_is_said(self) -> None:
        self.assertEqual(self.tool("--fail=x", shell="2>&-")[:2], (1, "\n"))
        self.assertEqual(self.tool("--fail=x", shell="2>/dev/full")[:2], (1, "\n"))

    def test_a_file_keeps_what_another_wrote_before(self) -> None:
        with tempfile.TemporaryFile() as file:
            file.write(b"before\n")
            file.flush()
            self.assertEqual(self.tool("--say=after", stdout=file)[0], 0)
            file.seek(0)
            self.assertEqual(file.read(), b"before\nafter\n")


class CheckDistinctTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.file = self.folder / "file"
        self.file.write_text("kept")
        (self.folder / "to_file").symlink_to("file")
        (self.folder / "to_none").symlink_to("none")
        os.link(self.file, self.folder / "other")
        os.mkfifo(self.folder / "fifo")

    def test_an_output_that_is_an_input_is_refused(self) -> None:
        for name in ("file", "./file", "to_file", "other", f"../{self.folder.name}/file"):
            output = f"{self.folder}/{name}"
            words = f"--out would overwrite {output}, which --in names, too; give it another file"
            with self.assertRaises(UserError) as refused:
                check_distinct({"--out": output}, {"--in": ["", str(self.file)]})
            self.assertEqual(str(refused.exception), words)

    def test_an_output_that_is_another_is_refused(self) -> None:
        for first, second in (
            ("file", "to_file"),
            ("file", "other"),
            ("none", "./none"),
            ("none", "to_none"),
        ):
            outputs = {"--a": f"{self.folder}/{first}", "--b": f"{self.folder}/{second}"}
            words = f"--a and --b both name {outputs['--b']}, where one would overwrite the other; .*"
            with self.assertRaisesRegex(UserError, words):
                check_distinct(outputs, {})

    def test_others_and_streams_are_taken(self) -> None:
        for output in ("/dev/null", "/dev/stdout", f"{self.folder}/fifo"):
            check_distinct({"--a": output, "--b": output}, {"--in": [output]})
        outputs = {"--a": f"{self.folder}/none", "--b": f"{self.folder}/others", "--c": None}
        check_distinct(outputs, {"--in": [str(self.file), str(self.file)]})


if __name__ == "__main__":
    unittest.main()
