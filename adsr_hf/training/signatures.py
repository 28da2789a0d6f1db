"""Overrides that take whatever the overridden method takes, and say so."""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

Method = TypeVar("Method", bound=Callable[..., Any])


def signature_of(upstream: Callable[..., Any]) -> Callable[[Method], Method]:
    """Decorator of a method with ``*args, **kwargs``: ``inspect.signature``, editors and help show ``upstream``'s.

    Example:
        >>> import inspect
        >>> def upstream(first, second=2): ...
        >>> @signature_of(upstream)
        ... def override(*args, **kwargs): ...
        >>> str(inspect.signature(override))
        '(first, second=2)'
    """

    def decorate(method: Method) -> Method:
        return cast(Method, wraps(upstream, assigned=())(method))

    return decorate
