"""Concept models: the normaliser, the schedule, what a network sees, when a text ends, documents, choices, training."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from cognition.latent.run import TrainingRun
from core.errors import InvalidArgument
from core.models import ModelAddress
from perception.codec.codec import ConceptCodec
from perception.lcm import END_OF_TEXT, choosing, diffusion, documents
from perception.lcm.encoded import Encoded
from perception.lcm.ending import Asked, End, Ending
from perception.lcm.foreseeing import ConceptModel
from perception.lcm.model import ConceptNetwork, Shape
from perception.lcm.names import METHODS, Method
from perception.lcm.normaliser import Normaliser
from perception.lcm.stories import Stories
from perception.lcm.training import Objective, Recipe, Result, train

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def codec() -> ConceptCodec:
    return ConceptCodec(ModelAddress.parse("models:concept-codec"), device="cpu")


def test_a_skewed_dimension_gets_its_quartiles_and_not_percentages() -> None:
    rng = np.random.default_rng(0)
    vectors = np.stack([rng.normal(3, 2, 20_000), rng.exponential(1.0, 20_000) ** 2], axis=1).astype(np.float32)
    normaliser = Normaliser.of(vectors)
    assert normaliser.centre[0] == pytest.approx(3, abs=0.1)
    assert normaliser.scale[0] == pytest.approx(2, abs=0.1)
    # What the public code divides by: the range between the 0.25th and the 0.75th percentile.
    low, high = np.percentile(vectors[:, 1], (0.25, 0.75))
    assert normaliser.scale[1] * 1.3489795 / (high - low) > 10
    scaled = normaliser.normalised(vectors)
    assert np.median(np.abs(scaled), axis=0).max() < 2
    assert np.allclose(normaliser.restored(scaled), vectors, rtol=1e-4, atol=1e-4)


def test_a_dimension_that_does_not_vary_is_only_centred() -> None:
    normaliser = Normaliser.of(np.full((10, 2), 5, np.float32))
    assert normaliser.normalised(np.array([5, 6], np.float32)).tolist() == [0, 1]


def test_the_last_time_is_noise_alone() -> None:
    share = diffusion.signal()
    assert len(share) == diffusion.STEPS
    assert share[-1] == 0
    assert share[0] > 0.99
    assert (share[1:] < share[:-1]).all()


def test_the_sampler_ends_at_what_the_denoiser_says() -> None:
    clean = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    start = torch.randn(4, 8, generator=torch.Generator().manual_seed(1))
    found = diffusion.sample(lambda noisy, times: (clean, clean), start)
    assert torch.allclose(found, clean, atol=1e-5)


def test_guidance_of_one_is_the_prediction_with_context() -> None:
    context, without = torch.randn(2, 3, 8).unbind(0)
    assert torch.allclose(diffusion.guided(context, without, 1.0), context, atol=1e-5)
    rescaled = diffusion.guided(context, without, 3.0, 1.0)
    assert torch.allclose(rescaled.std(dim=-1), context.std(dim=-1), atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_nothing_is_seen_of_what_comes_later(method: Method) -> None:
    torch.manual_seed(0)
    network = ConceptNetwork(Shape(method, 16, width=32, layers=2, heads=2)).eval()
    concepts = torch.randn(1, 6, 16)
    changed = concepts.clone()
    changed[:, 4:] += 1
    noisy, times = torch.randn(1, 6, 16), torch.full((1, 6), 50)

    def said(rows: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return network.denoise(noisy, times, network.context(rows)) if method == "two-tower" else network(rows)

    assert torch.allclose(said(concepts)[:, :4], said(changed)[:, :4], atol=1e-5)
    assert not torch.allclose(said(concepts)[:, 4:], said(changed)[:, 4:], atol=1e-3)


def test_a_dropped_context_is_not_read_and_one_place_equals_many() -> None:
    torch.manual_seed(0)
    network = ConceptNetwork(Shape("two-tower", 16, width=32, layers=2, heads=2)).eval()
    concepts, noisy, times = torch.randn(1, 5, 16), torch.randn(1, 5, 16), torch.full((1, 5), 30)
    with torch.no_grad():
        context = network.context(concepts)
        dropped = network.denoise(noisy, times, context, torch.ones(1, 5, dtype=torch.bool))
        other = network.denoise(noisy, times, network.context(concepts + 1), torch.ones(1, 5, dtype=torch.bool))
        assert torch.allclose(dropped, other, atol=1e-6)
        whole = network.denoise(noisy, times, context)[0, -1]
        assert torch.allclose(network.denoise_after(noisy[0, -1:], times[0, -1:], context)[0], whole, atol=1e-5)


def test_a_text_ends_by_cosine_by_length_or_by_repetition() -> None:
    east, north, up = np.eye(3, dtype=np.float32)
    near = (0.9 * east + np.sqrt(1 - 0.81) * north).astype(np.float32)
    below = (0.89 * east + np.sqrt(1 - 0.89**2) * north).astype(np.float32)
    assert Ending(east, 9).told(near + np.float32(1e-6)) is End.END_OF_TEXT
    assert Ending(east, 9).told(below) is None
    assert Ending(east, 9, 0.8).told(below) is End.END_OF_TEXT
    assert Ending(east, 9).told(north, east) is End.END_OF_TEXT  # its words say so
    ending = Ending(east, 2)
    assert ending.told(north) is None
    assert ending.told(up) is End.LENGTH
    ending = Ending(east, 9)
    assert ending.told(north) is None
    assert ending.told(up) is None
    assert ending.told(north) is End.REPEATED


def test_stories_repeat_by_seed_and_end() -> None:
    told = Stories(3).stories(20)
    assert told == Stories(3).stories(20) != Stories(4).stories(20)
    assert all(one.sentences[-1] == END_OF_TEXT and 3 < len(one.sentences) <= 13 for one in told)


def test_choices_are_of_one_cast_and_have_one_truth() -> None:
    asked = choosing.choices(5, 0)
    assert asked == choosing.choices(5, 0)
    for one in asked:
        assert len(set(one.candidates)) == choosing.CANDIDATES
        assert one.candidates[one.truth] not in (END_OF_TEXT, "")
    scores = [np.arange(64.0) == one.truth for one in asked]
    assert choosing.accuracy([one.astype(np.float64) for one in scores], asked) == 1
    assert choosing.accuracy([np.zeros(64) for _ in asked], asked) == 0  # ties are wrong


def test_documents_are_read_and_split_by_their_text(tmp_path: Path) -> None:
    lines = [json.dumps({"text": f"Nora has {n} cups. She drinks tea."}) for n in range(60)]
    lines.append(json.dumps({"sentences": ["One.", "Two."]}))
    (tmp_path / "some.jsonl").write_text("\n".join(lines))
    (tmp_path / "one.txt").write_text("Ada slept. Ben read a book.")
    splits = {split: documents.read(tmp_path, split) for split in ("train", "validation", "test")}  # type: ignore[arg-type]
    assert sum(map(len, splits.values())) == 62
    assert all(splits.values())
    assert not set(splits["train"]) & set(splits["test"])
    assert {one[-1] for one in splits["train"]} == {END_OF_TEXT}


def test_nearest_sentences_are_the_nearest_others(codec: ConceptCodec) -> None:
    told = Encoded(documents.made("train", 24), codec)
    near = told.nearest(torch.tensor([5, 0, 5]))
    assert torch.equal(near, told.nearest(torch.tensor([5, 0, 5])))  # as kept from before
    assert torch.equal(near[0], near[2])
    for row, found in zip((5, 0), near, strict=False):
        cosines = told.vectors @ told.vectors[row]
        cosines[row] = -2
        least = np.sort(cosines)[-len(found)]
        assert row not in found.tolist()
        assert len(set(found.tolist())) == 64
        assert cosines[found].min() == pytest.approx(least, abs=1e-6)


def test_documents_may_hold_any_character_and_other_encodings_are_said(tmp_path: Path) -> None:
    lines = [json.dumps({"text": f"Nora\u2028has {n} cups."}, ensure_ascii=False) for n in range(40)]
    (tmp_path / "some.jsonl").write_text("\n".join(lines))
    assert sum(len(documents.read(tmp_path, split)) for split in ("train", "validation", "test")) == 40  # type: ignore[arg-type]
    (tmp_path / "latin.txt").write_bytes("Zürich.".encode("latin-1"))
    with pytest.raises(InvalidArgument, match=r"latin\.txt is not UTF-8: byte 1 is 0xfc") as raised:
        documents.read(tmp_path, "train")
    assert raised.value.reason == "BAD_DOCUMENTS"


class Seen(torch.nn.Module):
    """A network that keeps what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.at = torch.zeros(1)

    def forward(self, before: torch.Tensor) -> torch.Tensor:
        self.before = before
        return before


