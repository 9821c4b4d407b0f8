"""The trainer: epochs over a task under a curriculum, with evaluation, checkpoints, and an end that can be resumed.

    run = TrainingRun.open(folder, settings.to_json())
    result = train(settings, task, run, cache_dir=…)

What hangs on chance is either a function of (seed, epoch, place), such as the order of an epoch and what is mixed in,
or drawn from torch's generators, whose states are in the checkpoint: a resumed run takes the steps it would have taken.
It runs on one device; batches are cut into parts for memory only, and the parts change nothing but rounding.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cognition.latent import checkpoints, lora
from cognition.latent.answering import Answers, Thoughts, answer_all
from cognition.latent.curriculum import FED_BACK, MARKED, Encoded, encode, parts_of, row_of
from cognition.latent.layers import decoder_of
from cognition.latent.run import PanelOf, Progress, StopRequest, TrainingRun
from cognition.latent.settings import Settings
from cognition.latent.tasks.base import Example, Split, Task
from cognition.latent.textmodel import Projection, TextModel, load
from cognition.latent.thinking import Thinker, collate
from core.errors import FailedPrecondition

MODEL = "model"
"""The folder in a run's that holds the trained model: the best one of the last stage on the validation split."""

BEST = "best.pt"
"""What learned of that model, as the trainer has it: adapters are apart there."""

PANELS = (
    PanelOf("loss per token", ("loss",)),
    PanelOf("accuracy on validation", ("accuracy", "zero_thoughts", "pause_tokens"), percent=True),
    PanelOf("drawn per answer", ("tokens", "thoughts")),
)


@dataclass(frozen=True, slots=True)
class Result:
    """How a run ended. `finished` is False where it was asked to stop; then it can be resumed."""

    finished: bool
    epochs: int
    accuracy: float
    """The best on the validation split in the last stage; 0 before it."""
    model: Path


def train(
    settings: Settings,
    task: Task,
    run: TrainingRun,
    *,
    cache_dir: Path,
    device: str = "cpu",
    stop: StopRequest | None = None,
) -> Result:
    """Trains, or goes on from the run's checkpoint. Raises what loading the model and the data raises."""
    return Trainer(settings, task, run, cache_dir=cache_dir, device=device).train(stop or StopRequest())


def device_of(asked: str) -> str:
    """The device that auto, cpu or cuda stands for here.

    Raises FailedPrecondition (DEVICE_UNAVAILABLE) where there is no GPU.
    """
    has_gpu = torch.cuda.is_available()
    if asked == "cuda" and not has_gpu:
        raise FailedPrecondition(
            "the device cuda was asked for, but torch sees no GPU; set the device to auto or cpu",
            reason="DEVICE_UNAVAILABLE",
            field="device",
        )
    return "cuda" if asked != "cpu" and has_gpu else "cpu"


