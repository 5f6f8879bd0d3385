"""pyproject.toml, the locks and environment.yml name the same things, for every system and Python."""

import re
import subprocess
import sys
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import setup_course
import svmlib
from conftest import require

HERE = setup_course.HERE
PROJECT = tomllib.loads((HERE / "pyproject.toml").read_text("utf-8"))["project"]
CONDA = yaml.safe_load((HERE / "environment.yml").read_text("utf-8"))
# What conda itself installs, and at the end what it leaves to pip.
DEPENDENCIES = [*CONDA["dependencies"][:-1], *CONDA["dependencies"][-1]["pip"]]
LOCKS = {
    lock.name: setup_course.locked(lock.read_text("utf-8"))
    for lock in (setup_course.COURSE_LOCK, setup_course.TEST_LOCK)
}

# What conda-forge calls otherwise: matplotlib there also brings a toolkit for windows that no notebook needs.
CONDA_NAMES = {"matplotlib": "matplotlib-base"}
# What conda needs said and pip does not: Python, and the pip that installs svmlib itself in place.
CONDA_ALONE = {"python", "pip"}


def extra(name):
    """The requirements of an extra, by name."""
    return {
        canonicalize_name(one.name): one for one in map(Requirement, PROJECT["optional-dependencies"][name])
    }


def versions(entry):
    """The versions that a lock's entry pins, one for each of its markers."""
    return re.findall(r"^[\w.-]+==([^\s;]+)", entry, flags=re.MULTILINE)


def test_conda_names_the_same_packages_with_the_same_bounds():
    conda = {Requirement(line).name: Requirement(line).specifier for line in DEPENDENCIES}
    course = {CONDA_NAMES.get(name, name): one.specifier for name, one in extra("course").items()}
    assert {name: bounds for name, bounds in conda.items() if name not in CONDA_ALONE} == course


def test_conda_takes_the_pythons_that_the_course_supports():
    (python,) = (Requirement(line) for line in DEPENDENCIES if line.startswith("python>"))
    supported = [line.split(" :: ")[-1] for line in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", line)]
    assert [f"3.{minor}" for minor in range(40) if python.specifier.contains(f"3.{minor}")] == supported
    assert supported[0] == PROJECT["requires-python"].removeprefix(">=")
    assert [tuple(map(int, version.split("."))) for version in (supported[0], supported[-1])] == [
        setup_course.OLDEST,
        setup_course.NEWEST,
    ]


@pytest.mark.parametrize(
    "lock, name",
    [
        ("requirements.lock", "course"),
        ("requirements-test.lock", "course"),
        ("requirements-test.lock", "test"),
    ],
)
def test_a_lock_pins_all_that_pyproject_asks_for_within_its_bounds(lock, name):
    for package, asked in extra(name).items():
        assert package in LOCKS[lock], f"{lock} lacks {package}. Type: make lock"
        assert all(asked.specifier.contains(version) for version in versions(LOCKS[lock][package])), package


def test_the_tests_run_with_the_very_versions_of_the_course():
    course, test = LOCKS.values()
    assert {name: versions(entry) for name, entry in course.items()} == {
        name: versions(test[name]) for name in course
    }


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_holds_names_versions_markers_and_hashes_and_no_addresses(lock):
    pin = r"[\w.-]+==[\w.]+( ; [^/]+?)? \\\n"
    digests = r"(    --hash=sha256:[0-9a-f]{64} \\\n)*    --hash=sha256:[0-9a-f]{64}\n"
    asked_by = r"(    #.*\n)*"
    for entry in LOCKS[lock].values():
        assert re.fullmatch(f"({pin}{digests}{asked_by})+", entry), entry
    assert not re.search(r"[/@]", (HERE / lock).read_text("utf-8"))


@pytest.mark.parametrize("lock", LOCKS)
@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13", "3.14"])
@pytest.mark.parametrize("system", ["linux", "macos", "windows"])
def test_a_lock_resolves_to_ready_made_packages_on(system, python, lock, tmp_path):
    require("network")
    command = [
        sys.executable,
        "-m",
        "uv",
        "pip",
        "install",
        "--dry-run",
        "--require-hashes",
        "--only-binary",
        ":all:",
    ]
    command += [
        "--python-platform",
        system,
        "--python-version",
        python,
        "--target",
        tmp_path,
        "-r",
        HERE / lock,
    ]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_what_one_cites_has_the_version_that_one_imports():
    citation = yaml.safe_load((HERE / "CITATION.cff").read_text("utf-8"))
    assert citation["version"] == svmlib.__version__
    assert {"cff-version", "message", "title", "authors"} <= set(citation)


def test_the_model_alone_needs_nothing():
    assert PROJECT["dependencies"] == []
