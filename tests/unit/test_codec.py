"""The joint codec: pieces lose nothing, the grammar repeats, and vectors come back to the letter."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cognition.latent.run import TrainingRun
from core.errors import FailedPrecondition, InvalidArgument
from core.models import ModelAddress
from perception.codec.codec import ConceptCodec
from perception.codec.correcting import corrected
from perception.codec.grammar import MOST_CHARACTERS, Grammar, held_out
from perception.codec.lexicon import verb
from perception.codec.model import Network, Shape, padded
from perception.codec.pieces import PAD, Pieces
from perception.codec.training import TEST_SEED, Recipe, domain, train

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def codec() -> ConceptCodec:
    return ConceptCodec(ModelAddress.parse("models:concept-codec"), device="cpu")


@given(st.text(max_size=60).filter(lambda text: "\0" not in text))
def test_pieces_together_are_the_text_whatever_it_is(text: str) -> None:
    pieces = Pieces([" the", "The", " cat"])
    assert pieces.text(pieces.numbers(text)) == text


def test_a_known_word_is_one_piece_and_an_unknown_one_is_spelt() -> None:
    pieces = Pieces.learnt(["The cat sat.", "The cat ran.", "A cat sat."])
    assert len(pieces.numbers("The cat sat.")) == 4
    assert len(pieces.numbers(" ox")) == 3


def test_a_seed_gives_the_same_sentences_and_no_sentence_is_on_both_sides() -> None:
    told, held = Grammar(7).sentences(300), Grammar(7).sentences(100, held=True)
    assert told == Grammar(7).sentences(300)
    assert not any(map(held_out, told))
    assert all(map(held_out, held))
    assert max(map(len, told)) <= MOST_CHARACTERS
    assert len(set(told)) == 300


def test_verbs_have_their_forms() -> None:
    assert (verb("carry").past, verb("stop").gerund, verb("write").participle, verb("watch").third) == (
        "carried", "stopping", "written", "watches",
    )  # fmt: skip


def test_what_is_decoded_at_once_is_decoded_place_by_place() -> None:
    torch.manual_seed(0)
    network = Network(Shape(300, dimensions=32, width=16, heads=2, layers=2, places=12))
    torch.nn.init.normal_(network.said.weight, std=0.3)
    vectors = torch.nn.functional.normalize(torch.randn(5, 32), dim=-1)
    pieces = network.decode(vectors)
    with torch.no_grad():
        again = network.logits(network.hidden(vectors, pieces)).argmax(-1)
    assert (again == pieces)[pieces != PAD].all()


def test_the_loss_of_a_sentence_does_not_depend_on_padding() -> None:
    torch.manual_seed(0)
    network = Network(Shape(300, dimensions=32, width=16, heads=2, places=12))
    torch.nn.init.normal_(network.near_out.weight, std=0.3)
    torch.nn.init.normal_(network.weigh.weight, std=0.3)
    short, long_ = [260, 261], [262, 263, 264, 265, 266]
    alone, both = padded([short], 12), padded([short, long_], 12)
    with torch.no_grad():
        vectors = network.encode(both)
        assert torch.allclose(network.encode(alone)[0], vectors[0], atol=1e-6)
        assert torch.allclose(network(vectors[:1], alone).sum(), network(vectors, both)[0].sum(), atol=1e-5)


def test_a_sentence_that_is_nearly_right_is_corrected(codec: ConceptCodec) -> None:
    source = random.Random(0)
    right = [codec.pieces.numbers(text) for text in domain(TEST_SEED, 60, held=True)]
    right = [one for one in right if len(one) > 5]
    wrong: list[list[int]] = []
    for number, one in enumerate(right):
        place, other = source.randrange(len(one)), source.randrange(300, len(codec.pieces))
        wrong.append([*one, other] if number % 2 else [*one[:place], other, *one[place + 1 :]])
    vectors = torch.from_numpy(codec.encode([codec.pieces.text(one) for one in right]).vectors)
    with torch.inference_mode():
        found = corrected(codec.network, vectors, wrong)
        assert corrected(codec.network, vectors, right) == right
    assert np.mean([one == other for one, other in zip(found, right, strict=True)]) > 0.9


def test_what_no_sentence_says_is_left_as_it_was_written(codec: ConceptCodec) -> None:
    first, second = codec.encode(["Nora lost a red bicycle in Bremen.", "Felix was very happy."]).vectors
    between = torch.nn.functional.normalize(torch.from_numpy(first + 0.6 * second), dim=-1)[None]
    written = [codec.pieces.numbers("Nora lost a red bicycle in Berlin.")]
    with torch.inference_mode():
        assert corrected(codec.network, between, written) == written
        assert corrected(codec.network, between, [[]]) == [[]]


def test_a_sentence_that_fills_every_place_and_has_no_end_is_corrected_without_its_last_piece(
    codec: ConceptCodec,
) -> None:
    pieces = (codec.pieces.numbers("Nora lost a red bicycle in Bremen and found a blue one.") * 4)[
        : codec.max_tokens + 1
    ]
    wrong = [*pieces[:-1], codec.pieces.numbers(" orange")[0]]
    with torch.inference_mode():
        vector = torch.nn.functional.normalize(codec.network.bound(torch.tensor([pieces])), dim=-1)
        [found] = corrected(codec.network, vector, [wrong])
    assert found == pieces[:-1]


def test_what_is_longer_than_the_codec_reads_is_counted_and_named(codec: ConceptCodec) -> None:
    encoded = codec.encode(["Felix was very happy.", "Felix was very happy. " * 20])
    assert (encoded.truncated, list(encoded.cut or ())) == (1, [False, True])


def test_the_shipped_codec_gives_held_out_sentences_back_to_the_letter(codec: ConceptCodec) -> None:
    texts = domain(TEST_SEED, 200, held=True)
    encoded = codec.encode(texts)
    assert encoded.truncated == 0
    assert np.allclose(np.linalg.norm(encoded.vectors, axis=1), 1, atol=1e-5)
    back = codec.decode(encoded.vectors)
    assert sum(one == text for one, text in zip(back, texts, strict=True)) >= 0.95 * len(texts)


def test_a_text_does_not_depend_on_its_batch(codec: ConceptCodec) -> None:
    texts = Grammar(3).sentences(70)
    vectors = codec.encode(texts).vectors
    assert np.abs(codec.encode(texts[:1]).vectors[0] - vectors[0]).max() < 1e-5
    assert codec.decode(vectors[:3]) == codec.decode(vectors)[:3]


def test_the_length_of_a_vector_says_nothing(codec: ConceptCodec) -> None:
    vectors = codec.encode(["Nora lost a red bicycle in Bremen."]).vectors
    assert codec.decode(vectors * 7) == codec.decode(vectors) == ["Nora lost a red bicycle in Bremen."]


def test_what_cannot_be_read_is_said(codec: ConceptCodec) -> None:
    with pytest.raises(InvalidArgument, match="blank"):
        codec.encode(["Hello, Ada!", "  "])
    with pytest.raises(InvalidArgument, match="needs \\[batch, "):
        codec.decode(np.ones((1, 3), np.float32))
    broken = np.full((1, codec.space.dimensions), np.nan, np.float32)
    with pytest.raises(InvalidArgument, match="not finite"):
        codec.decode(broken)
    with pytest.raises(InvalidArgument, match="English only") as raised:
        codec.decode(np.ones((1, codec.space.dimensions), np.float32), language="de")
    assert raised.value.reason == "UNKNOWN_LANGUAGE"
    assert codec.encode(["word " * 200]).truncated == 1


def test_a_run_that_was_cut_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    recipe = Recipe(seed=1, steps=6, dimensions=32, width=16, sentences=600, validation=20, batch=16)
    whole = train(recipe, TrainingRun.open(tmp_path / "whole", recipe.to_json()))

    class AfterThree:
        seen = 0

        @property
        def requested(self) -> bool:
            self.seen += 1
            return self.seen > 3

    cut = train(recipe, TrainingRun.open(tmp_path / "cut", recipe.to_json()), stop=AfterThree())  # type: ignore[arg-type]
    assert not cut.finished
    assert cut.steps == 3
    resumed = train(recipe, TrainingRun.open(tmp_path / "cut", recipe.to_json(), resume=True))
    assert resumed.finished
    assert resumed.steps == whole.steps == 6
    weights = [(one.model / "model.safetensors").read_bytes() for one in (whole, resumed)]
    assert weights[0] == weights[1]


def test_a_broken_folder_is_said(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "sapience_concept_codec"}')
    (tmp_path / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(FailedPrecondition) as raised:
        ConceptCodec(ModelAddress("file", str(tmp_path)))
    assert raised.value.reason == "MODEL_LOAD_FAILED"
