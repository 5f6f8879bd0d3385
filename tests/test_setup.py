"""The commands on a fresh machine: what they do, and the one line they say when something is wrong."""

import ast
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import closing
from pathlib import Path

import pytest

import setup_course
from conftest import require

HERE = setup_course.HERE
SCRIPT = HERE / "setup_course.py"


def call(*command, cwd=HERE, **settings):
    """Run a command as a person would: its exit code, what it printed, what it complained about."""
    plain = {key: value for key, value in os.environ.items() if not key.startswith(("CONDA", "MAKE"))}
    return subprocess.run(
        list(map(str, command)), check=False, cwd=cwd, env=plain | settings, capture_output=True, text=True
    )


def as_if(lines, *arguments, cwd):
    """Run setup_course.py in `cwd` after `lines` have changed what Python says of itself."""
    run = f"import runpy, sys; sys.argv = ['setup_course.py', *{arguments!r}]\n{lines}\n"
    return call(sys.executable, "-c", run + "runpy.run_path('setup_course.py', run_name='__main__')", cwd=cwd)


def one_line(text):
    return len(text.strip().split("\n")) == 1


@pytest.fixture
def course(tmp_path):
    """A fresh course: the set-up as it is, a stand-in for the model, a lesson and an exercise."""
    for name in (
        "setup_course.py",
        "Makefile",
        "pyproject.toml",
        "requirements.lock",
        "requirements-test.lock",
    ):
        shutil.copy(HERE / name, tmp_path)
    for name in ("svmlib", "course", "exercises"):
        (tmp_path / name).mkdir()
    shutil.copy(HERE / "course/copies.py", tmp_path / "course")
    (tmp_path / "svmlib/__init__.py").touch()
    (tmp_path / "svmlib/__main__.py").write_text("import sys; print('the table of', sys.argv[1])", "utf-8")
    for name in ("course/00_start_here.ipynb", "exercises/01_legacy_path.ipynb"):
        (tmp_path / name).write_text('{"cells": []}', "utf-8")
    return tmp_path


@pytest.fixture
def ready(course):
    """The same course, its environment as an earlier run has left it."""
    call(sys.executable, "-m", "venv", "--without-pip", course / ".venv")
    locks = [course / name for name in ("requirements.lock", "requirements-test.lock")]
    digests = call(
        sys.executable,
        "-c",
        f"import setup_course as s; print(*(s.digest(s.Path(p)) for p in {list(map(str, locks))}))",
        cwd=course,
    ).stdout
    (course / ".venv/svmlib-locks.txt").write_text(digests, "ascii")
    return course


# The wrong Python


def old_pythons():
    """The Pythons of this machine that are too old, by version."""
    folders = [*os.get_exec_path(), *map(str, Path.home().glob(".pyenv/versions/*/bin"))]
    found = {}
    for folder in folders:
        for name in ("python2.7", *(f"python3.{minor}" for minor in range(4, 11))):
            path = Path(folder) / name
            if path.exists() and name not in found and call(path, "-c", "").returncode == 0:
                found[name] = path
    return found


def test_a_python_that_is_too_old_gets_one_line_with_what_to_type(course):
    done = as_if("sys.version_info = (3, 9, 2)", "course", "--no-open", cwd=course)
    assert done.returncode == 1
    assert "This is Python 3.9, and the course needs 3.11 to 3.14." in done.stderr
    assert "setup_course.py course --no-open" in done.stderr
    assert one_line(done.stderr)


def test_a_python_that_is_too_new_gets_the_same_line(course):
    done = as_if("sys.version_info = (3, 15, 0)", "course", cwd=course)
    assert "This is Python 3.15, and the course needs 3.11 to 3.14." in done.stderr


def test_old_pythons_of_this_machine_can_read_the_script(course):
    for path in (found := old_pythons()).values():
        done = call(path, "setup_course.py", "test", cwd=course)
        assert done.returncode == 1
        assert "the course needs 3.11 to 3.14" in done.stderr
        assert one_line(done.stderr)
    if not found:
        pytest.skip("no Python older than 3.11 on this machine")


def test_the_script_uses_no_syntax_that_an_old_python_lacks():
    script = SCRIPT.read_text("utf-8")
    ast.parse(script, feature_version=(3, 4))
    kinds = {type(node) for node in ast.walk(ast.parse(script))}
    assert not kinds & {ast.JoinedStr, ast.AnnAssign, ast.NamedExpr, ast.Nonlocal}
    assert not any(
        isinstance(node, ast.List) and any(isinstance(item, ast.Starred) for item in node.elts)
        for node in ast.walk(ast.parse(script))
    )


