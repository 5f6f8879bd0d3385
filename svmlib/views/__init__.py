"""Views: a trace as HTML or SVG by pure functions, with thin ipywidgets shells around them."""

from .stepper import stepper
from .timeline import timeline

__all__ = ["stepper", "timeline"]
