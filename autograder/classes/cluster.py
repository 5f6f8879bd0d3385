"""The same grading on a dask.distributed cluster: chunks of submissions go out, verdicts come back.

The workers need the same course and its extra `cluster`. They hold no class: what decides marks is sent with
the work, the class's own svmlib included, so the channel has to be TLS, but on one's own machine. A chunk
whose worker is killed is sent again; one that goes on killing workers is taken apart, and what is left has
failed. Journal and gradebook stay where the class is.
"""

import atexit
import ipaddress
import tempfile
import zipfile
from collections import deque
from collections.abc import Callable, Iterator
from functools import cache
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .. import engine as local
from ..judge.release import Release, Submission
from ..judge.verdict import Verdict
from ..release import ReleaseError

CHUNK = 100  # submissions of a task: seconds of work, milliseconds of overhead
AHEAD = 3  # tasks for each worker that are out at a time
PATIENCE = 20  # seconds for the scheduler to answer
RETRIES = 3  # times that a chunk is sent again when its worker is lost


def engine(address: str, security: Any = None) -> Callable[..., Iterator[Verdict]]:
    """What grades on the cluster of that scheduler, to be called as the local engine is."""
    _refuse_plain(address)

    def grade(
        release: Release,
        submissions: Iterator[Submission],
        options: local.Options,
        journal: local.Journal | None = None,
    ) -> Iterator[Verdict]:
        new: list[Submission] = []
        for one in submissions:
            known = journal.known(one, release, options.deciding) if journal else None
            if known:
                yield known
            else:
                new.append(one)
        for verdict in _spread(address, security, release, new, options):
            if journal:
                journal.append(verdict, release, options.deciding)
            yield verdict

    return grade


def _refuse_plain(address: str) -> None:
    """Submissions, hidden tests and seeds go over this channel."""
    parts = urlsplit(address)
    if parts.scheme not in ("tls", "tcp") or not parts.hostname or not parts.port:
        raise ReleaseError(f'"{address}" is no scheduler: an address is written tls://HOST:PORT')
    try:
        is_here = parts.hostname == "localhost" or ipaddress.ip_address(parts.hostname).is_loopback
    except ValueError:
        is_here = False
    if parts.scheme == "tcp" and not is_here:
        raise ReleaseError(
            f"{address} is not encrypted, and hidden tests and submissions would go over it: use tls://, "
            "with the certificates in dask's configuration (distributed.comm.tls)"
        )


def _spread(
    address: str, security: Any, release: Release, submissions: list[Submission], options: local.Options
) -> Iterator[Verdict]:
    """Send chunks out and take verdicts in, no more at a time than the workers need."""
    if not submissions:
        return
    try:
        from distributed import Client, as_completed
    except ModuleNotFoundError:
        raise ReleaseError("dask is not here: pip install 'svmlib[cluster]'") from None
    try:
        client = Client(address, security=security, timeout=PATIENCE, set_as_default=False)
    except (OSError, TimeoutError) as error:
        raise ReleaseError(f"{address} does not answer: {error}. Is the scheduler running?") from None
    with client:
        workers = max(1, len(client.scheduler_info(n_workers=-1)["workers"]))
        sent = client.scatter([tuple(release), _packed(options.library)], broadcast=True, hash=False)
        settings = options._replace(workers=1, library="")._asdict()
        rules, library = sent
        chunks = deque(_chunks(submissions))
        out: dict[Any, list[Submission]] = {}

        def send() -> Any:
            chunk = chunks.popleft()
            texts = [(one.student, one.exercise, one.data) for one in chunk]
            future = client.submit(_grade_chunk, rules, library, texts, settings, retries=RETRIES, pure=False)
            out[future] = chunk
            return future

        first = [send() for _ in range(min(len(chunks), AHEAD * workers))]
        results = as_completed(first, loop=client.loop)
        for future in results:
            chunk = out.pop(future)
            if future.status == "finished":
                yield from map(Verdict.from_dict, future.result())
            elif len(chunk) > 1:
                chunks.extendleft([one] for one in chunk)
            else:
                yield _lost(chunk[0], future)
            while chunks and len(out) < AHEAD * workers:
                results.add(send())


def _packed(library: str) -> bytes:
    """The class's svmlib as an archive; nothing where the course's own grades."""
    packed = BytesIO()
    if not library:
        return b""
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(Path(library).rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(library))
    return packed.getvalue()


@cache
def _unpacked(library: bytes) -> str:
    """A folder with that svmlib, on a worker, for as long as the worker lives."""
    if not library:
        return ""
    place = tempfile.TemporaryDirectory(prefix="svmlib-")
    atexit.register(place.cleanup)
    with zipfile.ZipFile(BytesIO(library)) as archive:
        archive.extractall(place.name)
    return place.name


def _chunks(submissions: list[Submission]) -> Iterator[list[Submission]]:
    rest = iter(submissions)
    while chunk := list(islice(rest, CHUNK)):
        yield chunk


def _lost(one: Submission, future: Any) -> Verdict:
    error = future.exception()
    if type(error).__name__ != "KilledWorker":
        raise ReleaseError(f"a worker of the cluster cannot grade: {error}")
    return Verdict(one.student, one.exercise, "failed", "it took the grading process down", digest=one.digest)


def _grade_chunk(
    release: tuple[Any, ...], library: bytes, chunk: list[tuple[str, str, bytes]], options: dict[str, Any]
) -> list[dict[str, Any]]:
    """Grade a chunk, on a worker of the cluster: plain data in and out."""
    submissions = [Submission(*one) for one in chunk]
    settings = local.Options(**options)._replace(library=_unpacked(library))
    verdicts = local.grade(Release(*release), submissions, settings)
    return [verdict.as_dict() for verdict in verdicts]
