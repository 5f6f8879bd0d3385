"""What all tests share: a component that is not there is a reason to skip, and under CI=true a failure."""

import functools
import os
import shutil
import subprocess
import sys

import pytest

import setup_course


@functools.cache
def network() -> str | None:
    """Whether the package index answers, asked through pip as set up here."""
    asked = [sys.executable, "-m", "pip", "download", "--quiet", "--no-cache-dir", "--no-deps"]
    target = os.path.join(setup_course.HERE, "build", "network")  # noqa: PTH118
    done = subprocess.run([*asked, "--dest", target, "iniconfig"], check=False, capture_output=True)
    return None if done.returncode else "pip"


FINDERS = {
    "browser": (setup_course.browser, "no Chromium on PATH: install chromium or google-chrome"),
    "postgresql": (setup_course.postgresql, "no PostgreSQL server here: install postgresql"),
    "network": (network, "pip reaches no package index: connect to the network"),
}


def require(component: str, cure: str = "") -> str:
    """Where a component (one of FINDERS, or a program on PATH) is; without it, the test ends here."""
    find, reason = FINDERS.get(
        component, (lambda: shutil.which(component), f"no {component} on PATH. {cure}")
    )
    if found := find():
        return found
    return missing(reason)


def missing(reason: str) -> str:
    """End a test for want of something: skipped for a user, failed under CI=true."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"under CI=true nothing may be missing: {reason}", pytrace=False)
    pytest.skip(reason)


#: The profiles of the emulators; `on_both` runs a test with the fixture `emulator` on each.
PROFILES = ("qemu72", "bochs27")
on_both = pytest.mark.parametrize("emulator", PROFILES, indirect=True)


@pytest.fixture(scope="session")
def emulator(request):
    """The runner of one emulator."""
    from svmlib.emulators import bochs, qemu
    from svmlib.emulators.outcomes import EmulatorError

    runner = {"qemu72": qemu, "bochs27": bochs}[request.param]
    require(runner.PROGRAM, f"On Debian 12: apt install {runner.PACKAGES}")
    try:
        runner.version()
    except EmulatorError as error:
        missing(str(error))
    return runner


@pytest.fixture(scope="session")
def sample_class(tmp_path_factory):
    """The sample class, graded once for all who need it: its folder, and its row of each submission."""
    from autograder.grade import grade

    folder = tmp_path_factory.mktemp("classes") / "sample"
    return folder, {(row.student, row.exercise): row for row in grade(folder)}


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    """Keep an xdist_group on one worker: with pytest 9.2, xdist 3.8 does not (pytest-xdist issue 1386)."""
    for item in items if config.getoption("loadgroup", default=False) else ():
        group = item.get_closest_marker("xdist_group")
        if group and hasattr(item, "_id") and not item.nodeid.endswith(f"@{group.args[0]}"):
            item._id = type(item._id).parse(f"{item.nodeid}@{group.args[0]}")
