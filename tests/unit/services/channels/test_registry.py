"""One file is one channel; each is documented and tested."""

import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

import services.channels as package
from services.channels.base import ChannelConfig
from services.channels.registry import factories, open_channels

ROOT = Path(__file__).parents[4]


def config(**changes: str) -> ChannelConfig:
    return ChannelConfig(clock_ms=lambda: 0, **changes)  # type: ignore[arg-type]


def test_every_channel_is_found_and_says_its_name() -> None:
    assert list(factories()) == ["email", "log", "push"]
    for name, channel in open_channels(config()).items():
        assert channel.name == name
        assert channel.concurrency >= 1
        assert channel.time_limit_s > 0


def test_a_channel_without_its_settings_is_not_there() -> None:
    assert list(open_channels(config())) == ["email", "log"]


@pytest.mark.parametrize("name", sorted(factories()))
def test_every_channel_has_a_line_in_the_docs_and_a_test(name: str) -> None:
    assert f"| `{name}` |" in (ROOT / "docs" / "channels.md").read_text()
    factory = factories()[name]
    module = importlib.import_module(factory.__module__)
    assert module.__doc__
    stem = factory.__module__.rpartition(".")[2]
    assert list((ROOT / "tests").rglob(f"test_{stem}*.py"))


@pytest.mark.parametrize(
    "module", [info.name for info in pkgutil.iter_modules(package.__path__, f"{package.__name__}.")]
)
def test_examples(module: str) -> None:
    assert doctest.testmod(importlib.import_module(module)).failed == 0
