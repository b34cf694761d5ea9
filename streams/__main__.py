"""``python -m streams ROLE``: run one role until SIGTERM."""

from __future__ import annotations

import importlib
import sys

from config.loader import DefinitionError
from services.bootstrap import BAD_INPUT, settings_or_exit
from services.logs import configure_logs
from streams.app import run
from streams.judge import judge

ROLES = ("decide", "learn", "deliver", "judge")


def main() -> None:
    """Entry point of a worker."""
    if len(sys.argv) != 2 or sys.argv[1] not in ROLES:
        sys.exit(f"usage: python -m streams ({'|'.join(ROLES)})")
    settings = settings_or_exit()
    configure_logs(settings.log_level)
    if sys.argv[1] == "judge":  # it reads no topic and needs no Faust
        judge(settings)
        return
    try:
        app = importlib.import_module(f"streams.{sys.argv[1]}").build(settings)
    except DefinitionError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(BAD_INPUT)
    run(app, settings.log_level, settings)


if __name__ == "__main__":
    main()
