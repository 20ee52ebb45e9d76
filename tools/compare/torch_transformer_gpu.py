#!/usr/bin/env python3
"""A transformer's steps against PyTorch on GPUs: the same work, one after the other, in one call.

    ./bazelw build --config=cuda //tools:bench && python3 tools/compare/torch_transformer_gpu.py --tp=2

A line a row, milliseconds a step, in bf16: medians, the slower rank's. Rows, by name or its beginning (--rows):

    mlp-TxHxF    forward and backward of a SwiGLU layer: T tokens, H features, F hidden ones; the gradient
                 of every weight and of the input, no loss and no update
    block-SxB    the same of a block of Llama-3-8B's width, B sequences of S tokens: norm, attention, sum,
                 norm, SwiGLU, sum; block-768-SxB: of 768 features, 12 heads of 64 and 3072 hidden ones
    train        a training step with AdamW and gradients clipped to norm 1, of a Llama of 8 layers, hidden
                 2048, 16 query heads and 8 of keys and values of 128, ffn 5632, vocabulary 32000, 4
                 sequences of 2048 tokens, unless the flags say otherwise

PyTorch's is the best that a user could write (torch_transformer_steps.py), all of it in one CUDA graph, with
cuDNN's or Flash's attention, whichever is faster. Its variants: `hand` is sequence parallel, `all-reduce` keeps
whole activations on each rank; `masters` keeps fp32 copies and states of AdamW, as bench does, where the others
keep bf16; `alone` is hand with the communication taken out: the floor that perfect overlap reaches.
Then bench's, for each way to cut the step (`nomasters` is overlap without fp32 copies, as PyTorch's hand), and
the best of them over PyTorch's best and over alone.
Needs PyTorch with CUDA; --tiny runs small sizes on CPUs, to see that all of it runs.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
from types import SimpleNamespace

from hf_llama import write_config

THETA = 500000.0
VARIANTS = ("hand", "all-reduce", "masters", "alone")
CUTS = {"all-reduce": [],
        "sequence": ["--sequence_parallel"],
        "overlap": ["--sequence_parallel", "--overlap"],
        "nomasters": ["--sequence_parallel", "--overlap", "--nomasters"],
        "strands": ["--sequence_parallel", "--micro_batches=2", "--strands=2"]}
OF_PARTS, OF_TRAINING = ("all-reduce",), ("masters", "nomasters", "strands")
TRAINED = dict(layers=8, hidden=2048, heads=16, groups=8, ffn=5632, vocabulary=32000, batch=4, sequence=2048)


def mlp(tokens, hidden, ffn):
    return SimpleNamespace(name=f"mlp-{tokens}x{hidden}x{ffn}", kind="mlp", batch=1, sequence=tokens,
                           hidden=hidden, ffn=ffn, heads=hidden // 16, groups=hidden // 16, head=16,
                           layers=1, vocabulary=256)


def block(name, sequence, batch, hidden=4096, heads=32, groups=8, head=128, ffn=14336):
    return SimpleNamespace(name=f"block-{name}{sequence}x{batch}", kind="block", batch=batch,
                           sequence=sequence, hidden=hidden, heads=heads, groups=groups, head=head,
                           ffn=ffn, layers=1, vocabulary=256)


def all_rows(options):
    small = dict(hidden=64, heads=4, groups=2, head=16, ffn=96)
    sizes = dict(head=128, **{name: getattr(options, name) for name in TRAINED})
    if options.tiny:
        sizes.update(small, layers=2, vocabulary=128, batch=2, sequence=32)
        parts = [mlp(64, 32, 96), block("", 32, 2, **small)]
    else:
        parts = [mlp(2048, 4096, 14336), mlp(8192, 4096, 14336), mlp(8192, 8192, 28672),
                 block("", 4096, 1), block("", 8192, 1), block("", 2048, 4),
                 block("768-", 1024, 8, hidden=768, heads=12, groups=12, head=64, ffn=3072)]
    return [*parts, SimpleNamespace(name="train", kind="train", **sizes)]


def fits(row, name):
    """Whether a row has this variant, or this cut."""
    return name not in (OF_PARTS if row.kind == "train" else OF_TRAINING)


def torch_worker(rank, world, rows, variants, tiny, port, queue):
    import torch
    import torch.distributed as dist
    from torch_transformer_steps import measure

    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    device = torch.device("cpu") if tiny else torch.device("cuda", rank)
    if tiny:
        torch.set_num_threads(1)
        dist.init_process_group("gloo", rank=rank, world_size=world)
    else:
        torch.cuda.set_device(rank)
        dist.init_process_group("nccl", rank=rank, world_size=world, device_id=device)
    times = {row.name: {variant: measure(row, variant, rank, world, device)
                        for variant in variants if fits(row, variant)} for row in rows}
    if rank == 0:
        queue.put(times)
    dist.barrier()
    dist.destroy_process_group()


def run_torch(world, rows, variants, tiny):
    """By row and variant."""
    import torch.multiprocessing as mp

    queue = mp.get_context("spawn").SimpleQueue()
    port = 29600 + os.getpid() % 1000
    mp.spawn(torch_worker, (world, rows, variants, tiny, port, queue), world)
    return queue.get()


def run_bench(bench, world, row, flags, tiny):
    with tempfile.TemporaryDirectory() as folder:
        write_config(folder, row, THETA, "bfloat16")
        result = os.path.join(folder, "result.json")
        part = ["--steps=20", "--warmup=3"]
        if row.kind != "train":
            part = [f"--part={row.kind}", "--steps=50", "--warmup=20", "--nopeak"]
        dtype = "fp32" if tiny and "--nomasters" not in flags else "bf16"
        where = ["--backend=sim" if tiny else "--backend=nccl", f"--dtype={dtype}"]
        done = subprocess.run([bench, f"--hf={folder}", f"--tp={world}", f"--batch={row.batch}",
                               f"--sequence={row.sequence}", "--nofloor", f"--json={result}",
                               *where, *part, *flags], stdout=subprocess.DEVNULL, check=False)
        if done.returncode != 0:
            sys.exit(f"bench ended with {done.returncode} on {row.name} {' '.join(flags)}")
        with open(result) as file:
            return json.load(file)["results"][0]["step_ms"]["median"]


def line(name, of_torch, of_bench, variants, cuts):
    cells = [of_torch.get(v) for v in variants] + [of_bench.get(c) for c in cuts]
    ours = min(of_bench.values(), default=None)
    best = min((t for v, t in of_torch.items() if v != "alone"), default=None)
    ratios = [ours / other if ours and other else None for other in (best, of_torch.get("alone"))]
    text = "".join(f"{'-' if t is None else format(t, '.3f'):>11}" for t in cells + ratios)
    return f"{name:<22}{text}"


def parse():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", default="bazel-bin/tools/bench/bench")
    parser.add_argument("--tp", type=int, default=2)
    parser.add_argument("--rows", default="train", help="names, or what they begin with: mlp,block,train")
    for name, size in TRAINED.items():
        parser.add_argument(f"--{name}", type=int, default=size, help="of the row train")
    parser.add_argument("--variants", default=",".join(VARIANTS), help="of PyTorch's step")
    parser.add_argument("--cuts", default=",".join(CUTS), help="of bench's")
    parser.add_argument("--tiny", action="store_true", help="small sizes, on CPUs")
    return parser.parse_args()


def main():
    options = parse()
    if not os.path.exists(options.bench):
        sys.exit(f"{options.bench} is not there; build it: ./bazelw build --config=cuda //tools:bench")
    words, variants, cuts = (text.split(",") for text in (options.rows, options.variants, options.cuts))
    rows = [row for row in all_rows(options) if row.name.startswith(tuple(words))]
    if not rows:
        sys.exit(f"--rows={options.rows}: there are {', '.join(row.name for row in all_rows(options))}")
    import torch

    device = "CPU" if options.tiny else torch.cuda.get_device_name()
    print(f"{device} x {options.tp}, PyTorch {torch.__version__}, ms a step")
    print(f"{'':<22}{'PyTorch':>11}" + " " * 11 * (len(variants) - 1) + f"{'bench':>11}")
    names = [*variants, *cuts, "of best", "of alone"]
    print(f"{'':<22}" + "".join(f"{name:>11}" for name in names), flush=True)
    for kind in dict.fromkeys(row.kind for row in rows):
        of_kind = [row for row in rows if row.kind == kind]
        times = run_torch(options.tp, of_kind, variants, options.tiny)
        for row in of_kind:
            ours = {cut: run_bench(options.bench, options.tp, row, CUTS[cut], options.tiny)
                    for cut in cuts if fits(row, cut)}
            print(line(row.name, times[row.name], ours, variants, cuts), flush=True)


if __name__ == "__main__":
    main()
