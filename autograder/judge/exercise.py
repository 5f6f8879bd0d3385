"""An exercise made ready for the judge: its graded cells, what each needs, and whose that is.

A test cell stands alone. It is run with the statements of the exercise's own cells that it needs before it,
found by the names they bind, and with stand-ins for the names that the student was asked to define. Names
that the exercise itself binds, and Python's own, are never the student's.
"""

import ast
import builtins
import json
import symtable
from collections.abc import Iterator
from typing import Any, NamedTuple


class Cell(NamedTuple):
    """A cell of the exercise, as it was written and as it was given out."""

    id: str
    kind: str
    source: str
    given: str
    #: nbgrader's metadata as it was given out; empty for a cell without a role.
    block: dict[str, Any]

    @property
    def role(self) -> str:
        """One of test, solution, answer (marked by hand), locked, plain."""
        grade, solution = self.block.get("grade", False), self.block.get("solution", False)
        if grade:
            return "answer" if solution or self.block.get("task") or self.kind != "code" else "test"
        if solution:
            return "solution"
        return "locked" if self.block.get("locked") else "plain"

    @property
    def worth(self) -> float:
        """The points of a graded cell."""
        return float(self.block.get("points", 0))


class Test(NamedTuple):
    """A test cell ready to run: the student's names, what has to run before it, the cell, its last value
    apart.
    """

    cell: Cell
    names: tuple[str, ...]
    before: Any
    body: Any
    last: Any


class Statement(NamedTuple):
    """A statement at the top of a cell: whose, and the names it binds and needs."""

    node: ast.stmt
    students: bool
    binds: frozenset[str]
    needs: tuple[str, ...]


class Exercise:
    """The cells of an exercise in order, and its tests by their cells' ids."""

    def __init__(self, name: str, source: str, given: str):
        """Read the whole notebook, and the one that was given out."""
        self.name = name
        self.notebook = json.loads(given)
        public = {_id(cell): cell for cell in self.notebook["cells"]}
        whole = json.loads(source)["cells"]
        self.cells = [self._cell(cell, public[_id(cell)]) for cell in whole]
        self.by_id = {cell.id: cell for cell in self.cells}
        self.tests = dict(self._tests())

    def _cell(self, whole: dict[str, Any], public: dict[str, Any]) -> Cell:
        block = public["metadata"].get("nbgrader", {})
        return Cell(_id(public), public["cell_type"], text(whole), text(public), block)

    @property
    def modules(self) -> list[str]:
        """What the exercise's visible cells import: a warm process has it loaded already."""
        found: dict[str, None] = {}
        for cell in self.cells:
            for node in ast.walk(_tree(cell.given)) if cell.kind == "code" else ():
                if isinstance(node, ast.Import):
                    found |= dict.fromkeys(alias.name for alias in node.names)
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    found[node.module] = None
        return [name for name in found if not name.startswith("svmlib.paths")]

    def _tests(self) -> Iterator[tuple[str, Test]]:
        before: list[Statement] = []
        for cell in self.cells:
            if cell.kind == "code":
                tree = _tree(cell.source)
                statements = [_statement(node, students=cell.role == "solution") for node in tree.body]
                if cell.role == "test":
                    yield cell.id, _test(cell, tree, before, statements)
                before += statements


def _test(cell: Cell, tree: ast.Module, before: list[Statement], own: list[Statement]) -> Test:
    wanted: set[str] = set()
    bound: set[str] = set()
    for statement in own:
        wanted |= set(statement.needs) - bound
        bound |= statement.binds
    chosen: set[int] = set()
    names: set[str] = set()
    waiting = [(name, len(before)) for name in sorted(wanted)]
    while waiting:
        name, place = waiting.pop()
        found = next((i for i in reversed(range(place)) if name in before[i].binds), None)
        if found is None:
            if not hasattr(builtins, name) and name not in bound:
                names.add(name)
        elif before[found].students:
            names.add(name)
        elif found not in chosen:
            chosen.add(found)
            waiting += [(need, found) for need in before[found].needs]
    prelude = ast.Module([before[i].node for i in sorted(chosen)], [])
    body, last = list(tree.body), None
    if body and isinstance(body[-1], ast.Expr):
        last = compile(ast.Expression(body.pop().value), f"<{cell.id}>", "eval")  # type: ignore[attr-defined]
    return Test(
        cell,
        tuple(sorted(names)),
        compile(prelude, f"<before {cell.id}>", "exec"),
        compile(ast.Module(body, []), f"<{cell.id}>", "exec"),
        last,
    )


