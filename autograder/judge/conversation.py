"""Questions to a student's process and its answers: one at a time, in time, in form.

Whatever comes back is only an answer. What is no answer at all, or too large a one, is an attempt on the
judge: the student's side as we wrote it never sends such a thing.

Lost and Tampering are no Exceptions: a test cell that catches what a learner's function raises lets them
pass.
"""

import json
import time
from collections.abc import Callable, Container
from typing import Any

from .. import given, wire
from ..submissions import LARGEST

#: Seconds in which a process that was interrupted has to answer.
GRACE = 1.0
#: How often a submission may ask for data that its exercise gives.
WANTED = 1000
#: Bytes that a submission may answer in all, outputs included: as much as one may be handed in with.
ANSWERED = LARGEST


class Lost(BaseException):
    """The student's process is gone, or had to be ended; the message says which and where."""


class Tampering(BaseException):
    """Something came over the connection that no answer looks like."""


class Conversation:
    """The judge's end of the connection to one student's process."""

    def __init__(self, channel: wire.Channel, interrupt: Callable[[], None], seconds: float):
        """Talk over `channel` for `seconds` at most; `interrupt` sends the process a KeyboardInterrupt."""
        self.channel, self.interrupt = channel, interrupt
        self.end = time.monotonic() + seconds
        self.seconds = seconds
        self.number = 0
        self.waiting = False
        self.asked = 0
        self.wanted = 0
        self.answered = 0
        #: What is to be run before the next question, and needs no answer; the seconds that it may take.
        self.before: list[tuple[str, float]] = []
        #: Whether an answer was cut short by the clock: then nothing that follows can be repeated.
        self.was_stopped = False

    def ask(self, question: str, seconds: float, known: Container[bytes] = ()) -> bytes:
        """Put a question, the text of a JSON object, and return the answer as it came, without its number.

        One that is `known` has been looked at before, and is not looked at again.
        """
        if self.waiting:  # something broke off the last question; its answer is nobody's now
            self._answer(seconds)
        if self.before:
            question = f'{question[:-1]}, "before": {json.dumps([source for source, _ in self.before])}}}'
            seconds += sum(longer for _, longer in self.before)
            self.before = []
        if time.monotonic() > self.end:  # or what answers at once could go on for ever
            raise Lost(f"it had not ended after {self.seconds:g} s for all cells")
        self.number += 1
        self.asked += 1
        self.waiting = True
        try:
            self.channel.send_bytes(f'{question[:-1]}, "n": {self.number}}}'.encode(), self._left(seconds))
        except wire.Late:
            raise Lost("it did not take a question") from None
        except wire.Closed:
            raise Lost("its process ended") from None
        return self._answer(seconds, known)

    def _answer(self, seconds: float, known: Container[bytes] = ()) -> bytes:
        """The answer to the last question; interrupted when time is up, given up soon after."""
        patience = self._left(seconds)
        for attempt in range(2):
            try:
                answer = self._receive(patience, known)
            except wire.Late:
                if attempt:
                    break
                self.was_stopped = True
                self.interrupt()
                patience = GRACE
            else:
                self.waiting = False
                return answer
        limit = f"{seconds:g} s" if self._left(seconds) >= seconds else f"{self.seconds:g} s for all cells"
        raise Lost(f"it could not be stopped after {limit}")

    def _receive(self, seconds: float, known: Container[bytes]) -> bytes:
        end = time.monotonic() + seconds
        number_at_end = b',"n":%d}' % self.number
        while True:
            try:
                data = self.channel.receive_bytes(max(0.0, end - time.monotonic()))
                self.answered += len(data)
                if self.answered > ANSWERED:
                    raise Lost(f"it put out and answered more than {ANSWERED // 1_000_000} MB")
                if data.endswith(number_at_end) and (answer := data[: -len(number_at_end)] + b"}") in known:
                    return answer
                message = wire.parse(data)
            except wire.Closed:
                raise Lost("its process ended") from None
            except wire.WireError as error:
                raise Tampering(f"what came from its process is no answer: {error}") from None
            number = message.pop("n", None)
            if number == self.number and "want" in message:
                self._give(message["want"])
                continue
            if number == self.number:
                return json.dumps(message, separators=(",", ":")).encode()
            if type(number) is not int or not 0 <= number < self.number:
                raise Tampering("an answer to a question that was not asked")

    def _give(self, wanted: Any) -> None:
        """Hand over data that the exercise gives, which is asked for in the middle of a question."""
        self.wanted += 1
        if self.wanted > WANTED or type(wanted) is not list or len(wanted) != 3:
            raise Tampering("what it wants is nothing that an exercise gives")
        try:
            reply: dict[str, Any] = {"value": given.compute(*wanted)}
        except (ValueError, TypeError, LookupError) as error:
            reply = {"error": str(error)[:300]}
        try:
            self.channel.send(reply | {"do": "given", "n": self.number}, GRACE)
        except (wire.Late, wire.Closed):
            raise Lost("its process ended") from None

    def _left(self, seconds: float) -> float:
        return max(0.01, min(seconds, self.end - time.monotonic()))
