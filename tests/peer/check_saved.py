#!/usr/bin/env python3
"""Whether transformers loads a model's folder that was saved here, and as what another folder has:

    peer/bin/python tests/peer/check_saved.py SAVED tests/peer/llama

Compares the logits of both, and each tensor. Exit status: 0 where they are the same."""

import sys

import torch
import transformers


def load(folder):
    """In the type of its weights, and with nothing missing or left over."""
    model, report = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype="auto", output_loading_info=True)
    wrong = {what: names for what, names in report.items() if names}
    if wrong:
        sys.exit(f"{folder}: {wrong}")
    return model.eval()


def main():
    """Of two folders."""
    saved, expected = (load(folder) for folder in sys.argv[1:3])
    tokens = torch.arange(8).reshape(1, 8)
    with torch.no_grad():
        same = torch.equal(saved(tokens).logits, expected(tokens).logits)
    theirs = dict(expected.named_parameters())
    for name, tensor in saved.named_parameters():
        same = same and tensor.dtype == theirs[name].dtype and torch.equal(tensor, theirs[name])
    print(f"{len(theirs)} tensors of {next(saved.parameters()).dtype}, and the logits: "
          f"{'the same' if same else 'NOT THE SAME'}")
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
