"""Models of transformers that are loaded by several threads at once are all whole, and so are those after them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from core.loading import alone  # noqa: E402


def test_loads_that_overlap_leave_tied_weights_tied(tmp_path):
    config = transformers.GPT2Config(vocab_size=50, n_embd=16, n_layer=1, n_head=2, n_positions=16)
    torch.manual_seed(0)
    module = transformers.GPT2LMHeadModel(config)
    module.save_pretrained(tmp_path)
    original = transformers.PreTrainedModel.tie_weights

    def loaded(_):
        return alone(transformers.GPT2LMHeadModel.from_pretrained, tmp_path, local_files_only=True)

    with ThreadPoolExecutor(4) as pool:
        models = list(pool.map(loaded, range(16)))
    assert transformers.PreTrainedModel.tie_weights is original
    for model in models:
        assert model.lm_head.weight is model.transformer.wte.weight
        assert model.lm_head.weight.equal(module.lm_head.weight)
