"""A folder of files that people change while the service runs: a good change is taken, a bad one is told and left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Generic, TypeVar

import structlog
import xxhash

log = structlog.get_logger(__name__)
T = TypeVar("T")


class WatchedFolder(Generic[T]):
    """What was made of a folder last, and why the newest files were not taken.

    Parameters
    ----------
    folder : where the files are.
    load : makes a value of it; raises one of `refusals` where a file is bad.
    refusals : errors that mean "keep the old value".
    suffixes : endings of the files that count; none: all files.
    first : the same as `load` for the first time, when there is nothing old to keep; its errors are raised.

    Attributes
    ----------
    value : of the newest good files. error : what is wrong with the files as they are; "" if nothing.

    Notes
    -----
    Contents are compared, not times: a mounted volume that swaps links (Kubernetes) and a file system without events
    (containers) are watched like any other. A change is taken when two looks saw the same: a half-written file is not.
    """

    def __init__(
        self,
        folder: Path,
        load: Callable[[Path], T],
        refusals: tuple[type[Exception], ...],
        suffixes: tuple[str, ...] = (),
        first: Callable[[Path], T] | None = None,
    ) -> None:
        self._folder, self._load, self._refusals, self._suffixes = folder, load, refusals, suffixes
        self._tried = self._seen = self._fingerprint()
        self.value = (first or load)(folder)
        self.error = ""

    def look(self, *, at_once: bool = False) -> bool:
        """Whether there is a new value. Blocks on files: call it in a thread.

        Parameters
        ----------
        at_once : somebody says that the change is complete.
        """
        now, before = self._fingerprint(), self._seen
        self._seen = now
        if now == self._tried or (now != before and not at_once):
            return False
        self._tried = now
        try:
            value = self._load(self._folder)
        except self._refusals as error:
            self.error = str(error)
            log.error("config_refused", folder=str(self._folder), kept="the old one", error=self.error)  # noqa: TRY400
            return False
        self.value, self.error = value, ""
        log.info("config_taken", folder=str(self._folder))
        return True

    def refuse(self, kept: T, reason: str) -> None:
        """Go back to the value before, since a later check failed. The files are tried again once they change."""
        self.value, self.error = kept, reason
        log.error("config_refused", folder=str(self._folder), kept="the old one", error=reason)

    def _fingerprint(self) -> str:
        digest = xxhash.xxh3_128()
        for name, content in self._files():
            digest.update(f"{name}\0{len(content)}\0".encode())
            digest.update(content)
        return digest.hexdigest()

    def _files(self) -> Iterator[tuple[str, bytes]]:
        for path in sorted(self._folder.rglob("*")):
            if self._suffixes and path.suffix not in self._suffixes:
                continue
            try:
                yield str(path.relative_to(self._folder)), path.read_bytes()
            except (OSError, IsADirectoryError):
                continue  # a folder, or it went away this moment
