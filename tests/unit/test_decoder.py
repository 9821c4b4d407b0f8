"""The decoder: the same logits as transformers for every architecture, however rows are cut, ordered and mixed."""

import json

import pytest

torch = pytest.importorskip("torch")

from tiny_models import tiny_config, tiny_modules  # noqa: E402

from cognition.engine import native, weights  # noqa: E402
from cognition.engine.architecture import Unsupported, described  # noqa: E402
from cognition.engine.cache import KeyValueCache, Slots  # noqa: E402
from cognition.engine.decoder import Batch, Chunk, Decoder  # noqa: E402
from cognition.engine.products import Formats  # noqa: E402

MODULES = tiny_modules()


@pytest.fixture(scope="module")
def kernels(tmp_path_factory):
    return native.load(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module", params=["torch", "compiled"])
def formats(request, kernels):
    """None for torch alone, or with what is compiled."""
    if request.param == "torch":
        return None
    if kernels is None:
        pytest.skip("no C compiler is here")
    return Formats(native=kernels)


@pytest.fixture(scope="module", params=MODULES)
def pair(request, formats, tmp_path_factory):
    """A module of transformers, and the decoder that was read from its checkpoint."""
    module, folder = MODULES[request.param], tmp_path_factory.mktemp("model")
    module.save_pretrained(folder)
    config = described(json.loads((folder / "config.json").read_text()))
    return module, Decoder(config, weights.read(folder, config, lambda tensor: tensor), formats)


def close(ours, theirs) -> None:
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_sequences_of_every_length_in_one_step_give_the_logits_of_each_alone(pair):
    module, decoder = pair
    sequences = [torch.randint(0, 256, (length,)) for length in (40, 1, 17, 33, 2)]
    slots = [4, 0, 2, 5, 6]
    expected = [module(one[None]).logits[0] for one in sequences]
    cache = KeyValueCache(decoder.config, 8, 64, "cpu")
    done = [0] * len(sequences)
    # Several rounds: some are read in chunks while others go row by row, until all are done.
    for step in range(60):
        plan = []
        for which, one in enumerate(sequences):
            left = len(one) - done[which]
            count = min(left, (1, 1, 3, 5, 2)[(step + which) % 5])
            if count:
                plan.append((which, count))
        if not plan:
            break
        plan.sort(key=lambda item: (item[1] > 1, slots[item[0]]))
        batch = Batch(
            [Chunk(slots[which], done[which], count) for which, count in plan], decoder.config, decoder.device
        )
        rows = torch.cat([sequences[which][done[which] : done[which] + count] for which, count in plan])
        hidden = decoder.forward(decoder.embed(rows), batch, cache, torch.tensor(batch.last))
        for (which, count), logits in zip(plan, decoder.logits(hidden), strict=True):
            done[which] += count
            close(logits, expected[which][done[which] - 1])
    assert done == [len(one) for one in sequences]


@torch.inference_mode()
def test_rows_of_input_may_be_vectors(pair):
    module, decoder = pair
    rows = torch.randn(9, decoder.config.width)
    batch = Batch([Chunk(0, 0, 9)], decoder.config, decoder.device)
    cache = KeyValueCache(decoder.config, 1, 16, "cpu")
    ours = decoder.logits(decoder.forward(rows, batch, cache, torch.arange(9)))
    close(ours, module(inputs_embeds=rows[None]).logits[0])


@torch.inference_mode()
def test_a_hidden_row_is_what_transformers_calls_the_last_hidden_state(pair):
    module, decoder = pair
    ids = torch.randint(0, 256, (12,))
    batch = Batch([Chunk(0, 0, 12)], decoder.config, decoder.device)
    cache = KeyValueCache(decoder.config, 1, 16, "cpu")
    ours = decoder.forward(decoder.embed(ids), batch, cache, torch.arange(12))
    close(ours, module(ids[None], output_hidden_states=True).hidden_states[-1][0])


@torch.inference_mode()
def test_what_a_slot_held_before_does_not_show(pair):
    _, decoder = pair
    ids = torch.randint(0, 256, (2, 20))
    cache = KeyValueCache(decoder.config, 2, 32, "cpu")
    batch = Batch([Chunk(0, 0, 20)], decoder.config, decoder.device)
    first = decoder.forward(decoder.embed(ids[0]), batch, cache, torch.tensor([19]))
    for layer in cache.layers:
        layer[:, :, :, 20:] = 7.0
    decoder.forward(decoder.embed(ids[1]), batch, cache, torch.tensor([19]))
    torch.testing.assert_close(decoder.forward(decoder.embed(ids[0]), batch, cache, torch.tensor([19])), first)


def test_the_order_of_chunks_is_held():
    config = described(tiny_config().to_dict() | {"architectures": ["LlamaForCausalLM"]})
    for chunks in ([Chunk(0, 0, 3), Chunk(1, 0, 1)], [Chunk(1, 0, 1), Chunk(0, 0, 1)]):
        with pytest.raises(ValueError, match="chunks of one row come first"):
            Batch(chunks, config, torch.device("cpu"))


@pytest.mark.parametrize(
    "change",
    [
        {"architectures": ["GemmaForCausalLM"]},
        {"architectures": []},
        {"hidden_act": "gelu"},
        {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}},
        {"architectures": ["MistralForCausalLM"], "sliding_window": 64},
        {"architectures": ["Qwen2ForCausalLM"], "use_sliding_window": True, "sliding_window": 64},
        {"layer_types": ["full_attention", "sliding_attention"]},
        {"quantization_config": {"bits": 4}},
    ],
)
def test_it_declines_what_it_would_compute_wrongly(change):
    config = tiny_config().to_dict() | {"architectures": ["LlamaForCausalLM"]}
    described(config)
    with pytest.raises(Unsupported):
        described(config | change)


