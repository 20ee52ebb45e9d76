#!/usr/bin/env python3
"""A transformer's training step against PyTorch on GPUs: the same step, one after the other, in one call.

    ./bazelw build --config=cuda //tools:bench && python3 tools/compare/torch_transformer_gpu.py --tp=2

A Llama (8 layers, hidden 2048, 16 query heads and 8 of keys and values of 128, ffn 5632, vocabulary
32000, unless the flags say otherwise) in bf16, 4 sequences of 2048 tokens, AdamW and gradients clipped to
norm 1 in the step. PyTorch's is the best that a user could write: sequence parallelism by hand, products
of one input in one, all pieces between products compiled by inductor, dX's reduction beside dW's product,
clipping folded into AdamW, cuDNN's or Flash's attention, whichever is faster, and all of it in one CUDA graph.
Its variants: `hand` keeps parameters and AdamW's states in bf16; `masters` keeps fp32 copies and states, as
bench does; `alone` is hand with the communication taken out: the floor that perfect overlap reaches.
Prints the median step of each, the slower rank's, and bench's for each cut. Needs PyTorch with CUDA.
"""
import argparse, json, os, statistics, subprocess, sys, tempfile
from types import SimpleNamespace

HEAD, EPS, THETA = 128, 1e-5, 500000.0
BENCH = {"sequence parallel": ["--sequence_parallel"],
         "overlap": ["--sequence_parallel", "--overlap"],
         "two strands": ["--sequence_parallel", "--micro_batches=2", "--strands=2"]}


