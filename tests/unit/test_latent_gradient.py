"""A training step through thoughts has the loss and the gradient of the reference, whatever shape a batch has."""

from copy import deepcopy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cognition.latent.curriculum import Row
from core.errors import FailedPrecondition

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from cognition.latent import thinking  # noqa: E402
from cognition.latent.layers import decoder_of  # noqa: E402
from cognition.latent.oracle import oracle_generate, oracle_loss, unchanged  # noqa: E402
from cognition.latent.textmodel import Projection  # noqa: E402
from cognition.latent.thinking import Thinker, collate  # noqa: E402

VOCABULARY = 50
SMALL = {"vocab_size": VOCABULARY, "bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
LLAMA = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 128, **SMALL,
}  # fmt: skip
GPT2 = {
    "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128, "resid_pdrop": 0.0, "embd_pdrop": 0.0,
    "attn_pdrop": 0.0, **SMALL,
}  # fmt: skip


def model_of(family, *, double=True, **options):
    torch.manual_seed(0)
    made = {
        "gpt2": lambda: transformers.GPT2LMHeadModel(transformers.GPT2Config(**GPT2 | options)),
        "llama": lambda: transformers.LlamaForCausalLM(transformers.LlamaConfig(**LLAMA | options)),
        "qwen2": lambda: transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**LLAMA | options)),
        "qwen3": lambda: transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**LLAMA | {"head_dim": 8} | options)),
        "mistral": lambda: transformers.MistralForCausalLM(
            transformers.MistralConfig(**LLAMA | {"sliding_window": None} | options)
        ),
    }[family]()
    with torch.no_grad():
        for one in made.parameters():  # not 0 and 1: a bias or a gain that is forgotten shows
            one.add_(torch.randn(one.shape) * 0.1)
    return in_double(made) if double else made


def in_double(model):
    """A model in float64 throughout: norms of transformers compute in float32 whatever the model is in."""
    for module in list(model.modules()):
        for name, norm in list(module.named_children()):
            if type(norm).__name__.endswith("RMSNorm"):
                exact = torch.nn.RMSNorm(norm.weight.shape, eps=norm.variance_epsilon)
                exact.weight = norm.weight
                setattr(module, name, exact)
    return model.double()


def row(question, thoughts, rest, seed=0):
    """A row with made-up tokens: a question, so many thoughts, and text that is learnt."""
    draw = torch.Generator().manual_seed(seed * 1000 + question * 100 + thoughts * 10 + rest)
    tokens = torch.randint(1, VOCABULARY, (question + thoughts + rest,), generator=draw).tolist()
    return Row(tuple(tokens), question, thoughts, question + thoughts)


def reference(model, rows, feedback=unchanged, **options):
    """The mean loss over the tokens of some rows, each computed alone, and its gradient."""
    model.zero_grad()
    learnt = sum(len(one.tokens) - one.learnt_from for one in rows)
    total = 0.0
    for one in rows:
        tokens = torch.tensor([one.tokens])
        latents = torch.zeros_like(tokens, dtype=torch.bool)
        latents[:, one.thoughts_at : one.thoughts_at + one.fed_back] = True
        labels = tokens.clone()
        labels[:, : one.learnt_from] = -100
        loss = oracle_loss(model, tokens, latents, labels, feedback=feedback, **options)
        part = loss * (len(one.tokens) - one.learnt_from) / learnt
        part.backward()
        total += float(part.detach())
    return total, gradients(model)


def learnt(model, rows, feedback=unchanged):
    model.zero_grad()
    batch = collate(rows)
    loss = Thinker(decoder_of(model), feedback).learn(batch, batch.learnt) / batch.learnt
    return loss, gradients(model)


def gradients(model):
    return {name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None}


def assert_same(found, expected, tolerance):
    assert found[0] == pytest.approx(expected[0], rel=tolerance)
    assert found[1].keys() == expected[1].keys()
    for name, gradient in expected[1].items():
        assert (found[1][name] - gradient).abs().max() <= tolerance * max(1.0, float(gradient.abs().max())), name


