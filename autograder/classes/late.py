"""What a late attempt loses: the class's nbgrader plugin is asked, within nbgrader's own bounds."""

from collections.abc import Callable
from pathlib import Path

from .. import release

Penalty = Callable[[str, float, float], float | None]  # student, raw mark, seconds late


def nothing(_student: str, _raw: float, _seconds: float) -> None:
    """Take nothing."""


def penalties(folder: Path) -> Penalty:
    """The penalty by the plugin that nbgrader_config.py names; None where nothing is taken.

    nbgrader is imported only when its plugin can take something.
    """
    settings = release.config(folder)
    method = settings.get("LateSubmissionPlugin", {}).get("penalty_method", "none")
    if method == "none" and "plugin_class" not in settings.get("AssignLatePenalties", {}):
        return nothing
    from nbgrader.preprocessors import AssignLatePenalties

    step = AssignLatePenalties(config=settings)
    step.init_plugin()

    def penalty(student: str, raw: float, seconds: float) -> float | None:
        if seconds <= 0:
            return None
        said = step.plugin_inst.late_submission_penalty(student, raw, seconds)
        return None if said is None else min(max(0.0, float(said)), raw)

    return penalty
