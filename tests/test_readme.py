"""The README says what is so: its program prints what it shows, its files and commands exist."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_program_in_the_readme_prints_what_stands_below_it():
    program, printed = re.search(r"```python\n(.*?)```\s+```\n(.*?)```", README, re.DOTALL).groups()
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == printed


def test_every_file_that_the_readme_names_is_there():
    named = re.findall(r"\]\(([\w/.]+)\)", README)
    rows = [line.split("|")[1] for line in README.splitlines() if line.startswith("| `")]
    folder = ""
    for name in re.findall(r"`([^`]+)`", " ".join(rows)):
        named.append(name if "/" in name else folder + name)
        folder = str(Path(named[-1]).parent) + "/"
    missing = [name for name in named if not (ROOT / name).exists()]
    assert not missing


def test_every_make_target_of_the_readme_is_one_of_the_makefile():
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(re.findall(r"make (\w+)(?=[ `\n])", README.replace("no make,", ""))) <= set(targets)
