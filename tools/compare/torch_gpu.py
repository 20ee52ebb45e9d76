#!/usr/bin/env python3
"""The bench against PyTorch on GPUs: the same training steps, in turns, over layers of many sizes.

    ./bazelw build --config=cuda //tools:bench && python3 tools/compare/torch_gpu.py

PyTorch trains with NCCL, one process a GPU, the whole step in one CUDA graph: forward, mean squared
error, backward with the gradient in x, SGD. The bench runs the same with as many GPUs, and each
size is measured by both, one after the other. Prints for each mode the medians of the steps in
microseconds, their ratio (bench / PyTorch), and the ratio of the step's three matrix products alone.
Ends with status 1 where a step of the bench is slower than PyTorch's. Needs PyTorch with CUDA.
"""
import argparse, json, os, statistics, subprocess, sys, tempfile, time

# in x out: tokens
BF16 = """768x3072: 16 128 1023 8192; 3072x768: 16 777 2048; 2048x8192: 16 100 1000 4096;
4096x4096: 16 64 128 512 1023 2048 4096 8192; 4096x11008: 16 256 1023 4096;
11008x4096: 16 256 1000 4096; 4096x14336: 128 1024 3001; 14336x4096: 128 1024 3001;
5120x13824: 33 777 2048; 12288x4096: 16 1024 2048 4096; 4096x12288: 1024; 4096x16384: 64 1024;
16384x4096: 64 1024; 8192x8192: 16 1024 2048; 4000x4100: 1000"""
FP32 = """768x3072: 16 1023; 2048x8192: 64 1000; 4096x4096: 16 128 1023 2048;
12288x4096: 16 512 1024; 4096x16384: 128; 16384x4096: 128; 11008x4096: 777; 5120x13824: 256"""


def sizes_of(text):
    for layer in text.split(";"):
        features, tokens = layer.split(":")
        for count in tokens.split():
            yield tuple(int(size) for size in [count, *features.strip().split("x")])