def torch_worker(rank, world, model, port, variants, queue):
    import torch
    import torch.distributed as dist
    import torch.nn.functional as F
    from torch.nn.attention import SDPBackend, sdpa_kernel

    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.cuda.set_device(rank)
    device = torch.device("cuda", rank)
    dist.init_process_group("nccl", rank=rank, world_size=world, device_id=device)
    m, tokens = model, model.batch * model.sequence
    heads, groups = m.heads // world, m.groups // world
    compiled = lambda f: torch.compile(f, dynamic=False)
    buffers = {}
    talks = True

    def gather(x):
        shape = (world * x.shape[0], *x.shape[1:])
        if talks:
            whole = x.new_empty(shape)
            dist.all_gather_into_tensor(whole, x.contiguous())
            return whole
        key = (shape, x.dtype)
        if key not in buffers:
            buffers[key] = torch.randn(shape, device=device).to(x.dtype)
        return buffers[key]

    def scatter(x, beside=False):
        """Starts the sum; what is returned waits for this rank's rows of it."""
        if not talks:
            return lambda: x.chunk(world)[rank]
        mine = x.new_empty(x.shape[0] // world, *x.shape[1:])
        work = dist.reduce_scatter_tensor(mine, x, async_op=beside)
        return lambda: (work.wait() if beside else None, mine)[1]

    class Enter(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, w):
            whole = gather(x)
            ctx.save_for_backward(whole, w)
            return F.linear(whole, w)

        @staticmethod
        def backward(ctx, dy):
            whole, w = ctx.saved_tensors
            dx = scatter(dy @ w, beside=True)
            dw = dy.T @ whole
            return dx(), dw

    class Leave(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, w):
            ctx.save_for_backward(x, w)
            return scatter(F.linear(x, w))()

        @staticmethod
        def backward(ctx, dy):
            x, w = ctx.saved_tensors
            dy = gather(dy)
            return dy @ w, dy.T @ x

    class Embed(torch.autograd.Function):
        @staticmethod
        def forward(ctx, ids, w):
            local, away = ids % w.shape[0], (ids // w.shape[0] != rank)[:, None]
            ctx.save_for_backward(local, away)
            ctx.rows = w.shape[0]
            return scatter(F.embedding(local, w).masked_fill_(away, 0))()

        @staticmethod
        def backward(ctx, dy):
            local, away = ctx.saved_tensors
            dy = gather(dy).masked_fill(away, 0)
            return None, torch.ops.aten.embedding_dense_backward(dy, local, ctx.rows, -1, False)

    @compiled
    def loss_parts(x, local):
        y, rows = x.float(), x.shape[1]
        top = y.amax(1)
        there = (local >= 0) & (local < rows)
        picked = torch.where(there, x.gather(1, local.clamp(0, rows - 1)[:, None])[:, 0].float(), 0.0)
        return torch.stack((top, (y - top[:, None]).exp().sum(1), picked))

    @compiled
    def loss_slope(x, log_sum, local, g):
        hit = (torch.arange(x.shape[1], device=x.device) == local[:, None]).float()
        return (((x.float() - log_sum[:, None]).exp() - hit) * g).to(x.dtype)

    class CrossEntropy(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, target):
            local = target - rank * x.shape[1]
            top, total, picked = gather(loss_parts(x, local)[None]).unbind(1)
            most = top.amax(0)
            log_sum = most + (total * (top - most).exp()).sum(0).log()
            ctx.save_for_backward(x, log_sum, local)
            return (log_sum - picked.sum(0)).mean()

        @staticmethod
        def backward(ctx, g):
            x, log_sum, local = ctx.saved_tensors
            return loss_slope(x, log_sum, local, g / x.shape[0]), None

    def normed(x, w):
        y = x.float()
        return (y * torch.rsqrt(y.square().mean(-1, keepdim=True) + EPS) * w.float()).to(x.dtype)

    @compiled
    def norm(x, w):
        return normed(x, w)

    @compiled
    def add_norm(x, r, w):
        x = x + r
        return x, normed(x, w)

    @compiled
    def swiglu(y):
        gate, up = y.chunk(2, -1)
        return (F.silu(gate.float()) * up.float()).to(y.dtype)

    place = torch.arange(m.sequence, device=device)[:, None]
    angle = place * THETA ** (-torch.arange(0, HEAD, 2, device=device) / HEAD)
    cos, sin = angle.cos()[:, None], angle.sin()[:, None]

    def turned(x):
        a, b = x.float().chunk(2, -1)
        return torch.cat((a * cos - b * sin, b * cos + a * sin), -1).to(x.dtype)

    @compiled
    def queries_keys_values(y):
        q, k, v = y.view(m.batch, m.sequence, -1, HEAD).split((heads, groups, groups), 2)
        return turned(q), turned(k), v.clone(memory_format=torch.contiguous_format)

    def attend(q, k, v):
        q, k, v = (t.transpose(1, 2) for t in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=heads != groups)
        return y.transpose(1, 2).reshape(tokens, -1)

    torch.manual_seed(1)
    ids = torch.randint(m.vocabulary, (tokens,), device=device)
    targets = torch.randint(m.vocabulary, (tokens,), device=device)

    def draw(*shape):
        return (torch.randn(shape, device=device) * shape[1] ** -0.5).bfloat16().requires_grad_()

    def one():
        return torch.ones(m.hidden, device=device, dtype=torch.bfloat16, requires_grad=True)

    def timed(run):
        samples = []
        for i in range(12):
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            dist.barrier()
            begin.record()
            for _ in range(3):
                run()
            end.record()
            end.synchronize()
            samples.append(begin.elapsed_time(end) / 3)
        slower = torch.tensor(statistics.median(samples[2:]), device=device)
        dist.all_reduce(slower, op=dist.ReduceOp.MAX)
        return slower.item()

    def step_of(masters):
        wide = (heads + 2 * groups) * HEAD
        ffn, vocabulary = m.ffn // world, m.vocabulary // world
        layers = [(one(), draw(wide, m.hidden), draw(m.hidden, heads * HEAD), one(),
                   draw(2 * ffn, m.hidden), draw(m.hidden, ffn)) for _ in range(m.layers)]
        embedding, last, head = draw(vocabulary, m.hidden), one(), draw(vocabulary, m.hidden)
        gains = [last] + [layer[i] for layer in layers for i in (0, 3)]
        parameters = gains + [embedding, head] + [layer[i] for layer in layers for i in (1, 2, 4, 5)]
        owned = [p.detach().float() for p in parameters] if masters else parameters
        adamw = torch.optim.AdamW(owned, lr=3e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True,
                                  capturable=True)

        def forward():
            x, r = Embed.apply(ids, embedding), None
            for norm1, qkv, out, norm2, gate_up, down in layers:
                x, y = (x, norm(x, norm1)) if r is None else add_norm(x, r, norm1)
                y = Leave.apply(attend(*queries_keys_values(Enter.apply(y, qkv))), out)
                x, y = add_norm(x, y, norm2)
                r = Leave.apply(swiglu(Enter.apply(y, gate_up)), down)
            return CrossEntropy.apply(Enter.apply(add_norm(x, r, last)[1], head), targets)

        def step():
            for p in parameters:
                p.grad = None
            loss = forward()
            loss.backward()
            if masters:
                for o, p in zip(owned, parameters):
                    o.grad, p.grad = p.grad.float(), None
            grads = [o.grad for o in owned]
            n = len(gains)
            if talks:
                flat = torch.cat(grads[:n])
                dist.all_reduce(flat)
                torch._foreach_copy_(grads[:n], list(flat.split([g.numel() for g in grads[:n]])))
            squares = lambda gs: torch.stack(torch._foreach_norm(gs, 2, dtype=torch.float32)).square().sum()
            cut = squares(grads[n:])
            if talks:
                dist.all_reduce(cut)
            adamw.grad_scale = ((cut + squares(grads[:n])).sqrt() + 1e-6).clamp(min=1.0)
            adamw.step()
            if masters:
                with torch.no_grad():
                    torch._foreach_copy_(parameters, owned)
            return loss

        return step

    times = {}
    for variant in variants:
        talks = variant != "alone"
        for attention in (SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION):
            with sdpa_kernel(attention):
                step = step_of(variant == "masters")
                side = torch.cuda.Stream()
                side.wait_stream(torch.cuda.current_stream())
                with torch.cuda.stream(side):
                    for _ in range(3):
                        step()
                torch.cuda.current_stream().wait_stream(side)
                torch.cuda.synchronize()
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph):
                    step()
                took = timed(graph.replay)
                times[variant] = min(took, times.get(variant, took))
                del graph, step
                torch.cuda.empty_cache()
    if rank == 0:
        queue.put(times)
    dist.barrier()


def run_torch(world, model, port, variants):
    import torch.multiprocessing as mp

    queue = mp.get_context("spawn").SimpleQueue()
    mp.spawn(torch_worker, (world, model, port, variants, queue), world)
    return queue.get()


def run_bench(bench, world, model, flags):
    with tempfile.TemporaryDirectory() as folder:
        config = dict(architectures=["LlamaForCausalLM"], model_type="llama", hidden_act="silu",
                      hidden_size=model.hidden, num_hidden_layers=model.layers, head_dim=HEAD,
                      num_attention_heads=model.heads, num_key_value_heads=model.groups,
                      intermediate_size=model.ffn, vocab_size=model.vocabulary, rms_norm_eps=EPS,
                      rope_theta=THETA, max_position_embeddings=model.sequence,
                      tie_word_embeddings=False, torch_dtype="bfloat16")
        with open(os.path.join(folder, "config.json"), "w") as file:
            json.dump(config, file)
        result = os.path.join(folder, "result.json")
        subprocess.run([bench, "--backend=nccl", f"--hf={folder}", "--dtype=bf16", f"--tp={world}",
                        f"--batch={model.batch}", f"--sequence={model.sequence}", "--steps=20",
                        "--warmup=3", "--nofloor", f"--json={result}", *flags], check=True,
                       stdout=subprocess.DEVNULL)
        with open(result) as file:
            return json.load(file)["results"][0]["step_ms"]["median"]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", default="bazel-bin/tools/bench/bench")
    parser.add_argument("--tp", type=int, default=2)
    for name, size in dict(layers=8, hidden=2048, heads=16, groups=8, ffn=5632, vocabulary=32000,
                           batch=4, sequence=2048).items():
        parser.add_argument(f"--{name}", type=int, default=size)
    parser.add_argument("--variants", default="hand,masters,alone", help="of PyTorch's step")
    parser.add_argument("--cuts", default=",".join(BENCH), help="of bench's")
    options = parser.parse_args()
    if not os.path.exists(options.bench):
        sys.exit(f"{options.bench} is not there; build it: ./bazelw build --config=cuda //tools:bench")
    model = SimpleNamespace(**{name: getattr(options, name) for name in
                               "layers hidden heads groups ffn vocabulary batch sequence".split()})
    import torch

    print(f"{torch.cuda.get_device_name()} x {options.tp}, PyTorch {torch.__version__}, ms a step",
          flush=True)
    times = run_torch(options.tp, model, 29600 + os.getpid() % 1000, options.variants.split(","))
    for name, took in times.items():
        print(f"PyTorch, {name:<24}{took:8.2f}", flush=True)
    for name in options.cuts.split(","):
        took = run_bench(options.bench, options.tp, model, BENCH[name])
        ratios = "".join(f"  {took / other:.2f} of {of}" for of, other in times.items())
        print(f"bench, {name:<26}{took:8.2f}{ratios}", flush=True)


if __name__ == "__main__":
    main()
