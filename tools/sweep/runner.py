"""One run of a tool as a child process, from its start to its record."""

from __future__ import annotations

import ctypes
import json
import os
import platform
import signal
import subprocess
import tempfile
import time
from datetime import datetime, timezone
from typing import Any, BinaryIO

from tools.common.program import UserError, reason
from tools.sweep.points import Point
from tools.sweep.records import SCHEMA, Record

_UNDECIDED = 3  # the tools' exit status where what was checked is neither right nor wrong
_PATIENCE = 5.0  # seconds from the polite signal to the other one
_INTERRUPTIONS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LIBC = ctypes.CDLL(None)
_ENVIRONMENT = ("NCCL_", "CUDA_", "OMP_", "OPENBLAS_", "TP_")


def _die_with_parent() -> None:
    """In the child: what a killed sweep had started must not go on beside the next one."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.machine()


def host_facts() -> dict[str, Any]:
    """The record's `host`."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        memory = None
    return {
        "name": platform.node(),
        "system": platform.platform(),
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": memory,
        "environment": {name: value for name, value in sorted(os.environ.items())
                        if name.startswith(_ENVIRONMENT)},
    }


def _start(command: list[str], stderr: BinaryIO,
           mask: set[signal.Signals]) -> subprocess.Popen[bytes]:
    def prepare() -> None:
        _die_with_parent()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    try:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr,
            start_new_session=True, preexec_fn=prepare)
    except OSError as error:
        raise UserError(f"cannot start {command[0]}: {reason(error)}") from error


def _end(child: subprocess.Popen[bytes]) -> None:
    """Ends a child and what it started, which share a session of their own."""
    for number, patience in ((signal.SIGTERM, _PATIENCE), (signal.SIGKILL, None)):
        try:
            os.killpg(child.pid, number)
        except ProcessLookupError:
            pass
        try:
            child.wait(patience)
        except subprocess.TimeoutExpired:
            continue


def _last_line(file: BinaryIO) -> str:
    file.seek(0, os.SEEK_END)
    file.seek(max(0, file.tell() - 65536))
    lines = [line.strip() for line in file.read().decode("utf-8", "replace").splitlines()]
    return next((line for line in reversed(lines) if line), "")


def _read_result(path: str) -> dict[str, Any] | None:
    """What the tool wrote, or None."""
    try:
        with open(path, encoding="utf-8") as file:
            result = json.load(file)
    except (OSError, ValueError, RecursionError):
        return None
    return result if isinstance(result, dict) else None


def _differs(point: Point, result: dict[str, Any]) -> str | None:
    """What ran other than was asked for, by the tool's own account, or None."""
    config = result.get("config")
    if not isinstance(config, dict):
        return None
    model = config.get("model")
    if isinstance(model, dict):
        config = {**config, **model, "model": model.get("name")}
    for name, asked in point.point.items():
        several = config.get(f"{name}s")  # of modes and collectives the tools take a list
        ran = several if isinstance(several, list) else [config.get(name, asked)]
        if ran != [asked]:
            shown = ",".join(map(str, ran))
            return f"{point.tool} ran --{name}={shown} where --{name}={asked} was asked for"
    return None


def _explain(point: Point, code: int | None, result: Any, said: str, timeout: float) -> str | None:
    """Why a run has no result, or which part of it did not hold; None where all is well."""
    if code is None:
        return f"{point.tool} was ended after {timeout:g} s (--timeout)"
    if code < 0:
        return f"{point.tool} died of {signal.Signals(-code).name}" + (f": {said}" if said else "")
    if result is not None:
        if code == _UNDECIDED:
            return f"{point.tool}: a check could not decide; see its result"
        return None if code == 0 else f"{point.tool}: a check failed; see its result"
    return said or f"{point.tool} ended with {code} and wrote no result"


def run(point: Point, repeat: int, program: str, host: dict[str, Any], timeout: float) -> Record:
    """Runs a point once. What goes wrong with it is in the record; an interruption ends the child
    and passes on. Errors: UserError where the program cannot be started at all."""
    with tempfile.TemporaryDirectory(prefix="sweep.") as folder, \
            open(os.path.join(folder, "stderr"), "w+b") as stderr:
        path = os.path.join(folder, "result.json")
        began = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        start = time.monotonic()
        # An interruption while the child starts would leave it without a parent that ends it.
        usual = signal.pthread_sigmask(signal.SIG_BLOCK, _INTERRUPTIONS)
        code: int | None = None
        try:
            child = _start([program, *point.arguments, f"--json={path}"], stderr, usual)
            try:
                signal.pthread_sigmask(signal.SIG_SETMASK, usual)
                code = child.wait(timeout)
            except subprocess.TimeoutExpired:
                pass
            finally:
                if child.returncode is None:
                    _end(child)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, usual)
        seconds = time.monotonic() - start
        result = _read_result(path) if code is not None and code >= 0 else None
        error = _explain(point, code, result, _last_line(stderr), timeout)
    if result is not None and (other := _differs(point, result)):
        result, error = None, other
    record: Record = {
        "schema": SCHEMA, "key": point.key, "repeat": repeat, "tool": point.tool,
        "point": point.point, "layers": list(point.layers), "flags": list(point.flags),
        "command": [program, *point.arguments], "host": host, "time": began,
        "seconds": round(seconds, 3), "exit": code,
    }
    if error is not None:
        record["error"] = error
    if result is not None:
        record[point.tool] = result
    return record
