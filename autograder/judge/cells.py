"""A test cell run on the trusted side; and what the judge has seen before, it does not run again.

What a test cell gives depends on nothing but the answers that the student's code gave to its questions. So
the judge keeps, for each test cell, a tree of questions, answers, and the outcome at its end. The next
submission is asked the same questions; as long as its answers are known ones, no machine is simulated.
"""

import builtins
import contextlib
import io
import json
import time
from collections.abc import Hashable
from typing import Any

from svmlib.instructions import Cpu
from svmlib.kvm import Vcpu
from svmlib.watch import SECONDS, failure

from .. import wire
from .behaviour import Behaviour, Question
from .conversation import Conversation, Tampering
from .exercise import Test
from .memory import Asked, Memory, Node, Outcome
from .standin import StandIn


class Mismatch(BaseException):
    """A test cell asked something else although it had the same answers: what is remembered is wrong."""


class Session:
    """The test cells' side of one submission: its stand-ins, and the questions that they put."""

    def __init__(self, conversation: Conversation, memory: Memory, seconds: float):
        """Talk in `conversation`; a single question may take `seconds`."""
        self.conversation, self.memory, self.seconds = conversation, memory, seconds
        #: What the memory knew of a test cell that has to be run, the last question first; what it asked.
        self.known: Asked = []
        self.asked: Asked = []
        #: How many test cells were answered from memory.
        self.remembered_cells = 0
        self._clear()

    def _clear(self) -> None:
        self.behaviours: dict[Hashable, Behaviour] = {}
        self.remembered: list[str] = []
        self.lines: list[tuple[str, Question]] = []
        self.students: list[dict[str, Any]] = []
        self.ended: dict[str, str] = {}
        self.count = 0

    # -- questions

    def run(self, test: Test) -> Outcome:
        """The outcome of a test cell for this submission."""
        self._clear()
        self.conversation.was_stopped = False
        began = time.monotonic()
        self.known, self.asked = [], []
        outcome = self._seen(self.memory.root(test.cell.id))
        if outcome is None:
            self.known.reverse()
            outcome = self._executed(test)
            # A check has a clock of its own: what took longer may have been ended by it, not by the answers.
            was_quick = time.monotonic() - began < SECONDS
            if was_quick and not self.conversation.was_stopped:
                self.memory.learn(test.cell.id, self.asked, outcome)
        else:
            self.remembered_cells += 1
        return self._with_lines(outcome)

    def _seen(self, node: Node | None) -> Outcome | None:
        """Ask what is always asked, as long as the answers are known ones."""
        while node is not None and node.outcome is None and node.question:
            answer = self.conversation.ask(node.question, self.seconds, node.after)
            self.known.append((node.question, answer))
            node = node.after.get(answer)
        return node.outcome if node is not None else None

    def ask(self, question: Question) -> Question:
        """Put a question, or take the answer that is known from a moment ago."""
        text = json.dumps(question)
        if self.known:
            asked, data = self.known.pop()
            if asked != text:
                raise Mismatch(f"{text[:200]} instead of {asked[:200]}")
        else:
            data = self.conversation.ask(text, self.seconds)
        self.asked.append((text, data))
        answer: Question = json.loads(data)
        self._note_printed(answer)
        if "stopped" in answer:
            raise failure(
                "\n".join(
                    [
                        f"It had not ended after {self.seconds:g} seconds: a loop has no way out.",
                        *([str(answer["stopped"])[:300]] if answer["stopped"] else []),
                    ]
                )
            )
        return answer

    def _note_printed(self, answer: Question) -> None:
        printed = answer.get("printed", [])
        if type(printed) is list and len(self.students) < 50:
            self.students += [item for item in printed if _is_stream(item)]

    # -- what stand-ins ask

    def bind(self, names: tuple[str, ...]) -> dict[str, Any]:
        """What the student defined of these names."""
        if not names:
            return {}
        answer = self.ask({"do": "bind", "names": list(names)})
        if "raise" in answer:  # each of them is small enough to be handed over, all together are not
            raise self._error(answer["raise"], None)
        values = answer.get("values")
        if type(values) is not list or len(values) != len(names):
            raise Tampering("an answer about names that is none")
        pairs = zip(names, values, strict=True)
        return {name: self._read(value) for name, value in pairs if value != ["x", "missing"]}

    def get(self, of: str, name: str) -> Any:
        """Ask for an attribute."""
        return self._result(self.ask({"do": "get", "of": of, "name": name, "as": self._next()}))

    def items(self, of: str, most: int) -> list[Any]:
        """Ask for the items of something that can be iterated."""
        items = self._result(self.ask({"do": "list", "of": of, "most": most, "as": self._next()}))
        if type(items) is not list:
            raise Tampering("items that are no list")
        return items

    def call(self, of: str, arguments: list[Any], named: dict[str, Any]) -> Any:
        """Call a function with plain data; what it changed of its arguments is changed here, too."""
        self._require_alive(of)
        question = {
            "do": "call",
            "of": of,
            "args": [wire.encode(argument, _refer) for argument in arguments],
            "named": {name: wire.encode(value, _refer) for name, value in named.items()},
            "as": self._next(),
        }
        answer = self._asked_alive(of, question)
        changed = answer.get("changed", {})
        for place, tree in changed.items() if type(changed) is dict else ():
            if str(place).isdecimal() and int(place) < len(arguments):
                _change(arguments[int(place)], self._read(tree))
        return self._result(answer)

    def machine(self, of: str, arguments: list[Any]) -> Any:
        """Call a function of a path on the machine."""
        if self.ended:
            self._require_alive(of)
        behaviour = self._behaviour(of, arguments)
        try:
            end, results, error = behaviour.perform(arguments)
        except Exception as stop:
            if not isinstance(stop, AssertionError) and hasattr(stop, "at"):
                self._mark_line(stop, behaviour.question)
            raise
        if end[0] == "return":
            if len(end) == 1 or end[1] is None:  # as nearly all of them do
                return None
            return wire.decode(end[1], lambda rest: _returned(rest, results))
        raise self._error(end[1:], error)

    def _behaviour(self, of: str, arguments: list[Any]) -> Behaviour:
        """What is known of a function with such arguments."""
        kinds = tuple(map(type, arguments))
        key: Hashable = (of, kinds)
        if kinds != (Cpu, Vcpu) and not {*kinds} <= {Cpu, Vcpu}:
            key = (key, json.dumps([wire.encode(a, _refer) for a in arguments if type(a) not in (Cpu, Vcpu)]))
        if key not in self.behaviours:
            pattern = [
                ["x", type(argument).__name__.lower(), place]
                if type(argument) in (Cpu, Vcpu)
                else wire.encode(argument, _refer)
                for place, argument in enumerate(arguments)
            ]
            self.behaviours[key] = Behaviour(of, pattern, lambda question: self._asked_of(of, question))
        return self.behaviours[key]

    def _asked_of(self, of: str, question: Question) -> Question:
        """Ask about a path's function; with the first question goes what it could remember is noted."""
        if of in self.remembered:
            return self._asked_alive(of, question)
        self.remembered.append(of)
        answer = self._asked_alive(of, question | {"first": True})
        if refused := answer.get("refused"):
            self.ended[of] = str(refused)[:300]
            raise failure(self.ended[of])
        return answer

    def changed(self) -> list[str]:
        """The Python variables that the functions of paths changed in this cell."""
        names = self.ask({"do": "changed", "of": self.remembered}).get("names", []) if self.remembered else []
        return [str(name)[:100] for name in names] if type(names) is list else []

    # -- answers

    def _next(self) -> str:
        self.count += 1
        return f"result {self.count}"

    def _result(self, answer: Question) -> Any:
        if "raise" in answer:
            raise self._error(answer["raise"], None)
        if "return" not in answer:
            raise Tampering("an answer that is none")
        return self._read(answer["return"])

    def _read(self, tree: Any, *, inside: bool = False) -> Any:
        """What an answer holds: plain data and stand-ins; of one that is no other's field, all its fields."""

        def resolve(rest: list[Any]) -> Any:
            if len(rest) not in (4, 5) or rest[0] != "o" or type(rest[1]) is not str:
                raise Tampering("an object that is none")
            found = StandIn(self, rest[1], str(rest[3])[:100], is_callable=rest[2] is True)
            if len(rest) == 5:
                if inside or type(rest[4]) is not dict:
                    raise Tampering("an object that is none")
                found._fields = {name: self._read(field, inside=True) for name, field in rest[4].items()}
            return found

        try:
            return wire.decode(tree, resolve)
        except wire.WireError as error:
            raise Tampering(f"data that is none: {error}") from None

    def _error(self, told: Any, known: BaseException | None) -> BaseException:
        """The exception that the student's code let pass, as one of the same kind; with it their line."""
        if type(told) is not list or len(told) != 3 or not all(type(part) is str for part in told):
            raise Tampering("an exception that is none")
        kind, words, line = told
        if known is not None and type(known).__name__ == kind:
            error: BaseException = known
        else:
            base = getattr(builtins, kind, None)
            is_plain = isinstance(base, type) and issubclass(base, Exception)
            try:
                error = (
                    base(words) if is_plain and base else type(kind[:100] or "Error", (Exception,), {})(words)
                )
            except TypeError:  # those that want more arguments, as UnicodeDecodeError
                error = type(kind, (Exception,), {})(words)
        error.learners_line = line[:300]  # type: ignore[attr-defined]
        return error

    def _mark_line(self, stop: Exception, question: Question) -> None:
        script, at = stop.at  # type: ignore[attr-defined]
        token = f"\x00{len(self.lines)}\x00"
        self.lines.append((token, question | {"do": "line", "script": script, "at": at}))
        stop.learners_line = token  # type: ignore[attr-defined]

    def _with_lines(self, outcome: Outcome) -> Outcome:
        """Put the student's lines where they belong; asked for once the outcome is certain."""
        if not outcome.lines:
            return outcome
        words = [outcome.printed, *(outcome.error or ())]
        for token, question in outcome.lines:
            if any(token in text for text in words):
                answer = json.loads(self.conversation.ask(json.dumps(question), self.seconds))
                line = str(answer.get("line", ""))[:300].replace("\x00", "")
                words = [text.replace(token, line) for text in words]
        printed, *error = words
        return outcome._replace(printed=printed, error=(error[0], error[1]) if error else None)

    def _require_alive(self, of: str) -> None:
        if of in self.ended:
            raise failure(self.ended[of])

    def _asked_alive(self, of: str, question: Question) -> Question:
        """Ask; a function that had to be stopped is not called again in this cell."""
        try:
            return self.ask(question)
        except AssertionError as error:
            self.ended[of] = str(error)
            raise

    # -- the cell itself

    def _executed(self, test: Test) -> Outcome:
        """Run the cell, as IPython would: its last expression's value is what it gives."""
        printed, complained = io.StringIO(), io.StringIO()
        value, error = None, None
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(complained):
            try:
                namespace: dict[str, Any] = {"__name__": "__main__", "__builtins__": builtins}
                namespace |= self.bind(test.names)
                value = _run(test, namespace)
            except Exception as failed:  # noqa: BLE001  # whatever ends a cell
                error = (type(failed).__name__, _words(failed))
            if names := self.changed():
                words = failure(
                    f"{names[0]} is a Python variable that changed from one call to the next.",
                    "What one call leaves for another belongs in a field of the vCPU: vcpu.host_ldt = ...",
                )
                error, value = ("CheckFailed", str(words)), None
        executed = sum(behaviour.executed for behaviour in self.behaviours.values())
        return Outcome(
            _number(value),
            printed.getvalue(),
            complained.getvalue(),
            error,
            tuple(self.lines),
            executed,
            tuple(self.students),
        )


