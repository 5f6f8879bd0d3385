"""A class graded: the attempts that count, a verdict for each, old marks beside new ones, then the gradebook.

A run may be broken off anywhere: verdicts are in the journal as they come, marks enter the gradebook a chunk
at a time, and the same command goes on from there. A mark that exists does not move by itself: what would
change one is kept back, shown, and entered after a yes.
"""

import contextlib
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from . import engine, notebooks, release, sample
from .bar import bar
from .classes import attempts, bills, collect, deadlines, entries, gradebook, marks, outcomes, similarity
from .classes.deadlines import Choice
from .classes.entries import Change, Entry
from .classes.outcomes import Outcome
from .judge.release import Release, Submission
from .judge.restore import told
from .judge.verdict import Verdict
from .report import Row

CHUNK = 100  # submissions that enter the gradebook in one transaction
Place = tuple[str, str]  # student, exercise
Accept = Callable[[list[Change]], bool]
Tell = Callable[[str], object]
Engine = Callable[[Release, Iterator[Submission], engine.Options, engine.Journal], Iterator[Verdict]]


def silent(_said: str) -> None:
    """Leave unsaid what a run has to say of itself."""


def always(_changes: list[Change]) -> bool:
    """Let marks move without asking: for the sample class, and for whoever said so."""
    return True


def grade(
    folder: Path,
    handed_in: Path | None = None,
    *,
    scripts: list[Path] | None = None,
    samples: Path = sample.FOLDER,
    options: engine.Options | None = None,
    accept: Accept = always,
    by: Engine = engine.grade,
    tell: Tell = silent,
) -> list[Row]:
    """Grade a class, in a class folder that is made when it is new.

    `handed_in` is collected first. Without it a new class is the sample class, and an old one is graded as it
    is. What is graded and has not changed is kept.
    """
    folder = release.open_folder(folder)
    scripts = notebooks.scripts(notebooks.ROOT / "solutions") if scripts is None else scripts
    if not scripts:
        raise release.ReleaseError("there are no exercises: solutions/ holds no NN_topic.py")
    is_new = not (folder / "class.json").exists()
    is_sample = handed_in is None and (is_new or bool(release.facts(folder)["sample"]))
    _prepare(folder, scripts, is_sample=is_sample)
    deadlines.check(folder)
    if is_sample:
        for name in ("received", "submitted"):
            shutil.rmtree(folder / name, ignore_errors=True)
        _hand_in_samples(folder, scripts, samples)
    elif handed_in is not None:
        for one in collect.collect(folder, handed_in):
            if one.is_odd:
                tell(str(one))
    collect.fetched(folder)
    try:
        _Run(folder, options or engine.Options(), accept, by, tell).run()
    except (engine.EngineError, engine.JournalError) as error:
        raise release.ReleaseError(str(error)) from None
    return marks.rows(folder)


def _prepare(folder: Path, scripts: list[Path], *, is_sample: bool) -> None:
    """Release a new class; a sample class whose release is out of date is made anew.

    A real class is graded with what was released, whatever the course has become since; a release that was
    broken off goes on.
    """
    if (folder / "class.json").exists():
        said = release.facts(folder)
        was_sample = said["sample"]
        if was_sample and not is_sample:
            raise release.ReleaseError(f"{folder} holds the sample class: choose another class folder")
        missing = {script.stem for script in scripts} - said["exercises"].keys()
        if not was_sample or not (missing or release.differences(folder, scripts)):
            if left := [one for one in scripts if one.stem in missing.intersection(said.get("wanted", ()))]:
                release.release(folder, left)
            release.intact(folder)
            return
        _discard(folder)
    release.new(folder, sample=is_sample, wanted=[script.stem for script in scripts])
    release.release(folder, scripts)


def _discard(folder: Path) -> None:
    """Delete a class under another name, so that it is never half there."""
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    folder.rename(old)
    shutil.rmtree(old)
    release.open_folder(folder)


