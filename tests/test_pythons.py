"""The model on the other Pythons of this machine: the tests of the core, run there."""

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import setup_course
from conftest import missing, require

HERE = setup_course.HERE
TESTS = HERE / "tests"
WITH = {"pytest", "hypothesis"}  # all that the core's tests use; the core itself is the standard library


def pythons():
    """Each other CPython from 3.11 to 3.14 that is found on PATH or among pyenv's: version -> program."""
    folders = [*map(Path, os.get_exec_path()), *Path.home().glob(".pyenv/versions/*/bin")]
    found = {}
    for minor in range(11, 15):
        for path in (folder / f"python3.{minor}" for folder in folders):
            if minor != sys.version_info.minor and path.exists() and is_cpython(path):
                found.setdefault(f"3.{minor}", path)
    return found


def is_cpython(path):
    """Whether it starts, has venv and is CPython: pyenv's shims exist without what they stand for."""
    ask = "import sys, venv, ensurepip; sys.exit(sys.implementation.name != 'cpython')"
    return subprocess.run([path, "-c", ask], check=False, capture_output=True).returncode == 0


def needs(path):
    """The packages outside the core that a test file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    core = re.compile(r"svmlib(?!\.(costs|views|emulators)\b)")
    return {
        name for name in names if name.split(".")[0] not in sys.stdlib_module_names and not core.match(name)
    }


def core_tests():
    """The test files that a bare Python with pytest and hypothesis can run."""
    return [
        path
        for path in sorted(TESTS.glob("test_*.py"))
        if {name.split(".")[0] for name in needs(path)} <= WITH | {"conftest"}
    ]


def closure(names):
    """These packages and all that they need on this Python."""
    found = set()
    while names := names - found:
        found |= names
        asked = [Requirement(line) for name in names for line in importlib.metadata.requires(name) or []]
        wanted = [one.name for one in asked if one.marker is None or one.marker.evaluate({"extra": ""})]
        names = {name.lower().replace("_", "-") for name in wanted}
    return found


def environment(version, program):
    """A virtual environment of that Python with the locked pytest and hypothesis; kept under build/."""
    folder = HERE / "build" / "pythons" / version
    python, lock = setup_course.python_in(folder), folder / "core.lock"
    entries = setup_course.locked(setup_course.TEST_LOCK.read_text("utf-8"))
    text = "".join(entries[name] for name in sorted(closure(WITH)))
    if not (python.exists() and lock.exists() and lock.read_text("utf-8") == text):
        require("network")
        subprocess.run([program, "-m", "venv", "--clear", folder], check=True)
        half = folder / "half.lock"
        half.write_text(text, "utf-8")
        install = ["install", "--quiet", "--require-hashes", "--no-deps", "--disable-pip-version-check"]
        subprocess.run([python, "-m", "pip", *install, "-r", half], check=True, capture_output=True)
        half.rename(lock)
    return python


OTHERS = pythons()


@pytest.mark.slow
@pytest.mark.parametrize("version", OTHERS or ["none"])
def test_the_core_passes_its_tests_on_python(version, tmp_path):
    if version == "none":
        pytest.skip("no other Python from 3.11 to 3.14 on this machine")
    if not core_tests():
        missing("there is no test file of the core")
    python = environment(version, OTHERS[version])
    command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow", *core_tests()]
    settings = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    settings |= {"PYTHONDONTWRITEBYTECODE": "1", "HYPOTHESIS_STORAGE_DIRECTORY": str(tmp_path)}
    done = subprocess.run(command, check=False, cwd=HERE, env=settings, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr
