"""The shape of svmlib: who reads whom, what the core needs, how long a piece may be; all of it explained."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "svmlib"
FILES = sorted(PACKAGE.rglob("*.py"))

# design.md's import table.  What every part reads: the tables and what there is.
GROUND = {"data", "registers", "vmcb", "memory", "faults", "trace", "profiles"}
TABLE = {
    "data": set(),
    "registers": {"data"},
    "profiles": {"data"},
    "faults": set(),
    "trace": set(),
    "memory": {"faults"},
    "vmcb": {"data", "memory", "registers", "trace"},
    "processor": GROUND,
    "instructions": GROUND | {"processor"},
    "kvm": GROUND | {"processor", "instructions"},
    "paths": GROUND | {"processor", "instructions", "kvm"},
    "explorer": GROUND | {"processor", "instructions", "kvm", "paths"},
    "costs": {"data", "trace"},
    "emulators": GROUND | {"processor", "instructions"},
    "views": GROUND | {"costs"},
    "progress": {"svmlib"},
    "watch": GROUND | {"processor", "instructions", "kvm", "paths"},
    "check": GROUND | {"processor", "instructions", "kvm", "paths", "explorer", "costs", "progress", "watch"},
    # The commands, and the package's own version, stand outside.
    "compare": GROUND | {"processor", "instructions", "kvm", "paths", "costs"},
    "mix": GROUND | {"processor", "instructions", "kvm", "paths", "costs"},
    "audit": GROUND | {"costs", "decide", "check", "watch"},
    "decide": GROUND | {"processor", "instructions", "kvm", "paths", "costs", "views"},
    "bugs": GROUND | {"processor", "instructions", "kvm", "paths", "explorer"},
    "mutations": GROUND | {"processor", "instructions", "kvm", "paths", "explorer", "explore"},
    "matrix": GROUND | {"processor", "instructions", "kvm", "paths", "explorer", "explore"},
    "explore": GROUND | {"processor", "instructions", "kvm", "paths", "explorer"},
    "__main__": None,
    "svmlib": set(),
}


def unit(path):
    """Return the part of the house that a file belongs to: svmlib/kvm/run.py is "kvm"."""
    inside = path.relative_to(PACKAGE).with_suffix("").parts
    return "svmlib" if inside == ("__init__",) else inside[0]


@cache
def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def for_types_alone(path):
    """Return the imports that only a type checker executes."""
    guarded = [
        node
        for node in ast.walk(tree(path))
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
    ]
    return {inner for node in guarded for inner in ast.walk(node)}


def read_by(path):
    """Return the parts of svmlib that a file imports when it runs, and the packages from elsewhere."""
    ours, others = set(), set()
    folder = path.relative_to(ROOT).parts[:-1]
    skipped = for_types_alone(path)
    for node in ast.walk(tree(path)):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(folder[: len(folder) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, [base, node.module]))
            names = [f"{module}.{alias.name}" for alias in node.names] if module == "svmlib" else [module]
        else:
            continue
        for name in names:
            first, *rest = name.split(".")
            if first != "svmlib":
                others.add(first)
            else:
                ours.add(rest[0] if rest and not rest[0].startswith("__") else "svmlib")
    return ours - {unit(path)}, others


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_flow_one_way(path):
    allowed = TABLE[unit(path)]
    if allowed is not None:
        ours, _ = read_by(path)
        assert ours <= allowed | {"svmlib"} if unit(path) == "progress" else ours <= allowed


def test_the_table_has_no_circle():
    order, rest = [], {name: set(reads or ()) for name, reads in TABLE.items()}
    while rest:
        ready = [name for name, reads in rest.items() if not (reads & set(rest)) - {name}]
        assert ready, f"these read each other: {sorted(rest)}"
        order += ready
        for name in ready:
            del rest[name]


#: Parts that may use packages; compare and decide are commands, and draw their tables with one.
WITH_PACKAGES = {"costs", "views", "emulators", "compare", "mix", "decide", "explore", "matrix", "mutations"}


@pytest.mark.parametrize(
    "path", [p for p in FILES if unit(p) not in WITH_PACKAGES], ids=lambda path: str(path.relative_to(ROOT))
)
def test_the_core_names_nothing_but_the_standard_library(path):
    _, others = read_by(path)
    assert others <= sys.stdlib_module_names


def alone(program):
    """Run `program` in a Python that sees svmlib and the standard library and nothing else."""
    start = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", start + program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_the_core_runs_with_every_third_party_package_blocked():
    core = {unit(p) for p in FILES} - {"views", "emulators", "svmlib", "__main__"}
    imports = ", ".join(f"svmlib.{name}" for name in sorted(core))
    loaded = alone(f"""
