"""What decides marks, as plain data that can be sent anywhere: the notebooks, the seeds, the version."""

import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Self

from svmlib import __version__


class Submission(NamedTuple):
    """A file that was handed in."""

    student: str
    exercise: str
    #: What is in it, or the file that is read when its turn comes: a large class is never in memory whole.
    content: bytes | Path

    @property
    def data(self) -> bytes:
        """Its bytes."""
        return self.content if isinstance(self.content, bytes) else self.content.read_bytes()

    @property
    def digest(self) -> str:
        """The hash of its content."""
        return hashlib.sha256(self.data).hexdigest()


class _Release(NamedTuple):
    #: Exercise -> its secret seed, its whole notebook, the notebook that was given out.
    seeds: dict[str, str]
    sources: dict[str, str]
    given: dict[str, str]


class Release(_Release):
    """Everything that decides the marks of a class, but for the model itself."""

    @classmethod
    def of(cls, folder: Path) -> Self:
        """Read the release of a class folder."""
        from .. import release

        names = sorted(path.parent.name for path in (folder / "source").glob("*/*.ipynb"))
        texts = [
            {name: (folder / part / name / f"{name}.ipynb").read_text("utf-8") for name in names}
            for part in ("source", "release")
        ]
        return cls({name: release.seed(folder, name) for name in names}, *texts)

    @cached_property
    def digest(self) -> str:
        """The hash of all of it, and of the library's version."""
        return hashlib.sha256(json.dumps([*self, __version__], sort_keys=True).encode()).hexdigest()
