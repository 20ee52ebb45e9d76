#!/usr/bin/env python3
"""A transformer's training step against PyTorch on this CPU: the same step, in turns, in the same minute.

    ./bazelw build //tools:train && python3 tools/compare/torch_transformer_cpu.py

A small Llama (2 layers, hidden 256, 4 query heads and 2 of keys and values, ffn 688, vocabulary 512) in
fp32, 4 sequences of 128 tokens, AdamW, gradients clipped to norm 1. PyTorch trains with gloo, one process
a rank and one thread each, split as Megatron-LM splits it, by hand: an all_reduce behind attention and
MLP, and one in each one's backward pass; products of one input are one product. `train` runs with as many
ranks. Both begin with the same weights and learn one sequence, so their losses must agree.
Needs PyTorch 2.5 or newer, and NumPy, from PyPI.
"""
import argparse, json, os, statistics, subprocess, sys, tempfile, time
from types import SimpleNamespace

from hf_llama import EPS, weights, write_config, write_weights

LAYERS, HIDDEN, HEADS, KV_HEADS, HEAD, FFN, VOCABULARY = 2, 256, 4, 2, 64, 688, 512
SEQUENCE, BATCH = 128, 4
THETA, RATE, DECAY, CLIP = 10000.0, 1e-3, 0.1, 1.0
SIZES = SimpleNamespace(layers=LAYERS, hidden=HIDDEN, heads=HEADS, groups=KV_HEADS, head=HEAD, ffn=FFN,
                        vocabulary=VOCABULARY, sequence=SEQUENCE)


def initial():
    import numpy as np

    random = np.random.default_rng(1)
    return {name: np.ones(shape, np.float32) if len(shape) == 1
            else (random.standard_normal(shape) * shape[1] ** -0.5).astype(np.float32)
            for name, shape in weights(SIZES)}


def write_model(folder):
    arrays = initial()
    write_config(folder, SIZES, THETA, "float32")
    write_weights(folder, SIZES, "F32", lambda name: arrays[name].tobytes())


def token(place):
    return (place % SEQUENCE) * 37 % 251