RAGGED = [row(9, 3, 5), row(4, 1, 7), row(6, 0, 4), row(2, 3, 2), row(7, 2, 9)]


@pytest.mark.parametrize("family", ["gpt2", "llama", "qwen2", "qwen3", "mistral"])
def test_a_ragged_batch_has_the_gradient_of_its_rows_alone(family):
    model = model_of(family)
    assert_same(learnt(deepcopy(model), RAGGED), reference(model, RAGGED), 1e-10)


@pytest.mark.parametrize("tied", [True, False])
def test_heads_of_their_own_and_shared_ones_learn(tied):
    model = model_of("llama", tie_word_embeddings=tied)
    assert_same(learnt(deepcopy(model), RAGGED), reference(model, RAGGED), 1e-10)


def test_in_single_precision_the_gradient_agrees_to_a_hundred_thousandth():
    model = model_of("gpt2", double=False)
    rows = [row(60, 6, 20, seed) for seed in range(3)]
    assert_same(learnt(deepcopy(model), rows), reference(model, rows), 1e-5)


def test_the_reference_with_kept_keys_is_the_reference():
    model = model_of("gpt2")
    rows = [row(12, 4, 6)]
    assert_same(reference(model, rows, cached=True), reference(model, rows), 1e-10)


def test_the_reference_itself_follows_the_definition():
    """Two thoughts by hand: hidden state, fed back, fed back, then the likelihood of what follows."""
    model = model_of("gpt2")
    one = row(5, 2, 3)
    embed, body = model.transformer.wte, model.transformer
    tokens = torch.tensor([one.tokens])
    rows = embed(tokens[:, :5])
    for _ in range(2):
        rows = torch.cat([rows, body(inputs_embeds=rows).last_hidden_state[:, -1:]], dim=1)
    rows = torch.cat([rows, embed(tokens[:, 7:])], dim=1)
    likely = model(inputs_embeds=rows).logits.log_softmax(-1)
    expected = -sum(likely[0, at - 1, tokens[0, at]] for at in (7, 8, 9)) / 3
    assert reference(model, [one])[0] == pytest.approx(float(expected.detach()), rel=1e-12)


shapes = st.lists(
    st.builds(row, st.integers(1, 12), st.integers(0, 4), st.integers(1, 8), st.integers(0, 5)), min_size=1, max_size=5
)


@settings(max_examples=20, deadline=None)
@given(shapes, st.sampled_from(["gpt2", "llama"]))
def test_any_batch_has_the_gradient_of_its_rows_alone(rows, family):
    model = model_of(family)
    assert_same(learnt(deepcopy(model), rows), reference(model, rows), 1e-9)


def test_a_projection_of_thoughts_learns_with_the_model():
    model = model_of("gpt2")
    torch.manual_seed(1)
    projection = Projection(32).double()
    expected = reference(model, RAGGED, projection)
    of_projection = gradients(projection)
    projection.zero_grad()
    assert_same(learnt(deepcopy(model), RAGGED, projection), expected, 1e-10)
    assert_same((0.0, gradients(projection)), (0.0, of_projection), 1e-10)


def test_parts_of_a_step_add_up():
    model = model_of("llama")
    whole = learnt(deepcopy(model), RAGGED)
    model.zero_grad()
    thinker = Thinker(decoder_of(model), unchanged)
    parts = [collate(RAGGED[:2]), collate(RAGGED[2:])]
    count = sum(part.learnt for part in parts)
    loss = sum(thinker.learn(part, count) for part in parts) / count
    assert_same((loss, gradients(model)), whole, 1e-10)


def test_long_calls_and_short_ones_add_to_the_same_gradient(monkeypatch):
    from cognition.latent import deferred

    model = model_of("gpt2")
    expected = learnt(deepcopy(model), RAGGED)
    monkeypatch.setattr(deferred, "_LONG", 1)
    assert_same(learnt(model, RAGGED), expected, 1e-10)


