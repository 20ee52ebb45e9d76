"""Writes the .safetensors files beside it, with the format's own library.

Needs safetensors, numpy and ml_dtypes. Element i, counted row-major, is (i - 3) / 4 in every tensor
of floats.
"""

import os

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

FOLDER = os.path.dirname(os.path.abspath(__file__))


def values(shape, dtype):
    return ((np.arange(np.prod(shape, dtype=int)) - 3) / 4).reshape(shape).astype(dtype)


save_file(
    {
        "f64": values((3, 4), np.float64),
        "f32": values((3, 4), np.float32),
        "f16": values((3, 4), np.float16),
        "bf16": values((3, 4), ml_dtypes.bfloat16),
        "scalar": values((), np.float32),
        "empty": values((0, 3), np.float32),
        "layers.0:weight": values((2, 1, 3, 1), np.float32),
        "five": values((1, 1, 1, 1, 1), np.float32),
        "ids": np.arange(3),
    },
    os.path.join(FOLDER, "all.safetensors"),
    {"made_by": "generate_safetensors.py"},
)
save_file({}, os.path.join(FOLDER, "none.safetensors"))
