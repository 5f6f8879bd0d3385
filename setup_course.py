#!/usr/bin/env python3
"""Set the course up, then do what was asked: course, test, grade, reset and a few more.

It needs nothing but Python. It is written so that every Python can read it, hence no f-strings and no
annotations: the wrong one gets a line that says what to type.
"""

from __future__ import print_function

import os
import subprocess
import sys

OLDEST, NEWEST = (3, 11), (3, 14)


def wrong_python():
    """Say which Python this is, which the course needs, and what to type."""
    words = "This is Python {}.{}, and the course needs 3.11 to 3.14.".format(*sys.version_info[:2])
    asked = " ".join(["setup_course.py"] + sys.argv[1:])
    for minor in range(NEWEST[1], OLDEST[1] - 1, -1):
        name = "python3.{}".format(minor)
        try:
            answer = subprocess.Popen([name, "-c", ""], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        except OSError:
            continue
        answer.communicate()
        if answer.returncode == 0:
            return "{} Type: {} {}".format(words, name, asked)
    return "{} Install Python 3.12 beside it, then type: python3.12 {}".format(words, asked)


if not OLDEST <= sys.version_info[:2] <= NEWEST:
    sys.exit(wrong_python())

import argparse
import hashlib
import importlib.metadata
import importlib.util
import re
import shutil
from pathlib import Path

HERE = Path(__file__).resolve().parent
VENV = HERE / ".venv"
COURSE_LOCK = HERE / "requirements.lock"
TEST_LOCK = HERE / "requirements-test.lock"  # holds all of the course's lock, too
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
EXAMPLES = """examples:
  python3 setup_course.py course                  set up, then open JupyterLab on the start page
  python3 setup_course.py course --no-open        the same without opening JupyterLab
  python3 setup_course.py reset 01_legacy_path    a fresh copy of that notebook; yours goes to work/backups/
  python3 setup_course.py grade                   the sample class: student x exercise -> points
  python3 setup_course.py grade --me              mark your own work/
  python3 setup_course.py test -k copies          what follows "test" goes to pytest
"""


# The environment


def prefix():
    """The folder of the environment to use: an active conda environment, else .venv.

    conda's base is left alone: it serves other things than this course.
    """
    active = os.environ.get("CONDA_PREFIX")
    if active and Path(active) == Path(sys.prefix) and os.environ.get("CONDA_DEFAULT_ENV") != "base":
        return Path(active)
    return VENV


def python_in(venv):
    """The Python of a virtual environment."""
    return venv / "Scripts" / "python.exe" if os.name == "nt" else venv / "bin" / "python"


def environment(lock):
    """Bring the environment to what `lock` says, if it is not there already; return its Python."""
    folder, wanted = prefix(), digest(lock)
    python = python_in(VENV) if folder == VENV else Path(sys.executable)
    stamp = folder / "svmlib-locks.txt"
    if python.exists() and stamp.exists() and wanted in stamp.read_text("ascii").split():
        return str(python)
    if folder == VENV and not works(python):
        make_venv()
    pip_install(python, lock if folder == VENV else missing_from(lock))
    pip(python, ["--no-build-isolation", "--no-deps", "--editable", str(HERE)])
    stamp.write_text("\n".join({wanted, digest(COURSE_LOCK)}) + "\n", "ascii")
    return str(python)


def digest(lock):
    """What an environment must have been built from to be used as it is."""
    return hashlib.sha256(lock.read_bytes() + (HERE / "pyproject.toml").read_bytes()).hexdigest()


def works(python):
    """Whether that Python starts and has pip: not so when it was removed, or its making interrupted."""
    if not python.exists():
        return False
    return subprocess.run([python, "-c", "import pip"], check=False, capture_output=True).returncode == 0


def make_venv():
    """Make .venv anew, or say what this Python lacks for it."""
    if not all(importlib.util.find_spec(name) for name in ("venv", "ensurepip")):
        version = "{}.{}".format(*sys.version_info[:2])
        if shutil.which("apt-get"):
            cure = "Type: {}apt-get install python{}-venv".format("" if is_root() else "sudo ", version)
        else:
            cure = "Install the venv module of Python {} from where this Python came from".format(version)
        sys.exit("This Python cannot make a virtual environment: it has no venv module. " + cure)
    run([sys.executable, "-m", "venv", "--clear", VENV], "The virtual environment .venv could not be made")


def pip_install(python, lock):
    """Install all that a lock names, each file held against its hashes."""
    lines = lock.read_text("utf-8").count("\n")
    if lines:
        print("Installing the packages of {}: a minute or two, once.".format(lock.name), flush=True)
        pip(python, ["--require-hashes", "--no-deps", "--progress-bar", "off", "-r", str(lock)], lines)


def pip(python, arguments, lines=0):
    """Run pip quietly; on a terminal, show how far it is in a file of `lines`. Of a failure, show the end."""
    said = []
    command = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "errors": "replace"}
    with subprocess.Popen(command + arguments, **output) as process:
        for line in process.stdout:
            said.append(line)
            at = re.search(r"\(line (\d+)\)\)$", line)
            if at and lines and sys.stdout.isatty():
                print("\r{:3d} %".format(100 * int(at.group(1)) // lines), end="", flush=True)
            elif line.startswith("Installing collected") and lines and sys.stdout.isatty():
                print("\runpacking", end="\r", flush=True)
    if process.returncode:
        print("".join(said[-15:]), end="")
        sys.exit("pip stopped with the error above. Check the network and the disk, then do the same again.")


def locked(text):
    """A lock's entries: name -> its lines, all versions of it together."""
    entries = {}
    for entry in re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]:
        name = re.match(r"[A-Za-z0-9._-]+", entry).group()
        entries[name] = entries.get(name, "") + entry
    return entries


def missing_from(lock):
    """The lock without what this conda environment already has: conda's packages stay as conda made them."""
    present = {
        re.sub(r"[-_.]+", "-", one.name).lower(): one.version for one in importlib.metadata.distributions()
    }
    wanted = locked(lock.read_text("utf-8"))
    bounds = re.findall(r'"([a-z-]+)>=([0-9.]+)"', (HERE / "pyproject.toml").read_text("utf-8"))
    for name, bound in bounds:
        if name in wanted and name in present and numbers(present[name]) < numbers(bound):
            words = (
                "This conda environment has {0} {1}, and the course needs {2}. Type: conda install '{0}>={2}'"
            )
            sys.exit(words.format(name, present[name], bound))
    missing = HERE / "build" / lock.name
    missing.parent.mkdir(exist_ok=True)
    missing.write_text("".join(lines for name, lines in wanted.items() if name not in present), "utf-8")
    return missing


def numbers(version):
    """The numbers of a version, to compare."""
    return [int(number) for number in re.findall(r"\d+", version)]


# The commands


def course(options, _):
    """Set up, show that it works, give the learner copies, open JupyterLab on them."""
    python = environment(COURSE_LOCK)
    run(
        [python, "-m", "svmlib", "compare"],
        "The set-up does not work: `svmlib compare` failed as shown above",
    )
    from course import copies

    work = HERE / "work"
    for line in copies.renew(HERE, work):
        print(line)
    if options.open:
        print("JupyterLab opens in your browser. Stop it here with Ctrl-C.", flush=True)
        lab(python, work)


def lab(python, work):
    """JupyterLab on the start page, as course/jupyter/ configures it."""
    paths = [str(HERE / "course" / "jupyter"), os.environ.get("JUPYTER_CONFIG_PATH", "")]
    settings = dict(os.environ, JUPYTER_CONFIG_PATH=os.pathsep.join(filter(None, paths)))
    command = [python, "-m", "jupyterlab"]
    if is_root():  # in a container, say: JupyterLab then wants to be told that it is meant
        command.append("--allow-root")
    with subprocess.Popen(command, cwd=work, env=settings) as server:
        while server.poll() is None:
            try:
                server.wait()
            except KeyboardInterrupt:  # the server has got it, too, and is stopping
                continue
    sys.exit(server.returncode)


def test(_, for_pytest):
    """Format, lint, types, then all tests."""
    python = environment(TEST_LOCK)
    install_tools()
    run([python, "-m", "ruff", "format", "--check"], "Some files are not formatted. Type: make format")
    run([python, "-m", "ruff", "check"], "Ruff found what is listed above")
    run([python, "-m", "mypy"], "mypy found what is listed above")
    parallel = ["-n", "2", "--dist", "loadgroup", "--durations", "15"]
    sys.exit(subprocess.call([python, "-m", "pytest"] + parallel + for_pytest, cwd=HERE))


def browser():
    """The Chromium on PATH, or None."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def postgresql():
    """The folder of PostgreSQL's programs, or None; Debian keeps them off PATH."""
    here = [shutil.which("initdb")] + sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin/initdb")))
    return next((str(Path(one).resolve().parent) for one in here if one), None)


def install_tools():
    """Get what only tests need from the packages of Debian, as root; elsewhere those tests are skipped."""
    missing = " ".join(packages for packages, found in TOOLS if not found())
    release = Path("/etc/os-release")
    debian = release.exists() and "ID=debian" in release.read_text("utf-8").split("\n")
    if not (missing and debian and is_root()):
        return
    print("Installing {} for the tests: a minute or two, once.".format(missing), flush=True)
    quiet = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    for step in (["update"], ["install", "--yes", "--no-install-recommends"] + missing.split()):
        command = ["apt-get", "-qq"] + step
        done = subprocess.run(command, check=False, env=quiet, capture_output=True, text=True)
        if done.returncode:
            print(done.stderr + "They could not be installed: the tests that need them will not run.")
            return


# Debian's packages, and what finds them.
TOOLS = (
    ("chromium", browser),
    ("postgresql", postgresql),
    ("qemu-system-x86", lambda: shutil.which("qemu-system-x86_64")),
    ("bochs bochs-sdl bochsbios vgabios", lambda: shutil.which("bochs")),
    ("gcc libc6-dev", lambda: shutil.which("cc")),
    ("gnu-efi", Path("/usr/include/efi/efi.h").exists),
    ("mtools", lambda: shutil.which("mformat")),
    ("ovmf", Path("/usr/share/ovmf/OVMF.fd").exists),
)


def grade(options, for_autograder):
    """Grade the sample class, a class of your own, or your own work."""
    python = environment(COURSE_LOCK)
    mine = ["--me"] if options.me else []
    sys.exit(subprocess.call([python, "-m", "autograder", "grade"] + mine + for_autograder, cwd=HERE))


def notebooks(options, _):
    """Make exercises/, the lessons and a page's tables anew; with --check, only say what is stale."""
    python = environment(COURSE_LOCK)
    check = ["--check"] if options.check else []
    makers = ("autograder.notebooks", "svmlib.emulators.page")
    sys.exit(max(subprocess.call([python, "-m", maker] + check, cwd=HERE) for maker in makers))


def reset(options, _):
    """Put a fresh copy of one notebook into work/ and keep the old one."""
    from course import copies

    print(copies.reset(HERE, HERE / "work", options.notebook))


def record(*_):
    """Run the recorded programs on QEMU and Bochs anew, and write down what came out."""
    python = environment(TEST_LOCK)
    run([python, "-m", "svmlib.emulators.record", "tests/recorded/programs.json"], "Nothing was recorded")


def benchmark(*_):
    """Measure how fast the model is."""
    python = environment(COURSE_LOCK)
    for script in sorted((HERE / "benchmarks").glob("*.py")):
        run([python, script], "The benchmark {} failed".format(script.name))


def explore(*_):
    """Explore with large bounds: designs, the matrix, every mutation; a quarter of an hour."""
    python = environment(COURSE_LOCK)
    wide = ["--host", "linux", "--bounds", "exits=3,periods=2,events=1,migrations=1"]
    for design in ("legacy", "hybrid", "vmload_before_stgi", "lazy", "upstream"):
        run([python, "-m", "svmlib", "explore", design] + wide, "{} is broken".format(design))
    two = ["--host", "zen2", "--vcpus", "2", "--bounds", "exits=2,periods=2,events=1,migrations=1"]
    run([python, "-m", "svmlib", "explore", "upstream"] + two, "upstream is broken by two vCPUs")
    inside = ["--host", "zen2", "--cpus", "1", "--bounds", "exits=2,periods=1,events=2,migrations=0"]
    run([python, "-m", "svmlib", "explore", "upstream"] + inside, "upstream is broken by two events")
    run([python, "-m", "svmlib", "matrix", "--run"], "The matrix is not what data/matrix.csv has")
    run([python, "-m", "svmlib", "mutations", "--run"], "The mutations are not what data/mutations.csv has")


def lock(_, for_uv):
    """Resolve pyproject.toml again for all systems and Pythons, and write both locks."""
    python = environment(TEST_LOCK)
    command = [python, "-m", "uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.11"]
    command += ["--generate-hashes", "--custom-compile-command", "make lock", "pyproject.toml"] + for_uv
    failed = "uv found no set of versions that fits pyproject.toml"
    run(command + ["--extra", "course", "-o", COURSE_LOCK.name], failed)
    both = ["--extra", "course", "--extra", "test", "-c", COURSE_LOCK.name, "-o", TEST_LOCK.name]
    run(command + both, failed)


def run(command, failed):
    """Run a command in the course's folder; if it fails, end with the line that says what that means."""
    if subprocess.call(list(map(str, command)), cwd=HERE):
        sys.exit(failed + ".")


def is_root():
    """Whether the system's own packages may be installed."""
    return hasattr(os, "geteuid") and os.geteuid() == 0


def main():
    """Read the command line and do what it asks."""
    parser = argparse.ArgumentParser(
        prog="setup_course.py",
        description=__doc__.split("\n")[0],
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(metavar="COMMAND", dest="command")
    add = {}
    for command in (course, test, grade, reset, notebooks, record, benchmark, explore, lock):
        about = {"help": command.__doc__, "description": command.__doc__}
        add[command] = commands.add_parser(command.__name__, **about)
        add[command].set_defaults(run=command)
    add[course].add_argument("--no-open", dest="open", action="store_false", help="leave JupyterLab closed")
    add[grade].add_argument("--me", action="store_true", help="your own work/, not the sample class")
    add[notebooks].add_argument("--check", action="store_true", help="write nothing")
    add[reset].add_argument(
        "notebook", metavar="NN", nargs="?", default="", help="01_legacy_path, or what tells it apart"
    )
    options, rest = parser.parse_known_args()
    if not options.command:
        parser.print_help()
        sys.exit(2)
    if rest and options.run not in (test, grade, lock):
        add[options.run].error("it takes no " + " ".join(rest))
    try:
        options.run(options, rest)
    except KeyboardInterrupt:
        sys.exit("\nStopped. Do the same again to go on from here.")


if __name__ == "__main__":
    main()