def test_a_shuffled_context_holds_nothing_from_behind_its_place(codec: ConceptCodec) -> None:
    told, seen = Encoded(documents.made("train", 24), codec), Seen()
    normaliser = Normaliser(np.zeros(codec.space.dimensions, np.float32), np.ones(codec.space.dimensions, np.float32))
    batch = told.batch(told.documents[:4])
    for seed in range(5):
        objective = Objective(seen, codec.network, told, normaliser, Recipe("mse", context="shuffled"))  # type: ignore[arg-type]
        objective(batch, torch.Generator().manual_seed(seed))
        for place in range(seen.before.shape[1]):
            up_to = (batch.concepts[:, : place + 1] == seen.before[:, place : place + 1]).all(-1).all(0)
            assert up_to.any()


@pytest.mark.parametrize("line", ["[]", '{"text": 3}', '{"sentences": ["One.", " "]}', "no json"])
def test_a_line_that_is_no_document_is_said(tmp_path: Path, line: str) -> None:
    (tmp_path / "bad.jsonl").write_text(line)
    with pytest.raises(InvalidArgument, match="line 1") as raised:
        documents.read(tmp_path, "train")
    assert raised.value.reason == "BAD_DOCUMENTS"


@pytest.fixture(scope="module", params=METHODS)
def trained(request: pytest.FixtureRequest, codec: ConceptCodec, tmp_path_factory: pytest.TempPathFactory) -> Result:
    recipe = Recipe(request.param, seed=2, steps=12, width=32, layers=2, batch=4, decoded=8)
    told, checked = documents.made("train", 24), documents.made("validation", 8)
    run = TrainingRun.open(tmp_path_factory.mktemp(request.param) / "run", recipe.to_json())
    return train(recipe, Encoded(told, codec), Encoded(checked, codec), codec, run)


