#!/usr/bin/env python3
"""The bench against PyTorch on this CPU: the same training step, in turns, in the same minute.

    ./bazelw build //tools:bench && python3 tools/compare/torch_cpu.py

PyTorch trains with gloo, one process a rank and one thread each, forward, mean squared error,
backward with the gradient in x, SGD; the bench runs the same with the same ranks. The two take turns
for --rounds rounds, and the ratio is that of the medians over all rounds. Needs PyTorch: Debian's
python3-torch or PyPI's torch.
"""
import argparse, json, os, statistics, subprocess, sys, tempfile, time

SHAPES = "20x1000x1000 256x1024x1024 512x4096x4096"


def torch_worker(rank, world, mode, tokens, n_in, n_out, steps, port, queue):
    import torch
    import torch.distributed as dist
    import torch.nn.functional as F

    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), GLOO_SOCKET_IFNAME="lo")
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=world)

    def gather(part):
        parts = [torch.empty_like(part) for _ in range(world)]
        dist.all_gather(parts, part.contiguous())
        return torch.cat(parts, 1)

    def my(whole):
        return whole.chunk(world, 1)[rank].contiguous()

    def summed(partial):
        partial = partial.contiguous().clone()
        dist.all_reduce(partial)
        return partial

    def function(forward, backward):
        class Wrapped(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                return forward(x)

            @staticmethod
            def backward(ctx, g):
                return backward(g)

        return Wrapped.apply

    gather_output = function(gather, my)
    sum_gradient = function(lambda x: x, summed)
    sum_output = function(summed, lambda g: g)
    slice_input = function(my, gather)

    row = mode == "row"
    w = torch.randn(n_out // world if row else n_out, n_in if row else n_in // world)
    w = (w * 0.02).requires_grad_()
    b = torch.zeros(n_out // world if row else n_out, requires_grad=True)
    x = torch.randn(tokens, n_in, requires_grad=True)
    targets = torch.randn(tokens, n_out)
    sgd = torch.optim.SGD([w, b], lr=1e-2)

    def step():
        sgd.zero_grad()
        x.grad = None
        if row:
            y = gather_output(F.linear(sum_gradient(x), w, b))
        else:
            y = sum_output(slice_input(x) @ w.T) + b
        F.mse_loss(y, targets).backward()
        sgd.step()

    for _ in range(5):
        step()
    times = []
    for _ in range(steps):
        dist.barrier()
        begin = time.perf_counter()
        step()
        times.append((time.perf_counter() - begin) * 1e3)
    if rank == 0:
        queue.put(times)
    dist.barrier()


def run_torch(world, mode, shape, steps, port):
    import torch.multiprocessing as mp

    queue = mp.get_context("spawn").SimpleQueue()
    mp.spawn(torch_worker, (world, mode, *shape, steps, port, queue), world)
    return queue.get()


def run_bench(bench, world, mode, shape, steps):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "r.json")
        subprocess.run(
            [bench, f"--mode={mode}", f"--tp={world}", f"--tokens={shape[0]}",
             f"--in_features={shape[1]}", f"--out_features={shape[2]}", f"--steps={steps}",
             "--warmup=5", "--verify=off", f"--json={path}"],
            check=True, stdout=subprocess.DEVNULL)
        with open(path) as file:
            result = json.load(file)["results"][0]
        return result["step_ms_all"], result["products_ms"]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", default="bazel-bin/tools/bench/bench")
    parser.add_argument("--tp", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shapes", default=SHAPES, help="tokens x in x out, separated by spaces")
    options = parser.parse_args()
    if not os.path.exists(options.bench):
        sys.exit(f"{options.bench} is not there; build it: ./bazelw build //tools:bench")
    import torch

    print(f"PyTorch {torch.__version__} with gloo against {options.bench}, tp {options.tp}, fp32")
    print(f"{'shape':<15} {'mode':<7} {'PyTorch ms':>10} {'bench ms':>9} {'ratio':>6} "
          f"{'products ms':>11} {'bench / products':>16}")
    port = 29600 + os.getpid() % 1000
    for text in options.shapes.split():
        shape = tuple(int(size) for size in text.split("x"))
        for mode in ("row", "column"):
            theirs, ours, products = [], [], []
            for _ in range(options.rounds):
                steps = 8 if shape[0] * shape[1] * shape[2] > 1e9 else 30
                theirs += run_torch(options.tp, mode, shape, steps, port)
                port += 1
                times, floor = run_bench(options.bench, options.tp, mode, shape, steps)
                ours += times
                products.append(floor)
            a, b, c = (statistics.median(times) for times in (theirs, ours, products))
            print(f"{text:<15} {mode:<7} {a:>10.3f} {b:>9.3f} {a / b:>6.2f} {c:>11.3f} "
                  f"{b / c:>16.2f}", flush=True)


if __name__ == "__main__":
    main()
