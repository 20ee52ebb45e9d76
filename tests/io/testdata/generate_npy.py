"""Writes the .npy files beside it, with NumPy itself: python3 generate_npy.py (needs numpy).

Element i, counted row-major, is (i - 3) / 4 in every file.
"""

import os

import numpy as np

FOLDER = os.path.dirname(os.path.abspath(__file__))
SHAPES = {"0d": (), "1d": (5,), "2d": (3, 4), "3d": (2, 3, 2), "empty": (0, 3)}


def values(shape):
    return ((np.arange(np.prod(shape, dtype=int)) - 3) / 4).reshape(shape)


def save(name, array, version=(1, 0)):
    with open(os.path.join(FOLDER, name + ".npy"), "wb") as file:
        np.lib.format.write_array(file, array, version)


for name, shape in SHAPES.items():
    for dtype in ("<f4", "<f8", ">f4", ">f8"):
        label = {"<": "", ">": "_big"}[dtype[0]]
        save(f"{name}_{dtype[1:]}{label}", np.asarray(values(shape), dtype))
for name in ("2d", "3d"):
    for dtype in ("<f4", ">f8"):
        array = np.asfortranarray(np.asarray(values(SHAPES[name]), dtype))
        save(f"{name}_{dtype[1:]}_fortran", array)
save("2d_f4_version2", np.asarray(values((3, 4)), "<f4"), (2, 0))
save("2d_f4_version3", np.asarray(values((3, 4)), "<f4"), (3, 0))
save("1d_f2", np.asarray(values((5,)), "<f2"))
save("1d_i8", np.arange(5))
save("1d_object", np.array(["a", None], dtype=object))
save("1d_structured", np.zeros(2, dtype=[("a", "<f4"), ("b", "<f8")]))
