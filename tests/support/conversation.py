"""A scripted interpreter of the exchange: command, reply, command, reply, ending. No event loop.

talk = Conversation(serve(head, view, 1000))
talk.expect(ReadBody, BodyRead(b"{}", NOW_US))
record = talk.expect(Record, Written(NOW_US))
assert talk.end() == Deliver()
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from selvedge.exchange import Command, Ending, Reply, Story

C = TypeVar("C")
COMMANDS_MAX = 64


class Conversation:
    """Holds one story's generator and what it has said: `commands`, and at last `ending`."""

    def __init__(self, story: Story) -> None:
        self._story = story
        self.commands: list[Command] = []
        self.ending: Ending | None = None
        self._next: Command | None = None
        self._go(lambda: next(story))

    def _go(self, step: Callable[[], Command]) -> None:
        try:
            self._next = step()
        except StopIteration as stop:
            self._next = None
            self.ending = stop.value
        else:
            self.commands.append(self._next)

    def expect(self, kind: type[C], reply: Any) -> C:  # Any: a test may answer nonsense
        """The command that waits, which is a `kind`; it is answered with `reply`."""
        said = self._next
        assert isinstance(said, kind), f"expected {kind.__name__}, the story said {said!r}"
        self._go(lambda: self._story.send(reply))
        return said

    def end(self) -> Ending:
        """The ending; the story has nothing more to say."""
        assert self._next is None, f"the story goes on: {self._next!r}"
        assert self.ending is not None
        return self.ending

    def run(self, answer: Callable[[Command], Reply]) -> Ending:
        """Drive the story to its ending, each command answered by `answer`."""
        while self._next is not None:
            assert len(self.commands) <= COMMANDS_MAX, "the story does not end"
            self.expect(object, answer(self._next))
        return self.end()

    def said(self, kind: type[C]) -> list[C]:
        """All commands of one kind so far."""
        return [command for command in self.commands if isinstance(command, kind)]
