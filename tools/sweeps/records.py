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
