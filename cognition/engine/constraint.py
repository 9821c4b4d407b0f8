"""Text that has to be something: JSON by a schema, a regular expression, a grammar.

llguidance (MIT) turns a constraint and the tokens so far into the set of tokens that may follow, some 50 microseconds
a token in Rust. It is imported when a constraint is first asked for. The text that is constrained is what the model
says after its thoughts; thoughts themselves are not words, and stay free.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from cognition.engine.base import Constraint, ConstraintKind
from core.errors import FailedPrecondition, InvalidArgument

if TYPE_CHECKING:
    from cognition.engine.tokenizer import ChatTokenizer

MAX_BYTES = 1 << 18
"""The longest schema or grammar, in bytes."""


class Constraints:
    """Makes matchers for one model's tokens. Reading the tokenizer takes a moment, at the first constraint only."""

    def __init__(self, tokenizer: ChatTokenizer, vocabulary: int, end_tokens: Iterable[int]) -> None:
        self._tokenizer = tokenizer
        self._vocabulary = vocabulary
        self._end_tokens = sorted(end_tokens)
        self._lock = threading.Lock()
        self._made: Any = None

    def matcher(self, constraint: Constraint) -> Matcher:
        """Raises InvalidArgument for a constraint that cannot be read, FailedPrecondition without llguidance."""
        if len(constraint.text.encode()) > MAX_BYTES:
            raise InvalidArgument(
                f"the {constraint.kind.value} has more than {MAX_BYTES} bytes; give a shorter one",
                field=f"constraint.{constraint.kind.value}",
            )
        try:
            import llguidance
        except ImportError:
            raise FailedPrecondition(
                "constraints need the package llguidance; install sapience[reasoning]", reason="MODEL_LIBRARY_MISSING"
            ) from None
        with self._lock:
            if self._made is None:
                self._made = llguidance.LLTokenizer(
                    self._tokenizer.as_json(), n_vocab=self._vocabulary, eos_token=self._end_tokens
                )
        try:
            grammar = self._grammar(constraint, llguidance.LLMatcher)
        except ValueError as error:
            raise _unreadable(constraint, str(error)) from error
        matcher = llguidance.LLMatcher(self._made, grammar)
        if matcher.is_error():
            raise _unreadable(constraint, matcher.get_error())
        return Matcher(matcher, self._vocabulary)

    @staticmethod
    def _grammar(constraint: Constraint, library: Any) -> Any:
        match constraint.kind:
            case ConstraintKind.JSON_SCHEMA:
                json.loads(constraint.text)
                return library.grammar_from_json_schema(constraint.text)
            case ConstraintKind.REGEX:
                return library.grammar_from_regex(constraint.text)
            case ConstraintKind.GRAMMAR:
                return library.grammar_from_lark(constraint.text)


class Matcher:
    """Where one Thought stands in its constraint."""

    def __init__(self, matcher: Any, vocabulary: int) -> None:
        self._matcher = matcher
        self._vocabulary = vocabulary

    def allowed(self) -> Tensor:
        """Which tokens may follow: booleans, shape [vocabulary]."""
        packed = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        return torch.from_numpy(np.unpackbits(packed, count=self._vocabulary, bitorder="little").view(np.bool_))

    def take(self, token: int) -> bool:
        """A token was drawn; whether the text is complete with it, so that nothing may follow but its end."""
        if not self._matcher.consume_token(token):
            raise FailedPrecondition(
                f"token {token} does not follow in the constraint ({self._matcher.get_error()}): a fault of the engine",
                reason="CONSTRAINT_BROKEN",
            )
        return bool(self._matcher.is_stopped())


def _unreadable(constraint: Constraint, why: str) -> InvalidArgument:
    return InvalidArgument(
        f"the {constraint.kind.value} cannot be read: {why.strip().splitlines()[0][:300]}",
        field=f"constraint.{constraint.kind.value}",
    )
