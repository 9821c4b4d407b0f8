"""Recall with a cross-encoder: scores are the model's own, pages are cut from one ranking, and parts add up.

The model is a tiny BERT with one output and random weights, made here: what it prefers means nothing, but it has to be
obeyed to the letter, through both services.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import StatusCode
from refusals import async_refusal, episode, says
from sapience.v1 import memory_pb2, memory_pb2_grpc, perception_pb2, perception_pb2_grpc
from sapience.v1.concept_pb2 import MODEL_KIND_RERANKER
from servers import serving

from core.errors import FailedPrecondition, InvalidArgument
from core.models import ModelAddress
from memory.recipes import recipe_named
from perception.rerankers.cross_encoder import CrossEncoderReranker
from services import assembly

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("sentence_transformers")

QUESTION = "where did the red fox sleep"
WORDS = "a red blue green fox dog cat slept ran ate under over near old oak stone river hill house".split()
TEXTS = [" ".join(np.random.default_rng(n).choice(WORDS, 3 + n % 9)) for n in range(60)]


def save_cross_encoder(folder: Path, *, labels: int = 1, seed: int = 0) -> ModelAddress:
    """A tiny BERT that gives a pair `labels` scores."""
    folder.mkdir(parents=True)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz.,"]
    (folder / "vocab.txt").write_text("\n".join([*words, *(f"##{letter}" for letter in words[5:])]))
    tokenizer = transformers.BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=120)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(seed)
    config = transformers.BertConfig(
        vocab_size=2 * len(words), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48,
        max_position_embeddings=120, initializer_range=0.5, num_labels=labels,
    )  # fmt: skip
    transformers.BertForSequenceClassification(config).eval().save_pretrained(folder)
    return ModelAddress.parse(f"file:{folder}")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> ModelAddress:
    return save_cross_encoder(tmp_path_factory.mktemp("models") / "cross")


@pytest.fixture(scope="module")
def reranker(address: ModelAddress) -> CrossEncoderReranker:
    return CrossEncoderReranker(address, device="cpu")


class TestScores:
    def test_they_are_the_logits_of_transformers(self, address, reranker):
        folder = str(address).removeprefix("file:")
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
        with torch.inference_mode():
            alone = [float(model(**tokenizer(QUESTION, text, return_tensors="pt")).logits) for text in TEXTS]
        found = reranker.score(QUESTION, TEXTS)
        np.testing.assert_allclose(found.scores, alone, atol=1e-4)
        assert np.std(alone) > 0.01, "random weights that tell texts apart"
        assert found.truncated == 0

    def test_a_text_is_scored_alike_whatever_is_beside_it(self, reranker):
        together = reranker.score(QUESTION, TEXTS).scores
        turned = reranker.score(QUESTION, TEXTS[::-1]).scores[::-1]
        np.testing.assert_allclose(together, turned, atol=1e-4)

    def test_what_does_not_fit_is_counted(self, reranker):
        assert reranker.score(QUESTION, ["short", "fox " * 200]).truncated == 1

    def test_blank_texts_are_refused_and_none_is_fine(self, reranker):
        with pytest.raises(InvalidArgument, match="text 1 of 2 is blank"):
            reranker.score(QUESTION, ["fox", " "])
        with pytest.raises(InvalidArgument, match="question is blank"):
            reranker.score(" ", ["fox"])
        assert reranker.score(QUESTION, []).scores.shape == (0,)

    def test_a_classifier_is_refused(self, tmp_path):
        with pytest.raises(FailedPrecondition, match="3 scores for a pair"):
            CrossEncoderReranker(save_cross_encoder(tmp_path / "three", labels=3), device="cpu")

    def test_damaged_weights_are_refused(self, tmp_path):
        save_cross_encoder(tmp_path / "cross")
        (tmp_path / "cross" / "model.safetensors").write_bytes(b"none")
        with pytest.raises(FailedPrecondition, match="could not be loaded as a cross-encoder"):
            CrossEncoderReranker(ModelAddress.parse(f"file:{tmp_path}/cross"), device="cpu")


@asynccontextmanager
async def stack(tmp_path: Path, reranker: str) -> AsyncIterator[grpc.aio.Channel]:
    """Perception and memory on one server, over gRPC."""
    made: list[assembly.Links] = []

    def services(settings: Any, address: str) -> list[Any]:
        made.append(assembly.Links(settings, address))
        return [assembly.build(name, settings, made[0]) for name in ("perception", "memory")]

    async with serving(tmp_path, services, reranker=reranker) as served:
        try:
            yield served.channel
        finally:
            await made[0].close()


async def told(channel: grpc.aio.Channel) -> memory_pb2_grpc.MemoryServiceStub:
    memory = memory_pb2_grpc.MemoryServiceStub(channel)
    await memory.CreateNamespace(memory_pb2.CreateNamespaceRequest(namespace="n"), wait_for_ready=True)
    episodes = [
        episode(text, told_at=Timestamp(seconds=1_700_000_000 + n), conversation="c", position=n)
        for n, text in enumerate(TEXTS)
    ]
    await memory.Remember(memory_pb2.RememberRequest(namespace="n", episodes=episodes))
    return memory


def run(work: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(work())  # type: ignore[arg-type]


def test_the_first_hits_are_ordered_by_both_and_their_parts_add_up(tmp_path, address, reranker):
    recipe = recipe_named("reranked")

    async def work() -> None:
        async with stack(tmp_path, str(address)) as channel:
            memory = await told(channel)
            asked = {"namespace": "n", "text": QUESTION, "limit": recipe.rerank_depth}
            plain = (await memory.Recall(memory_pb2.RecallRequest(**asked))).hits
            hits = (await memory.Recall(memory_pb2.RecallRequest(recipe="reranked", **asked))).hits
        assert {hit.episode.id for hit in hits} == {hit.episode.id for hit in plain}
        raw = reranker.score(QUESTION, [hit.episode.text for hit in plain]).scores
        fused = np.array([hit.score for hit in plain])
        z = [(values - values.mean()) / values.std() for values in (fused, raw)]
        expected = np.argsort(-(z[0] + recipe.rerank * z[1]), kind="stable")
        assert [hit.episode.id for hit in hits] == [plain[place].episode.id for place in expected]
        assert [hit.episode.id for hit in hits] != [hit.episode.id for hit in plain]
        for hit in hits:
            parts = {part.channel: part for part in hit.channels}
            assert math.isclose(hit.score, sum(part.fused for part in hit.channels), abs_tol=1e-9)
            read = [hit.episode.text for hit in plain].index(hit.episode.text)
            assert math.isclose(parts["rerank"].raw, raw[read], abs_tol=1e-3)

    run(work)


def test_pages_are_cut_from_one_ranking_with_falling_scores(tmp_path, address):
    async def work() -> None:
        async with stack(tmp_path, str(address)) as channel:
            memory = await told(channel)
            pages, token = [], ""
            while True:
                request = memory_pb2.RecallRequest(
                    namespace="n", text=QUESTION, recipe="reranked", limit=7, page_token=token
                )
                page = await memory.Recall(request)
                pages.append([(hit.episode.id, hit.score) for hit in page.hits])
                token = page.next_page_token
                if not token:
                    break
            first = await memory.Recall(
                memory_pb2.RecallRequest(namespace="n", text=QUESTION, recipe="reranked", limit=7, token_budget=20)
            )
        flat = [hit for page in pages for hit in page]
        assert len({episode_id for episode_id, _ in flat}) == len(flat) > recipe_named("reranked").rerank_depth
        scores = [score for _, score in flat]
        assert scores == sorted(scores, reverse=True)
        assert 1 <= len(first.hits) < 7, "the budget cuts the page"
        assert [hit.episode.id for hit in first.hits] == [one for one, _ in flat[: len(first.hits)]]
        assert first.next_page_token

    run(work)


def test_a_recipe_that_reranks_needs_a_model_and_says_how_to_get_one(tmp_path):
    async def work() -> None:
        async with stack(tmp_path, "") as channel:
            memory = await told(channel)
            request = memory_pb2.RecallRequest(namespace="n", text=QUESTION, recipe="reranked")
            refused = await async_refusal(memory.Recall(request))
            says(refused, StatusCode.FAILED_PRECONDITION, "NO_RERANKER", "", "SAPIENCE_RERANKER")

    run(work)


def test_bad_input_is_refused_with_its_field(tmp_path, address):
    async def work() -> None:
        async with stack(tmp_path, str(address)) as channel:
            perception = perception_pb2_grpc.PerceptionServiceStub(channel)
            for fields, field in (
                ({"question": "", "texts": ["a"]}, "question"),
                ({"question": "a", "texts": []}, "texts"),
                ({"question": "a", "texts": ["a"] * 1025}, "texts"),
                ({"question": "a", "texts": ["a", " "]}, "texts[1]"),
            ):
                refused = await async_refusal(
                    perception.Rerank(perception_pb2.RerankRequest(**fields), wait_for_ready=True)
                )
                assert (refused.code, refused.field) == (StatusCode.INVALID_ARGUMENT, field)
            models = (await perception.ListModels(perception_pb2.PerceptionServiceListModelsRequest())).models
            assert [model.address for model in models if model.kind == MODEL_KIND_RERANKER] == [str(address)]

    run(work)
