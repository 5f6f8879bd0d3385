"""The tests of the instructions reach their branches: each file of svmlib/instructions, by its own tests."""

import json
import subprocess
import sys
from pathlib import Path

import coverage

ROOT = Path(__file__).parent.parent
#: Where the sentences about instructions stand; no test of a path or of the course counts.
FILES = (
    *("svm", "legality", "segments", "processor", "registers", "control", "delivery", "events", "faults"),
    *("sev_es", "system", "options"),
)
LEAST = 95


def test_the_sentences_about_instructions_reach_their_branches(tmp_path):
    """In a process of its own: a machine that measures is no machine that other tests should run on."""
    data = f"--data-file={tmp_path / 'measured'}"
    tests = [f"tests/test_{name}.py" for name in FILES]
    pytest = [*("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:cov"), *tests]
    measure = ["run", "--branch", "--source=svmlib.instructions", data, *pytest]
    done = subprocess.run(
        [sys.executable, "-m", coverage.__name__, *measure],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    passed_or_failed = (0, 1)  # a test that fails says so itself
    assert done.returncode in passed_or_failed, done.stdout[-2000:] + done.stderr
    report = tmp_path / "report.json"
    asked = ["json", data, "-q", "-o", str(report)]
    subprocess.run([sys.executable, "-m", coverage.__name__, *asked], cwd=ROOT, check=True)
    files = json.loads(report.read_text(encoding="utf-8"))["files"]
    assert {Path(name) for name in files} == {
        path.relative_to(ROOT) for path in (ROOT / "svmlib" / "instructions").glob("*.py")
    }
    low = {
        name: f"{reached:.1f} %"
        for name, file in files.items()
        if (reached := min(_branches(file["summary"]), file["summary"]["percent_covered"])) < LEAST
    }
    assert low == {}, f"less than {LEAST} %: say what the machine does there, in one of {', '.join(tests)}"


def _branches(summary):
    """The share of branches, in percent; a file without any has all."""
    return 100 * summary["covered_branches"] / summary["num_branches"] if summary["num_branches"] else 100
