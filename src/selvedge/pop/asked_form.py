"""A request in another API's form, beside its interpreter: its body in, what is kept of it.

`Form` translates and is pure; here it meets the answers that this PoP keeps.
"""

from __future__ import annotations

from selvedge.cache import Scope
from selvedge.exchange import BodyRead, BodyRefused, ReadBody, Reply, Resume
from selvedge.fabric import Head, Refused
from selvedge.pop.clock import now_us
from selvedge.pop.state import PopState
from selvedge.wire import Form, open_form


class AskedForm:
    """The form of one request, as long as the request."""

    __slots__ = ("_keep", "_state", "form")

    def __init__(self, form: Form, state: PopState) -> None:
        self.form = form
        self._state = state
        self._keep: Scope | None = None

    def begin(self, command: ReadBody) -> None:
        """The story says where its answer may be kept."""
        if command.keep is not None and self._state.responses.keeps:
            self._keep = command.keep
            self.form.keeps = True

    def translated(self, body: bytes) -> Reply:
        """The body in the chat form."""
        chat = self.form.read(body)
        if isinstance(chat, Refused):
            return BodyRefused(chat, now_us())
        return BodyRead(chat, now_us(), written=body, refers=self.form.refers)

    def resumed(self, command: Resume) -> Reply:
        """The body with the kept answers that it goes on from."""
        bytes_max = self._state.settings.body_bytes_max
        responses = self._state.responses
        whole = responses.resume(self.form, command.scope, command.response_id, bytes_max)
        if isinstance(whole, Refused):
            return BodyRefused(whole, now_us())
        return BodyRead(whole, now_us())

    def keep_answer(self) -> None:
        """A whole answer is made: keep it before its client has it, who may go on from it then."""
        if self._keep is not None:
            self._state.responses.keep(self.form, self._keep)


def asked_form(head: Head, state: PopState, *, for_peer: bool) -> AskedForm | None:
    """The form of a request; None where it is asked in its route's own."""
    if for_peer or head.dialect is None:
        return None
    form = open_form(head, state.settings.pop, state.settings.image_urls)
    return AskedForm(form, state) if form is not None else None
