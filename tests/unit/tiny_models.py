"""Tiny models with random weights, of every architecture that the decoder computes, as transformers makes them."""

from pathlib import Path

import pytest

from core.models import ModelAddress

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'system' and not loop.first %}{{ raise_exception('system first') }}"
    "{% endif %}<{{ m.role }}>{{ m.content }}\n{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)
ENDLESS = 100_000


def byte_tokenizer():
    """A token for each byte, so that most characters are cut between tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: at for at, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<end>", chat_template=TEMPLATE, model_max_length=ENDLESS
    )


def tiny_config(**options):
    settings = {
        "vocab_size": 300, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": ENDLESS, "eos_token_id": 256, "bos_token_id": None,
    }  # fmt: skip
    return transformers.LlamaConfig(**settings | options)


def tiny_module(**options):
    torch.manual_seed(0)
    module = transformers.LlamaForCausalLM(tiny_config(initializer_range=0.4, **options)).eval()
    # It never ends by itself, so that a test says when it does.
    with torch.no_grad():
        module.lm_head.weight[256:] = 0
    return module


def save(folder: Path, **options) -> ModelAddress:
    tiny_module(**options).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return ModelAddress.parse(f"file:{folder}")


def tiny_modules() -> dict[str, transformers.PreTrainedModel]:
    """One model of each architecture and variant that the decoder computes, with weights that make tokens differ."""
    common = {
        "vocab_size": 300, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 512, "initializer_range": 0.4, "bos_token_id": None,
        "eos_token_id": 256,
    }  # fmt: skip
    scaled = {"rope_theta": 1e4, "factor": 8.0}
    llama3 = scaled | {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}
    gpt2 = transformers.GPT2Config(
        vocab_size=300, n_embd=32, n_layer=2, n_head=4, n_positions=256, initializer_range=0.4, bos_token_id=None,
        eos_token_id=256,
    )  # fmt: skip
    configs = {
        "gpt2": gpt2,
        "llama": transformers.LlamaConfig(**common),
        "llama, every head its own keys": transformers.LlamaConfig(**common | {"num_key_value_heads": 4}),
        "llama, one key head, tied": transformers.LlamaConfig(
            **common | {"num_key_value_heads": 1, "tie_word_embeddings": True}
        ),
        "llama, wide heads": transformers.LlamaConfig(**common, head_dim=16),
        "llama, biases": transformers.LlamaConfig(**common, attention_bias=True, mlp_bias=True),
        "llama, linear rope": transformers.LlamaConfig(**common, rope_parameters=scaled | {"rope_type": "linear"}),
        "llama 3 rope": transformers.LlamaConfig(**common, rope_parameters=llama3 | {"rope_type": "llama3"}),
        "mistral": transformers.MistralConfig(**common, sliding_window=None),
        "qwen2": transformers.Qwen2Config(**common),
        "qwen3": transformers.Qwen3Config(**common, head_dim=16),
    }
    modules = {}
    for name, config in configs.items():
        torch.manual_seed(0)
        module = transformers.AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)
        for key, weight in module.named_parameters():
            if weight.dim() == 1:  # norms and biases that do nothing would hide that they are left out
                torch.nn.init.normal_(weight, 1.0 if key.endswith("weight") else 0.0, 0.3)
        modules[name] = module
    return modules


def own_checkpoint(folder: Path, *, extra_layers: int = 0, **config) -> ModelAddress:
    """A checkpoint of this project's own, with a projection, a halting head and, where asked for, a recurrent block."""
    import json

    from safetensors.torch import save_file

    width, heads, layers, vocabulary = 32, 4, 3 + extra_layers, 300
    told = {
        "architectures": ["SapienceDecoder"], "hidden_size": width, "num_hidden_layers": layers,
        "num_attention_heads": heads, "num_key_value_heads": 2, "intermediate_size": 64, "vocab_size": vocabulary,
        "max_position_embeddings": 256, "position": "rotary", "norm": "rms", "activation": "silu_gated",
        "tie_word_embeddings": True, "eos_token_id": 256,
        "latent": {"mode": "projected", "steps": 4, "projection": True, "halt": True, "pause_token": 290},
    }  # fmt: skip
    torch.manual_seed(5)

    def matrix(rows: int, columns: int) -> torch.Tensor:
        return torch.randn(rows, columns) * 0.3

    tensors = {"embed.weight": matrix(vocabulary, width), "norm.weight": torch.rand(width) + 0.5}
    for layer in range(layers):
        # Layers beyond the third repeat the second, so that a recurrent block can be compared with what it stands for.
        torch.manual_seed(100 + (layer if layer < 2 else 1 if layer < layers - 1 else 2))
        tensors |= {
            f"layers.{layer}.attention_norm.weight": torch.rand(width) + 0.5,
            f"layers.{layer}.mlp_norm.weight": torch.rand(width) + 0.5,
            f"layers.{layer}.qkv.weight": matrix(width + 2 * 2 * 8, width),
            f"layers.{layer}.output.weight": matrix(width, width),
            f"layers.{layer}.up.weight": matrix(128, width),
            f"layers.{layer}.down.weight": matrix(width, 64),
        }
    torch.manual_seed(7)
    for name in ("feedback.0", "feedback.2"):
        tensors |= {f"{name}.weight": matrix(width, width), f"{name}.bias": torch.zeros(width)}
    tensors |= {"feedback.norm.weight": torch.ones(width), "feedback.norm.bias": torch.zeros(width)}
    tensors |= {"halt.weight": matrix(1, width), "halt.bias": torch.zeros(1)}
    save_file(tensors, folder / "model.safetensors")
    byte_tokenizer().save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps(told | config))
    return ModelAddress.parse(f"file:{folder}")
