"""Text to token ids and back, with or without transformers.

A tokenizer of transformers serves any model. Importing transformers takes seconds, though, so a folder that this
project wrote itself (`cognition.engine.gguf`), whose tokenizer.json says all, is read by the `tokenizers` library
alone, with the chat template rendered as transformers does it. A test holds the two equal.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from cognition.engine.base import Message, Prompt
from core.errors import InvalidArgument

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class ChatTokenizer(ABC):
    """Encodes prompts and decodes tokens. Safe to use from several threads."""

    end_tokens: frozenset[int]
    """Tokens that end a text, as far as the tokenizer knows."""

    def encode(self, prompt: Prompt) -> list[int]:
        """Token ids: of a text with the tokenizer's own special tokens, of a chat by the model's template.

        Raises InvalidArgument where there is no template, or where it refuses the chat.
        """
        if isinstance(prompt, str):
            return self._ids(prompt, add_special_tokens=True)
        try:
            text = self._render(prompt)
        except InvalidArgument:
            raise
        except Exception as error:  # a template may refuse a chat, by any error it likes
            raise InvalidArgument(f"the model's chat template refuses the chat: {error}", field="prompt") from error
        return self._ids(text, add_special_tokens=False)  # the template has written them

    @abstractmethod
    def decode(self, ids: list[int]) -> str:
        """Text of token ids, without special tokens."""

    @abstractmethod
    def as_json(self) -> str:
        """The tokenizer as a tokenizer.json has it. Raises InvalidArgument where it can't be written as one."""

    @abstractmethod
    def _ids(self, text: str, *, add_special_tokens: bool) -> list[int]: ...

    @abstractmethod
    def _render(self, chat: Sequence[Message]) -> str: ...


class TransformersTokenizer(ChatTokenizer):
    """Any tokenizer that transformers loads."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        # What a fast tokenizer's own decode comes down to, without half a hundred microseconds around it.
        self._fast = getattr(tokenizer, "backend_tokenizer", None)
        end = tokenizer.eos_token_id
        self.end_tokens = frozenset() if end is None else frozenset([end])

    def decode(self, ids: list[int]) -> str:
        """See ChatTokenizer."""
        if self._fast is not None:
            return str(self._fast.decode(ids, skip_special_tokens=True))
        return str(self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def as_json(self) -> str:
        """See ChatTokenizer."""
        from transformers import PreTrainedTokenizerFast

        if not isinstance(self._tokenizer, PreTrainedTokenizerFast):
            raise InvalidArgument(
                "the model's tokenizer is none of the tokenizers library, and constraints need one", field="constraint"
            )
        return _without_limits(self._tokenizer.backend_tokenizer.to_str())

    def _ids(self, text: str, *, add_special_tokens: bool) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=add_special_tokens, verbose=False)["input_ids"])

    def _render(self, chat: Sequence[Message]) -> str:
        if not self._tokenizer.chat_template:
            raise _no_template()
        turns = [{"role": message.role, "content": message.content} for message in chat]
        return str(self._tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))


class FolderTokenizer(ChatTokenizer):
    """A folder's tokenizer.json and chat_template.jinja, read without transformers."""

    def __init__(self, folder: Path) -> None:
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        settings: dict[str, Any] = json.loads((folder / "tokenizer_config.json").read_text())
        self._special = {name: settings.get(name) for name in ("bos_token", "eos_token", "unk_token", "pad_token")}
        template = folder / "chat_template.jinja"
        self._source = template.read_text() if template.is_file() else None
        end = self._tokenizer.token_to_id(str(self._special["eos_token"]))
        self.end_tokens = frozenset() if end is None else frozenset([end])

    def decode(self, ids: list[int]) -> str:
        """See ChatTokenizer."""
        return str(self._tokenizer.decode(ids, skip_special_tokens=True))

    def as_json(self) -> str:
        """See ChatTokenizer."""
        return str(self._tokenizer.to_str())

    def _ids(self, text: str, *, add_special_tokens: bool) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=add_special_tokens).ids)

    def _render(self, chat: Sequence[Message]) -> str:
        if self._source is None:
            raise _no_template()
        turns = [{"role": message.role, "content": message.content} for message in chat]
        return str(self._template.render(messages=turns, add_generation_prompt=True, **self._special))

    @cached_property
    def _template(self) -> Any:
        """Sandboxed, since the template came with the weights, and with the settings that templates are written for."""
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.filters["tojson"] = lambda value, **options: json.dumps(value, ensure_ascii=False, **options)
        environment.globals["raise_exception"] = _refuse
        assert self._source is not None
        return environment.from_string(self._source)


def _without_limits(tokenizer: str) -> str:
    told: dict[str, Any] = json.loads(tokenizer)
    return json.dumps(told | {"truncation": None, "padding": None})


def _refuse(message: str) -> NoReturn:
    raise InvalidArgument(f"the model's chat template refuses the chat: {message}", field="prompt")


def _no_template() -> InvalidArgument:
    return InvalidArgument("the model has no chat template; give the prompt as one text", field="prompt")
