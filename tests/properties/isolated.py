"""Call readers that use C libraries in a process of their own, with limits of memory and CPU time.

A crash, an endless loop or too much memory in a library ends this process, not the tests. ``python -m
tests.properties.isolated READER MEGABYTES`` reads paths from stdin and writes a JSON line for each.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

from pipelines.core.errors import FiveError
from tests.properties.readers import check_message

CPU_SECONDS = 60
"""Far more than the small files of these tests need."""


class IsolatedReader:
    """A process that reads files with one of `READERS`; it is started again after a crash."""

    def __init__(self, name: str, *, megabytes: int = 1_000) -> None:
        self._command = [sys.executable, "-m", "tests.properties.isolated", name, str(megabytes)]
        self._process: subprocess.Popen[str] | None = None
        self._log = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 - a pipe would fill up

    def read(self, path: Path) -> str:
        """Read ``path``; return the message of the `FiveError`, or an empty text. Fail for everything else."""
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True
            )
        self._process.stdin.write(f"{path}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            self._log.seek(0)
            log = self._log.read()[-1_000:]
            raise AssertionError(f"the process ended with {code} (-27: more than {CPU_SECONDS} CPU seconds): {log}")
        reply = json.loads(line)
        assert not reply["bug"], reply["bug"]
        check_message(reply["message"])
        return reply["message"]

    def close(self) -> None:
        if self._process is not None:
            self._process.communicate()
            self._process = None
        self._log.close()


def read_slide(path: Path) -> None:
    """Read a slide as `five tile` and `five embed` do: resolution, thumbnail, tiles of all levels."""
    from pipelines.slides.slide import open_slide

    with open_slide(path, 0.25) as slide:
        mpp = slide.mpp
        assert all(0 < value < float("inf") for value in mpp)
        slide.thumbnail(8.0)
        width, height = slide.dimensions
        for downsample in (1, 4):
            for x, y in ((0, 0), (max(0, width // 2 - 50), max(0, height // 2 - 50)), (width - 64, height - 64)):
                try:
                    slide.read_tile(x, y, 128 * downsample, 128)
                except FiveError as error:
                    check_message(error.message)


def read_mask_file(path: Path) -> None:
    """Read a tissue mask for a thumbnail of a slide of 4,000 x 3,000 pixels."""
    import numpy as np

    from pipelines.slides.given_mask import read_mask

    thumbnail = SimpleNamespace(rgb=np.zeros((300, 400, 3), np.uint8), downsample=(10.0, 10.0))
    mask = read_mask(path, thumbnail, (4_000, 3_000))
    assert mask.shape == (300, 400)
    assert mask.dtype == bool


def read_model_file(path: Path) -> None:
    """Read weights, a TorchScript file or features as `five embed`, `five train` and `five predict` do.

    The name of the file starts with its kind.
    """
    import torch

    from pipelines.core.feature_file import content_fingerprint, read_bag, read_header
    from pipelines.encoders.networks import load_network
    from pipelines.encoders.other_encoders import other_encoder
    from pipelines.encoders.weights import read_weights

    match path.name.partition("-")[0]:
        case "weights":
            assert all(isinstance(value, torch.Tensor) for value in read_weights(path).values())
        case "torchscript":
            load_network(other_encoder(f"torchscript:{path}"), None)
        case _:
            content_fingerprint(path)
            read_header(path)
            read_bag(path)


READERS = {"slide": read_slide, "mask": read_mask_file, "model_file": read_model_file}


def main() -> None:
    """Read paths from stdin until it ends."""
    name, megabytes = sys.argv[1:]
    read, warm_up = READERS[name], Path(os.devnull)
    answer(read, warm_up)  # load the libraries before memory is limited
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries may print
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + int(megabytes) * 2**20,) * 2)
    for line in sys.stdin:
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)  # its signal ends the process, also within a library
        print(json.dumps(answer(read, Path(line.rstrip("\n")))), file=out, flush=True)


def answer(read, path):
    """Return the message of the error that a reader raises, or how it failed otherwise."""
    try:
        read(path)
    except FiveError as error:
        return {"message": error.message, "bug": ""}
    except BaseException as error:  # noqa: BLE001
        import traceback

        return {"message": "", "bug": "".join(traceback.format_exception(error))[-3000:]}
    return {"message": "", "bug": ""}


if __name__ == "__main__":
    main()