# The environment


@pytest.mark.parametrize("module", ["venv", "ensurepip"])
def test_a_python_without_venv_gets_one_line_with_what_to_type(course, module):
    done = as_if(f"sys.modules[{module!r}] = None", "course", "--no-open", cwd=course)
    assert done.returncode == 1
    assert "it has no venv module." in done.stderr
    assert one_line(done.stderr)
    assert not (course / ".venv").exists()


def test_a_second_run_installs_nothing(ready):
    for _ in range(2):
        done = call(sys.executable, "setup_course.py", "course", "--no-open", cwd=ready)
        assert done.returncode == 0, done.stderr
        assert "Installing" not in done.stdout
        assert "the table of compare" in done.stdout


def test_another_lock_is_installed_by_the_next_run(ready):
    lock = ready / "requirements.lock"
    lock.write_text(lock.read_text("utf-8") + "# newer\n", "utf-8")
    done = as_if("sys.modules['ensurepip'] = None", "course", "--no-open", cwd=ready)
    assert "cannot make a virtual environment" in done.stderr


def test_what_a_failing_pip_said_is_shown_with_what_to_do(course):
    done = call(
        sys.executable,
        "-c",
        "import setup_course as s; s.pip(s.sys.executable, ['--no-index', 'no-such-thing'])",
        cwd=course,
    )
    assert done.returncode == 1
    assert "no-such-thing" in done.stdout
    assert done.stderr.startswith("pip stopped with the error above. Check the network")


@pytest.mark.parametrize("name, used", [("svmlib", True), ("base", False)])
def test_an_active_conda_environment_is_used_but_not_its_base(course, name, used):
    active = {"CONDA_PREFIX": sys.prefix, "CONDA_DEFAULT_ENV": name}
    told = call(sys.executable, "-c", "import setup_course as s; print(s.prefix())", cwd=course, **active)
    assert told.stdout.strip() == (sys.prefix if used else str(course / ".venv"))


def test_a_conda_environment_that_this_python_is_not_of_is_not_used(course):
    active = {"CONDA_PREFIX": str(course), "CONDA_DEFAULT_ENV": "other"}
    told = call(sys.executable, "-c", "import setup_course as s; print(s.prefix())", cwd=course, **active)
    assert told.stdout.strip() == str(course / ".venv")


def test_in_conda_only_what_is_missing_comes_from_the_lock(course):
    (course / "some.lock").write_text(
        "# head\npytest==1 \\\n    --hash=1\nno-such==1 \\\n    --hash=2\n", "utf-8"
    )
    ask = "import setup_course as s; print(s.missing_from(s.HERE / 'some.lock').read_text('utf-8'), end='')"
    assert call(sys.executable, "-c", ask, cwd=course).stdout == "no-such==1 \\\n    --hash=2\n"


def test_in_conda_what_is_too_old_gets_one_line_with_what_to_type(course):
    (course / "pyproject.toml").write_text('course = ["tqdm>=1000.1"]', "utf-8")
    done = call(sys.executable, "-c", "import setup_course as s; s.missing_from(s.COURSE_LOCK)", cwd=course)
    words = r"This conda environment has tqdm [\d.]+, and the course needs 1000.1. Type: conda install 'tqdm"
    assert re.match(words, done.stderr)
    assert one_line(done.stderr)


# The commands


def test_course_makes_the_copies_and_names_what_it_keeps(ready):
    done = call(sys.executable, "setup_course.py", "course", "--no-open", cwd=ready)
    assert "work/ has 2 new notebooks." in done.stdout
    assert (ready / "work/01_legacy_path.ipynb").exists()


def test_course_ends_when_the_model_does_not_run(ready):
    (ready / "svmlib/__main__.py").write_text("import sys; sys.exit('no price list')", "utf-8")
    done = call(sys.executable, "setup_course.py", "course", "--no-open", cwd=ready)
    assert done.returncode == 1
    assert done.stderr.split("\n")[-2].startswith("The set-up does not work: `svmlib compare` failed")
    assert not (ready / "work").exists()


def test_reset_needs_no_environment(course):
    done = call(sys.executable, "setup_course.py", "reset", "01", cwd=course)
    assert done.stdout == "work/01_legacy_path.ipynb is fresh.\n"
    assert not (course / ".venv").exists()