class Trainer:
    """One run in memory: model, data, optimiser, and the place in both."""

    def __init__(self, settings: Settings, task: Task, run: TrainingRun, *, cache_dir: Path, device: str) -> None:
        self.settings, self.task, self.run, self.device = settings, task, run, device
        self.curriculum = settings.curriculum
        torch.manual_seed(settings.seed)
        self.text: TextModel = load(settings.model, self._texts, cache_dir=cache_dir, seed=settings.seed)
        model = self.text.model.to(device).train()
        self.adapter: Any = None
        if settings.lora_rank:
            markers = self.text.markers
            self.adapter = lora.adapt(
                model,
                rank=settings.lora_rank,
                scale=settings.lora_scale,
                new_tokens=(markers.start, markers.latent, markers.end),
            )
        decoder = decoder_of(model)
        self.projection = Projection(decoder.width).to(device) if self.curriculum.mode == "projected" else None
        self.thinker = Thinker(decoder, self.projection or _unchanged, bfloat16=settings.precision == "bfloat16")
        self._context = int(model.config.max_position_embeddings)
        self._data: dict[Split, tuple[Sequence[Example], list[Encoded]]] = {}
        named = list(model.named_parameters())
        if self.projection is not None:
            named += [(f"feedback.{name}", one) for name, one in self.projection.named_parameters()]
        self.parameters = {name: one for name, one in named if one.requires_grad}
        self.optimizer = self._new_optimizer()
        self.epoch, self.done, self.step, self.since_reset = 0, 0, 0, 0
        self._window = [0.0, 0]
        self.best = -1.0

    def data(self, split: Split) -> tuple[Sequence[Example], list[Encoded]]:
        """A split's examples and their token ids. Raises FailedPrecondition for an example longer than the context."""
        if split not in self._data:
            examples = self.task.examples(split)
            if split == "validation":
                examples = examples[: self.settings.evaluated]
            encoded = encode(examples, self.text.tokenize)
            for place, one in enumerate(encoded):
                length = len(one.question) + sum(map(len, one.steps)) + len(one.answer) + 3 + self._most_thoughts()
                if length > self._context:
                    raise FailedPrecondition(
                        f"example {place} of {split} takes {length} tokens with its thoughts, and the model's context "
                        f"is {self._context}; leave it out, or take a model with a longer one",
                        reason="CONTEXT_TOO_SHORT",
                        field="task",
                    )
            self._data[split] = (examples, encoded)
        return self._data[split]

    def train(self, stop: StopRequest) -> Result:
        """Trains to the end, or until it is asked to stop."""
        self._restore()
        saved = time.monotonic()
        while self.epoch < self.curriculum.epochs:
            if self.done == 0 and self.curriculum.resets(self.epoch):
                self.optimizer, self.since_reset = self._new_optimizer(), 0
            batches = self.batches(self.epoch)
            while self.done < len(batches):
                self.take_step(batches[self.done])
                self.done += 1
                self._report(len(batches))
                if stop.requested or time.monotonic() - saved > self.settings.save_minutes * 60:
                    self._save()
                    saved = time.monotonic()
                if stop.requested:
                    return self._result(finished=False)
            self._evaluate()
            self.epoch, self.done = self.epoch + 1, 0
            self._save()
            saved = time.monotonic()
            self.run.plot(f"{self.task.name}, {self.curriculum.mode}", PANELS)
        return self._result(finished=True)

    def batches(self, epoch: int) -> list[list[int]]:
        """The places in the training split that each optimiser step of an epoch takes, as seed and epoch say."""
        count = len(self.data("train")[0])
        wanted = min(self.settings.examples or count, count)
        places = random.Random(f"{self.settings.seed} order {epoch}").sample(range(count), wanted)
        size = self.settings.batch
        return [places[start : start + size] for start in range(0, wanted, size)]

    def learn(self, places: Sequence[int], epoch: int) -> tuple[float, int]:
        """Adds the gradient of one step's mean loss to the parameters; the summed loss, and the tokens learnt."""
        encoded = self.data("train")[1]
        curriculum, seed = self.curriculum, self.settings.seed
        rows = [
            row_of(
                encoded[place],
                curriculum.drawn_plan(len(encoded[place].steps), epoch, place, seed),
                curriculum.mode,
                self.text.markers,
            )
            for place in places
        ]
        # Rows of about one length together: less padding, and the sum is the same.
        rows.sort(key=lambda row: len(row.tokens))
        parts = [
            collate(rows[start : start + self.settings.rows_at_once], device=self.device)
            for start in range(0, len(rows), self.settings.rows_at_once)
        ]
        learnt = sum(part.learnt for part in parts)
        return sum(self.thinker.learn(part, learnt) for part in parts), learnt

    def answers(self, split: Split, stage: int, use: Thoughts = "trained", most: int = 0) -> Answers:
        """Answers a split as in a stage, or its first `most` examples."""
        examples, encoded = self.data(split)
        if most:
            examples, encoded = examples[:most], encoded[:most]
        plans = [self.curriculum.plan(len(one.steps), stage) for one in encoded]
        return answer_all(
            self.thinker,
            self.text,
            self.task,
            examples,
            encoded,
            self.curriculum.mode,
            [plan.thoughts for plan in plans],
            new_tokens=self.settings.new_tokens,
            rows=max(self.settings.rows_at_once, 32),
            device=self.device,
            use=use,
        )

    def use_best(self) -> None:
        """Takes the parameters of the model that `MODEL` holds; those of the last step where there is none."""
        path = self.run.folder / BEST
        if path.is_file():
            self._take(torch.load(path, map_location=self.device, weights_only=True))

    def save_model(self, folder: Path) -> None:
        """Writes the model as it is, as a folder that the engine serves."""
        steps = self._most_thoughts()
        latent = checkpoints.latent_config(
            self.curriculum.mode, steps, self.curriculum.thoughts_per_step, self.text.markers
        )
        checkpoints.save(
            folder,
            self.text.model,
            self.text.tokenizer,
            latent,
            projection=self.projection,
            adapter=self.adapter,
        )

    def _most_thoughts(self) -> int:
        return self.curriculum.stages * self.curriculum.thoughts_per_step if self.curriculum.mode in MARKED else 0

    def _texts(self) -> Iterator[str]:
        for example in self.task.examples("train"):
            yield "".join(parts_of(example))

    def _new_optimizer(self) -> torch.optim.AdamW:
        kept = {id(one) for one in lora.undecayed(self.adapter)} if self.adapter is not None else set()
        parameters = list(self.parameters.values())
        groups = [
            {"params": [one for one in parameters if id(one) not in kept], "weight_decay": self.settings.weight_decay},
            {"params": [one for one in parameters if id(one) in kept], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW([group for group in groups if group["params"]], lr=self.settings.learning_rate)

    def take_step(self, places: Sequence[int]) -> None:
        """One optimiser step on these places of the training split."""
        self.optimizer.zero_grad(set_to_none=True)
        loss, learnt = self.learn(places, self.epoch)
        if self.settings.clip:
            torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.settings.clip)
        self.since_reset += 1
        rate = self.settings.learning_rate * min(1.0, self.since_reset / max(self.settings.warmup, 1))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.step += 1
        self._window[0] += loss
        self._window[1] += learnt

    def _report(self, batches: int) -> None:
        stage = self.curriculum.stage(self.epoch)
        loss = self._window[0] / max(self._window[1], 1)
        if self.step % self.settings.log_steps == 0:
            self.run.log(self.step, stage=stage, epoch=self.epoch, loss=loss)
            self._window = [0.0, 0]
        self.run.progress(
            Progress(
                self.step,
                batches * self.curriculum.epochs,
                f"stage {stage} of {self.curriculum.last_stage}, epoch {self.epoch + 1} of {self.curriculum.epochs}",
                self.done,
                batches,
                {"loss": loss} | ({"accuracy": self.best} if self.best >= 0 else {}),
            )
        )

    def _evaluate(self) -> None:
        stage = self.curriculum.stage(self.epoch)
        found = self.answers("validation", stage)
        controls: dict[str, float] = {}
        # The controls take time as well; they mean something once no step is left.
        last = stage == self.curriculum.last_stage
        if self.curriculum.mode in MARKED and last:
            controls["zero_thoughts"] = self.answers("validation", stage, "zero").accuracy
        if self.curriculum.mode in FED_BACK and last:
            controls["pause_tokens"] = self.answers("validation", stage, "pause").accuracy
        self.run.log(
            self.step, stage=stage, epoch=self.epoch, accuracy=found.accuracy, tokens=found.tokens,
            thoughts=found.thoughts, **controls,
        )  # fmt: skip
        if last and found.accuracy >= self.best:
            self.best = found.accuracy
            self.save_model(self.run.folder / MODEL)
            _replace({name: one.detach() for name, one in self.parameters.items()}, self.run.folder / BEST)

    def _save(self) -> None:
        self.run.save(
            self.step,
            {
                "parameters": {name: one.detach() for name, one in self.parameters.items()},
                "optimizer": self.optimizer.state_dict(),
                "place": [self.epoch, self.done, self.since_reset],
                "window": self._window,
                "best": self.best,
            },
        )

    def _restore(self) -> None:
        found = self.run.restore(device=self.device)
        if found is None:
            return
        self.step, state = found
        self._take(state["parameters"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.epoch, self.done, self.since_reset = state["place"]
        self._window, self.best = list(state["window"]), state["best"]

    @torch.no_grad()
    def _take(self, parameters: Mapping[str, Tensor]) -> None:
        for name, kept in parameters.items():
            self.parameters[name].copy_(kept)

    def _result(self, *, finished: bool) -> Result:
        if finished and self.best < 0:  # the curriculum ended before its last stage
            self.save_model(self.run.folder / MODEL)
        return Result(finished, self.epoch, max(self.best, 0.0), self.run.folder / MODEL)


def _replace(state: object, path: Path) -> None:
    beside = path.with_name(path.name + ".part")
    torch.save(state, beside)
    beside.replace(path)


def _unchanged(hidden: Tensor) -> Tensor:
    return hidden