def torch_worker(rank, world, steps, port, queue):
    import torch
    import torch.distributed as dist
    import torch.nn.functional as F

    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), GLOO_SOCKET_IFNAME="lo")
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=world)

    class Enter(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.view_as(x)

        @staticmethod
        def backward(ctx, g):
            g = g.contiguous()
            dist.all_reduce(g)
            return g

    class Leave(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            dist.all_reduce(x)
            return x

        @staticmethod
        def backward(ctx, g):
            return g

    whole = {name: torch.from_numpy(array) for name, array in initial().items()}

    def part(*names, dim=0):
        parts = [whole[name].chunk(world, dim)[rank] for name in names]
        return torch.cat(parts).clone().requires_grad_()

    def replicated(name):
        return whole[name].clone().requires_grad_()

    embedding = part("model.embed_tokens.weight")
    head = part("lm_head.weight")
    last_norm = replicated("model.norm.weight")
    layers = []
    for layer in range(LAYERS):
        at = f"model.layers.{layer}."
        layers.append((replicated(at + "input_layernorm.weight"),
                       part(*(f"{at}self_attn.{x}_proj.weight" for x in "qkv")),
                       part(at + "self_attn.o_proj.weight", dim=1),
                       replicated(at + "post_attention_layernorm.weight"),
                       part(at + "mlp.gate_proj.weight", at + "mlp.up_proj.weight"),
                       part(at + "mlp.down_proj.weight", dim=1)))
    parameters = [embedding, head, last_norm] + [p for layer in layers for p in layer]
    matrices = [p for p in parameters if p.ndim == 2]
    gains = [p for p in parameters if p.ndim == 1]
    adamw = torch.optim.AdamW([dict(params=matrices, weight_decay=DECAY),
                               dict(params=gains, weight_decay=0)],
                              lr=RATE, betas=(0.9, 0.95), eps=1e-8, fused=True)

    tokens = torch.tensor([[token(i) for i in range(SEQUENCE)]] * BATCH)
    targets = torch.tensor([[token(i + 1) for i in range(SEQUENCE)]] * BATCH).flatten()
    angles = torch.arange(SEQUENCE)[:, None] * THETA ** (-torch.arange(0, HEAD, 2) / HEAD)
    cos, sin = angles.cos()[:, None], angles.sin()[:, None]
    mine = VOCABULARY // world

    def turned(x):
        a, b = x.chunk(2, -1)
        return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)

    def lookup():
        local = tokens - rank * mine
        there = (local >= 0) & (local < mine)
        rows = F.embedding(local.clamp(0, mine - 1), embedding)
        return Leave.apply(rows * there[..., None])

    class CrossEntropy(torch.autograd.Function):
        @staticmethod
        def forward(ctx, logits):
            highest = logits.amax(-1)
            dist.all_reduce(highest, op=dist.ReduceOp.MAX)
            weights = (logits - highest[:, None]).exp()
            local = targets - rank * mine
            there = (local >= 0) & (local < mine)
            picked = logits.gather(1, local.clamp(0, mine - 1)[:, None])[:, 0] * there
            sums = torch.stack((weights.sum(-1), picked))
            dist.all_reduce(sums)
            ctx.save_for_backward(weights, sums[0], local, there)
            return (sums[0].log() + highest - sums[1]).mean()

        @staticmethod
        def backward(ctx, g):
            weights, total, local, there = ctx.saved_tensors
            slope = weights / total[:, None]
            rows = torch.arange(len(local))[there]
            slope[rows, local[there]] -= 1
            return slope * (g / len(local))

    def forward():
        x = lookup()
        heads, kv = HEADS // world, KV_HEADS // world
        for norm1, qkv, out, norm2, gate_up, down in layers:
            y = F.linear(Enter.apply(F.rms_norm(x, (HIDDEN,), norm1, EPS)), qkv)
            y = y.view(BATCH, SEQUENCE, heads + 2 * kv, HEAD)
            q, k, v = y.split((heads, kv, kv), 2)
            q, k, v = (t.transpose(1, 2) for t in (turned(q), turned(k), v))
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
            y = y.transpose(1, 2).reshape(BATCH, SEQUENCE, heads * HEAD)
            x = x + Leave.apply(F.linear(y, out))
            y = F.linear(Enter.apply(F.rms_norm(x, (HIDDEN,), norm2, EPS)), gate_up)
            gate, up = y.chunk(2, -1)
            x = x + Leave.apply(F.linear(F.silu(gate) * up, down))
        x = Enter.apply(F.rms_norm(x, (HIDDEN,), last_norm, EPS))
        return CrossEntropy.apply(F.linear(x, head).flatten(0, 1))

    def step():
        adamw.zero_grad()
        loss = forward()
        loss.backward()
        # Matrices are cut, each rank has its part; gains are the same on every rank.
        squares = torch.stack([p.grad.square().sum() for p in matrices]).sum()
        dist.all_reduce(squares)
        squares += sum(p.grad.square().sum() for p in gains)
        torch._foreach_mul_([p.grad for p in parameters], (CLIP / squares.sqrt()).clamp(max=1))
        adamw.step()
        return loss.item()

    losses, times = [], []
    for _ in range(steps):
        dist.barrier()
        begin = time.perf_counter()
        losses.append(step())
        times.append((time.perf_counter() - begin) * 1e3)
    if rank == 0:
        queue.put((losses, times))
    dist.barrier()


def run_torch(world, steps, port):
    import torch.multiprocessing as mp

    queue = mp.get_context("spawn").SimpleQueue()
    mp.spawn(torch_worker, (world, steps, port, queue), world)
    return queue.get()


def run_train(train, world, steps):
    with tempfile.TemporaryDirectory() as folder:
        write_model(folder)
        text, log = os.path.join(folder, "text"), os.path.join(folder, "log")
        with open(text, "wb") as file:
            # What is learned is one sequence and the token behind it; a tenth behind that is held out.
            file.write(bytes(token(i) for i in range((SEQUENCE + 1) * 10 // 9)))
        subprocess.run(
            [train, f"--hf={folder}", f"--text={text}", f"--tp={world}", f"--batch={BATCH}",
             f"--sequence={SEQUENCE}", f"--steps={steps}", f"--lr={RATE}", f"--min_lr={RATE}",
             "--warmup=0", f"--weight_decay={DECAY}", f"--clip={CLIP}", "--save=", "--sample=0",
             "--eval_every=0", f"--log={log}"], check=True, stdout=subprocess.DEVNULL)
        with open(log) as file:
            lines = [json.loads(line) for line in file]
        lines = [line for line in lines if "seconds" in line]
        return [line["loss"] for line in lines], [1e3 * line["seconds"] for line in lines]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", default="bazel-bin/tools/train/train")
    parser.add_argument("--tp", type=int, default=2, choices=(1, 2))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=30)
    options = parser.parse_args()
    if not os.path.exists(options.train):
        sys.exit(f"{options.train} is not there; build it: ./bazelw build //tools:train")
    import torch

    print(f"PyTorch {torch.__version__} with gloo against {options.train}, tp {options.tp}, fp32")
    warm = 5
    theirs, ours = [], []
    for round in range(options.rounds):
        their_losses, times = run_torch(options.tp, options.steps, 29600 + os.getpid() % 1000 + round)
        theirs += times[warm:]
        our_losses, times = run_train(options.train, options.tp, options.steps)
        ours += times[warm:]
    apart = max(abs(a - b) / abs(a) for a, b in zip(their_losses[:3], our_losses[:3]))
    print(f"losses of the first three steps: {their_losses[:3]} and {our_losses[:3]}, "
          f"{apart:.1g} apart")
    a, b = statistics.median(theirs), statistics.median(ours)
    print(f"median step: PyTorch {a:.1f} ms, train {b:.1f} ms: {a / b:.2f} times as fast")


if __name__ == "__main__":
    main()
