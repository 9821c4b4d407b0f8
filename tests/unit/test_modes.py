"""Ways of thinking: what each mode feeds back, when a rule ends it, what a constraint lets through, what is told."""

import asyncio
import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from tiny_models import own_checkpoint, save  # noqa: E402

from cognition.engine import sampler  # noqa: E402
from cognition.engine.base import (  # noqa: E402
    Constraint,
    ConstraintKind,
    Finished,
    LatentStep,
    Mode,
    Piece,
    Request,
    Row,
    Sampling,
    StopReason,
    StopRule,
    Thinking,
    ThoughtState,
)
from cognition.engine.engine import Engine  # noqa: E402
from cognition.engine.feedback import entropy  # noqa: E402
from cognition.engine.model import load_model  # noqa: E402
from core.errors import FailedPrecondition, InvalidArgument  # noqa: E402


def opened(address, folder, **options):
    model = load_model(address, cache_dir=folder, device="cpu", precision="float32", threads=1, **options)
    return Engine(model)


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    engine = opened(own_checkpoint(folder), folder, slots=3)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    engine = opened(save(folder, max_position_embeddings=400), folder, slots=3)
    yield engine
    engine.close()


async def asked(engine, prompt="Go on", **options):
    """What a request brings: latent steps, text, the account."""
    options = {"new_tokens": 8, "keep": True} | options
    items = [item async for item in engine.generate(Request(prompt, **options))]
    assert isinstance(items[-1], Finished)
    steps = [item for item in items if isinstance(item, LatentStep)]
    return steps, "".join(item.text for item in items if isinstance(item, Piece)), items[-1]


class TestModes:
    async def test_a_model_thinks_as_it_was_trained_to_unless_told_otherwise(self, own):
        steps, _, finished = await asked(own)
        assert own.capabilities.default == Thinking(Mode.PROJECTED, 4)
        assert [step.step for step in steps] == [0, 1, 2, 3]
        assert finished.latent_steps == 4
        assert (await asked(own, thinking=Thinking()))[0] == []

    @pytest.mark.parametrize("mode", [Mode.HIDDEN, Mode.PROJECTED, Mode.SOFT, Mode.JACOBI, Mode.PAUSE])
    async def test_a_step_is_told_with_the_length_of_its_row(self, own, mode):
        steps, _, finished = await asked(own, thinking=Thinking(mode, 3))
        rows = finished.state.latent
        lengths = [np.linalg.norm(np.frombuffer(row.vector, "<f4")) if row.vector else None for row in rows]
        assert len(steps) == len(rows) == 3
        assert all(
            length is None or step.norm == pytest.approx(length, rel=1e-4)
            for step, length in zip(steps, lengths, strict=True)
        )
        assert (mode is Mode.PAUSE) == all(row.ids == (290,) for row in rows)

    async def test_soft_steps_are_means_of_embeddings(self, plain):
        _, _, finished = await asked(plain, thinking=Thinking(Mode.SOFT, 2, temperature=0.01))
        table = plain._model.decoder.embedding
        row = torch.from_numpy(np.frombuffer(finished.state.latent[0].vector, "<f4").copy())
        # At a temperature near 0 the mean is the embedding of the likeliest token: of the one that would be drawn.
        _, _, spoken = await asked(plain, thinking=Thinking(), new_tokens=1)
        torch.testing.assert_close(row, table[spoken.state.tokens[0]], atol=1e-3, rtol=1e-3)
        _, _, among = await asked(plain, thinking=Thinking(Mode.SOFT, 2, top_k=1))
        assert among.state.latent[0].vector == table[spoken.state.tokens[0]].numpy().tobytes()

    async def test_deeper_passes_of_a_block_are_the_layers_that_they_stand_for(self, tmp_path):
        loop = {"first": 1, "last": 2, "passes": 1, "most": 6, "inject": False}
        (tmp_path / "looped").mkdir()
        looped = opened(own_checkpoint(tmp_path / "looped", recurrence=loop), tmp_path)
        try:
            together = await asyncio.gather(
                *(asked(looped, thinking=Thinking(Mode.RECURRENT, depth)) for depth in (1, 3, 5)),
                asked(looped, thinking=Thinking()),
            )
            for depth, (_, text, finished) in zip((1, 3, 5, 1), together, strict=True):
                (tmp_path / f"unrolled{depth}{finished.state.depth}").mkdir()
                folder = tmp_path / f"unrolled{depth}{finished.state.depth}"
                unrolled = opened(own_checkpoint(folder, extra_layers=depth - 1), folder)
                try:
                    assert (await asked(unrolled, thinking=Thinking()))[1] == text
                finally:
                    unrolled.close()
            state = together[1][2].state
            assert state.depth == 3
            _, _, finished = await asked(looped, prompt=state.truncated(tokens=2), new_tokens=6)
            assert finished.state == state
        finally:
            looped.close()

    async def test_what_a_model_has_not_is_refused_by_name(self, plain, own):
        cases = [
            (plain, Thinking(Mode.PROJECTED, 2), "thinking.mode", "it has hidden"),
            (plain, Thinking(Mode.PAUSE, 2), "thinking.mode", "no mode pause"),
            (plain, Thinking(Mode.HIDDEN, 2, rule=StopRule.LEARNED), "thinking.rule", "no rule learned"),
            (own, Thinking(Mode.RECURRENT, 2), "thinking.mode", "no mode recurrent"),
            (own, Thinking(Mode.JACOBI, 2, rule=StopRule.ENTROPY), "thinking.rule", "cannot stop early"),
            (own, Thinking(Mode.HIDDEN, 1000), "thinking.steps", "give at most"),
        ]
        for engine, thinking, field, why in cases:
            with pytest.raises(InvalidArgument, match=why) as caught:
                await asked(engine, thinking=thinking)
            assert caught.value.field == field

    async def test_rows_are_kept_within_the_lengths_that_are_asked_for(self, plain):
        free, _, _ = await asked(plain, thinking=Thinking(Mode.HIDDEN, 4))
        typical = plain._runner.typical_norm
        guarded, _, finished = await asked(plain, thinking=Thinking(Mode.HIDDEN, 4, least_norm=0.5, most_norm=1.5))
        assert max(step.norm for step in free) > 1.5 * typical, "nothing here would need a guard"
        assert all(0.499 * typical <= step.norm <= 1.501 * typical for step in guarded)
        assert len(finished.state.latent) == 4

    async def test_a_row_that_is_not_finite_fails_its_thought_and_no_other(self, plain):
        state = (await asked(plain, thinking=Thinking(Mode.HIDDEN, 2)))[2].state
        broken = state.edited(1, np.full(32, np.inf, "<f4").tobytes())
        fine = asked(plain, prompt="Others go on", new_tokens=20)
        results = await asyncio.gather(asked(plain, prompt=broken), fine, return_exceptions=True)
        assert isinstance(results[0], FailedPrecondition)
        assert results[0].reason == "NOT_FINITE"
        again = await asked(plain, prompt="Others go on", new_tokens=20)
        assert again[1] == results[1][1]


