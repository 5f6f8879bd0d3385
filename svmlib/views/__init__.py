"""Views: a trace as HTML or SVG by pure functions, with thin ipywidgets shells around them."""

from .bars import compare_bars
from .pages import footprint, vmcb_map
from .stepper import stepper
from .summary import show
from .timeline import timeline
from .whatif import what_if

__all__ = ["compare_bars", "footprint", "show", "stepper", "timeline", "vmcb_map", "what_if"]
