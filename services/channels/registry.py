"""All channels: every module of this package that has a function ``channel(config)``, sorted by name.

Adding a channel is adding one file.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable

import services.channels as package
from services.channels.base import Channel, ChannelConfig

Factory = Callable[[ChannelConfig], Channel | None]


def factories() -> dict[str, Factory]:
    """Find the channels; the name of the module is the name of the channel unless it says ``NAME``."""
    found: dict[str, Factory] = {}
    for info in sorted(pkgutil.iter_modules(package.__path__), key=lambda info: info.name):
        module = importlib.import_module(f"{package.__name__}.{info.name}")
        factory: Factory | None = getattr(module, "channel", None)
        if factory is not None:
            found[getattr(module, "NAME", info.name)] = factory
    return found


def open_channels(config: ChannelConfig) -> dict[str, Channel]:
    """Make every channel that is configured (a factory answers None where settings are missing)."""
    made = {name: factory(config) for name, factory in factories().items()}
    return {name: channel for name, channel in made.items() if channel is not None}