class TestRules:
    async def test_a_halting_head_ends_the_thoughts(self, own):
        halt = own._model.decoder.halt
        state = (await asked(own, thinking=Thinking(Mode.PROJECTED, 8)))[2].state
        for threshold in (0.3, 0.5, 0.7):
            thinking = Thinking(Mode.PROJECTED, 8, rule=StopRule.LEARNED, threshold=threshold)
            _, _, finished = await asked(own, thinking=thinking)
            wanted = await halting(own, state, halt, threshold)
            assert finished.latent_steps == wanted
            assert finished.state.latent == state.latent[:wanted]

    async def test_a_sure_model_ends_its_thoughts_by_entropy(self, own):
        open_ended, _, _ = await asked(own, thinking=Thinking(Mode.PROJECTED, 12, probe=1))
        entropies = [step.entropy for step in open_ended]
        for threshold in (min(entropies) * 0.9, float(np.median(entropies)), max(entropies) * 1.1):
            for patience in (1, 2):
                rule = Thinking(
                    Mode.PROJECTED, 12, rule=StopRule.ENTROPY, threshold=threshold, patience=patience, probe=1
                )
                steps, _, _ = await asked(own, thinking=rule)
                # The rule is asked after a step, of the distribution that the next one starts from.
                calm, wanted = 0, 12
                for place, value in enumerate(entropies[1:], start=1):
                    calm = calm + 1 if value < threshold else 0
                    if calm == patience:
                        wanted = place
                        break
                assert len(steps) in ({wanted} if wanted < 12 else {11, 12})

    async def test_thoughts_that_end_early_are_as_good_as_fewer_thoughts(self, own):
        rule = Thinking(Mode.PROJECTED, 8, rule=StopRule.LEARNED, threshold=0.5)
        _, text, finished = await asked(own, thinking=rule)
        if finished.latent_steps:
            assert text == (await asked(own, thinking=Thinking(Mode.PROJECTED, finished.latent_steps)))[1]


