"""Two tensor-parallel linear layers in PyTorch, each with a classic bug that can be switched on.

Usage: python3 parallel_linear.py DIR [bug3|bug7]

Two processes train each layer for one step (fp32, mse_loss, SGD), over gloo. Written to DIR: what
the step starts from (x, w, b, targets), and its results in DIR/row and DIR/column, for
`verify --load=DIR --expect=DIR/row --mode=row --tp=2`. A bug is in the layer which can have it:
  bug3   ColumnLinear: the bias is added on each rank, before the sum
  bug7   RowLinear: the gathered output is laid out rank after rank
"""

import argparse
import os
import pathlib
import sys
import tempfile

try:
    import numpy
    import torch
    import torch.distributed as dist
    from torch.nn import functional
except ImportError as error:
    sys.exit(f"{sys.argv[0]}: {error}; on Debian: apt-get install python3-torch")

RANKS, TOKENS, IN_FEATURES, OUT_FEATURES, LEARNING_RATE = 2, 20, 48, 30, 0.01


def part(tensor, dim):
    """What this rank has of a tensor that is split along `dim`: memory of its own."""
    return tensor.detach().chunk(RANKS, dim)[dist.get_rank()].clone()


def gather(shard, dim):
    """The tensor whose parts the ranks have."""
    shards = [torch.empty_like(shard) for _ in range(RANKS)]
    dist.all_gather(shards, shard.contiguous())
    return torch.cat(shards, dim)


class Copy(torch.autograd.Function):
    """The same x for every rank; what comes back is summed."""

    @staticmethod
    def forward(ctx, x):
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad):
        grad = grad.clone()
        dist.all_reduce(grad)
        return grad


class Split(torch.autograd.Function):
    """Each rank takes its features of x; what comes back is gathered."""

    @staticmethod
    def forward(ctx, x):
        return part(x, 1)

    @staticmethod
    def backward(ctx, grad):
        return gather(grad, 1)


class Sum(torch.autograd.Function):
    """The sum over the ranks; the gradient is the same for all of them."""

    @staticmethod
    def forward(ctx, y):
        y = y.clone()
        dist.all_reduce(y)
        return y

    @staticmethod
    def backward(ctx, grad):
        return grad


class Gather(torch.autograd.Function):
    """The features of all ranks side by side; each takes back the gradient of its own."""

    @staticmethod
    def forward(ctx, y, rank_major):
        if rank_major:  # the bug: the ranks' outputs one after the other, and then the right shape
            return gather(y, 0).view(len(y), -1)
        return gather(y, 1)

    @staticmethod
    def backward(ctx, grad):
        return part(grad, 1), None


class RowLinear(torch.nn.Module):
    """W's rows are split, and b. (Megatron-LM's ColumnParallelLinear: there W is transposed.)"""

    def __init__(self, whole, bug):
        super().__init__()
        self.weight = torch.nn.Parameter(part(whole.weight, 0))
        self.bias = torch.nn.Parameter(part(whole.bias, 0))
        self.rank_major = bug == "bug7"

    def forward(self, x):
        y = functional.linear(Copy.apply(x), self.weight, self.bias)
        return Gather.apply(y, self.rank_major)

    def whole(self, weight, bias):
        return gather(weight, 0), gather(bias, 0)


class ColumnLinear(torch.nn.Module):
    """W's columns are split, and x; every rank has b. (Megatron-LM's RowParallelLinear.)"""

    def __init__(self, whole, bug):
        super().__init__()
        self.weight = torch.nn.Parameter(part(whole.weight, 1))
        self.bias = torch.nn.Parameter(whole.bias.detach().clone())
        self.bias_on_each_rank = bug == "bug3"

    def forward(self, x):
        x = Split.apply(x)
        if self.bias_on_each_rank:  # the bug: what is summed has the bias in it already
            return Sum.apply(functional.linear(x, self.weight, self.bias))
        return Sum.apply(functional.linear(x, self.weight)) + self.bias

    def whole(self, weight, bias):
        return gather(weight, 1), bias


def train_step(layer, x, targets):
    """Y, loss, dX, dW, db of one step, and W and b after it, of the whole layer."""
    x = x.clone().requires_grad_()
    optimizer = torch.optim.SGD(layer.parameters(), lr=LEARNING_RATE)
    y = layer(x)
    loss = functional.mse_loss(y, targets)
    loss.backward()
    dw, db = layer.whole(layer.weight.grad, layer.bias.grad)
    optimizer.step()
    w, b = layer.whole(layer.weight.detach(), layer.bias.detach())
    return {"y": y, "losses": loss.view(1), "dx": x.grad, "dw": dw, "db": db, "w": w, "b": b}


def save(folder, tensors):
    if dist.get_rank() != 0:
        return
    folder.mkdir(parents=True, exist_ok=True)
    for name, tensor in tensors.items():
        numpy.save(folder / f"{name}.npy", tensor.detach().numpy())


def run_rank(rank, meeting_point, folder, bug):
    dist.init_process_group("gloo", init_method=meeting_point, rank=rank, world_size=RANKS)
    torch.manual_seed(7)  # every rank draws the whole layer, and keeps its part
    whole = torch.nn.Linear(IN_FEATURES, OUT_FEATURES)
    x, targets = torch.randn(TOKENS, IN_FEATURES), torch.randn(TOKENS, OUT_FEATURES)
    save(folder, {"x": x, "targets": targets, "w": whole.weight, "b": whole.bias})
    save(folder / "row", train_step(RowLinear(whole, bug), x, targets))
    save(folder / "column", train_step(ColumnLinear(whole, bug), x, targets))
    dist.destroy_process_group()


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="DIR", type=pathlib.Path)
    parser.add_argument("bug", nargs="?", choices=["bug3", "bug7"])
    arguments = parser.parse_args()
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # all ranks are on this machine
    with tempfile.TemporaryDirectory() as meeting:
        torch.multiprocessing.spawn(run_rank, nprocs=RANKS, args=(
            f"file://{meeting}/ranks", arguments.folder, arguments.bug))


if __name__ == "__main__":
    main()