def _statement(node: ast.stmt, *, students: bool) -> Statement:
    return Statement(node, students, frozenset(_bound(node)), tuple(sorted(set(_needed(node)))))


def _bound(node: ast.AST) -> Iterator[str]:
    """The names that a statement binds where it stands: not those inside a function or a class."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
        return
    if isinstance(node, ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
        return
    if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        yield node.id
    elif isinstance(node, ast.alias):
        yield (node.asname or node.name).partition(".")[0]
    elif isinstance(node, ast.ExceptHandler) and node.name:
        yield node.name
    for child in ast.iter_child_nodes(node):
        yield from _bound(child)


def _needed(node: ast.stmt) -> Iterator[str]:
    """The names that a statement looks up outside itself.

    Not those that its functions and comprehensions bind, nor those that it binds itself before it uses them.
    """
    try:
        found = set(_looked_up(symtable.symtable(ast.unparse(node), "a cell", "exec")))
    except SyntaxError:  # await at the top, and its like
        found = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    first: dict[str, bool] = {}
    for name, is_bound in _uses(node):
        first.setdefault(name, is_bound)
    found |= {name for name, is_bound in first.items() if not is_bound}  # "x += 1" reads x
    yield from (name for name in found if not first.get(name, False))


_SCOPES = (
    ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda,
    ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp,
)  # fmt: skip


def _uses(node: ast.AST) -> Iterator[tuple[str, bool]]:
    """The names that a statement uses where it stands, as they are reached, and whether it binds them."""
    if isinstance(node, _SCOPES):
        return
    if isinstance(node, ast.Name):
        yield node.id, not isinstance(node.ctx, ast.Load)
    for child in _in_order(node):
        yield from _uses(child)


def _in_order(node: ast.AST) -> list[ast.AST]:
    """The parts of a statement as they are executed: what is assigned before where it goes."""
    if isinstance(node, ast.Assign):
        return [node.value, *node.targets]
    if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
        return [ast.Name(node.target.id, ast.Load()), node.value, node.target]
    if isinstance(node, ast.For | ast.AsyncFor):
        return [node.iter, node.target, *node.body, *node.orelse]
    if isinstance(node, ast.NamedExpr):
        return [node.value, node.target]
    return list(ast.iter_child_nodes(node))


def _looked_up(table: symtable.SymbolTable) -> Iterator[str]:
    is_top = table.get_type() == "module"
    for symbol in table.get_symbols():
        if symbol.is_referenced() and (is_top or symbol.is_global()):
            yield symbol.get_name()
    for child in table.get_children():
        yield from _looked_up(child)


def _tree(source: str) -> ast.Module:
    """The cell's syntax; lines that are IPython's alone define nothing that a test could need."""
    try:
        return ast.parse(source)
    except SyntaxError:
        plain = ["" if line.lstrip().startswith(("%", "!", "?")) else line for line in source.splitlines()]
        try:
            return ast.parse("\n".join(plain))
        except SyntaxError:
            return ast.Module([], [])


def text(cell: dict[str, Any]) -> str:
    """The source of a cell as one text."""
    source = cell.get("source", "")
    return source if isinstance(source, str) else "".join(source)


def _id(cell: dict[str, Any]) -> str:
    return str(cell["metadata"].get("nbgrader", {}).get("grade_id") or cell["id"])