async def halting(engine, state, halt, threshold) -> int:
    """At which step the head says enough, by recomputing from the state alone."""
    from cognition.engine.decoder import Batch, Chunk

    decoder = engine._model.decoder
    with torch.inference_mode():
        rows = decoder.embed(torch.tensor([row.ids[0] for row in state.prompt]))
        vectors = [torch.from_numpy(np.frombuffer(row.vector, "<f4").copy()) for row in state.latent]
        rows = torch.cat([rows, torch.stack(vectors)])
        batch = Batch([Chunk(0, 0, len(rows))], decoder.config, decoder.device)
        hidden = decoder.forward(rows, batch, engine._model.new_cache(), torch.arange(len(rows)))
        says = torch.sigmoid(hidden @ halt[0][0] + halt[1][0]) >= threshold
    thoughts = says[len(state.prompt) :].tolist()
    return next((place + 1 for place, one in enumerate(thoughts[:-1]) if one), len(thoughts))


class TestProbes:
    async def test_the_nearest_tokens_are_those_it_would_speak(self, plain):
        steps, _, _ = await asked(plain, thinking=Thinking(Mode.SOFT, 2, probe=3))
        _, _, spoken = await asked(plain, thinking=Thinking(), new_tokens=1)
        assert len(steps[0].nearest) == 3
        assert steps[0].nearest[0].token == spoken.state.tokens[0]
        assert sorted(one.logprob for one in steps[0].nearest) == [one.logprob for one in steps[0].nearest][::-1]
        assert steps[0].entropy > 0
        assert (await asked(plain, thinking=Thinking(Mode.HIDDEN, 2)))[0][0].entropy is None

    async def test_log_probabilities_are_those_of_the_softmax(self, plain):
        request = Request("Go on", new_tokens=5, logprobs=4)
        items = [item async for item in plain.generate(request)]
        told = [one for item in items if isinstance(item, Piece) for one in item.tokens]
        others = [some for item in items if isinstance(item, Piece) for some in item.alternatives]
        assert len(told) == len(others) == 5
        assert all(some[0].token == one.token and len(some) == 4 for one, some in zip(told, others, strict=True))
        assert items[-1].confidence == pytest.approx(math.exp(np.mean([one.logprob for one in told])))

    def test_entropy_is_that_of_the_distribution(self):
        assert float(entropy(torch.zeros(8))) == pytest.approx(math.log(8))
        assert float(entropy(torch.tensor([0.0, -torch.inf]))) == pytest.approx(0)


SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 6}, "age": {"type": "integer", "maximum": 99}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


class TestConstraints:
    async def test_what_is_said_keeps_to_the_schema(self, plain):
        for seed in range(4):
            constraint = Constraint(ConstraintKind.JSON_SCHEMA, json.dumps(SCHEMA))
            sampling = Sampling(temperature=1.0, seed=seed)
            _, text, finished = await asked(plain, constraint=constraint, sampling=sampling, new_tokens=200)
            assert finished.stop_reason is StopReason.DONE
            told = json.loads(text)
            assert set(told) == {"name", "age"}
            assert isinstance(told["age"], int)

    async def test_a_regular_expression_and_a_grammar(self, plain):
        regex = Constraint(ConstraintKind.REGEX, r"[0-9]{3}-[a-c]+x")
        sampling = Sampling(temperature=1.0, seed=3)
        _, text, _ = await asked(plain, constraint=regex, sampling=sampling, new_tokens=100)
        assert re.fullmatch(r"[0-9]{3}-[a-c]+x", text)
        grammar = Constraint(ConstraintKind.GRAMMAR, 'start: "yes" | "no"')
        results = await asyncio.gather(*(asked(plain, f"{n}?", constraint=grammar) for n in range(4)))
        assert {text for _, text, _ in results} <= {"yes", "no"}

    @pytest.mark.parametrize(
        ("kind", "text"),
        [
            (ConstraintKind.JSON_SCHEMA, "{"),
            (ConstraintKind.JSON_SCHEMA, '{"type": "no such type"}'),
            (ConstraintKind.REGEX, "("),
            (ConstraintKind.GRAMMAR, "start: nothing_that_is_there"),
            (ConstraintKind.REGEX, "a" * (1 << 19)),
        ],
    )
    async def test_one_that_cannot_be_read_is_refused_by_field(self, plain, kind, text):
        with pytest.raises(InvalidArgument) as caught:
            await asked(plain, constraint=Constraint(kind, text))
        assert caught.value.field == f"constraint.{kind.value}"

    async def test_thoughts_stay_free(self, own):
        constraint = Constraint(ConstraintKind.REGEX, "[ab]{5}")
        steps, text, _ = await asked(own, constraint=constraint)
        assert len(steps) == 4
        assert re.fullmatch("[ab]{5}", text)

    async def test_no_text_ends_before_it_may(self, own):
        ended = [await asked(own, f"{n}", new_tokens=60, sampling=Sampling(2.0, seed=n)) for n in range(12)]
        early = [number for number, one in enumerate(ended) if one[2].stop_reason is StopReason.DONE]
        assert early, "none of these would end by itself"
        for number in early:
            sampling = Sampling(2.0, seed=number)
            *_, finished = await asked(own, f"{number}", new_tokens=60, min_new_tokens=60, sampling=sampling)
            assert (finished.stop_reason, finished.new_tokens) == (StopReason.TOKENS, 60)


