"""Every call of the client, described once for both clients.

A builder (`memory.recall`, `reasoning.ask`, ...) takes what the user gives, checks it, and returns a description: which
method, which request, how its response is read. `sapience.client` and `sapience.aio` carry descriptions out, one
blocking and one on asyncio. So a method's signature, defaults and docstring stand in one place, and nothing here
touches a channel.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, NoReturn, TypeVar

from google.protobuf.message import Message

from sapience.discovery import Service
from sapience.errors import SapienceError

T = TypeVar("T")


def _raise(error: SapienceError) -> NoReturn:
    raise error


@dataclass(frozen=True)
class Description:
    """What every call has. `timeout` is in seconds, None for none.

    `request` leaves `namespace` empty and `default_namespace` is true where the client's own namespace is meant.
    """

    service: Service
    method: str
    request: Message
    timeout: float | None
    default_namespace: bool


@dataclass(frozen=True)
class Call(Description, Generic[T]):
    """One request, one response. `recover` turns an error that is an answer after all into it; it raises the others."""

    read: Callable[[Any], T]
    recover: Callable[[SapienceError], T] = _raise


@dataclass(frozen=True)
class Streaming(Description, Generic[T]):
    """One request, a stream of responses. `read` gives None for a response that is of no concern to the caller."""

    read: Callable[[Any], T | None]


def present(method: Callable[..., Any], build: Callable[..., Any], returns: str) -> None:
    """Makes a client's method show its builder's name, parameters and docstring in help() and in editors.

    `returns` wraps what the description brings: "Stream[{}]" shows `Streaming[Event]` as `Stream[Event]`.
    """
    signature = inspect.signature(build)
    brought = str(signature.return_annotation).partition("[")[2].removesuffix("]")
    itself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    method.__name__ = build.__name__
    method.__doc__ = build.__doc__
    method.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[itself, *signature.parameters.values()], return_annotation=returns.format(brought)
    )
