"""How a method that is made of a verb shows itself to `help` and to editors."""

import functools
import inspect
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def presented_as(verb: Callable[..., object], *, supplied: int = 0) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return a decorator that gives a method the name, documentation and arguments of its verb.

    The first `supplied` arguments of the verb are given by the method itself, so callers don't see them.
    """

    def present(method: Callable[P, R]) -> Callable[P, R]:
        shown = functools.wraps(verb)(method)
        arguments = list(inspect.signature(verb).parameters.values())[supplied:]
        itself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
        # Without this, inspect would take the verb's first argument for self and hide it.
        shown.__signature__ = inspect.Signature([itself, *arguments])  # type: ignore[attr-defined]
        return method

    return present
