"""Models that load in a moment, for tests that start many daemons and ask nothing of what is worded."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def tiny_language_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a Llama of random weights with a token for each byte. It never ends by itself."""
    import torch
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    folder = tmp_path_factory.mktemp("models") / "tiny"
    torch.manual_seed(0)
    module = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=300,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=100_000,
            eos_token_id=256,
            bos_token_id=None,
            initializer_range=0.4,
        )
    )
    with torch.no_grad():
        module.lm_head.weight[256:] = 0
    module.save_pretrained(folder)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: at for at, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<end>", chat_template=template, model_max_length=100_000
    )
    fast.save_pretrained(folder)
    return f"file:{folder}"