import {imports}
from svmlib.kvm import exits, run
from svmlib.paths import PATHS
for path in PATHS.values():
    result = run(path, exits("kernel+nmi", "user@1"))
    assert result.violation is None
    svmlib.costs.bill(result.trace, svmlib.costs.prices("epyc-2020"))
print(*sorted({{name.partition(".")[0] for name in sys.modules}}))
""")
    assert set(loaded) - set(sys.stdlib_module_names) <= {"svmlib", "__main__"}
    assert "numpy" not in loaded


def test_import_svmlib_pulls_in_nothing_but_itself():
    before = set(alone("print(*sys.modules)"))
    after = set(alone("import svmlib\nprint(*sys.modules)"))
    assert after - before == {"svmlib"}


def test_the_model_does_without_the_slow_parts_of_the_standard_library():
    loaded = alone("import svmlib.paths\nprint(*sys.modules)")
    assert {"dataclasses", "inspect", "asyncio", "unittest", "json"} & set(loaded) == set()


def named(path):
    """Every public class, function and method of a file, with its name: not what is inside a function."""

    def walk(node, prefix):
        for child in node.body:
            if isinstance(child, (ast.FunctionDef, ast.ClassDef)) and not child.name.startswith("_"):
                yield f"{prefix}{child.name}", child
                if isinstance(child, ast.ClassDef):
                    yield from walk(child, f"{prefix}{child.name}.")

    return list(walk(tree(path), ""))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_and_public_name_says_what_it_is(path):
    assert ast.get_docstring(tree(path))
    overloads = {"overload", "typing.overload"}
    silent = [
        name
        for name, node in named(path)
        if not ast.get_docstring(node)
        and not overloads & {ast.unparse(decorator) for decorator in node.decorator_list}
    ]
    assert silent == []


def explains_itself(node):
    return "long" in (ast.get_docstring(node) or "").lower()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_long_explains_itself(path):
    """A module of over 400 lines or a function of over 40 says in its docstring why it is long."""
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= 400 or explains_itself(tree(path)), f"{lines} lines: say in the docstring why it is long"
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef):
            length = node.end_lineno - node.lineno + 1
            assert length <= 40 or explains_itself(node), f"{node.name} is {length} lines: say why it is long"


SEMANTICS = GROUND - {"data"} | {"processor", "instructions", "kvm", "paths"}


@pytest.mark.parametrize(
    "path", [p for p in FILES if unit(p) in SEMANTICS], ids=lambda path: str(path.relative_to(ROOT))
)
def test_semantics_never_print_and_never_mention_cycles(path):
    calls = {
        node.func.id
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert "print" not in calls
    assert "cycles" not in path.read_text(encoding="utf-8").lower()


def test_an_instruction_of_a_cpu_is_a_function_of_the_same_name():
    from svmlib.instructions import Cpu, control, msr, segments, svm, system, transfers

    for name in (n for n in dir(Cpu) if not n.startswith("_")):
        functions = [
            getattr(module, n, None)
            for module in (control, msr, segments, svm, system, transfers)
            for n in (name, f"{name}_")
        ]
        assert getattr(Cpu, name).__wrapped__ in functions, name
