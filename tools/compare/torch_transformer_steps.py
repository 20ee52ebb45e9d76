"""The steps that torch_transformer_gpu.py times in PyTorch: the best that a user could write.

Tensor parallelism by hand, of a feed-forward layer, a block and a whole training step. Tokens are flat,
[batch x sequence, features]; under sequence parallelism a rank has its share of these rows. Products of one
input are one, pieces between products are compiled by inductor, dX's reduction runs beside dW's product.
"""
import contextlib
import gc
import statistics
import time

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from hf_llama import EPS

THETA = 500000.0


class Split:
    """How a rank takes part. Without `talks` nothing is sent: gathers give what stands in a buffer."""

    def __init__(self, rank, world, device, dtype, rows=True, talks=True):
        self.rank, self.world, self.device, self.dtype = rank, world, device, dtype
        self.rows, self.talks = rows, talks and world > 1
        self.buffers = {}

    def gather(self, x, always=False):
        """All rows, of what lies by rows."""
        if not (self.rows or always) or self.world == 1:
            return x
        shape = (self.world * x.shape[0], *x.shape[1:])
        if self.talks:
            whole = x.new_empty(shape)
            dist.all_gather_into_tensor(whole, x.contiguous())
            return whole
        key = (shape, x.dtype)
        if key not in self.buffers:
            self.buffers[key] = torch.randn(shape, device=self.device).to(x.dtype)
        return self.buffers[key]

    def sum(self, x, beside=False):
        """Starts the sum over ranks; what is returned waits for it, or for this rank's rows of it."""
        if not self.talks:
            return lambda: x.chunk(self.world)[self.rank] if self.rows else x
        if self.rows:
            mine = x.new_empty(x.shape[0] // self.world, *x.shape[1:])
            work = dist.reduce_scatter_tensor(mine, x, async_op=beside)
        else:
            mine = x
            work = dist.all_reduce(mine, async_op=beside)
        return lambda: (work.wait() if beside else None, mine)[1]

    def draw(self, *shape):
        scale = shape[1] ** -0.5
        return (torch.randn(shape, device=self.device) * scale).to(self.dtype).requires_grad_()

    def gain(self, size):
        return torch.ones(size, device=self.device, dtype=self.dtype, requires_grad=True)

    def sum_gains(self, gradients):
        """Of gains each rank has seen its own rows."""
        if self.talks and self.rows:
            flat = torch.cat(gradients)
            dist.all_reduce(flat)
            torch._foreach_copy_(gradients, list(flat.split([g.numel() for g in gradients])))


class Enter(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, w, split):
        whole = split.gather(x)
        ctx.save_for_backward(whole, w)
        ctx.split = split
        return F.linear(whole, w)

    @staticmethod
    def backward(ctx, dy):
        whole, w = ctx.saved_tensors
        dx = ctx.split.sum(dy @ w, beside=True)
        dw = dy.T @ whole
        return dx(), dw, None


class Leave(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, w, split):
        ctx.save_for_backward(x, w)
        ctx.split = split
        return split.sum(F.linear(x, w))()

    @staticmethod
    def backward(ctx, dy):
        x, w = ctx.saved_tensors
        dy = ctx.split.gather(dy)
        return dy @ w, dy.T @ x, None


class Embed(torch.autograd.Function):
    @staticmethod
    def forward(ctx, ids, w, split):
        local, away = ids % w.shape[0], (ids // w.shape[0] != split.rank)[:, None]
        ctx.save_for_backward(local, away)
        ctx.rows, ctx.split = w.shape[0], split
        return split.sum(F.embedding(local, w).masked_fill_(away, 0))()

    @staticmethod
    def backward(ctx, dy):
        local, away = ctx.saved_tensors
        dy = ctx.split.gather(dy).masked_fill(away, 0)
        return None, torch.ops.aten.embedding_dense_backward(dy, local, ctx.rows, -1, False), None


def loss_parts(x, local):
    y, rows = x.float(), x.shape[1]
    top = y.amax(1)
    there = (local >= 0) & (local < rows)
    picked = torch.where(there, x.gather(1, local.clamp(0, rows - 1)[:, None])[:, 0].float(), 0.0)
    return torch.stack((top, (y - top[:, None]).exp().sum(1), picked))


def loss_slope(x, log_sum, local, g):
    hit = (torch.arange(x.shape[1], device=x.device) == local[:, None]).float()
    return (((x.float() - log_sum[:, None]).exp() - hit) * g).to(x.dtype)


class CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, target, split, parts, slope):
        local = target - split.rank * x.shape[1]
        top, total, picked = split.gather(parts(x, local)[None], always=True).unbind(1)
        most = top.amax(0)
        log_sum = most + (total * (top - most).exp()).sum(0).log()
        ctx.save_for_backward(x, log_sum, local)
        ctx.slope = slope
        return (log_sum - picked.sum(0)).mean()

    @staticmethod
    def backward(ctx, g):
        x, log_sum, local = ctx.saved_tensors
        return ctx.slope(x, log_sum, local, g / x.shape[0]), None, None, None, None


def normed(x, w):
    y = x.float()
    return (y * torch.rsqrt(y.square().mean(-1, keepdim=True) + EPS) * w.float()).to(x.dtype)


def add_normed(x, r, w):
    x = x + r
    return x, normed(x, w)


def swiglu(y):
    gate, up = y.chunk(2, -1)
    return (F.silu(gate.float()) * up.float()).to(y.dtype)


class Layers:
    """A row's layers on one rank; `compiled` is what makes a piece between products fast."""

    def __init__(self, row, split, compiled):
        self.row, self.split = row, split
        self.norm, self.add_norm, self.swiglu = (compiled(f) for f in (normed, add_normed, swiglu))
        if row.kind == "mlp":
            return
        heads, groups = row.heads // split.world, row.groups // split.world
        batch, sequence, head = row.batch, row.sequence, row.head
        self.heads, self.groups = heads, groups
        place = torch.arange(sequence, device=split.device)[:, None]
        angle = place * THETA ** (-torch.arange(0, head, 2, device=split.device) / head)
        cos, sin = angle.cos()[:, None], angle.sin()[:, None]

        def turned(x):
            a, b = x.float().chunk(2, -1)
            return torch.cat((a * cos - b * sin, b * cos + a * sin), -1).to(x.dtype)

        def queries_keys_values(y):
            q, k, v = y.view(batch, sequence, -1, head).split((heads, groups, groups), 2)
            return turned(q), turned(k), v.clone(memory_format=torch.contiguous_format)

        self.queries_keys_values = compiled(queries_keys_values)

    def mlp_weights(self):
        ffn = self.row.ffn // self.split.world
        draw, hidden = self.split.draw, self.row.hidden
        return [draw(2 * ffn, hidden), draw(hidden, ffn)]

    def block_weights(self):
        row, split = self.row, self.split
        wide = (self.heads + 2 * self.groups) * row.head
        return [split.gain(row.hidden), split.draw(wide, row.hidden),
                split.draw(row.hidden, self.heads * row.head), split.gain(row.hidden),
                *self.mlp_weights()]

    def mlp(self, x, gate_up, down):
        return Leave.apply(self.swiglu(Enter.apply(x, gate_up, self.split)), down, self.split)

    def attend(self, q, k, v):
        q, k, v = (t.transpose(1, 2) for t in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True,
                                           enable_gqa=self.heads != self.groups)
        return y.transpose(1, 2).reshape(self.row.batch * self.row.sequence, -1)

    def block(self, x, r, norm1, qkv, out, norm2, gate_up, down):
        """What is not yet added to x is r; so it is with what is returned."""
        x, y = (x, self.norm(x, norm1)) if r is None else self.add_norm(x, r, norm1)
        y = self.attend(*self.queries_keys_values(Enter.apply(y, qkv, self.split)))
        x, y = self.add_norm(x, Leave.apply(y, out, self.split), norm2)
        return x, self.mlp(y, gate_up, down)


def part_step(layers):
    """Forward and backward of an mlp or a block: every weight's gradient, and that of the input."""
    row, split = layers.row, layers.split
    rows = row.batch * row.sequence // (split.world if split.rows else 1)
    x, dy = (torch.randn(rows, row.hidden, device=split.device).to(split.dtype) for _ in range(2))
    x.requires_grad_()
    weights = layers.mlp_weights() if row.kind == "mlp" else layers.block_weights()
    gains = [w for w in weights if w.ndim == 1]

    def step():
        for p in (x, *weights):
            p.grad = None
        y = layers.mlp(x, *weights) if row.kind == "mlp" else torch.add(*layers.block(x, None, *weights))
        y.backward(dy)
        if gains:
            split.sum_gains([w.grad for w in gains])
        return y

    step.x, step.dy, step.weights = x, dy, weights
    return step


def train_step(layers, compiled, masters, decay=0.1, rate=3e-4):
    """Forward, backward, clipping and AdamW of a whole Llama; other tokens may be copied in."""
    row, split = layers.row, layers.split
    tokens = row.batch * row.sequence
    ids, targets = (torch.randint(row.vocabulary, (tokens,), device=split.device) for _ in range(2))
    parts, slope = compiled(loss_parts), compiled(loss_slope)
    blocks = [layers.block_weights() for _ in range(row.layers)]
    embedding, head = (split.draw(row.vocabulary // split.world, row.hidden) for _ in range(2))
    last = split.gain(row.hidden)
    gains = [last] + [w for block in blocks for w in block if w.ndim == 1]
    parameters = gains + [embedding, head] + [w for block in blocks for w in block if w.ndim == 2]
    owned = [p.detach().float() for p in parameters] if masters else parameters
    adamw = torch.optim.AdamW(owned, lr=rate, betas=(0.9, 0.95), weight_decay=decay, fused=True,
                              **(dict(capturable=True) if split.device.type == "cuda" else {}))

    def forward():
        x, r = Embed.apply(ids, embedding, split), None
        for weights in blocks:
            x, r = layers.block(x, r, *weights)
        logits = Enter.apply(layers.add_norm(x, r, last)[1], head, split)
        return CrossEntropy.apply(logits, targets, split, parts, slope)

    def squares(gs):
        return torch.stack(torch._foreach_norm(gs, 2, dtype=torch.float32)).square().sum()

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
        split.sum_gains(grads[:n])
        cut = squares(grads[n:])
        if split.talks:
            dist.all_reduce(cut)
        adamw.grad_scale = ((cut + squares(grads[:n])).sqrt() + 1e-6).clamp(min=1.0)
        adamw.step()
        if masters:
            with torch.no_grad():
                torch._foreach_copy_(parameters, owned)
        return loss

    step.ids, step.targets = ids, targets
    step.embedding, step.blocks, step.last, step.head = embedding, blocks, last, head
    return step


def graphed(step):
    """One CUDA graph of it."""
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
    return graph.replay


def milliseconds(run, times, device):
    """Of as many calls, back to back."""
    dist.barrier()
    if device.type == "cpu":
        begin = time.perf_counter()
        for _ in range(times):
            run()
        return (time.perf_counter() - begin) * 1e3
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for _ in range(times):
        run()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end)


def timed(run, device):
    """Milliseconds a call, three back to back: the slower rank's median."""
    samples = [milliseconds(run, 3, device) / 3 for _ in range(12)]
    slower = torch.tensor(statistics.median(samples[2:]), device=device)
    dist.all_reduce(slower, op=dist.ReduceOp.MAX)
    return slower.item()


def measure(row, variant, rank, world, device):
    """Milliseconds a step of a variant, by the faster kernel for attention."""
    gpu = device.type == "cuda"
    compiled = (lambda f: torch.compile(f, dynamic=False)) if gpu else (lambda f: f)
    backends = [SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION]
    times = []
    for backend in backends if gpu and row.kind != "mlp" else [None]:
        torch._dynamo.reset()
        torch.manual_seed(1)
        split = Split(rank, world, device, torch.bfloat16 if gpu else torch.float32,
                      rows=variant != "all-reduce", talks=variant != "alone")
        with sdpa_kernel(backend) if backend else contextlib.nullcontext():
            layers = Layers(row, split, compiled)
            if row.kind == "train":
                step = train_step(layers, compiled, masters=variant == "masters")
            else:
                step = part_step(layers)
            run = graphed(step) if gpu else step
            times.append(timed(run, device))
            del layers, split, step, run
        gc.collect()
        if gpu:
            torch.cuda.empty_cache()
    return min(times)
