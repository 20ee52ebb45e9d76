"""A Llama as Hugging Face lays it out on disk, for the scripts that train the same one twice.

`sizes` has batch, sequence, hidden, layers, heads, groups (heads of keys and values), head (features of one),
ffn and vocabulary.
"""
import json
import os

EPS = 1e-5


def weights(sizes):
    """Name and shape of each weight, in the order of `blocks`: embedding, layers, norm, head."""
    q, kv = sizes.heads * sizes.head, sizes.groups * sizes.head
    yield "model.embed_tokens.weight", (sizes.vocabulary, sizes.hidden)
    for layer in range(sizes.layers):
        at = f"model.layers.{layer}."
        yield at + "input_layernorm.weight", (sizes.hidden,)
        yield at + "self_attn.q_proj.weight", (q, sizes.hidden)
        yield at + "self_attn.k_proj.weight", (kv, sizes.hidden)
        yield at + "self_attn.v_proj.weight", (kv, sizes.hidden)
        yield at + "self_attn.o_proj.weight", (sizes.hidden, q)
        yield at + "post_attention_layernorm.weight", (sizes.hidden,)
        yield at + "mlp.gate_proj.weight", (sizes.ffn, sizes.hidden)
        yield at + "mlp.up_proj.weight", (sizes.ffn, sizes.hidden)
        yield at + "mlp.down_proj.weight", (sizes.hidden, sizes.ffn)
    yield "model.norm.weight", (sizes.hidden,)
    yield "lm_head.weight", (sizes.vocabulary, sizes.hidden)


def write_config(folder, sizes, theta, dtype):
    config = dict(architectures=["LlamaForCausalLM"], model_type="llama", hidden_act="silu",
                  hidden_size=sizes.hidden, num_hidden_layers=sizes.layers, head_dim=sizes.head,
                  num_attention_heads=sizes.heads, num_key_value_heads=sizes.groups,
                  intermediate_size=sizes.ffn, vocab_size=sizes.vocabulary, rms_norm_eps=EPS,
                  rope_theta=theta, max_position_embeddings=sizes.sequence, tie_word_embeddings=False,
                  torch_dtype=dtype)
    with open(os.path.join(folder, "config.json"), "w") as file:
        json.dump(config, file)


def write_weights(folder, sizes, dtype, data_of):
    """model.safetensors; data_of(name) is the bytes of one, dtype as the format has it: F32, BF16."""
    width = {"F32": 4, "BF16": 2}[dtype]
    header, end = {}, 0
    for name, shape in weights(sizes):
        begin, end = end, end + width * shape[0] * (shape[1] if len(shape) == 2 else 1)
        header[name] = dict(dtype=dtype, shape=list(shape), data_offsets=[begin, end])
    text = json.dumps(header).encode()
    with open(os.path.join(folder, "model.safetensors"), "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, _ in weights(sizes):
            file.write(data_of(name))
