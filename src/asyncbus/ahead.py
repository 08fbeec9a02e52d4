"""How many events a consumer begins at once, for each beginning has to be stored before the handler has it."""

from __future__ import annotations

from typing import Final

EXACT: Final = 32
"""Events in a row that are begun one for each free hand, before more of them share a commit.

So it is known for each of them whether it was in flight when a process ended, as long as they are few, or take long.
"""


class Ahead:
    """The number of events that one commit begins: as many as are handled while the next one is under way.

    Args:
        most: never more than this.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._in_a_row = 0
        self.size = 1
        """Events to begin with the next commit, where there are as many; 1: only those that somebody waits for."""

    def waited(self) -> None:
        """There was nothing to hand out: what comes next is begun one by one again."""
        self._in_a_row = 0
        self.size = 1

    def handled(self, events: int, seconds: float, commit: float) -> None:
        """So many were handled in `seconds`; the commit with which they were begun took `commit` seconds."""
        self._in_a_row += events
        if self._in_a_row < EXACT:
            return
        if seconds < commit:
            self.size = min(self.size * 2, self._most)
        elif seconds > 8 * commit:
            self.size = max(self.size // 2, 1)
