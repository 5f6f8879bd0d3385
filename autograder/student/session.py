"""One submission in the sandbox: its cells run, its functions answer the judge's calls, one request at a
time.

Nothing here is trusted: the code beside it may change all of it, and then answers for itself. What the judge
asks and how it takes the answers is in autograder/judge/.
"""

import ast
import builtins
import io
import linecache
import marshal
import signal
import sys
import traceback
from types import SimpleNamespace
from typing import Any

from svmlib import watch

from .. import wire
from . import shell as cells
from .proxies import Call, CpuProxy, Dropped, Promise, Rewind, VcpuProxy, refer

# A promise that was kept tells by its own number that it is another one than before.
watch.REMEMBERED.add(Promise)


class Session:
    """Answers the judge's requests until the connection closes."""

    def __init__(self, channel: wire.Channel, shell: cells.Shell):
        """Serve over `channel`; the cells run in `shell`."""
        self.channel, self.shell = channel, shell
        self.objects: dict[Any, Any] = {}
        self.before: dict[Any, dict[str, str]] = {}
        self.number = 0

    def serve(self) -> None:
        """Answer until nobody asks any more."""
        while True:
            try:
                request = self.channel.receive()
                self.number = request["n"]
                self._reply(self._answered(request))
            except wire.Closed:
                return
            except KeyboardInterrupt:  # the judge's patience ended just as the answer left
                continue

    def _answered(self, request: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any]
        try:
            if "before" in request:
                cells.captured(lambda: self._define(request["before"]))
            answer, items = cells.captured(lambda: self._handle(request))
        except KeyboardInterrupt as stop:
            return {"stopped": _line(stop)}
        except BaseException as error:  # noqa: BLE001  # the student's code may have undone anything here
            return {"raise": ["TypeError", str(error)[:500], ""]}
        if items and "outputs" not in answer:
            answer["printed"] = [item for item in items if item["output_type"] == "stream"][:20]
        return answer

    def _reply(self, answer: dict[str, Any]) -> None:
        answer["n"] = self.number
        try:
            self.channel.send(answer)
        except (wire.WireError, TypeError, ValueError):
            # Outputs of a kind that JSON does not know, or too many.
            self.channel.send(
                {"n": self.number, "raise": ["TypeError", "too much to hand over", ""], "ok": False}
            )

    def _handle(self, request: dict[str, Any]) -> dict[str, Any]:
        handler = getattr(self, f"do_{request['do']}", None)
        return handler(request) if handler else {}

    # -- what the judge asks

    def do_cell(self, request: dict[str, Any]) -> dict[str, Any]:
        """Run a cell of the notebook."""
        ok, items = cells.run(self.shell, request["source"])
        return {"ok": ok, "outputs": items}

    def _define(self, sources: list[str]) -> None:
        """Define what the visible parts of test cells define, for cells of the student's that use it."""
        for source in sources:
            for node in _definitions(source):
                try:
                    exec(compile(ast.Module([node], []), "<a test cell>", "exec"), self.shell.user_ns)  # noqa: S102
                except KeyboardInterrupt:
                    raise
                except BaseException:  # noqa: BLE001, S112  # the judge runs the cell itself; this is a courtesy
                    continue

    def do_bind(self, request: dict[str, Any]) -> dict[str, Any]:
        """Hand over what these names hold: plain data, or references."""
        values = []
        for name in request["names"]:
            if name in self.shell.user_ns:
                self.objects[name] = self.shell.user_ns[name]
                values.append(self._bound(self.objects[name], name))
            else:
                values.append(["x", "missing"])
        return {"values": values}

    def do_get(self, request: dict[str, Any]) -> dict[str, Any]:
        """An attribute or an item of an object."""
        return self._tried(lambda: getattr(self.objects[request["of"]], request["name"]), request["as"])

    def do_call(self, request: dict[str, Any]) -> dict[str, Any]:
        """Call a function with plain data; arguments that it changed go back."""
        arguments = [self._read(argument) for argument in request["args"]]
        named = {name: self._read(value) for name, value in request["named"].items()}
        before = [_state(argument) for argument in arguments]
        answer = self._tried(lambda: self.objects[request["of"]](*arguments, **named), request["as"])
        changed = {
            str(i): self._written(argument, "")
            for i, argument in enumerate(arguments)
            if type(argument) in (list, dict, set) and _state(argument) != before[i]
        }
        return answer | ({"changed": changed} if changed else {})

    def do_list(self, request: dict[str, Any]) -> dict[str, Any]:
        """The first items of something that can be iterated, and its length."""
        found: list[Any] = []

        def collect() -> list[Any]:
            for item in self.objects[request["of"]]:
                found.append(item)
                if len(found) >= request["most"]:
                    break
            return found

        return self._tried(collect, request["as"])

    def _refused(self, of: str) -> str:
        """Note what a function could remember in Python; why it is refused where it is a reference path's."""
        function: Any = self.objects.get(of)
        self.before[of] = watch.remembered(function)
        try:
            watch.require_own(function)
        except watch.CheckFailed as refused:
            return str(refused)
        return ""

    def do_changed(self, request: dict[str, Any]) -> dict[str, Any]:
        """Name what has changed of it since."""
        names: list[str] = []
        for of in request["of"]:
            before, after = self.before[of], watch.remembered(self.objects[of])
            names += [name for name in {**before, **after} if before.get(name) != after.get(name)]
        return {"names": names[:5]}

    def do_machine(self, request: dict[str, Any]) -> dict[str, Any]:
        """Call a function of a path: the instructions it posts, until it looks at an answer or ends."""
        if request.get("first") and (refused := self._refused(request["of"])):
            return {"refused": refused}
        script, known = list(request["script"]), request["known"]
        while True:
            call = Call(script, known, self.ask)
            arguments = [self._read(argument, call) for argument in request["args"]]
            try:
                value = self.objects[request["of"]](*arguments)
                end = ["return", wire.encode(value, _refer_or_nothing)]
            except Rewind:
                known = call.script[-1][1] + 1
                continue
            except Dropped:
                return {}
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # noqa: BLE001
                end = ["raise", *_told(error)]
            return {"ops": call.end(), "end": end}

    def do_line(self, request: dict[str, Any]) -> dict[str, Any]:
        """The student's line that a call had reached when it posted instruction `at`."""
        reached: list[str] = []

        def ask(_: dict[str, Any]) -> dict[str, Any]:
            reached.extend(_lines(traceback.extract_stack()))
            return {"do": "drop"}

        class _Stopped(Call):
            def post(self, kind: str, on: int, name: str, *operands: Any, **named: Any) -> Any:
                if self.count == request["at"]:
                    reached.extend(_lines(traceback.extract_stack()))
                    self.is_over = True
                    raise Dropped
                return super().post(kind, on, name, *operands, **named)

        call = _Stopped(list(request["script"]), 1 << 60, ask)
        arguments = [self._read(argument, call) for argument in request["args"]]
        try:
            self.objects[request["of"]](*arguments)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001
            reached = reached or [_line(error)]
        return {"line": reached[-1] if reached else ""}

    # -- values

    def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """In the middle of a call: send what it posted and receive the answer."""
        self._reply(message)
        request = self.channel.receive()
        self.number = request["n"]
        return request

    def _tried(self, work: Any, name: str) -> dict[str, Any]:
        try:
            return {"return": self._written(work(), name)}
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001
            return {"raise": _told(error)}

    def _bound(self, value: Any, name: str) -> Any:
        """A value for the wire, with it all fields of a path; what is too large for the wire stays here."""
        try:
            tree = self._written(value, name)
            if type(value) is SimpleNamespace:
                tree.append({key: self._written(held, f"{name}.{key}") for key, held in vars(value).items()})
        except wire.WireError:
            return ["x", "o", name, callable(value), type(value).__name__]
        return tree

    def _written(self, value: Any, name: str) -> Any:
        """A value for the wire. An object stays here, known by `name`, or by `name`.number inside a value."""
        count = 0

        def refer(item: Any) -> list[Any]:
            nonlocal count
            key = name if item is value else f"{name}.{count}"
            count += 1
            self.objects[key] = item
            label = getattr(item, "__name__", type(item).__name__)
            return ["o", key, callable(item), str(label)[:100]]

        return wire.encode(value, refer)

    def _read(self, tree: Any, call: Call | None = None) -> Any:
        def resolve(rest: list[Any]) -> Any:
            if rest[0] == "cpu" and call:
                return CpuProxy(call, rest[1])
            if rest[0] == "vcpu" and call:
                return VcpuProxy(call, rest[1])
            return self.objects[rest[1]]

        return wire.decode(tree, resolve)


