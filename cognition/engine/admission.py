"""From a request to a Thought that can be scheduled: checked against the model, encoded, laid out as rows.

Whatever is wrong with a request is found here, before anything waits or computes. Safe to use from several threads.
"""

from __future__ import annotations

from cognition.engine import feedback
from cognition.engine.base import Prompt, Request, Thinking, ThoughtState
from cognition.engine.constraint import Constraints, Matcher
from cognition.engine.delivery import Mailbox
from cognition.engine.model import DecoderModel
from cognition.engine.thought import Encoded, Thought
from core.errors import FailedPrecondition, InvalidArgument


class Admission:
    """Makes the Thoughts of one model."""

    def __init__(self, model: DecoderModel, *, most_steps: int) -> None:
        """`most_steps` latent steps at once are what the scheduler can take."""
        config = model.decoder.config
        self.capabilities = feedback.capabilities(config, words=model.encoder.words)
        self._model = model
        self._most_steps = most_steps
        self._constraints = None
        if model.tokenizer is not None:
            self._constraints = Constraints(model.tokenizer, config.vocabulary, model.end_tokens)

    def count_tokens(self, prompt: Prompt) -> int:
        """Rows that a prompt takes."""
        return len(self._model.encoder.encode(prompt).rows)

    def text_of(self, state: ThoughtState) -> str:
        """What the tokens of a state say."""
        return self._model.encoder.continued(state, [], ()).decode(list(state.tokens))

    def thought(self, request: Request, mailbox: Mailbox) -> Thought:
        """A request, checked against the model and laid out as rows. Raises InvalidArgument.

        Reading a long text takes a while: not on an event loop.
        """
        model = self._model
        config = model.decoder.config
        state = request.prompt if isinstance(request.prompt, ThoughtState) else None
        thinking = request.thinking
        if thinking is None:
            # What a continued Thought has thought is enough, unless more is asked for.
            thinking = self.capabilities.default if state is None else Thinking()
        feedback.check(thinking, config, self.capabilities, self._model.name)
        if state is not None and state.tokens and thinking.steps:
            raise InvalidArgument(
                f"the Thought has {len(state.tokens)} tokens already, and thoughts come before text; keep none of them",
                field="thinking.steps",
            )
        if thinking.steps > self._most_steps:
            raise InvalidArgument(
                f"{thinking.steps} latent steps are more than a step of {self._model.name} takes at once; give at most "
                f"{self._most_steps}",
                field="thinking.steps",
            )
        thought = Thought(
            id=0,
            request=request,
            mailbox=mailbox,
            prompt=Encoded([], (), str) if state is not None else self._encoded(request.prompt),
            thinking=thinking,
            capacity=self._model.context_tokens,
            pause_token=config.latent.pause_token,
            width=config.width,
            device=model.decoder.device,
        )
        if state is not None:
            thought.prompt = self._continued(state, thought)
        thought.begin(state)
        self._check_size(thought)
        if request.constraint is not None:
            if self._constraints is None or not self.capabilities.constraints:
                raise InvalidArgument(
                    f"{self._model.name} does not speak in words, and takes no constraint", field="constraint"
                )
            thought.matcher = self._constraints.matcher(request.constraint)
            for token in state.tokens if state is not None else ():
                _follow(thought.matcher, token)
        return thought

    def _encoded(self, prompt: Prompt | ThoughtState) -> Encoded:
        assert not isinstance(prompt, ThoughtState)
        encoded = self._model.encoder.encode(prompt)
        if not encoded.rows:
            raise InvalidArgument("the prompt has no tokens; give a text", field="prompt")
        return encoded

    def _continued(self, state: ThoughtState, thought: Thought) -> Encoded:
        if state.model != str(self._model.address):
            raise InvalidArgument(
                f"the Thought is one of {state.model}, and means nothing to {self._model.address}; name its model",
                field="model",
            )
        most = self._model.decoder.config.vocabulary
        rows = (*state.prompt, *state.latent, *state.suffix)
        if any(not 0 <= one < most for row in rows for one in row.ids) or any(not 0 <= t < most for t in state.tokens):
            raise InvalidArgument(f"the Thought has tokens outside 0 to {most - 1}", field="prompt")
        suffix = tuple(thought.input_of(row) for row in state.suffix)
        return self._model.encoder.continued(state, [thought.input_of(row) for row in state.prompt], suffix)

    def _check_size(self, thought: Thought) -> None:
        needed, most = thought.rows_at_most, self._model.context_tokens - 1
        if needed <= most:
            return
        steps = f" and {thought.thinking.steps} latent steps" if thought.thinking.steps else ""
        raise InvalidArgument(
            f"the prompt has {len(thought.prompt.rows)} tokens{steps}, and {self._model.name} takes 1 to {most}"
            f"{' together' if steps else ''}, so that one can follow; shorten it",
            field="prompt",
        )


def _follow(matcher: Matcher, token: int) -> None:
    """Takes a token that a Thought has already: drawn under another constraint, or none."""
    try:
        matcher.take(token)
    except FailedPrecondition as error:
        raise InvalidArgument(
            f"token {token} of the Thought does not follow in the constraint; keep fewer of its tokens, or none",
            field="constraint",
        ) from error
