"""Turn the environment, or a stack that runs on this machine, into settings: the one place where that happens."""

from __future__ import annotations

import os
from pathlib import Path

from config.settings import Settings, load_settings
from services.embedded.runfile import find_running

DATA_DIR = Path(".kairos")


def settings_for(data_dir: Path = DATA_DIR) -> Settings:
    """Settings of the environment; where it names no Kafka, those of the stack that runs with `data_dir`.

    So a second terminal finds `kairos demo` or `kairos up` without being told an address.
    """
    if "KAIROS_KAFKA__BOOTSTRAP" not in os.environ:
        running = find_running(data_dir)
        if running is not None:
            os.environ.update(running.env)
    return load_settings()
