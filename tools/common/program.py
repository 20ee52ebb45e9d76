"""How every tool in Python reads its command line, speaks and ends."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from . import files

INTERRUPTED = 130  # the exit status, as of a shell's command that Ctrl-C ended


class UserError(Exception):
    """What a person can put right. Its text is one line: what is wrong, where, and what to do."""


class _Once(argparse.Action):
    """Stores a value. Given again, it would win, and what was said before be lost."""

    def __call__(
        self, parser: object, namespace: object, values: object, flag: object = None
    ) -> None:
        assert isinstance(parser, Parser)
        if self.dest in parser.given:
            raise argparse.ArgumentError(self, "it is there more than once")
        parser.given.add(self.dest)
        setattr(namespace, self.dest, values)


class Parser(argparse.ArgumentParser):
    """A command line of which every mistake is a UserError. No flag may be cut short, or be there
    twice unless it adds to a list."""

    def __init__(self, **settings: object) -> None:
        super().__init__(allow_abbrev=False, **settings)  # type: ignore[arg-type]
        self.given: set[str] = set()
        self.register("action", None, _Once)
        self.register("action", "store", _Once)

    def parse_args(self, *arguments: object) -> argparse.Namespace:  # type: ignore[override]
        self.given.clear()
        return super().parse_args(*arguments)  # type: ignore[no-any-return, call-overload]

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see --help")


def say(tool: str, text: str) -> None:
    """A line beside the results, on stderr. Where that is closed nobody is there to hear it."""
    line = f"{tool}: {' '.join(text.splitlines())}\n"
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            os.write(sys.stderr.fileno(), files.encode(line))


def reason(error: OSError) -> str:
    return error.strerror or str(error)


def write_each(tool: str, texts: dict[str, str]) -> int:
    """Each to the path that the user named, and on its own account: that one can't be written costs
    no other. Says what became of each. The exit status."""
    status = 0
    for name, text in texts.items():
        try:
            files.write(files.resolve(name), text)
            say(tool, f"wrote {name} ({len(files.encode(text)) / 1024:.0f} KiB)")
        except OSError as error:
            say(tool, f"cannot write {name}: {reason(error)}")
            status = 1
    return status


def check_distinct(outputs: dict[str, str | None], inputs: dict[str, list[str]]) -> None:
    """That no output is an input or another output, of which one would be lost; before anything is
    written. All by the flags that name them. Raises UserError."""
    read = {
        files.identity(files.resolve(name)): flag
        for flag, names in inputs.items()
        for name in names
        if name
    }
    written: dict[object, str] = {}
    for flag, name in outputs.items():
        if not name or files.is_stream(files.resolve(name)):
            continue
        file = files.identity(files.resolve(name))
        if file in read:
            raise UserError(
                f"{flag} would overwrite {name}, which {read[file]} names, too; give it another file"
            )
        if file in written:
            raise UserError(
                f"{written[file]} and {flag} both name {name}, where one would overwrite the other; "
                "give each its own file"
            )
        written[file] = flag


def check_outputs(outputs: dict[str, str | None], inputs: dict[str, list[str]]) -> None:
    """That all outputs can be written, and none over an input or another output: to be asked before
    long work. Raises UserError."""
    check_distinct(outputs, inputs)
    for name in filter(None, outputs.values()):
        try:
            files.check_writable(files.resolve(name))
        except OSError as error:
            raise UserError(f"cannot write {name}: {reason(error)}") from error


def run(tool: str, main: Callable[[], int]) -> int:
    """Runs a tool; its exit status. A UserError gets one line and status 1. What is printed goes to
    the standard output when the tool is done, all of it, or there is a line and status 1."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            status = main()
    except UserError as error:
        say(tool, str(error))
        status = 1
    except KeyboardInterrupt:
        say(tool, "interrupted")
        status = INTERRUPTED
    except SystemExit as end:  # --help
        status = end.code if isinstance(end.code, int) else 0
    return _print(tool, printed.getvalue()) or status


def _print(tool: str, text: str) -> int:
    if not text:
        return 0
    try:
        if sys.stdout is None:  # it was closed before the tool began
            raise OSError(0, "it is closed")
        rest = memoryview(files.encode(text))
        while rest:
            rest = rest[os.write(sys.stdout.fileno(), rest) :]
        return 0
    except OSError as error:
        say(tool, f"cannot write the standard output: {reason(error)}")
        return 1
