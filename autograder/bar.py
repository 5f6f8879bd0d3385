"""A command's progress bar: shown where somebody watches, and gone at the end, before an error is told."""

from collections.abc import Iterable
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")


def bar(what: str, unit: str, items: Iterable[Item] | None = None, total: int | None = None) -> "tqdm[Item]":
    """A bar for a `with`, which clears it whatever happens."""
    # disable=None is tqdm's word for no bar where nobody watches.
    return tqdm(items, desc=what, unit=unit, total=total, disable=None, leave=False)
