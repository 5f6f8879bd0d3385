"""IPython without a kernel: a cell goes in, its outputs come out as a notebook holds them, bounded."""

import ast
import sys
import warnings
from collections.abc import Callable
from typing import Any, TextIO

from IPython.core.async_helpers import get_asyncio_loop
from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from IPython.core.inputtransformer2 import TransformerManager
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

#: Characters of a stream and bytes of all outputs that a cell may leave; the rest is cut.
STREAM = 100_000
OUTPUTS = 1_000_000


class Outputs:
    """What a cell has put out so far."""

    def __init__(self) -> None:
        """Begin empty."""
        self.items: list[dict[str, Any]] = []
        self.left = OUTPUTS
        self.streams = {"stdout": STREAM, "stderr": STREAM}

    def add(self, item: dict[str, Any]) -> None:
        """Keep an output, or say that it was too large."""
        size = sum(len(str(value)) for value in item.get("data", {}).values())
        if size > self.left:
            item = {"output_type": "stream", "name": "stdout", "text": "[an output too large to keep]\n"}
            size = 40
            if self.left < size:
                return
        self.left -= size
        self.items.append(item)

    def write(self, name: str, text: str) -> None:
        """Append to a stream; what is beyond its bound is cut."""
        room = self.streams[name]
        if room <= 0:
            return
        self.streams[name] = room - len(text)
        if len(text) > room:
            text = text[:room] + "\n[cut]\n"
        last = self.items[-1] if self.items else {}
        if last.get("output_type") == "stream" and last["name"] == name:
            last["text"] += text
        else:
            self.items.append({"output_type": "stream", "name": name, "text": text})


outputs = Outputs()


class Stream:
    """sys.stdout or sys.stderr of a cell."""

    encoding, errors, closed = "utf-8", "replace", False

    def __init__(self, name: str):
        """Write to the current outputs under `name`."""
        self.name = name

    def write(self, text: str) -> int:
        """Append text."""
        outputs.write(self.name, str(text))
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        """Append lines."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Nothing waits."""

    def isatty(self) -> bool:
        """Say no: nobody sits there."""
        return False

    def writable(self) -> bool:
        """Say yes."""
        return True


class _Publisher(DisplayPublisher):
    def publish(
        self, data: dict[str, Any], metadata: dict[str, Any] | None = None, *_: Any, **__: Any
    ) -> None:
        outputs.add({"output_type": "display_data", "data": dict(data), "metadata": dict(metadata or {})})

    def clear_output(self, wait: bool = False) -> None:  # noqa: ARG002
        outputs.items.clear()


class _Hook(DisplayHook):
    def write_output_prompt(self) -> None:
        pass

    def write_format_data(self, format_dict: dict[str, Any], md_dict: dict[str, Any] | None = None) -> None:
        outputs.add(
            {
                "output_type": "execute_result",
                "data": dict(format_dict),
                "metadata": dict(md_dict or {}),
                "execution_count": None,
            }
        )

    def finish_displayhook(self) -> None:
        pass


class _Transformers(TransformerManager):
    """IPython's syntax made Python, as IPython does it, but without reading Python token by token."""

    #: What looks at tokens. None of these finds anything in what is Python already.
    ours = tuple(TransformerManager().token_transformers)

    def do_token_transforms(self, lines: list[str]) -> list[str]:
        if self.ours == tuple(self.token_transformers) and _is_python("".join(lines)):
            return lines
        return super().do_token_transforms(lines)  # type: ignore[no-any-return, no-untyped-call]


def _is_python(source: str) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they come when the cell is compiled
        try:
            ast.parse(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return False
    return True


class Shell(InteractiveShell):
    """The shell of one submission."""

    def _showtraceback(self, etype: Any, evalue: Any, stb: list[str]) -> None:
        outputs.items.append(
            {
                "output_type": "error",
                "ename": str(getattr(etype, "__name__", etype))[:200],
                "evalue": _text(evalue)[:2000],
                "traceback": ["\n".join(stb)[:STREAM]],
            }
        )

    def enable_gui(self, gui: Any = None) -> None:
        """Accept what %matplotlib asks for: there is no screen."""


def _text(value: Any) -> str:
    try:
        return str(value)
    except Exception:  # noqa: BLE001  # a stranger's __str__
        return type(value).__name__


def start() -> Shell:
    """Make the shell, once, before anything is forked."""
    config = Config()
    config.HistoryManager.enabled = False
    config.HistoryManager.hist_file = ":memory:"
    config.InteractiveShell.colors = "nocolor"
    config.InteractiveShell.xmode = "Context"
    config.InteractiveShell.banner1 = ""
    config.InteractiveShell.enable_tip = False
    shell = Shell.instance(config=config, display_pub_class=_Publisher, displayhook_class=_Hook)
    shell.input_transformer_manager = _Transformers()  # type: ignore[no-untyped-call]
    # The slow first times, once for all children: a traceback, a coroutine, a display.
    for cell in ("1 / 0", "1 + 1", "%pwd", "await __import__('asyncio').sleep(0)"):
        run(shell, cell)
    get_asyncio_loop().close()  # its descriptors do not outlive the fork; a new one comes when it is needed
    shell.user_ns.clear()
    shell.init_user_ns()  # type: ignore[no-untyped-call]
    shell.execution_count = 1
    return shell


def captured(work: Callable[[], Any]) -> tuple[Any, list[dict[str, Any]]]:
    """What `work` returns, and what it put out meanwhile."""
    global outputs  # noqa: PLW0603  # the streams and hooks that IPython holds write to the current one
    outputs = Outputs()
    before: tuple[TextIO, TextIO] = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = Stream("stdout"), Stream("stderr")
    try:
        result = work()
    finally:
        sys.stdout, sys.stderr = before
    return result, outputs.items


def run(shell: Shell, source: str) -> tuple[bool, list[dict[str, Any]]]:
    """Run a cell: whether it ended well, and its outputs."""
    result, items = captured(
        lambda: shell.run_cell(source, store_history=False)  # type: ignore[no-untyped-call]
    )
    return bool(result.success), items
