"""Writes a checkpoint of random weights in a real model's shape, with a tokenizer in which every id
decodes to text of its own, so that it can be served and measured without the real weights.

    python3 make_checkpoint.py OUT [--shape qwen2-1.5b|tiny-vocab] [--device cuda]

The same seed gives the same bytes on the same kind of device. Needs torch and safetensors.
"""
import argparse
import json
import os

import torch
from safetensors.torch import save_file

SHAPES = {
    # DeepSeek-R1-Distill-Qwen-1.5B
    "qwen2-1.5b": dict(hidden=1536, layers=28, heads=12, kv_heads=2, ffn=8960, vocab=151936),
    # The same vocabulary on a model that any machine can hold.
    "tiny-vocab": dict(hidden=64, layers=2, heads=4, kv_heads=2, ffn=128, vocab=151936),
}


def config_of(shape):
    return {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "hidden_size": shape["hidden"],
        "num_hidden_layers": shape["layers"],
        "num_attention_heads": shape["heads"],
        "num_key_value_heads": shape["kv_heads"],
        "intermediate_size": shape["ffn"],
        "vocab_size": shape["vocab"],
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "hidden_act": "silu",
        "bos_token_id": 151646,
        "eos_token_id": 151643,
        "use_sliding_window": False,
        "torch_dtype": "bfloat16",
    }


def tensors_of(shape, device, seed):
    generator = torch.Generator(device=device).manual_seed(seed)

    def normal(std, *size):
        values = torch.randn(*size, generator=generator, device=device, dtype=torch.float32)
        return (values * std).to(torch.bfloat16).cpu().contiguous()

    hidden, ffn, vocab = shape["hidden"], shape["ffn"], shape["vocab"]
    head_dim = hidden // shape["heads"]
    q, kv = shape["heads"] * head_dim, shape["kv_heads"] * head_dim
    # Embeddings that outweigh what the layers add keep answers from falling into one loop.
    yield "model.embed_tokens.weight", normal(1.0, vocab, hidden)
    for layer in range(shape["layers"]):
        p = f"model.layers.{layer}."
        yield p + "input_layernorm.weight", normal(0.1, hidden) + 1
        for name, rows in (("q", q), ("k", kv), ("v", kv)):
            yield p + f"self_attn.{name}_proj.weight", normal(0.02, rows, hidden)
            yield p + f"self_attn.{name}_proj.bias", normal(0.02, rows)
        yield p + "self_attn.o_proj.weight", normal(0.02, hidden, q)
        yield p + "post_attention_layernorm.weight", normal(0.1, hidden) + 1
        yield p + "mlp.gate_proj.weight", normal(0.02, ffn, hidden)
        yield p + "mlp.up_proj.weight", normal(0.02, ffn, hidden)
        yield p + "mlp.down_proj.weight", normal(0.02, hidden, ffn)
    yield "model.norm.weight", normal(0.1, hidden) + 1
    yield "lm_head.weight", normal(0.05, vocab, hidden)


def byte_symbols():
    """The characters by which byte-level BPE writes bytes, in the order of the bytes."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    symbols, extra = {}, 0
    for byte in range(256):
        symbols[byte] = chr(byte if byte in printable else 256 + extra)
        extra += byte not in printable
    return [symbols[byte] for byte in range(256)]


def word_of(number):
    """A word of its own for each number: a space, then the number in letters."""
    letters = ""
    while True:
        number, digit = divmod(number, 26)
        letters = chr(97 + digit) + letters
        if number == 0:
            return "\u0120" + "x" + letters


def tokenizer_of(vocab_size):
    special = {
        151643: "<|end_of_sentence|>",
        151644: "<|user|>",
        151645: "<|assistant|>",
        151646: "<|begin_of_sentence|>",
    }
    vocab = {symbol: token_id for token_id, symbol in enumerate(byte_symbols())}
    for token_id in range(256, vocab_size):
        vocab[special.get(token_id) or word_of(token_id)] = token_id
    added = [
        dict(id=i, content=text, single_word=False, lstrip=False, rstrip=False,
             normalized=False, special=True)
        for i, text in special.items()
    ]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
        "normalizer": None, "pre_tokenizer": level, "post_processor": None, "decoder": level,
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
            "ignore_merges": False, "vocab": vocab, "merges": [],
        },
    }


TOKENIZER_CONFIG = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "bos_token": "<|begin_of_sentence|>",
    "eos_token": "<|end_of_sentence|>",
    "chat_template": "{{ bos_token }}{% for message in messages %}{{ '<|' + message['role'] + '|>' "
                     "+ message['content'] }}{% endfor %}"
                     "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}",
    "clean_up_tokenization_spaces": False,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out")
    parser.add_argument("--shape", choices=SHAPES, default="qwen2-1.5b")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    shape = SHAPES[args.shape]
    os.makedirs(args.out, exist_ok=True)
    tensors = dict(tensors_of(shape, args.device, args.seed))
    save_file(tensors, os.path.join(args.out, "model.safetensors"), metadata={"format": "pt"})
    files = {
        "config.json": config_of(shape),
        "generation_config.json": {"bos_token_id": 151646, "eos_token_id": 151643},
        "tokenizer.json": tokenizer_of(shape["vocab"]),
        "tokenizer_config.json": TOKENIZER_CONFIG,
    }
    for name, value in files.items():
        with open(os.path.join(args.out, name), "w") as file:
            json.dump(value, file)


if __name__ == "__main__":
    main()