def test_help_shows_examples():
    done = call(sys.executable, SCRIPT, "--help")
    assert "setup_course.py course --no-open" in done.stdout


@pytest.mark.parametrize(
    "arguments, word", [(["coarse"], "coarse"), (["course", "--fast"], "--fast"), (["reset", "a", "b"], "b")]
)
def test_a_mistyped_command_is_named(arguments, word):
    done = call(sys.executable, SCRIPT, *arguments)
    assert done.returncode == 2
    assert word in done.stderr.split("error:")[1]


@pytest.mark.parametrize(
    "target, command",
    [
        ("course", "course"),
        ("course OPEN=0", "course --no-open"),
        ("test", "test"),
        ("test ARGS='-k copies'", "test -k copies"),
        ("grade", "grade"),
        ("grade ME=1", "grade --me"),
        ("reset NN=01_legacy_path", "reset 01_legacy_path"),
        ("lock", "lock"),
    ],
)
def test_each_make_target_is_one_line_over_the_script(target, command):
    words = target.replace("'", "").split(" ", 1)
    done = call(require("make"), "-n", *words)
    assert " ".join(done.stdout.split()) == f"python3 setup_course.py {command}"


def test_continuous_integration_runs_exactly_make_test():
    lines = (HERE / ".ci/run").read_text("utf-8").split("\n")
    assert [line for line in lines if line.strip()][3:] == ["make test"]


# For real


@pytest.mark.slow
@pytest.mark.xdist_group("installs")
def test_a_fresh_clone_opens_with_make_course_and_again_in_no_time(tmp_path):
    require("network")
    listed = call(require("git"), "ls-files", "-z")
    if listed.returncode:
        pytest.skip("not a git checkout, so what belongs to a clone is not known")
    for name in filter(lambda name: name and (HERE / name).exists(), listed.stdout.split("\0")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(HERE / name, tmp_path / name)
    first = call(require("make"), "course", "OPEN=0", cwd=tmp_path)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "Installing the packages of requirements.lock" in first.stdout
    assert all(f"{name}" in first.stdout for name in ("legacy", "hybrid", "vmload_before_stgi", "lazy"))
    assert (tmp_path / "work/00_start_here.ipynb").exists()
    second = call("make", "course", "OPEN=0", cwd=tmp_path)
    assert second.returncode == 0, second.stderr
    assert "Installing" not in second.stdout


@pytest.fixture
def lab(tmp_path):
    """JupyterLab as `make course` starts it, on a free port, with no browser; its address."""
    with closing(socket.socket()) as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    mine = {"open_browser": False, "port": port, "port_retries": 0}
    (tmp_path / "jupyter_server_config.json").write_text(
        json.dumps({"ServerApp": mine, "IdentityProvider": {"token": "key"}}), "utf-8"
    )
    (tmp_path / "work").mkdir()
    start = f"import setup_course as s; s.lab(s.sys.executable, {str(tmp_path / 'work')!r})"
    settings = os.environ | {"JUPYTER_CONFIG_DIR": str(tmp_path)}
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-c", start], cwd=HERE, env=settings, stdout=log, stderr=log
        )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            if server.poll() is not None or answers(address):
                break
            time.sleep(0.2)
        assert server.poll() is None, (tmp_path / "log").read_text("utf-8")
        yield address
    finally:
        if server.poll() is None:
            stop = urllib.request.Request(f"{address}/api/shutdown?token=key", method="POST")
            urllib.request.urlopen(stop).close()
            server.wait(30)


def answers(address):
    try:
        return get(f"{address}/api")[0] == 200
    except OSError:
        return False


def get(address):
    """The status and the text of a page on this machine."""
    try:
        with urllib.request.urlopen(f"{address}?token=key") as page:
            return page.status, page.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, ""


@pytest.mark.slow
def test_a_learners_jupyterlab_has_no_panels_of_the_instructors_and_asks_nobody_for_news(lab):
    status, page = get(f"{lab}/lab")
    assert status == 200
    config = json.loads(
        page.split('id="jupyter-config-data" type="application/json">')[1].split("</script>")[0]
    )
    off = config["disabledExtensions"]
    assert {"@jupyter/nbgrader", "@jupyterlab/apputils-extension:announcements"} <= set(off)
    for panel in ("formgrader", "assignments", "courses"):
        assert get(f"{lab}/{panel}")[0] == 404
    assert config["news"] == {"disabled": True}
