"""Faults in file operations: the operation number N below a folder fails, or the process is killed there.

Python announces opening, renaming, removing and creating files to audit hooks; writing and fsync are replaced. What
C libraries write (Parquet, HDF5, safetensors) is stopped by a limit on the size of files, in the middle of a write.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn

FaultKind = Literal["enospc", "full", "eio", "kill", "torn", "limit", "limit-kill"]
FAULT_KINDS: tuple[FaultKind, ...] = ("enospc", "full", "eio", "kill", "torn")
"""Faults at one operation: no space once, no space from there on, input/output error, kill, kill within a write."""
LIMIT_KINDS: tuple[FaultKind, ...] = ("limit", "limit-kill")
"""No file can become larger than N bytes: writing more is an error, or kills the process."""
NEEDS_SPACE = ("open", "write", "fsync", "mkdir", "rename")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


@dataclass(frozen=True)
class Fault:
    """What fails, and where."""

    kind: FaultKind
    at: int
    """Number of the operation, from 0, or the limit in bytes."""


def kill_this_process() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("still alive")


class Operations:
    """Counts the file operations below a folder and makes the fault happen."""

    def __init__(self, folder: Path, fault: Fault | None) -> None:
        self._folder = os.path.realpath(folder)
        self._fault = fault
        self._lock = threading.Lock()
        self.names: list[str] = []
        """Operations so far, for example ``rename five.json``."""

    def install(self) -> None:
        """Watch this process from now on. This cannot be undone."""
        if self._fault and self._fault.kind in LIMIT_KINDS:
            _limit_file_size(self._fault)
            return
        sys.addaudithook(self._audit)
        fsync, write = os.fsync, os.write

        def counted_fsync(handle: int) -> None:
            self.meet("fsync", handle)
            fsync(handle)

        def counted_write(handle: int, data: Any) -> int:
            self.meet("write", handle, lambda: write(handle, data[: len(data) // 2]))
            return write(handle, data)

        for module, name, replacement in (
            (os, "fsync", counted_fsync),
            (os, "write", counted_write),
            (io, "open", self._open),
            (builtins, "open", self._open),
        ):
            setattr(module, name, replacement)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if flags & WRITING and not isinstance(path, int):
                self.meet("open", path)
        elif event == "os.rename":
            self.meet("rename", arguments[1], folder=arguments[3])
        elif event in ("os.remove", "os.rmdir"):
            self.meet(event.removeprefix("os."), arguments[0], folder=arguments[1])
        elif event == "os.mkdir":
            self.meet("mkdir", arguments[0], folder=arguments[2])
        elif event in ("os.truncate", "os.chmod"):
            self.meet(event.removeprefix("os."), arguments[0])

    def meet(self, name: str, path: Any, half: Callable[[], Any] = lambda: None, *, folder: int = -1) -> None:
        """Count an operation on ``path``; fail if it is the one. ``half`` does a part of it."""
        absolute = _absolute(path, folder)
        if absolute != self._folder and not absolute.startswith(self._folder + os.sep):
            return
        with self._lock:
            number = len(self.names)
            self.names.append(f"{name} {os.path.relpath(absolute, self._folder)}")
        fault = self._fault
        if fault is None or number < fault.at or (number > fault.at and fault.kind != "full"):
            return
        if fault.kind == "torn":
            half()
        if fault.kind in ("kill", "torn"):
            kill_this_process()
        if fault.kind == "eio":
            raise OSError(errno.EIO, os.strerror(errno.EIO), absolute)
        if name in NEEDS_SPACE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), absolute)

    def _open(
        self,
        file: Any,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        closefd: bool = True,
        opener: Any = None,
    ) -> Any:
        """Open a file as `open` does; its writes are operations."""
        if not set(mode) & set("wax+"):
            return _real_open(file, mode, buffering, encoding, errors, newline, closefd, opener)
        raw = _CountedFile(file, mode.replace("b", "").replace("t", ""), closefd, opener)
        raw.operations = self
        if buffering == 0:
            return raw
        buffer = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return buffer if "b" in mode else io.TextIOWrapper(buffer, encoding, errors, newline, buffering == 1)


_real_open = io.open


class _CountedFile(io.FileIO):
    operations: Operations

    def write(self, data: Any, /) -> int:
        view = memoryview(data).cast("B")
        self.operations.meet("write", self.fileno(), lambda: super(_CountedFile, self).write(view[: len(view) // 2]))
        return super().write(data)


def _absolute(path: Any, folder: int) -> str:
    if isinstance(path, int):
        return os.path.realpath(f"/proc/self/fd/{path}")
    name = os.fsdecode(path)
    return os.path.realpath(name if folder < 0 or name.startswith(os.sep) else f"/proc/self/fd/{folder}/{name}")


def _limit_file_size(fault: Fault) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL if fault.kind == "limit-kill" else signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (fault.at, resource.RLIM_INFINITY))
