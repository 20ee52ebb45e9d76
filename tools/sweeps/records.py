"""The file of a sweep: one JSON object a line (JSONL, UTF-8), one line a run of a tool.

Schema, version 1. A reader ignores keys that it does not know and refuses a `schema` that it does not.

  schema      1
  key         string: the point, as the flags that make it, such as
              "bench --backend=sim --mode=row --tp=2 ...". The same key is the same point, in this
              file or another. What neither changes the numbers nor the outcome (where the JSON is
              written) is not in it
  repeat      0, 1, ...: which of the runs of that point; (key, repeat) is unique in a file
  tool        "bench" or "collectives"
  point       object: what was asked for. Of both tools: backend ("sim", "nccl"), tp, dp, dtype,
              algorithm. Of bench: mode ("row", "column"), tokens, in_features, out_features.
              Of collectives: collective ("all_reduce", ...), min_bytes, max_bytes, factor
  layers      array of strings: the names that presets have for this point, such as
              ["llama3-8b.gate", "llama3-8b.up"]; may be empty
  flags       array of strings: what the user had passed on to the tool beyond the point's own
              flags, such as ["--steps=50"]; part of the key
  command     array of strings: the program and its arguments, ready to run again
  host        object: name, system, cpu, cores (integer), memory_bytes (integer or null), and
              environment: object of the variables that change how fast a run is (NCCL_*, CUDA_*,
              OMP_*, OPENBLAS_*, TP_*)
  time        string: when the run began, in UTC: "2025-01-31T23:59:59Z"
  seconds     number: how long the whole run took, start and checks included
  exit        integer: the tool's exit status (negative: the signal that ended it), or null where
              it never ran or was ended at its time limit
and one or both of
  bench       object: what bench wrote to --json (config, host, results[], ok; docs of bench); or
  collectives object: what collectives wrote to --json (config, host, results[], ok)
  error       string, one line: why there is no result, or (a result beside it) which check failed

All numbers in `bench` and `collectives` are measured, never predicted.

`collectives`:
  config      backend, tp, dp, dtype, algorithm, min_bytes, max_bytes, factor, per_step, steps, warmup,
              graph
  host        as bench's
  results[]   one row a collective and size: collective; algorithm (what ran: "ring", "nccl", ...);
              members; bytes (the whole array, nccl-tests' size); count (elements: of the whole array
              for all_reduce, of one member's block otherwise, as in nccl-tests); dtype; in_place
              (bool); per_step (how many run one after the other in a timed step); time_us {median,
              min, p99} of one of them, that is of the step over per_step; algbw_gbps, busbw_gbps
              (10^9 bytes a second, of the median); wrong (elements that are not what they must be, on
              all ranks together); checked (how many were looked at); moved_bytes and contract_bytes
              of one collective, by all ranks together
  ok          bool: nothing wrong, and every byte count as promised

A line is whole or, where the machine or the sweep died while it was written, the unfinished last one
of the file; read() leaves that out, and resume cuts it off.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
from typing import Any

SCHEMA = 1

Record = dict[str, Any]


class SweepError(Exception):
    """What a person can put right; its text is one line."""


def _parse(path: str, data: bytes) -> list[Record]:
    """The records of whole lines. Errors: a line that is none, named by its number."""
    records = []
    for number, line in enumerate(data.splitlines(), start=1):
        try:
            record = json.loads(line)
            if record["schema"] != SCHEMA:
                raise SweepError(f"{path}:{number}: schema {record['schema']}; this sweep knows {SCHEMA} only")
            str(record["key"]), int(record["repeat"])
        except (ValueError, KeyError, TypeError) as error:
            raise SweepError(f"{path}:{number}: not a line of a sweep: {error!r}") from error
        records.append(record)
    return records


def _whole(data: bytes) -> int:
    """How many bytes of a file are whole lines."""
    return data.rfind(b"\n") + 1


def read(path: str) -> list[Record]:
    """All records of a file, without an unfinished last line. Errors: SweepError."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise SweepError(f"cannot read {path}: {error.strerror}") from error
    return _parse(path, data[: _whole(data)])


class RecordFile:
    """A file of records, open for one sweep to go on with.

    Opening creates it or cuts off an unfinished last line, and takes a lock that ends with the
    process. A record is on the disk, whole, when append returns."""

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise SweepError(f"cannot write {path}: {error.strerror}") from error
        try:
            self.records = self._recover()
        except BaseException:
            os.close(self._fd)
            raise

    def _recover(self) -> list[Record]:
        if not stat.S_ISREG(os.fstat(self._fd).st_mode):
            raise SweepError(f"cannot write {self.path}: it is no regular file")
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise SweepError(f"{self.path}: another sweep is writing it") from error
        with open(self._fd, "rb", closefd=False) as file:
            data = file.read()
        records = _parse(self.path, data[: _whole(data)])  # before anything is cut: it may be no sweep's
        if _whole(data) < len(data):
            if not data[_whole(data) :].startswith(b'{"schema"'[: len(data) - _whole(data)]):
                raise SweepError(f"{self.path}: its unfinished last line is not of a sweep")
            os.ftruncate(self._fd, _whole(data))
            os.fsync(self._fd)
        return records

    def append(self, record: Record) -> None:
        line = json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n"
        data = line.encode("utf-8", "replace")
        size = os.fstat(self._fd).st_size
        try:
            if os.write(self._fd, data) != len(data):
                raise OSError(0, "no room for the whole line")
            os.fsync(self._fd)
        except OSError as error:
            os.ftruncate(self._fd, size)
            raise SweepError(f"cannot write {self.path}: {error.strerror}") from error
        self.records.append(record)

    def close(self) -> None:
        os.close(self._fd)

    def __enter__(self) -> RecordFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
