"""How guards on other machines know that somebody still waits for their runs: a file that keeps changing.

Each call of a sweep has one in the sweep's folder, by a name of its own, and rewrites it every few seconds. A guard
ends its run when the file is gone (the call ended, another one has begun, or somebody has removed it), or when it has
not changed for a minute by the guard's own clock (the call was killed, or its machine is out of reach). Clocks of two
machines are never compared.
"""

from __future__ import annotations

import contextlib
import itertools
import secrets
import threading
import time
from pathlib import Path

from rdd_nb.core.errors import RddError
from rdd_nb.core.folders import Folder, read_regular

__all__ = ["SILENCE", "Heart", "Listener"]

BEAT, LOOK = 5.0, 1.0  # seconds between two changes, and between two looks
SILENCE = 60.0  #: seconds without a change after which a guard takes the call for dead
PREFIX = ".going-"


class Heart:
    """The file of one call, which holds the lock of the sweep's folder; it beats from its making to :meth:`stop`.

    Args:
        folder: of the sweep. What calls that were killed have left there is removed.

    Raises:
        RddError: the folder cannot be written.
    """

    def __init__(self, folder: Folder) -> None:
        folder.remove(*(name for name in folder.names() if name.startswith(PREFIX)))
        self.folder, self.name = folder, PREFIX + secrets.token_hex(8)
        self.path = folder.write(self.name, "0\n").resolve()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True, name="heartbeat")
        self._thread.start()

    def _beat(self) -> None:
        for count in itertools.count(1):
            if self._over.wait(BEAT) or not self.there:
                return
            with contextlib.suppress(RddError, OSError):  # a disk that is full, or away: perhaps not for long
                self.folder.write(self.name, f"{count}\n")

    @property
    def there(self) -> bool:
        """Whether nobody has removed the file."""
        return self.folder.has(self.name)

    def stop(self) -> None:
        """Remove the file, so that all guards end their runs."""
        self._over.set()
        self._thread.join()
        with contextlib.suppress(RddError):  # then it is silent, which says the same a minute later
            self.folder.remove(self.name)


class Listener:
    """What one guard hears of the call that it works for.

    Args:
        path: of the call's file; None for none.
        silence: seconds after which the call is taken for dead.
        stop: told by the call, where it is in the same process.
    """

    def __init__(self, path: Path | None, silence: float = SILENCE, stop: threading.Event | None = None) -> None:
        self.path, self.silence, self.stop = path, silence, stop
        self._said: bytes | None = None
        self._since = self._next = time.monotonic()

    def over(self) -> str:
        """Why the run should end, "" as long as it should not."""
        if self.stop is not None and self.stop.is_set():
            return "it was told to stop"
        now = time.monotonic()
        if self.path is None or now < self._next:
            return ""
        self._next = now + LOOK
        try:
            said = read_regular(self.path, 100, follow=False)
        except FileNotFoundError:
            return f"its sweep has ended, or {self.path.name} was removed"
        except (OSError, RddError):  # out of reach for now
            said = self._said or b""
        if said != self._said:
            self._said, self._since = said, now
        quiet = now - self._since > self.silence
        return f"its sweep gave no sign of life ({self.path.name}) for {self.silence:g} s" if quiet else ""
