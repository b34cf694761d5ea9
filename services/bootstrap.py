"""Turn the environment, or a stack that runs on this machine, into settings: the one place where that happens."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from pydantic import ValidationError

from config.settings import Settings, UnknownSettingError, load_settings
from services.embedded.runfile import find_running

DATA_DIR = Path(".kairos")
BAD_INPUT = 2  # exit code


def settings_for(data_dir: Path = DATA_DIR) -> Settings:
    """Settings of the environment; where it names no Kafka, those of the stack that runs with `data_dir`.

    So a second terminal finds `kairos demo` or `kairos up` without being told an address.
    """
    if "KAIROS_KAFKA__BOOTSTRAP" not in os.environ:
        running = find_running(data_dir)
        if running is not None:
            os.environ.update(running.env)
    return load_settings()


def settings_or_exit() -> Settings:
    """Settings of the environment, for a process without a command line; a mistake ends it with a sentence."""
    try:
        return load_settings()
    except (UnknownSettingError, ValidationError) as error:
        sys.stderr.write("".join(f"{line}\n" for line in setting_faults(error)))
        sys.exit(BAD_INPUT)


def setting_faults(error: UnknownSettingError | ValidationError) -> list[str]:
    """Each mistake as a sentence that names the variable, without its value: it may be a password."""
    if isinstance(error, UnknownSettingError):
        return [str(error)]
    return [f"{_variable(fault['loc'])}: {fault['msg']}" for fault in error.errors(include_input=False)]


def _variable(location: tuple[int | str, ...]) -> str:
    return "KAIROS_" + "__".join(str(part) for part in location).upper()