class TorchRank:
    """One process of PyTorch, which measures what it is told to."""

    def __init__(self, rank, world):
        import torch
        import torch.distributed as dist

        self.torch, self.dist, self.rank, self.world = torch, dist, rank, world
        torch.cuda.set_device(rank)
        self.device = torch.device("cuda", rank)
        dist.init_process_group("nccl", rank=rank, world_size=world, device_id=self.device)

    def function(self, forward, backward):
        class Wrapped(self.torch.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                return forward(x)

            @staticmethod
            def backward(ctx, g):
                return backward(g)

        return Wrapped.apply

    def gather(self, part):
        parts = self.torch.empty(self.world, *part.shape, device=self.device, dtype=part.dtype)
        self.dist.all_gather_into_tensor(parts, part.contiguous())
        return parts.transpose(0, 1).reshape(part.shape[0], -1)

    def mine(self, whole):
        return whole.chunk(self.world, 1)[self.rank].contiguous()

    def summed(self, partial):
        partial = partial.contiguous()
        self.dist.all_reduce(partial)
        return partial

    def make_step(self, mode, size, dtype):
        """The step, and its three products."""
        torch, (tokens, n_in, n_out) = self.torch, size
        row = mode == "row"
        k, n = (n_in, n_out // self.world) if row else (n_in // self.world, n_out)
        draw = lambda *shape: torch.randn(*shape, device=self.device).to(dtype)
        w = (draw(n, k) * 0.02).requires_grad_()
        b = torch.zeros(n, device=self.device, dtype=dtype, requires_grad=True)
        x, targets = draw(tokens, n_in).requires_grad_(), draw(tokens, n_out)
        sgd = torch.optim.SGD([w, b], lr=1e-2)
        gather_output = self.function(self.gather, self.mine)
        sum_gradient = self.function(lambda t: t.view_as(t), self.summed)
        sum_output = self.function(self.summed, lambda g: g)
        slice_input = self.function(self.mine, self.gather)

        def step():
            sgd.zero_grad(set_to_none=False)
            x.grad = None
            if row:
                y = gather_output(torch.nn.functional.linear(sum_gradient(x), w, b))
            else:
                y = sum_output(slice_input(x) @ w.T) + b
            torch.nn.functional.mse_loss(y, targets).backward()
            sgd.step()

        part, dy = draw(tokens, k), draw(tokens, n)

        def products():
            with torch.no_grad():
                torch.addmm(b, part, w.T) if row else part @ w.T
                dy @ w
                dy.T @ part

        return step, products

    def median_us(self, function, steps):
        """Of replays of a graph of it; the slower rank's."""
        torch = self.torch
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                function()
        torch.cuda.current_stream().wait_stream(side)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            function()
        for _ in range(5):
            graph.replay()
        torch.cuda.synchronize()
        self.dist.barrier()
        times = []
        for _ in range(steps):
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            graph.replay()
            end.record()
            end.synchronize()
            times.append(begin.elapsed_time(end) * 1e3)
        median = torch.tensor([statistics.median(times)], device=self.device)
        self.dist.all_reduce(median, op=self.dist.ReduceOp.MAX)
        return median.item()

    def measure(self, mode, size, dtype, steps):
        step, products = self.make_step(mode, size, getattr(self.torch, dtype))
        result = self.median_us(step, steps), self.median_us(products, steps)
        del step, products
        self.torch.cuda.empty_cache()
        return result


def torch_worker(rank, world, port, connections):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch_rank = TorchRank(rank, world)
    for job in iter(connections[rank].recv, None):
        result = torch_rank.measure(*job)
        if rank == 0:
            connections[rank].send(result)
    torch_rank.dist.destroy_process_group()


class Torch:
    def __init__(self, world):
        import torch.multiprocessing as mp

        context = mp.get_context("spawn")
        pipes = [context.Pipe() for _ in range(world)]
        self.ours = [pipe[0] for pipe in pipes]
        theirs = [pipe[1] for pipe in pipes]
        port = 29600 + os.getpid() % 1000
        self.processes = [context.Process(target=torch_worker, args=(r, world, port, theirs))
                          for r in range(world)]
        for process in self.processes:
            process.start()

    def measure(self, *job):
        for connection in self.ours:
            connection.send(job)
        while not self.ours[0].poll(1):
            if not all(process.is_alive() for process in self.processes):
                sys.exit("a process of PyTorch has died; see above")
        return self.ours[0].recv()

    def close(self):
        for connection in self.ours:
            connection.send(None)
        for process in self.processes:
            process.join()


def run_bench(bench, world, size, dtype, steps):
    """By mode: microseconds of a step, of its products; None where it failed."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "r.json")
        done = subprocess.run(
            [bench, "--backend=nccl", f"--tp={world}", f"--dtype={dtype}", f"--tokens={size[0]}",
             f"--in_features={size[1]}", f"--out_features={size[2]}", f"--steps={steps}",
             "--warmup=5", "--verify=off", f"--json={path}"], stdout=subprocess.DEVNULL)
        if done.returncode != 0:
            return None
        with open(path) as file:
            results = json.load(file)["results"]
        return {result["mode"]: (result["step_ms"]["median"] * 1e3, result["products_ms"] * 1e3)
                for result in results}


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", default="bazel-bin/tools/bench/bench")
    parser.add_argument("--tp", type=int, default=2)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--bf16", default=BF16, help="in x out: tokens ...; ...")
    parser.add_argument("--fp32", default=FP32, help="likewise")
    parser.add_argument("--seconds", type=float, default=1e9, help="begin no size after so many")
    options = parser.parse_args()
    if not os.path.exists(options.bench):
        sys.exit(f"{options.bench} is not there; build it: ./bazelw build --config=cuda "
                 "//tools:bench")
    end = time.monotonic() + options.seconds
    jobs = [(size, names) for text, names in ((options.bf16, ("bf16", "bfloat16")),
                                              (options.fp32, ("fp32", "float32")))
            if text for size in sizes_of(text)]
    torch = Torch(options.tp)
    rows, skipped = [], []
    of_mode = " | PyTorch | bench | ratio | products"
    print(f"| tokens x in x out | type | row:{of_mode[2:]} | column:{of_mode[2:]} |\n|"
          + " --- |" * 10)
    for size, (ours, theirs) in jobs:
        name = "x".join(map(str, size))
        bench = None
        if time.monotonic() < end:
            bench = run_bench(options.bench, options.tp, size, ours, options.steps)
        if bench is None:
            skipped.append(f"{name} {ours}")
            continue
        cells = [name, ours]
        for mode in ("row", "column"):
            a, a_products = torch.measure(mode, size, theirs, options.steps)
            b, b_products = bench[mode]
            rows.append((name, ours, mode, b / a, b_products / a_products))
            cells += [f"{a:.1f}", f"{b:.1f}", f"{b / a:.2f}", f"{b_products / a_products:.2f}"]
        print("| " + " | ".join(cells) + " |", flush=True)
    torch.close()
    if not rows:
        sys.exit("nothing was measured")
    slower = [row for row in rows if row[3] > 1]
    steps, products = (statistics.median(row[i] for row in rows) for i in (3, 4))
    print(f"\n{len(rows)} steps, median of bench / PyTorch {steps:.2f}, of their products "
          f"{products:.2f}; the largest {max(row[3] for row in rows):.2f} and "
          f"{max(row[4] for row in rows):.2f}.")
    for row in slower:
        print(f"slower than PyTorch: {row[0]} {row[1]} {row[2]}: {row[3]:.2f}")
    if skipped:
        print("not measured:", ", ".join(skipped))
    sys.exit(1 if slower or skipped else 0)


if __name__ == "__main__":
    main()