def test_frozen_weights_get_no_gradient_and_change_no_other():
    model = model_of("gpt2")
    expected = learnt(deepcopy(model), RAGGED)[1]
    model.transformer.h[0].requires_grad_(False)
    model.transformer.wte.requires_grad_(False)
    model.transformer.wpe.requires_grad_(False)
    found = learnt(model, RAGGED)[1]
    assert set(found) == {
        name for name in expected if not name.startswith(("transformer.h.0", "transformer.wte", "transformer.wpe"))
    }
    for name, gradient in found.items():
        assert (gradient - expected[name]).abs().max() <= 1e-10


def test_after_a_step_the_model_is_the_one_it_was():
    model = model_of("gpt2")
    tokens = torch.tensor([row(5, 0, 5).tokens])
    before = model(tokens).logits
    learnt(model, RAGGED)
    assert torch.allclose(model(tokens).logits, before, atol=1e-12)
    assert not any("forward" in vars(module) for module in model.modules())


@pytest.mark.parametrize("family", ["gpt2", "llama", "qwen3"])
def test_bfloat16_is_near(family):
    model = model_of(family, double=False)
    batch = collate(RAGGED)
    exact = float(Thinker(decoder_of(model), unchanged).loss(batch).detach())
    near = Thinker(decoder_of(model), unchanged, bfloat16=True).learn(batch, batch.learnt)
    assert near == pytest.approx(exact, rel=0.02)
    assert all(one.grad.isfinite().all() and one.grad.dtype == torch.float32 for one in model.parameters())


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_answers_of_a_ragged_batch_are_the_references(family):
    model = model_of(family).eval()
    prompts = [row(9, 3, 1), row(4, 3, 2), row(6, 0, 1), row(3, 1, 4)]
    batch = collate(prompts, align="end")
    found = Thinker(decoder_of(deepcopy(model)), unchanged).answer(batch, 12, stop=-1)
    for one, tokens in zip(prompts, found, strict=True):
        ids = torch.tensor(one.tokens)
        embeds = model.get_input_embeddings()(ids[: one.thoughts_at])
        assert tokens == oracle_generate(
            model, embeds, one.fed_back, 12, after=one.tokens[one.thoughts_at + one.fed_back :]
        )


def test_a_stop_token_ends_one_row_and_no_other():
    model = model_of("gpt2").eval()
    prompts = [row(9, 3, 1), row(4, 2, 2)]
    thinker = Thinker(decoder_of(model), unchanged)
    free = thinker.answer(collate(prompts, align="end"), 12, stop=-1)
    stop = free[0][4]
    ended = thinker.answer(collate(prompts, align="end"), 12, stop=stop)
    assert ended == [one[: one.index(stop)] if stop in one else one for one in free]


def test_each_column_is_computed_once(monkeypatch):
    model = model_of("gpt2")
    columns = []
    decoder = decoder_of(model)
    forward = type(decoder).forward
    monkeypatch.setattr(
        type(decoder),
        "forward",
        lambda self, rows, *rest, **more: columns.append(rows.shape[1]) or forward(self, rows, *rest, **more),
    )
    batch = collate([row(9, 3, 5)])
    Thinker(decoder, unchanged).learn(batch, batch.learnt)
    assert columns == [9, 1, 1, 1 + 5 - 1]  # the last token is learnt and never an input


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (lambda: transformers.MistralConfig(**LLAMA | {"sliding_window": 8}), "sliding"),
        (lambda: transformers.GPT2Config(**GPT2, scale_attn_by_inverse_layer_idx=True), "gpt2"),
    ],
)
def test_models_that_would_be_computed_wrongly_are_refused(config, says):
    model = transformers.AutoModelForCausalLM.from_config(config())
    with pytest.raises(FailedPrecondition, match=says):
        decoder_of(model)


def test_labels_ignored_are_the_same_for_all():
    from cognition.latent import oracle

    assert thinking.IGNORED == oracle.IGNORED
