"""What a training run is asked: plain data that config.json holds, with two budgets to begin from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, get_args

from cognition.latent.curriculum import Curriculum
from core.errors import InvalidArgument

Precision = Literal["float32", "bfloat16"]
Budget = Literal["small", "paper"]


@dataclass(frozen=True, slots=True)
class Settings:
    """One run. The defaults are the paper's for ProsQA (Hao et al. 2024, section 4.2 and appendix).

    Raises InvalidArgument naming the field for a value out of range.
    """

    task: str
    model: str
    curriculum: Curriculum = field(default_factory=Curriculum)
    seed: int = 0
    examples: int = 0
    """Examples of an epoch, drawn anew for each; 0 for all there are."""
    batch: int = 128
    """Rows of one optimiser step."""
    rows_at_once: int = 16
    """Rows computed together. Others of a step are added up: the step is the same, memory is less."""
    learning_rate: float = 1e-4
    weight_decay: float = 0.01
    warmup: int = 0
    """Optimiser steps over which the learning rate rises, each time the optimiser begins anew."""
    clip: float = 0.0
    """The greatest length of a step's gradient; 0 leaves it as it is."""
    precision: Precision = "float32"
    """bfloat16 computes products in it; weights and optimiser stay in float32."""
    lora_rank: int = 0
    """The rank of the adapters; 0 trains the whole model."""
    lora_scale: float = 32.0
    evaluated: int = 100
    """Examples of the validation split that are answered after each epoch."""
    new_tokens: int = 64
    """Tokens of an answer at most, the steps before it included."""
    save_minutes: float = 5.0
    log_steps: int = 10

    def __post_init__(self) -> None:
        for name, least in (
            ("examples", 0), ("batch", 1), ("rows_at_once", 1), ("warmup", 0), ("clip", 0), ("lora_rank", 0),
            ("evaluated", 1), ("new_tokens", 1), ("log_steps", 1), ("weight_decay", 0), ("save_minutes", 0),
        ):  # fmt: skip
            if not getattr(self, name) >= least:
                raise InvalidArgument(f"{name} is {getattr(self, name)}; the least is {least}", field=name)
        if not 0 < self.learning_rate < 1:
            raise InvalidArgument(
                f"learning_rate is {self.learning_rate}; give more than 0 and less than 1", field="learning_rate"
            )
        if self.precision not in get_args(Precision):
            raise InvalidArgument(
                f"precision {self.precision!r} is none of {', '.join(get_args(Precision))}", field="precision"
            )

    def to_json(self) -> dict[str, Any]:
        """For config.json."""
        return asdict(self)

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Settings:
        """From config.json. Raises InvalidArgument for a field that is unknown."""
        known = {one.name for one in fields(cls)}
        for name in kept:
            if name not in known:
                raise InvalidArgument(f"{name} is no setting of a training run", field=name)
        return cls(**{**kept, "curriculum": Curriculum(**kept["curriculum"])})


def with_budget(settings: Settings, budget: Budget) -> Settings:
    """Settings with a budget's numbers for everything that a budget is about.

    paper    as the settings are: 50 epochs, batches of 128; hours on a GPU at GPT-2 size
    small    a short curriculum in small batches with a warm-up, for a small new model on a CPU
    """
    if budget == "paper":
        return settings
    if budget != "small":
        raise InvalidArgument(f"budget {budget!r} is none of {', '.join(get_args(Budget))}", field="budget")
    curriculum = replace(
        settings.curriculum, first_epochs=8, epochs_per_stage=2, epochs=16 + 2 * settings.curriculum.stages,
        reset="none",
    )  # fmt: skip
    return replace(
        settings, curriculum=curriculum, batch=32, rows_at_once=32, warmup=50, clip=1.0, evaluated=100,
        learning_rate=1e-3 if settings.model.startswith("new:") else settings.learning_rate,
    )  # fmt: skip