def _hand_in_samples(folder: Path, scripts: list[Path], samples: Path) -> None:
    """Hand in the sample class's files, as they would come in."""
    by_name = {script.stem: script for script in scripts}
    with tempfile.TemporaryDirectory() as inbox:
        for one in sample.read_all(samples):
            if one.exercise not in by_name:
                raise sample.SampleError(
                    f"{one.exercise}/{one.student}.py: there is no such exercise in solutions/"
                )
            sample.hand_in(one, Path(inbox), by_name[one.exercise])
        list(collect.collect(folder, Path(inbox), kind="flat"))


class Settled(NamedTuple):
    """A verdict as it enters the class: the gradebook's part, and the rest."""

    verdict: Verdict
    entry: Entry
    outcome: Outcome


class _Run:
    """One grading of a class."""

    def __init__(self, folder: Path, options: engine.Options, accept: Accept, by: Engine, tell: Tell):
        self.folder, self.accept, self.by, self.tell = folder, accept, by, tell
        self.options = options._replace(library=str(folder / "frozen"))
        self.before = outcomes.read(folder)
        gradebook.require_intact(folder)
        if lost := release.released(folder).keys() - gradebook.known(folder):
            release.into_gradebook(folder, lost)
            self.before = {place: one for place, one in self.before.items() if place[1] not in lost}
        now = marks.standing(folder)
        self.choices = {place: choice for place, choice in now.choices.items() if not choice.deadline.excused}
        self.release = Release.of(folder)
        self.scores = gradebook.read(folder)
        self.earlier = {name: release.earlier(folder, name) for name in self.release.given}
        self.answers = {name: _answers(text) for name, text in self.release.given.items()}
        self.kept_back: list[tuple[Place, list[Change]]] = []

    def run(self) -> None:
        """Grade what is to be graded, enter it, and ask about the marks that would move."""
        with engine.Journal(_journal(self.folder)) as journal:
            waiting: list[Verdict] = []
            try:
                with contextlib.closing(self._verdicts(journal)) as verdicts:
                    for verdict in verdicts:
                        waiting.append(verdict)
                        if len(waiting) >= CHUNK:
                            chunk, waiting = waiting, []  # what cannot be entered is not tried again below
                            self._enter(chunk)
            finally:  # what is judged is entered, though the run is interrupted
                self._enter(waiting)
                if journal.damage:
                    self.tell(journal.damage)
            changes = [change for _, some in self.kept_back for change in some]
            if changes and self.accept(changes):
                self._enter_kept_back(journal)
        marks.write_dates(self.folder)

    def _verdicts(self, journal: engine.Journal) -> Generator[Verdict, None, None]:
        """The engine's verdicts, with a bar that counts what failed and what tampered."""
        counts: Counter[str] = Counter()
        submissions = (self._submission(choice) for choice in self.choices.values())
        with bar("grading", "submission", total=len(self.choices)) as seen:
            for verdict in self.by(self.release, submissions, self.options, journal):
                counts[verdict.status] += 1
                seen.set_postfix(failed=counts["failed"], tampered=counts["tampered"], refresh=False)
                seen.update()
                yield verdict

    def _submission(self, choice: Choice) -> Submission:
        one = choice.attempt
        return Submission(one.student, one.exercise, attempts.path(self.folder, one))

    def _enter(self, verdicts: list[Verdict], *, accepted: bool = False) -> None:
        """Enter a chunk in one transaction, but for what would move a mark that exists."""
        chunk = []
        for verdict in verdicts:
            place = verdict.student, verdict.exercise
            one = self._settled(verdict)
            changes = entries.changes(self.scores, [one.entry])
            if changes and not accepted:
                self.kept_back.append((place, changes))
            elif changes or self.before.get(place) != one.outcome or not self._is_entered(one):
                chunk.append(one)
        if chunk:
            entries.enter(self.folder, [one.entry for one in chunk])
            engine.folders.write(self.folder, [self._counted(one.verdict) for one in chunk])
            outcomes.append(self.folder, [one.outcome for one in chunk])

    def _counted(self, verdict: Verdict) -> engine.folders.Counted:
        """A verdict with what came in, for nbgrader's folders."""
        choice = self.choices[verdict.student, verdict.exercise]
        return engine.folders.Counted(
            _to_show(verdict), attempts.load(self.folder, choice.attempt), choice.when
        )

    def _is_entered(self, one: Settled) -> bool:
        """Whether gradebook and folders have what they should: a copy put back may not."""
        place = one.entry.student, one.entry.exercise
        is_scored = not one.entry.marks or place in self.scores
        return is_scored and engine.folders.is_written(
            self.folder, _to_show(one.verdict), self.choices[place].when
        )

    def _enter_kept_back(self, journal: engine.Journal) -> None:
        """Enter what was kept back, from the journal, a chunk at a time."""
        places = [place for place, _ in self.kept_back]
        for first in range(0, len(places), CHUNK):
            some = [self._submission(self.choices[place]) for place in places[first : first + CHUNK]]
            known = [journal.known(one, self.release, self.options.deciding) for one in some]
            self._enter([one for one in known if one], accepted=True)

    def _settled(self, verdict: Verdict) -> Settled:
        """What of a verdict goes where."""
        place = verdict.student, verdict.exercise
        attempt = self.choices[place].attempt
        before = self.before.get(place)
        failed = verdict.status == "failed"
        renamed = Path(attempt.name).name not in ("", f"{attempt.exercise}.ipynb")
        entry = Entry(
            *place,
            {} if failed else {name: mark.points for name, mark in verdict.marks.items()},
            {} if failed else self._comments(attempt),
            same=before is not None and before.digest == attempt.digest,
        )
        outcome = Outcome(
            *place,
            attempt.digest,
            verdict.status,
            verdict.reason,
            (
                *self._remarks(verdict, attempt),
                *([f"it was called {Path(attempt.name).name}"] if renamed else ()),
            ),
            {name: mark.reason for name, mark in verdict.marks.items() if mark.reason},
            round(verdict.seconds, 3),
            verdict.instructions,
            bills.said(verdict.notebook),
            verdict.layers,
        )
        return Settled(verdict, entry, outcome)

    def _remarks(self, verdict: Verdict, attempt: attempts.Attempt) -> tuple[str, ...]:
        """What was restored, but for what an earlier release gave out so."""
        earlier = self.earlier[attempt.exercise]
        if not (verdict.remarks and earlier):
            return verdict.remarks
        return told(verdict.remarks, attempts.load(self.folder, attempt), earlier)

    def _comments(self, attempt: attempts.Attempt) -> dict[str, str]:
        """Nbgrader's own remark beside each cell for an answer that is as it was given out."""
        given = self.answers[attempt.exercise]
        mine = similarity.written(attempts.load(self.folder, attempt), given)
        return {name: "No response." for name, text in given.items() if mine.get(name, text) == text}


def _journal(folder: Path) -> Path:
    """The journal of this release's library: another library's verdicts are not this one's."""
    path = folder / f"journal-{release.facts(folder)['model'][:12]}"
    for other in folder.glob("journal-*"):
        if other != path:
            other.unlink()
    return path


def _answers(given: str) -> Mapping[str, str]:
    """The cells of a release that are for answers."""
    return {
        cell["metadata"]["nbgrader"]["grade_id"]: "".join(cell["source"])
        for cell in json.loads(given)["cells"]
        if cell["metadata"].get("nbgrader", {}).get("solution")
    }


def _to_show(verdict: Verdict) -> Verdict:
    """A verdict whose notebook formgrader shows: a tampered one, too, for a hand has to decide on it."""
    return verdict._replace(status="graded") if verdict.notebook else verdict
