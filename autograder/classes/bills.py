"""The bills that a graded notebook's own tests have printed, for the ranking of costs."""

import json
import re

SAID = re.compile(r"^(?P<kind>[a-z][a-z -]+): (?P<own>\d+) ticks; reference (?P<reference>\d+)", re.MULTILINE)


def said(notebook: str) -> dict[str, tuple[float, float]]:
    """Of each kind of exit, the ticks on the learner's bill and on the reference's.

    Only what locked test cells put out is read: what a learner prints is not.
    """
    found: dict[str, tuple[float, float]] = {}
    for cell in json.loads(notebook)["cells"] if notebook else ():
        block = cell.get("metadata", {}).get("nbgrader", {})
        if not (block.get("locked") and block.get("grade")):
            continue
        for output in cell.get("outputs", ()):
            text = output.get("text", "")
            for line in SAID.finditer(text if isinstance(text, str) else "".join(text)):
                found.setdefault(line["kind"], (float(line["own"]), float(line["reference"])))
    return found
