#!/usr/bin/env python3
"""Makes the values that peer_test holds this project's transformer against.

    python3 -m venv peer && peer/bin/pip install torch transformers safetensors
    peer/bin/python tests/peer/make_golden.py [NAME...]

For each of some small random models it writes a folder beside this file: config.json and
model.safetensors as transformers saves them, and golden.safetensors with what transformers and
PyTorch make of them on the CPU in fp64: tokens, logits, the loss, the gradient of every parameter,
and every parameter after three steps of AdamW. Tensors have their names there behind "gradient:"
and "after:". The folder `greedy` has a model in fp32 and the text that it goes on with.
"""

import argparse
import pathlib

import torch
from safetensors.torch import save_file

SINGLE = torch.float32
# transformers computes norms, rope, softmax and the loss in torch.float32, whatever the model's
# type; it is to mean fp64 there.
torch.float32 = torch.float = torch.float64
torch.Tensor.float = torch.Tensor.double

import transformers  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
BATCH, SEQUENCE = 2, 7
RATES = (0.01, 0.02, 0.005)
BETAS, EPS, DECAY = (0.9, 0.95), 1e-8, 0.1
IGNORED = -100  # a target that does not count, to transformers


def llama_sizes(**more):
    """Sizes that no number of ranks above 1 divides all of."""
    sizes = dict(vocab_size=19, hidden_size=12, intermediate_size=13, num_hidden_layers=2,
                 num_attention_heads=6, num_key_value_heads=2, head_dim=4, rms_norm_eps=1e-5,
                 max_position_embeddings=32, bos_token_id=None, eos_token_id=None)
    return sizes | more


MODELS = {
    "llama": lambda: transformers.LlamaConfig(
        **llama_sizes(tie_word_embeddings=False, rope_parameters=dict(
            rope_type="llama3", rope_theta=10000.0, factor=8.0, low_freq_factor=1.0,
            high_freq_factor=4.0, original_max_position_embeddings=16))),
    "mistral": lambda: transformers.MistralConfig(
        **llama_sizes(sliding_window=None, num_key_value_heads=3)),
    # It works its heads' size out of hidden_size.
    "qwen2": lambda: transformers.Qwen2Config(
        **llama_sizes(num_attention_heads=3, num_key_value_heads=1,
                      tie_word_embeddings=True, rope_parameters=dict(
                          rope_type="linear", rope_theta=10000.0, factor=2.0))),
    "gpt2": lambda: transformers.GPT2Config(
        vocab_size=17, n_positions=11, n_embd=12, n_layer=2, n_head=3, n_inner=20, resid_pdrop=0.0,
        embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=None, eos_token_id=None),
}


def make_model(config, seed, dtype):
    """With every parameter large enough to matter, norms and biases too."""
    config._attn_implementation = "eager"
    model = transformers.AutoModelForCausalLM.from_config(config).to(dtype)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.uniform_(-0.6, 0.6, generator=generator)
            if parameter.dim() == 1 and name.endswith("weight"):
                parameter.add_(1)
    return model


def batch(vocabulary, seed):
    """Tokens, and targets of which some do not count."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(vocabulary, (BATCH, SEQUENCE + 1), generator=generator)
    targets = tokens[:, 1:].clone()
    targets[0, 2] = targets[1, SEQUENCE - 1] = IGNORED
    return tokens[:, :-1], targets


def train(model, tokens, targets):
    """The values of a first step, and the parameters after three."""
    golden = {"tokens": tokens, "targets": targets}
    decays = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() == 1]
    optimizer = torch.optim.AdamW([{"params": decays, "weight_decay": DECAY},
                                   {"params": others, "weight_decay": 0.0}],
                                  lr=0.0, betas=BETAS, eps=EPS)
    for step, rate in enumerate(RATES):
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        # shift_labels: each target stands where its logits do.
        result = model(input_ids=tokens, labels=targets, shift_labels=targets, use_cache=False)
        result.loss.backward()
        if step == 0:
            golden["logits"] = result.logits.detach()
            golden["loss"] = result.loss.detach()
            for name, parameter in model.named_parameters():
                golden["gradient:" + name] = parameter.grad.clone()
        optimizer.step()
    for name, parameter in model.named_parameters():
        golden["after:" + name] = parameter.detach()
    return {name: tensor.to(torch.float64).contiguous().clone() for name, tensor in golden.items()}


def make_golden(name, seed):
    """One of MODELS, in a folder of its name."""
    model = make_model(MODELS[name](), seed, torch.float64)
    folder = HERE / name
    model.save_pretrained(folder)
    tokens, targets = batch(model.config.vocab_size, seed)
    save_file(train(model, tokens, targets), folder / "golden.safetensors")


def make_greedy(seed):
    """SmolLM's shape, small: 9 query heads, 3 key and value heads, tied embeddings."""
    config = transformers.LlamaConfig(**llama_sizes(
        hidden_size=18, num_attention_heads=9, num_key_value_heads=3, vocab_size=256, tie_word_embeddings=True))
    model = make_model(config, seed, SINGLE)
    folder = HERE / "greedy"
    model.save_pretrained(folder, max_shard_size="8KB")
    prompt = torch.tensor([list(b"The ")])
    text = model.to(torch.float64).generate(prompt, attention_mask=torch.ones_like(prompt),
                                            do_sample=False, max_new_tokens=16, pad_token_id=0)
    save_file({"text": text[0].to(torch.float64)}, folder / "golden.safetensors")


def clean(folder):
    """Leaves what the test reads, for everybody."""
    (folder / "generation_config.json").unlink(missing_ok=True)
    for path in folder.iterdir():
        path.chmod(0o644)


def main():
    """Makes what is named, or all."""
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", default=[*MODELS, "greedy"])
    torch.set_num_threads(1)
    for seed, name in enumerate([*MODELS, "greedy"]):
        if name not in parser.parse_args().names:
            continue
        if name == "greedy":
            make_greedy(seed)
        else:
            make_golden(name, seed)
        clean(HERE / name)


if __name__ == "__main__":
    main()
