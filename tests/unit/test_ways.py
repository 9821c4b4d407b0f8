"""What `sapience think` compares, by what the model was trained to do."""

from __future__ import annotations

import sapience

from services.cli.thinking import STEP_BY_STEP, UNTRAINED_STEPS, Way, _ways


def model(default: str, steps: int = 0, *modes: str) -> sapience.Model:
    return sapience.Model(
        "models:x", sapience.ModelKind.LANGUAGE_MODEL, True, "", "", 0, "cpu", 1,
        modes=tuple(map(sapience.ThinkingMode, ("none", *modes))),
        default_mode=sapience.ThinkingMode(default),
        default_latent_steps=steps,
    )  # fmt: skip


def test_an_ordinary_model_thinks_softly_in_words_and_not_at_all() -> None:
    assert _ways("q", model("none", 0, "soft", "hidden"), "", 0) == [
        Way("latent steps (soft)", "q", "soft", UNTRAINED_STEPS),
        Way("chain of thought", "q" + STEP_BY_STEP, "none"),
        Way("neither", "q", "none"),
    ]
    assert _ways("q", model("none"), "hidden", 3)[0] == Way("latent steps (hidden)", "q", "hidden", 3)
    assert [way.name for way in _ways("q", model("none"), "", 0)] == ["chain of thought", "neither"]


def test_a_trained_model_thinks_its_own_way_beside_a_control_and_not_at_all() -> None:
    trained = model("hidden", 6, "hidden", "pause")
    assert _ways("q", trained, "", 0) == [
        Way("latent steps (hidden)", "q", "hidden", 6),
        Way("pauses", "q", "pause", 6),
        Way("neither", "q", "none"),
    ]
    assert [way.name for way in _ways("q", trained, "pause", 2)] == ["latent steps (pause)", "neither"]
    assert [way.steps for way in _ways("q", model("hidden", 6, "hidden"), "", 2)] == [2, 0]
