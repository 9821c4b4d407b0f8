"""What callers ask of reasoning, checked field by field: InvalidArgument names the path of the one at fault.

What only the model can judge (whether a prompt fits, whether a schema can be followed) it judges itself;
`on_the_wire` gives its errors the names that the contract has.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

from sapience.v1 import concept_pb2
from sapience.v1 import reasoning_pb2 as pb

from cognition.engine.base import (
    MAX_LATENT_STEPS,
    Constraint,
    ConstraintKind,
    LanguageModel,
    Message,
    Mode,
    Prompt,
    Request,
    Sampling,
    StopRule,
    Thinking,
    ThoughtState,
)
from cognition.events import Budget, Question
from core.errors import InvalidArgument, NotYet
from services import wire
from services.runtime.deadline import remaining

T = TypeVar("T")

MAX_NEW_TOKENS = 2048
MAX_CITATIONS = 20
MAX_GENERATED_TOKENS = 4096
MAX_REQUEST_ID = 120
MAX_CONVERSATION = 256
MAX_CONSTRAINT_BYTES = 256 << 10
DEFAULT_GENERATED_TOKENS = 256
DEFAULT_GENERATION_S = 120.0
DEFAULT_LATENT_STEPS = 8
"""Where a mode is asked for by a name only, of a model that was not trained with it."""

MODES = {
    concept_pb2.THINKING_MODE_NONE: Mode.NONE,
    concept_pb2.THINKING_MODE_HIDDEN: Mode.HIDDEN,
    concept_pb2.THINKING_MODE_PROJECTED: Mode.PROJECTED,
    concept_pb2.THINKING_MODE_SOFT: Mode.SOFT,
    concept_pb2.THINKING_MODE_JACOBI: Mode.JACOBI,
    concept_pb2.THINKING_MODE_PAUSE: Mode.PAUSE,
    concept_pb2.THINKING_MODE_RECURRENT: Mode.RECURRENT,
}
MODES_ON_THE_WIRE = {mode: number for number, mode in MODES.items()}
RULES = {
    concept_pb2.STOP_RULE_FIXED: StopRule.FIXED,
    concept_pb2.STOP_RULE_ENTROPY: StopRule.ENTROPY,
    concept_pb2.STOP_RULE_LEARNED: StopRule.LEARNED,
}


def question(request: pb.ReasonRequest) -> Question:
    """A Reason request, checked; how the model thinks is for `thinking`, which has to know the model."""
    as_of = request.as_of
    axis = as_of.WhichOneof("recorded")
    default = Budget()
    return Question(
        namespace=wire.checked_namespace(request.namespace),
        text=wire.checked_text(request.text, "text", wire.MAX_QUERY_BYTES),
        valid_at=wire.micros(as_of.valid_at, "as_of.valid_at") if as_of.HasField("valid_at") else None,
        told_by=wire.micros(as_of.told_by, "as_of.told_by") if as_of.HasField("told_by") else None,
        recorded_by=wire.micros(as_of.recorded_by, "as_of.recorded_by") if axis == "recorded_by" else None,
        seq=as_of.seq if axis == "seq" else None,
        recipe=request.recipe,
        budget=Budget(
            new_tokens=_new_tokens(request.budget, default.new_tokens, MAX_NEW_TOKENS),
            context_tokens=wire.checked_limit(
                request.budget.context_tokens, "budget.context_tokens", default.context_tokens, 1 << 20
            ),
            wall_s=_wall_s(request.budget, default.wall_s),
        ),
        max_citations=wire.checked_limit(request.max_citations, "max_citations", 3, MAX_CITATIONS),
        learn=request.learn,
        request_id=_sized(request.request_id, "request_id", MAX_REQUEST_ID),
        conversation=_sized(request.conversation, "conversation", MAX_CONVERSATION),
        sampling=_sampling(request.sampling),
    )


def prompt(request: pb.GenerateRequest) -> Prompt:
    """What a Generate request gives to be continued, where that is no Thought."""
    match request.WhichOneof("input"):
        case "prompt":
            return wire.checked_text(request.prompt, "prompt", wire.MAX_TEXT_BYTES)
        case "chat":
            return _messages(request.chat)
    raise InvalidArgument("give a prompt, a chat or a thought_id", field="prompt", reason="EMPTY_TEXT")


def generation(
    request: pb.GenerateRequest, given: Prompt | ThoughtState, model: LanguageModel, mode: Mode | None
) -> Request:
    """A Generate request, checked. `mode` is the one of the Thought that is continued, if one is."""
    kind = request.WhichOneof("constraint")
    constraint = None
    if kind is not None:
        text = wire.checked_text(getattr(request, kind), kind, MAX_CONSTRAINT_BYTES)
        constraint = Constraint(ConstraintKind(kind), text)
    asked = thinking(request.thinking, request.budget, model, mode)
    sampling = _sampling(request.sampling)
    new_tokens = _new_tokens(request.budget, DEFAULT_GENERATED_TOKENS, MAX_GENERATED_TOKENS)
    deadline_s = _wall_s(request.budget, DEFAULT_GENERATION_S)
    with on_the_wire({}):
        return Request(
            given,
            new_tokens=new_tokens,
            thinking=asked,
            sampling=sampling,
            deadline_s=deadline_s,
            stop=tuple(request.stop),
            constraint=constraint,
            logprobs=request.logprobs if request.HasField("logprobs") else None,
            keep=request.keep,
            share=request.namespace,
        )


def thinking(
    asked: concept_pb2.Thinking, budget: concept_pb2.Budget, model: LanguageModel, continued: Mode | None = None
) -> Thinking | None:
    """How this model is to think; None leaves it to the model.

    `continued` is the mode of the Thought that goes on: it takes no latent steps where none are asked for, since it
    has taken its own.
    """
    steps = budget.latent_steps
    if not 0 <= steps <= MAX_LATENT_STEPS:
        raise InvalidArgument(
            f"budget.latent_steps is {steps}; give 1 to {MAX_LATENT_STEPS}, or 0 for the model's own",
            field="budget.latent_steps",
        )
    mode = _named(MODES, asked.mode, "thinking.mode", "way of thinking")
    rule = _named(RULES, asked.rule, "thinking.rule", "rule")
    can = model.capabilities
    if mode is None:
        mode = _own_mode(can.default.mode, continued, wanted=steps > 0)
    if mode is Mode.NONE:
        if steps:
            raise InvalidArgument(
                f"budget.latent_steps is {steps}, and thinking.mode says that there are none; leave one of them out",
                field="budget.latent_steps",
            )
        # Where nothing at all was asked for the model knows best.
        return None if continued is None and not asked.mode else Thinking()
    if mode not in can.modes:
        raise InvalidArgument(
            f"{model.name} does not think in the mode {mode.value}; it has {_listed(Mode, can.modes)}",
            field="thinking.mode",
        )
    base = can.default if mode is can.default.mode else Thinking(mode, DEFAULT_LATENT_STEPS)
    rule = rule or base.rule
    if rule not in can.rules:
        raise InvalidArgument(
            f"{model.name} cannot stop its thoughts by the rule {rule.value}; it has {_listed(StopRule, can.rules)}",
            field="thinking.rule",
        )
    with on_the_wire({name: f"thinking.{name}" for name in concept_pb2.Thinking.DESCRIPTOR.fields_by_name}):
        return replace(
            base,
            steps=steps or base.steps,
            rule=rule,
            threshold=asked.threshold if asked.HasField("threshold") else base.threshold,
            patience=asked.patience or base.patience,
            temperature=asked.temperature or base.temperature,
            top_k=asked.top_k or base.top_k,
            rounds=asked.rounds or base.rounds,
            least_norm=asked.least_norm or base.least_norm,
            most_norm=asked.most_norm or base.most_norm,
            probe=asked.probe or base.probe,
        )


def _own_mode(default: Mode, continued: Mode | None, *, wanted: bool) -> Mode:
    """The mode where none is named: what the Thought did before, or the model was trained to do, or SOFT."""
    if continued is not None and not wanted:
        return Mode.NONE
    known = [mode for mode in (continued, default) if mode not in (None, Mode.NONE)]
    return known[0] if known else Mode.SOFT if wanted else Mode.NONE


@contextmanager
def on_the_wire(names: dict[str, str]) -> Iterator[None]:
    """Gives an InvalidArgument of the engine the field that the contract has for it."""
    known = {"new_tokens": "budget.new_tokens", "thinking.steps": "budget.latent_steps", "steps": "budget.latent_steps"}
    known |= names
    try:
        yield
    except InvalidArgument as error:
        # prompt[2].role and constraint.regex are about what their first part is about.
        field = known.get(error.field, known.get(re.split(r"[.\[]", error.field)[0], error.field))
        if field == error.field:
            raise
        message = error.message
        if message.startswith(f"{error.field} "):
            message = field + message.removeprefix(error.field)
        raise InvalidArgument(message, field=field, reason=error.reason) from error


def _named(known: Mapping[Any, T], number: int, field: str, what: str) -> T | None:
    if number and number not in known:
        raise InvalidArgument(f"{field} is {number}, which is no {what}", field=field)
    return known.get(number)


def _listed(kind: type[Mode] | type[StopRule], had: frozenset[Mode] | frozenset[StopRule]) -> str:
    return ", ".join(one.value for one in kind if one in had)


def _new_tokens(budget: concept_pb2.Budget, default: int, most: int) -> int:
    if budget.self_prompts or budget.recalls:
        _refuse_more(budget)
    return wire.checked_limit(budget.new_tokens, "budget.new_tokens", default, most)


def _refuse_more(budget: concept_pb2.Budget) -> None:
    """Refuses what this version cannot spend."""
    for field in ("self_prompts", "recalls"):
        if getattr(budget, field) < 0:
            raise InvalidArgument(f"budget.{field} is {getattr(budget, field)}; leave it at 0", field=f"budget.{field}")
    if budget.self_prompts:
        raise NotYet(f"budget.self_prompts is {budget.self_prompts}; this version takes none, leave it at 0")
    if budget.recalls > 1:
        raise NotYet(f"budget.recalls is {budget.recalls}; this version recalls once, leave it at 0 or 1")


def _sized(value: str, field: str, most: int) -> str:
    """What learning would refuse is refused before anything is thought."""
    if (size := len(value.encode())) > most:
        raise InvalidArgument(f"{field} has {size} bytes; at most {most} are taken", field=field)
    return value


def _wall_s(budget: concept_pb2.Budget, default: float) -> float:
    if budget.wall_ms < 0:
        raise InvalidArgument(f"budget.wall_ms is {budget.wall_ms}; give 1 or more, or 0", field="budget.wall_ms")
    asked = budget.wall_ms / 1e3 or default
    left = remaining()
    return asked if left is None else min(asked, left)


def _sampling(sampling: pb.Sampling) -> Sampling:
    if not 0 <= sampling.temperature <= 10:
        raise InvalidArgument(
            f"sampling.temperature is {sampling.temperature}; give 0 to 10", field="sampling.temperature"
        )
    if not 0 <= sampling.top_p <= 1:
        raise InvalidArgument(f"sampling.top_p is {sampling.top_p}; give 0 to 1", field="sampling.top_p")
    with on_the_wire({name: f"sampling.{name}" for name in ("seed", "top_k", "min_p")}):
        return Sampling(
            temperature=sampling.temperature,
            top_p=sampling.top_p or 1.0,
            seed=sampling.seed,
            top_k=sampling.top_k,
            min_p=sampling.min_p,
        )


def _messages(chat: pb.Chat) -> list[Message]:
    if not chat.messages:
        raise InvalidArgument("chat has no messages", field="chat.messages", reason="EMPTY_TEXT")
    for number, message in enumerate(chat.messages):
        if message.role not in ("system", "user", "assistant"):
            raise InvalidArgument(
                f"chat.messages[{number}].role is {message.role!r}; give system, user or assistant",
                field=f"chat.messages[{number}].role",
            )
        wire.checked_text(message.content, f"chat.messages[{number}].content", wire.MAX_TEXT_BYTES)
    return [Message(message.role, message.content) for message in chat.messages]