def _definitions(source: str) -> list[ast.stmt]:
    """The statements of a cell that define something; none where IPython's syntax is in it."""
    kinds = ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef | ast.Assign
    try:
        return [node for node in ast.parse(source).body if isinstance(node, kinds)]
    except SyntaxError:
        return []


def _state(argument: Any) -> bytes | str:
    """What tells whether an argument was changed."""
    try:
        return marshal.dumps(argument, _BY_VALUE)
    except ValueError:  # it holds what is no data
        return repr(argument)


#: The format of marshal that writes what is equal alike, however often it is referred to.
_BY_VALUE = 2


def _refer_or_nothing(value: Any) -> list[Any]:
    """How a path's function returns: promises of this call by name; an object of another kind is not told."""
    return refer(value) if type(value) is Promise else ["none"]


def _told(error: BaseException) -> list[str]:
    """An exception in words: its kind, what it says, the student's line."""
    kind = type(error).__name__
    known = isinstance(getattr(builtins, kind, None), type)
    try:
        text = watch.words_of(error, CpuProxy)
    except Exception:  # noqa: BLE001
        text = ""
    return [kind if known else str(kind)[:100], text[:2000], _line(error)]


def _line(error: BaseException) -> str:
    lines = _lines(traceback.extract_tb(error.__traceback__))
    return lines[-1] if lines else ""


def _lines(frames: Any) -> list[str]:
    """The frames of the notebook's own cells, in words."""
    return [
        f"In {frame.name}, line {frame.lineno}: {(frame.line or '').strip()}"[:300]
        for frame in frames
        if "ipykernel_" in frame.filename or "ipython-input" in frame.filename
    ]


def fetch(module: str, name: str, arguments: list[Any]) -> Any:
    """Ask the judge for data that the exercise gives."""
    if _session is None:
        raise RuntimeError("nobody is there to be asked")
    answer = _session.ask({"want": [module, name, arguments]})
    if "error" in answer:
        raise ValueError(answer["error"])
    return wire.decode(answer["value"])


_session: Session | None = None


def main(channel: wire.Channel, shell: cells.Shell) -> None:
    """Serve one submission."""
    global _session  # noqa: PLW0603  # there is one in a process
    signal.signal(signal.SIGINT, signal.default_int_handler)
    linecache.checkcache = lambda *_: None  # no file is there to look at
    sys.stdin = io.StringIO()
    _session = Session(channel, shell)
    _session.serve()
