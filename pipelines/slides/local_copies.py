"""Copies of slides in a local folder, for slides on slow storage."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pipelines.core.batch import Ahead
from pipelines.core.cohort import CohortSlide
from pipelines.core.errors import SlideError
from pipelines.core.files import cannot_write, fingerprint, is_left_over, part_suffix
from pipelines.slides.slide_files import slide_files

_COPYING = threading.Lock()
"""One copy at a time in a process: slow storage is not faster when it is asked twice, and threads
that ask for the same slide make one copy."""


@dataclass(frozen=True)
class LocalCopies:
    """Where one run keeps copies of slides. Made by `staging`; travels to worker processes."""

    folder: Path | None
    """Folder of the run; None where slides are read where they are."""

    def fetch(self, slide: Path, slide_id: str) -> Path:
        """Return the path of the local copy of ``slide`` for ``slide_id``, made now if there is none.

        Ids that share a file have copies of their own, so that one may be dropped while another is read.

        Raises
        ------
        SlideError
            The slide cannot be read, or the folder has no room for it.
        """
        if self.folder is None:
            return slide
        place = self._place(self.folder, slide_id)
        if not place.exists():  # a copy that is there does not wait for another that is being made
            with _COPYING:
                if not place.exists():
                    _copy(slide, place)
        return place / slide.name

    def drop(self, slide_id: str) -> None:
        """Delete the copy for ``slide_id``, if there is one."""
        if self.folder is not None:
            shutil.rmtree(self._place(self.folder, slide_id), ignore_errors=True)

    @contextmanager
    def local(self, slide: Path, slide_id: str) -> Iterator[Path]:
        """Yield the copy of ``slide`` (see `fetch`); errors that name the copy name the slide instead."""
        copy = self.fetch(slide, slide_id)
        try:
            yield copy
        except SlideError as error:
            error.message = error.message.replace(str(copy), str(slide))
            raise

    @staticmethod
    def _place(folder: Path, slide_id: str) -> Path:
        return folder / fingerprint(slide_id)


IN_PLACE = LocalCopies(None)


@dataclass(frozen=True)
class CopiesAhead(Ahead):
    """Copies slides to ``stage`` before their turn in a batch."""

    stage: LocalCopies
    is_current: Callable[[CohortSlide], bool]
    """Tells which slides will not be read."""

    def prepare(self, slide: CohortSlide) -> None:
        """Copy ``slide`` if it will be read; what goes wrong is told when its turn comes."""
        with suppress(SlideError):
            if slide.path is not None and not self.is_current(slide):
                self.stage.fetch(slide.path, slide.slide_id)

    def release(self, slide: CohortSlide) -> None:
        """Delete the copy."""
        self.stage.drop(slide.slide_id)


@contextmanager
def staging(folder: Path | None) -> Iterator[LocalCopies]:
    """Yield a `LocalCopies` in ``folder``, which goes with its copies at the end; what dead runs left there goes first.

    Raises
    ------
    ArtifactError
        The folder cannot be written.
    """
    if folder is None:
        yield LocalCopies(None)
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for found in folder.iterdir():
            if is_left_over(found):
                shutil.rmtree(found, ignore_errors=True)
        own = Path(tempfile.mkdtemp(prefix="five-", suffix=part_suffix(), dir=folder))
    except OSError as error:
        raise cannot_write(folder, error) from error
    try:
        yield LocalCopies(own)
    finally:
        shutil.rmtree(own, ignore_errors=True)


def _copy(slide: Path, place: Path) -> None:
    """Copy all files of ``slide`` to the folder ``place``, which appears whole or not at all."""
    part = place.with_name(f"{place.name}-{os.getpid()}")
    try:
        files = slide_files(slide)
        size, free = sum(file.stat().st_size for file in files), shutil.disk_usage(place.parent).free
        if size > free:
            raise SlideError(
                f"{slide}: {size / 1e9:.2f} GB, and {place.parent.parent} has {free / 1e9:.2f} GB free for its copy",
                hint="free some space, choose another --stage-dir, or fewer --workers",
            )
        for file in files:
            target = part / file.relative_to(slide.parent)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
        part.rename(place)
    except OSError as error:
        raise SlideError(
            f"{slide}: cannot be copied to {place.parent.parent}: {error.strerror or error}",
            hint="check that the slide can be read, and the free space of --stage-dir",
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
