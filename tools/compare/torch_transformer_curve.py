#!/usr/bin/env python3
"""A Llama's loss curve beside PyTorch's: the same initial weights, the same batches, one table.

    ./bazelw build --config=cuda //tools:train && python3 tools/compare/torch_transformer_curve.py --tp=2

By default 16 layers, hidden 2048, 32 query heads and 8 of keys and values of 64, ffn 8192, vocabulary 32000: 1.1
billion parameters in bf16 with fp32 masters, AdamW, gradients clipped to norm 1, 8 sequences of 512 bytes a step. PyTorch
trains it on one device, unsharded (torch_transformer_steps.py); `train` reads the same weights from Hugging
Face's layout. Both go through the bytes of --text in the order that tp/data/batches.h defines, written here
once more. Rounding differs from the first step on, and training amplifies it: what must agree is the
first losses, to a few units of bf16, and where the curves lead.
Needs PyTorch with CUDA; --tiny trains a small one in fp32 on this CPU.
"""
import argparse
import glob
import json
import os
import statistics
import subprocess
import sys
import tempfile
from types import SimpleNamespace

from hf_llama import weights, write_config, write_weights

SHOWN = (1, 2, 3, 5, 10, 20, 50, 100, 150, 200, 300, 400, 500, 700, 1000)


def philox(seed, stream, index):
    """Element `index` of tp/core/random.h: Philox4x32-10 of (index / 4, stream), key the seed."""
    low = (1 << 32) - 1
    block = index // 4
    c = [block & low, block >> 32, stream & low, stream >> 32]
    k = [seed & low, seed >> 32]
    for _ in range(10):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(b >> 32) ^ c[1] ^ k[0], b & low, (a >> 32) ^ c[3] ^ k[1], a & low]
        k = [(k[0] + 0x9E3779B9) & low, (k[1] + 0xBB67AE85) & low]
    return c[index % 4]


class Order:
    """Where each sequence begins: BatchOrder of tp/data/batches.h."""

    ROUNDS = 8

    def __init__(self, tokens, sequence, seed):
        self.sequence, self.seed = sequence, seed
        self.windows = max(1, (tokens - 1) // sequence - 1)
        self.spare = tokens - 1 - self.windows * sequence
        self.half = 0
        while 1 << (2 * self.half) < self.windows:
            self.half += 1

    def bits(self, epoch, use, index):
        return philox(self.seed, (1 << 63) + epoch * (self.ROUNDS + 1) + use, index)

    def permuted(self, epoch, index):
        mask = (1 << self.half) - 1
        left, right = index >> self.half, index & mask
        for use in range(self.ROUNDS):
            left, right = right, left ^ (self.bits(epoch, use, right) & mask)
        return left << self.half | right

    def begin(self, number):
        epoch, index = divmod(number, self.windows)
        first = self.bits(epoch, self.ROUNDS, 0) % (self.spare + 1)
        index = self.permuted(epoch, index)
        while index >= self.windows:
            index = self.permuted(epoch, index)
        return first + index * self.sequence


def batches(text, options):
    """Ids and targets of each step. The last tenth of the text is held out."""
    learned = len(text) - len(text) // 10
    order = Order(learned, options.sequence, options.seed)
    for step in range(options.steps):
        begins = [order.begin(step * options.batch + row) for row in range(options.batch)]
        yield ([text[b + i] for b in begins for i in range(options.sequence)],
               [text[b + i + 1] for b in begins for i in range(options.sequence)])


def parameters_of(step, sizes):
    """Where PyTorch's step keeps each weight, by Hugging Face's name."""
    q, kv = sizes.heads * sizes.head, sizes.groups * sizes.head
    parts = [step.embedding]
    for norm1, qkv, out, norm2, gate_up, down in step.blocks:
        parts += [norm1, *qkv.split((q, kv, kv)), out, norm2, *gate_up.chunk(2), down]
    parts += [step.last, step.head]
    return dict(zip((name for name, _ in weights(sizes)), parts, strict=True))


def run_torch(folder, text, options, sizes):
    """Trains unsharded, having written the weights that it begins with."""
    import torch
    from torch_transformer_steps import THETA, Layers, Split, train_step

    device = torch.device("cpu" if options.tiny else "cuda")
    dtype = torch.float32 if options.tiny else torch.bfloat16
    compiled = (lambda f: f) if options.tiny else (lambda f: torch.compile(f, dynamic=False))
    torch.manual_seed(options.seed)
    layers = Layers(sizes, Split(0, 1, device, dtype), compiled)
    step = train_step(layers, compiled, masters=not options.tiny, decay=0, rate=options.lr)
    of_name = parameters_of(step, sizes)
    write_config(folder, sizes, THETA, "float32" if options.tiny else "bfloat16")
    write_weights(folder, sizes, "F32" if options.tiny else "BF16", lambda name:
                  of_name[name].detach().contiguous().view(torch.uint8).cpu().numpy().tobytes())
    losses = []
    for ids, targets in batches(text, options):
        step.ids.copy_(torch.tensor(ids))
        step.targets.copy_(torch.tensor(targets))
        losses.append(step().detach())
    return [loss.item() for loss in losses]


def run_train(folder, text_path, options):
    log = os.path.join(folder, "log")
    where = ["--backend=sim", "--dtype=fp32"] if options.tiny else ["--backend=nccl", "--dtype=bf16"]
    subprocess.run(
        [options.train, f"--hf={folder}", f"--text={text_path}", f"--tp={options.tp}",
         f"--batch={options.batch}", f"--sequence={options.sequence}", f"--steps={options.steps}",
         f"--seed={options.seed}", f"--lr={options.lr}", f"--min_lr={options.lr}", "--warmup=0",
         "--weight_decay=0", "--clip=1", "--save=", "--sample=0", "--eval_every=0", f"--log={log}",
         "--sequence_parallel", "--overlap", *where], check=True, stdout=subprocess.DEVNULL)
    with open(log) as file:
        lines = [json.loads(line) for line in file]
    lines = [line for line in lines if "seconds" in line]
    return [line["loss"] for line in lines], [1e3 * line["seconds"] for line in lines]


def parse():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", default="bazel-bin/tools/train/train")
    parser.add_argument("--tp", type=int, default=2)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--lr", type=float, default=3e-4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--text", default="/usr/share/common-licenses/*", help="files whose bytes are learned")
    parser.add_argument("--tiny", action="store_true", help="a small model in fp32, on this CPU")
    return parser.parse_args()


