"""Finds the learners: every module of this package may offer some under ``LEARNERS``, name -> factory."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from functools import cache

from models import learners
from models.errors import ConfigurationError
from models.learners.base import Learner

Factory = Callable[[int], Learner]


@cache
def registry() -> dict[str, Factory]:
    """Factories by name, sorted; a factory takes the number of features."""
    found: dict[str, Factory] = {}
    for module in sorted(pkgutil.iter_modules(learners.__path__), key=lambda item: item.name):
        loaded = importlib.import_module(f"{learners.__name__}.{module.name}")
        found |= getattr(loaded, "LEARNERS", {})
    return dict(sorted(found.items()))


def make_learner(name: str, dimensions: int) -> Learner:
    """Make a new learner.

    Raises
    ------
    ConfigurationError
        No learner has that name.

    Examples
    --------
    >>> make_learner("second_order", 3).name
    'second_order'
    """
    try:
        return registry()[name](dimensions)
    except KeyError:
        raise ConfigurationError(f"no learner {name!r}", remedy=f"one of {', '.join(registry())}") from None