class TestStates:
    async def test_another_models_thought_is_refused(self, plain, own):
        state = (await asked(own))[2].state
        with pytest.raises(InvalidArgument, match="name its model"):
            await asked(plain, prompt=state)

    async def test_rows_that_the_model_has_not_are_refused(self, plain):
        state = (await asked(plain))[2].state
        for wrong in (
            replace(state, prompt=(Row(ids=(100_000,)),)),
            replace(state, latent=(Row(vector=bytes(4)),), tokens=()),
            replace(state, tokens=(-1,)),
        ):
            with pytest.raises(InvalidArgument):
                await asked(plain, prompt=wrong)

    async def test_thoughts_do_not_follow_text(self, plain):
        state = (await asked(plain))[2].state
        with pytest.raises(InvalidArgument, match="thoughts come before text"):
            await asked(plain, prompt=state, thinking=Thinking(Mode.SOFT, 2))

    def test_a_state_is_cut_within_its_bounds(self):
        state = ThoughtState("m", (Row((1,)),), (Row(vector=bytes(8)),), tokens=(1, 2))
        for change in ({"latent_steps": 2}, {"tokens": 3}, {"latent_steps": -1}):
            with pytest.raises(InvalidArgument):
                state.truncated(**change)
        with pytest.raises(InvalidArgument):
            state.edited(0, bytes(4))
        with pytest.raises(InvalidArgument):
            Row()


samplings = st.builds(
    Sampling,
    temperature=st.floats(0.05, 3),
    top_p=st.floats(0.01, 1),
    seed=st.integers(0, 1000),
    top_k=st.sampled_from([0, 1, 5, 300]),
    min_p=st.sampled_from([0.0, 0.01, 0.5, 1.0]),
)


VOCABULARIES = (3, 400, 5000)


class TestSampler:
    @settings(max_examples=60, deadline=None)
    @given(
        st.lists(samplings, min_size=1, max_size=5), st.integers(0, 9), st.booleans(), st.sampled_from([3, 400, 5000])
    )
    def test_rows_of_a_step_are_drawn_as_each_alone(self, several, step, flat, vocabulary):
        generator = torch.Generator().manual_seed(step + vocabulary)
        logits = torch.randn(len(several), vocabulary, generator=generator) * (0.01 if flat else 3)
        expected = [sampler.draw(row, one, step) for row, one in zip(logits, several, strict=True)]
        drawn = sampler.sample(logits.clone(), several, [step] * len(several))
        assert drawn.tokens.tolist() == expected
        on_device = sampler.draw_on_device(logits, several, [step] * len(several))
        assert on_device.tolist() == expected
        logs = logits.log_softmax(-1).gather(-1, drawn.tokens[:, None])[:, 0]
        torch.testing.assert_close(drawn.logprobs, logs)

    def test_cuts_keep_what_they_say(self):
        logits = torch.log(torch.tensor([0.4, 0.3, 0.2, 0.1]))
        cases = [({"top_k": 2}, {0, 1}), ({"min_p": 0.6}, {0, 1}), ({"min_p": 0.2}, {0, 1, 2, 3}), ({"top_k": 1}, {0})]
        for cut, kept in cases:
            assert {sampler.draw(logits, Sampling(1.0, seed=1, **cut), step) for step in range(400)} == kept
