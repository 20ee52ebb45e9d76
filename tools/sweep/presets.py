"""Named sweeps: the linear layers of published models, and the seed's job.

A layer is (in_features, out_features) of the whole layer, before tp splits it. Attention's query,
key and value are one fused product, as the models are trained.

Sources: Llama 3 sizes from table 3 of "The Llama 3 Herd of Models" (arXiv 2407.21783): model
dimension, FFN dimension, heads, 8 key/value heads. GPT-3 175B from table 2.1 of Brown et al.,
"Language Models are Few-Shot Learners" (arXiv 2005.14165): d_model 12288, d_ff = 4 d_model."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Preset:
    """What a preset fills in where the user says nothing."""

    layers: dict[str, tuple[int, int]]  # none: a sweep of collectives
    tokens: tuple[int, ...]
    dtype: tuple[str, ...]


def _llama3(model: int, ffn: int, heads: int) -> dict[str, tuple[int, int]]:
    head = model // heads
    key_value_heads = 8
    return {
        "qkv": (model, (heads + 2 * key_value_heads) * head),
        "o": (model, model),
        "gate": (model, ffn),
        "up": (model, ffn),
        "down": (ffn, model),
    }


def _gpt3(model: int) -> dict[str, tuple[int, int]]:
    return {
        "qkv": (model, 3 * model),
        "proj": (model, model),
        "fc1": (model, 4 * model),
        "fc2": (4 * model, model),
    }


PRESETS = {
    "seed": Preset({"linear": (1000, 1000)}, tokens=(20,), dtype=("fp32",)),
    "llama3-8b": Preset(_llama3(4096, 14336, 32), tokens=(2048,), dtype=("bf16",)),
    "llama3-70b": Preset(_llama3(8192, 28672, 64), tokens=(2048,), dtype=("bf16",)),
    "gpt3-175b": Preset(_gpt3(12288), tokens=(2048,), dtype=("bf16",)),
    "collectives": Preset({}, tokens=(), dtype=("fp32", "bf16")),
}
