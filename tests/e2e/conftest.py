"""A language model that answers slowly, so that there is time to stop it."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def slow_language_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a narrow Llama of very many layers and random weights, with a token for each byte.

    A token takes it tens of milliseconds on any machine, and it never ends by itself.
    """
    import torch
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    folder: Path = tmp_path_factory.mktemp("models") / "slow"
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_key_value_heads": 1}
    config = transformers.LlamaConfig(
        vocab_size=300,
        num_hidden_layers=100,
        max_position_embeddings=8192,
        eos_token_id=256,
        bos_token_id=None,
        **shape,
    )
    module = transformers.LlamaForCausalLM(config)
    with torch.no_grad():
        module.lm_head.weight[256:] = 0
    module.save_pretrained(folder)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: at for at, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<end>", chat_template=template, model_max_length=8192
    )
    fast.save_pretrained(folder)
    return f"file:{folder}"
