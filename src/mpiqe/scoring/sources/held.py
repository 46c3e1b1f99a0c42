"""Photos out of what can only be read from front to back, held in memory until a reading thread asks for them."""

import threading
from collections.abc import Callable

_ROOM = 256 << 20  # bytes; one photo alone may be larger
_PATIENCE = 30.0  # seconds until a photo is given up rather than waited for


class Budget:
    """How many bytes may be held at a time, all archives of a run together."""

    def __init__(self, *, room: int = _ROOM, patience: float = _PATIENCE) -> None:
        self.room = room
        self.patience = patience
        self.held = 0
        self.changed = threading.Condition()

    def take(self, size: int) -> bool:
        """Wait until there is room for ``size`` bytes or nothing is held; ``False`` if nobody makes room."""
        with self.changed:
            free = self.changed.wait_for(lambda: not self.held or self.held + size <= self.room, self.patience)
            if free:
                self.held += size
            return free

    def give(self, size: int) -> None:
        """Have room again."""
        with self.changed:
            self.held -= size
            self.changed.notify_all()


class Held:
    """A photo's bytes, which go to the first who fetches them; after that they are read ``again`` from the archive.

    Where the budget has no room, since nobody fetches what is held, they are not kept and read again at once, which
    is slow and costs no memory.
    """

    def __init__(self, name: str, content: bytes, *, budget: Budget, again: Callable[[], bytes]) -> None:
        self.name = name
        self._budget = budget
        self._again = again
        self._content = content if budget.take(len(content)) else None

    def fetch(self) -> bytes:
        """The bytes; raises ``ImageError`` where the archive has changed meanwhile."""
        content = self._taken()
        return self._again() if content is None else content

    def drop(self) -> None:
        """Make room: nobody is going to fetch it."""
        self._taken()

    def _taken(self) -> bytes | None:
        with self._budget.changed:
            content, self._content = self._content, None
            if content is not None:
                self._budget.give(len(content))
            return content