def test_training_brings_the_loss_down_and_the_model_is_read_again(trained: Result, codec: ConceptCodec) -> None:
    metrics = [json.loads(line) for line in (trained.model.parent / "metrics.jsonl").read_text().splitlines()]
    losses = [one["validation_loss"] for one in metrics if "validation_loss" in one]
    assert trained.finished
    assert trained.loss == min(losses) < losses[0]
    model = ConceptModel(ModelAddress("file", str(trained.model)))
    assert model.space == codec.space
    before = codec.encode(["Nora lost a red bicycle in Bremen.", "Felix offered to help."]).vectors
    first = model.predict(before, Asked(seed=5))
    assert np.linalg.norm(first) == pytest.approx(1, abs=1e-5)
    assert (model.predict(before, Asked(seed=5)) == first).all()
    assert (model.predict(before, Asked(seed=6)) != first).any() == (model.network.shape.method == "two-tower")
    scores = choosing.scores(model, codec, choosing.choices(1, 0)[0])
    assert set(scores) == {"cosine", "words"} | ({"denoising"} if model.network.shape.method == "two-tower" else set())
    with pytest.raises(InvalidArgument, match="needs \\[concepts"):
        model.predict(before[:, :5])


def test_a_concept_training_that_was_cut_goes_on_the_same(codec: ConceptCodec, tmp_path: Path) -> None:
    recipe = Recipe("cross-entropy", seed=2, steps=6, width=32, layers=2, batch=4, decoded=8)
    told, checked = documents.made("train", 24), documents.made("validation", 8)

    def once(folder: str, *, stop: object = None, resume: bool = False) -> Result:
        run = TrainingRun.open(tmp_path / folder, recipe.to_json(), resume=resume)
        return train(recipe, Encoded(told, codec), Encoded(checked, codec), codec, run, stop=stop)  # type: ignore[arg-type]

    class AfterTwo:
        seen = 0

        @property
        def requested(self) -> bool:
            self.seen += 1
            return self.seen > 2

    whole, cut = once("whole"), once("cut", stop=AfterTwo())
    assert cut.steps == 2
    resumed = once("cut", resume=True)
    assert (whole.model / "model.safetensors").read_bytes() == (resumed.model / "model.safetensors").read_bytes()