class TestSlots:
    @pytest.fixture
    def slots(self):
        config = described(tiny_config().to_dict() | {"architectures": ["LlamaForCausalLM"]})
        self.cache = KeyValueCache(config, 3, 16, "cpu")
        return Slots(self.cache)

    def test_a_sequence_takes_over_the_rows_that_it_begins_with(self, slots):
        first, held = slots.take("a", [1, 2, 3])
        assert held == 0
        slots.computed(first, [1, 2, 3], 0)
        self.cache.layers[0][:, first, :, :3] = 5.0
        second, held = slots.take("b", [1, 2, 4, 5])
        assert (second != first, held) == (True, 2)
        assert self.cache.layers[0][:, second, :, :2].eq(5.0).all()
        assert self.cache.layers[0][:, second, :, 2:].eq(0.0).all()

    def test_one_row_is_always_left_to_compute(self, slots):
        first, _ = slots.take("a", [1, 2, 3])
        slots.computed(first, [1, 2, 3], 0)
        slots.leave(first)
        assert slots.take("b", [1, 2, 3]) == (first, 2)

    def test_rows_of_another_depth_are_others(self, slots):
        first, _ = slots.take("a", [1, 2, 3], depth=2)
        slots.computed(first, [1, 2, 3], 0)
        assert slots.take("b", [1, 2, 3], depth=3)[1] == 0
        assert slots.take("c", [1, 2, 3], depth=2)[1] == 2

    def test_a_slot_whose_numbers_are_in_doubt_is_not_shared(self, slots):
        first, _ = slots.take("a", [1, 2, 3])
        slots.computed(first, [1, 2, 3], 0)
        slots.forget(first)
        assert slots.take("b", [1, 2, 3])[1] == 0

    def test_the_one_longest_unused_is_given_first(self, slots):
        order = [slots.take(name, [number])[0] for number, name in enumerate("abc")]
        for slot in (order[1], order[0], order[2]):
            slots.leave(slot)
        assert [slots.take(name, [9])[0] for name in "def"] == [order[1], order[0], order[2]]
        with pytest.raises(LookupError):
            slots.take("g", [1])
