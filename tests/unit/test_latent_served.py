"""A model that the trainer saved thinks in the engine as it did in training: the same answers, no setting needed."""

from contextlib import aclosing
from dataclasses import replace

import pytest

from cognition.engine.base import Mode, Piece, Request
from cognition.latent.curriculum import Curriculum
from cognition.latent.run import StopRequest, TrainingRun
from cognition.latent.settings import Settings
from cognition.latent.tasks.arithmetic import Arithmetic
from core.models import ModelAddress

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from cognition.engine.engine import Engine  # noqa: E402
from cognition.engine.model import load_model  # noqa: E402
from cognition.latent.trainer import Trainer  # noqa: E402

SERVED = {"coconut": Mode.HIDDEN, "projected": Mode.PROJECTED, "pause": Mode.PAUSE, "cot": Mode.NONE}
SETTINGS = Settings(
    "arithmetic", "new:2x64", Curriculum(stages=2, first_epochs=1, epochs_per_stage=1, epochs=4), batch=16,
    learning_rate=3e-3, evaluated=4, new_tokens=16, examples=64,
)  # fmt: skip


@pytest.mark.parametrize("mode", SERVED)
async def test_the_engine_answers_as_the_trainer_does(tmp_path, mode):
    task = Arithmetic(steps=2, distractors=0, train=64, validation=4, test=6)
    settings = replace(SETTINGS, curriculum=replace(SETTINGS.curriculum, mode=mode))
    run = TrainingRun.open(tmp_path / "run", settings.to_json())
    trainer = Trainer(settings, task, run, cache_dir=tmp_path, device="cpu")
    result = trainer.train(StopRequest())
    trainer.use_best()
    expected = trainer.answers("test", settings.curriculum.last_stage).texts
    address = ModelAddress.parse(f"file:{result.model}")
    engine = Engine(load_model(address, cache_dir=tmp_path, device="cpu", precision="float32", threads=1))
    try:
        assert engine.capabilities.default.mode is SERVED[mode]
        for example, text in zip(task.examples("test"), expected, strict=True):
            request = Request(f"{example.question}\n", new_tokens=settings.new_tokens)
            async with aclosing(engine.generate(request)) as items:
                assert "".join([item.text async for item in items if isinstance(item, Piece)]) == text
    finally:
        engine.close()
