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
"""Allows one copy at a time per process: parallel reads do not speed up slow storage, and threads
that need the same slide share one copy."""


@dataclass(frozen=True)
class LocalCopies:
    """Copies of slides in the folder of one run, made by `local_copies`. Can be sent to worker processes."""

    folder: Path | None
    """Folder of the run; None to read slides from their own path."""

    def fetch(self, slide: Path, slide_id: str) -> Path:
        """Return the path of the local copy of ``slide`` for ``slide_id``; copy it if there is none yet.

        Two ids with the same file have separate copies, so one can be dropped while the other is read.

        Raises
        ------
        SlideError
            The slide cannot be read, or the folder has too little free space.
        """
        if self.folder is None:
            return slide
        copy_folder = self._copy_folder(self.folder, slide_id)
        if not copy_folder.exists():  # an existing copy is returned without waiting for the lock
            with _COPYING:
                if not copy_folder.exists():
                    _copy(slide, copy_folder)
        return copy_folder / slide.name

    def drop(self, slide_id: str) -> None:
        """Delete the copy for ``slide_id`` if there is one."""
        if self.folder is not None:
            shutil.rmtree(self._copy_folder(self.folder, slide_id), ignore_errors=True)

    @contextmanager
    def local(self, slide: Path, slide_id: str) -> Iterator[Path]:
        """Yield the path of the copy of ``slide`` (see `fetch`); errors show the path of the slide instead."""
        copy = self.fetch(slide, slide_id)
        try:
            yield copy
        except SlideError as error:
            error.message = error.message.replace(str(copy), str(slide))
            raise

    @staticmethod
    def _copy_folder(folder: Path, slide_id: str) -> Path:
        return folder / fingerprint(slide_id)


IN_PLACE = LocalCopies(None)
"""Makes no copies: slides are read from their own path."""


@dataclass(frozen=True)
class CopiesAhead(Ahead):
    """Copies slides to ``copies`` before the batch reaches them."""

    copies: LocalCopies
    is_current: Callable[[CohortSlide], bool]
    """Returns True for slides that will not be read."""

    def prepare(self, slide: CohortSlide) -> None:
        """Copy ``slide`` if it will be read. Errors are ignored here; they occur again when it is read."""
        with suppress(SlideError):
            if slide.path is not None and not self.is_current(slide):
                self.copies.fetch(slide.path, slide.slide_id)

    def release(self, slide: CohortSlide) -> None:
        """Delete the copy."""
        self.copies.drop(slide.slide_id)


@contextmanager
def local_copies(folder: Path | None) -> Iterator[LocalCopies]:
    """Yield `LocalCopies` in a new folder inside ``folder``, and delete that folder at the end.

    Folders that killed runs left behind are deleted first. With None, slides are not copied.

    Raises
    ------
    ArtifactError
        The folder cannot be written.
    """
    if folder is None:
        yield IN_PLACE
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.iterdir():
            if is_left_over(path):
                shutil.rmtree(path, ignore_errors=True)
        run_folder = Path(tempfile.mkdtemp(prefix="five-", suffix=part_suffix(), dir=folder))
    except OSError as error:
        raise cannot_write(folder, error) from error
    try:
        yield LocalCopies(run_folder)
    finally:
        shutil.rmtree(run_folder, ignore_errors=True)


def _copy(slide: Path, target: Path) -> None:
    """Copy all files of ``slide`` to the folder ``target``, which appears only when it is complete."""
    part = target.with_name(f"{target.name}-{os.getpid()}")
    try:
        files = slide_files(slide)
        size, free = sum(file.stat().st_size for file in files), shutil.disk_usage(target.parent).free
        if size > free:
            raise SlideError(
                f"{slide}: the slide has {size / 1e9:.2f} GB, but {target.parent.parent} has {free / 1e9:.2f} GB free",
                hint="free some space, choose another --stage-dir, or use fewer --workers",
            )
        for file in files:
            copy = part / file.relative_to(slide.parent)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
        part.rename(target)
    except OSError as error:
        raise SlideError(
            f"{slide}: cannot be copied to {target.parent.parent}: {error.strerror or error}",
            hint="check that the slide can be read and that --stage-dir has enough free space",
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
