"""The file of a sweep: one JSON object a line (JSONL, UTF-8), one line a run of a tool.

Schema, version 1. A reader ignores names that it does not know and refuses another `schema`.

  schema      1
  key         text: the point, as the tool and the flags that make it:
              "bench --mode=row --backend=sim --tp=2 ...". The same key is the same point, in this
              file or another
  repeat      0, 1, ...: which run of that point; (key, repeat) is unique in a file
  tool        "bench" or "collectives"
  point       object, what was asked for. Of both tools: backend ("sim", "nccl"), tp, dp, dtype,
              algorithm. Of bench, a linear layer's: mode ("row", "column"), tokens, in_features,
              out_features; a transformer's: model, and of part ("block", "mlp"), batch, sequence,
              micro_batches, sequence_parallel (true, false), recompute, overlap and strands what
              was asked for. Of collectives: collective ("all_reduce", ...), min_bytes, max_bytes,
              factor
  layers      texts: the presets' names for the point, such as ["llama3-8b.gate", "llama3-8b.up"]
  flags       texts: what else was passed on to the tool, such as ["--steps=50"]; part of the key
  command     texts: the program and its arguments, ready to run again
  host        object: name, system, cpu, cores, memory_bytes (or null), and environment, an object
              of the variables that change how fast a run is (NCCL_*, CUDA_*, OMP_*, OPENBLAS_*,
              TP_*)
  time        text: when the run began, in UTC: "2025-01-31T23:59:59Z"
  seconds     number: how long the whole run took, its start and its checks included
  exit        integer: the tool's exit status (negative: the signal that ended it), or null where
              it was ended at its time limit

and one or both of

  bench       object: what bench wrote to --json (config, host, run, complete, results[], ok); or
  collectives object: what collectives wrote to --json (the same)
  error       text, one line: why there is no result (by its own account the tool may have run
              another point than it was asked to) or, beside one, that a check failed or could not
              decide

All numbers in `bench` and `collectives` are measured, never predicted. Those of `collectives`:

  config      backend, collectives, tp, dp, dtype, algorithm, scheduler, min_bytes, max_bytes,
              factor, per_step, steps, warmup, graph
  host, run, complete    as bench's
  results[]   one for each collective and size:
    collective  "all_reduce", "all_gather", "reduce_scatter", "broadcast" or "all_to_all"
    algorithm   what ran: "ring", "direct", "nccl", ...
    members     ranks in a group: tp
    bytes       nccl-tests' size: of the whole array; for all_to_all of what one member sends
    count       elements of it or, for all_gather, reduce_scatter and all_to_all, of one block
    dtype       "fp32", ...
    in_place    whether the result lies in the input's memory, or the input in the result's
    per_step    how many ran one after the other in a timed step
    time_us     median, min, p99 over the steps, of the slowest rank's step over per_step
    algbw_gbps, busbw_gbps    10^9 bytes a second, of the median, as nccl-tests defines them
    checked     elements of results that were looked at, on all ranks
    wrong       those that are not what they must be
    moved_bytes, algorithm_bytes    of one collective, by all ranks together: sent, and due by its
                algorithm
    contract_bytes    the least that any algorithm can send for it
    ok          whether nothing is wrong, and moved_bytes are algorithm_bytes and no fewer than the
                contract's
  ok          whether all results are

A line is whole or, where the machine died while it was written, the last one of the file and
without its newline: read() leaves that out, and a sweep that goes on with the file cuts it off.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
from typing import Any

from tools.common import files
from tools.common.program import UserError, reason

SCHEMA = 1

Record = dict[str, Any]


def _parse(path: str, data: bytes) -> list[Record]:
    """The records of whole lines. Errors: a line that is none, named by its number."""
    records = []
    for number, line in enumerate(data.splitlines(), start=1):
        try:
            record = json.loads(line)
            if not isinstance(record, dict):
                raise ValueError("it is no object")
            if record["schema"] != SCHEMA:
                raise UserError(f"{path}:{number}: schema {record['schema']}, not {SCHEMA}")
            if not isinstance(record["key"], str) or type(record["repeat"]) is not int:
                raise ValueError("key is no text, or repeat no whole number")
            if not isinstance(record.get("error", ""), str):
                raise ValueError("error is no text")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise UserError(f"{path}:{number}: not a line of a sweep: {error!r}") from error
        records.append(record)
    return records


def _whole(data: bytes) -> int:
    """How many bytes of a file are whole lines."""
    return data.rfind(b"\n") + 1


def read(path: str) -> list[Record]:
    """All records of a file, without an unfinished last line. Errors: UserError."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise UserError(f"cannot read {path}: {reason(error)}") from error
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
            raise UserError(f"cannot write {path}: {reason(error)}") from error
        try:
            self.records = self._recover()
        except BaseException:
            os.close(self._fd)
            raise

    def _recover(self) -> list[Record]:
        if not stat.S_ISREG(os.fstat(self._fd).st_mode):
            raise UserError(f"cannot write {self.path}: it is no regular file")
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError(f"{self.path}: another sweep is writing it") from error
        with open(self._fd, "rb", closefd=False) as file:
            data = file.read()
        # Before anything is cut: the file may be no sweep's.
        records = _parse(self.path, data[: _whole(data)])
        if _whole(data) < len(data):
            if not data[_whole(data) :].startswith(b'{"schema"'[: len(data) - _whole(data)]):
                raise UserError(f"{self.path}: its unfinished last line is not of a sweep")
            os.ftruncate(self._fd, _whole(data))
            os.fsync(self._fd)
        return records

    def append(self, record: Record) -> None:
        line = json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n"
        data = files.encode(line)
        size = os.fstat(self._fd).st_size
        try:
            if os.write(self._fd, data) != len(data):
                raise OSError(0, "no room for the whole line")
            os.fsync(self._fd)
        except OSError as error:
            os.ftruncate(self._fd, size)
            raise UserError(f"cannot write {self.path}: {reason(error)}") from error
        self.records.append(record)

    def close(self) -> None:
        os.close(self._fd)

    def __enter__(self) -> RecordFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