def main():
    options = parse()
    if not os.path.exists(options.train):
        sys.exit(f"{options.train} is not there; build it: ./bazelw build --config=cuda //tools:train")
    sizes = dict(layers=16, hidden=2048, heads=32, groups=8, head=64, ffn=8192, vocabulary=32000, batch=8,
                 sequence=512)
    if options.tiny:
        sizes.update(layers=2, hidden=64, heads=4, groups=2, head=16, ffn=96, vocabulary=256, sequence=64)
    sizes = SimpleNamespace(name="curve", kind="train", **sizes)
    options.batch, options.sequence = sizes.batch, sizes.sequence
    paths = sorted({os.path.realpath(path) for path in glob.glob(options.text)})
    text = b"".join(open(path, "rb").read() for path in paths)
    with tempfile.TemporaryDirectory() as folder:
        text_path = os.path.join(folder, "text")
        with open(text_path, "wb") as file:
            file.write(text)
        theirs = run_torch(folder, text, options, sizes)
        ours, times = run_train(folder, text_path, options)
    print(f"{len(text):,} bytes of {len(paths)} files; {options.steps} steps of {sizes.batch} x "
          f"{sizes.sequence}; train's median step {statistics.median(times[-max(1, len(times) - 5):]):.1f} ms at tp {options.tp}")
    print(f"{'step':>6}{'PyTorch':>10}{'train':>10}{'apart':>10}")
    for step in (s for s in SHOWN if s <= options.steps):
        a, b = theirs[step - 1], ours[step - 1]
        print(f"{step:>6}{a:>10.4f}{b:>10.4f}{b - a:>+10.4f}")
    last = max(1, options.steps // 10)
    a, b = (statistics.mean(losses[-last:]) for losses in (theirs, ours))
    print(f"mean of the last {last}: {a:.4f} and {b:.4f}; the most apart in any step: "
          f"{max(abs(a - b) for a, b in zip(theirs, ours, strict=True)):.4f}")


if __name__ == "__main__":
    main()