def _run(test: Test, namespace: dict[str, Any]) -> Any:
    exec(test.before, namespace)  # noqa: S102  # the exercise's own code
    exec(test.body, namespace)  # noqa: S102
    return None if test.last is None else eval(test.last, namespace)  # noqa: S307


def _words(error: Exception) -> str:
    """What an error says; of a bare assertion, nothing: its code may be hidden."""
    if isinstance(error, KeyError) and error.args:
        return str(error.args[0])
    return str(error)


def _number(value: Any) -> float | None:
    """A number as nbgrader reads it off the output: what float() makes of the text that is shown."""
    if value is None:
        return None
    try:
        return float(repr(value))
    except ValueError:
        return None


def _refer(value: Any) -> list[Any]:
    if isinstance(value, StandIn):
        return ["o", value._key]  # noqa: SLF001
    raise wire.WireError(f"only plain data can be handed to a student's function, not {type(value).__name__}")


def _returned(rest: list[Any], results: list[Any]) -> Any:
    from .behaviour import _part, _place

    if rest == ["none"]:
        return None
    return _part(results, *_place(rest[1:]))


def _change(argument: Any, now: Any) -> None:
    if type(argument) is list and type(now) is list:
        argument[:] = now
    elif type(argument) is type(now) and type(argument) in (dict, set):
        argument.clear()
        argument.update(now)


def _is_stream(item: Any) -> bool:
    return (
        type(item) is dict
        and item.get("output_type") == "stream"
        and item.get("name") in ("stdout", "stderr")
        and type(item.get("text")) is str
    )
