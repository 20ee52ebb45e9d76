"""Two tensor-parallel linear layers as a user might write them, each with a classic bug.

Usage: python3 parallel_linear.py DIR [bug3|bug7]

Writes the tensors of one training step to DIR (x, w, b, targets) and the step's results to
DIR/column and DIR/row: a layer whose W is split by columns over two ranks, and one whose W is
split by rows. With a bug's name that bug is in the layer which can have it:
  bug3   column: the bias is added on each rank, before the all-reduce
  bug7   row: the gathered output is laid out rank after rank
In fp32, with the mean squared error as the loss and SGD.
"""

import pathlib
import sys

import numpy as np

TOKENS, IN_FEATURES, OUT_FEATURES, RANKS, LEARNING_RATE = 20, 48, 30, 2, np.float32(0.01)


def column_forward(x, w, b, bug):
    """Each rank has a part of the columns of w and of x; the partial outputs are summed."""
    partial = [xr @ wr.T for xr, wr in
               zip(np.split(x, RANKS, axis=1), np.split(w, RANKS, axis=1))]
    if bug == "bug3":
        partial = [p + b for p in partial]
        return sum(partial)
    return sum(partial) + b


def row_forward(x, w, b, bug):
    """Each rank has a part of the rows of w, and of b; the outputs are gathered."""
    shards = [x @ wr.T + br for wr, br in zip(np.split(w, RANKS), np.split(b, RANKS))]
    if bug == "bug7":  # as all_gather_into_tensor leaves it, viewed as the whole output
        return np.concatenate([s.ravel() for s in shards]).reshape(len(x), OUT_FEATURES)
    return np.concatenate(shards, axis=1)


def train_step(x, w, b, targets, forward, bug):
    y = forward(x, w, b, bug)
    dy = (y - targets) * np.float32(2 / y.size)
    dw, db = dy.T @ x, dy.sum(axis=0)
    return {"y": y, "losses": np.mean((y - targets) ** 2, keepdims=True).ravel(),
            "dx": dy @ w, "dw": dw, "db": db,
            "w": w - LEARNING_RATE * dw, "b": b - LEARNING_RATE * db}


def save(folder, tensors):
    folder.mkdir(parents=True, exist_ok=True)
    for name, tensor in tensors.items():
        assert tensor.dtype == np.float32, name
        np.save(folder / f"{name}.npy", tensor)


def main():
    folder = pathlib.Path(sys.argv[1])
    bug = sys.argv[2] if len(sys.argv) > 2 else None
    rng = np.random.default_rng(7)
    spread = IN_FEATURES ** -0.5
    tensors = {"x": rng.standard_normal((TOKENS, IN_FEATURES)),
               "w": rng.uniform(-spread, spread, (OUT_FEATURES, IN_FEATURES)),
               "b": rng.uniform(-spread, spread, OUT_FEATURES),
               "targets": rng.standard_normal((TOKENS, OUT_FEATURES))}
    tensors = {name: tensor.astype(np.float32) for name, tensor in tensors.items()}
    save(folder, tensors)
    for mode, forward in {"column": column_forward, "row": row_forward}.items():
        save(folder / mode, train_step(forward=forward, bug=bug, **tensors))


if __name__ == "__main__":
    main()
