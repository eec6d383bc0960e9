"""Get files of the Hugging Face hub from the local cache, or with a single download attempt."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipelines.core.errors import EncoderError
from pipelines.core.json_text import parse_json

TIMEOUT = 5
"""Seconds to wait for the hub. The default of its client is half a minute."""
OTHER_FORMATS = {
    "model.safetensors": "pytorch_model.bin",
    "pytorch_model.bin": "model.safetensors",
    "open_clip_model.safetensors": "open_clip_pytorch_model.bin",
}
"""Weights file -> its name in the other format; repositories have either."""
WEIGHTS_SUFFIXES = (".safetensors", ".bin", ".pth", ".pt")


class NotInRepositoryError(EncoderError):
    """The hub answered that a repository does not contain a file."""


def hub_file(
    name: str, repository: str, filename: str, *, gated: bool = False, also_missing: Sequence[str] = ()
) -> Path:
    """Return the local path of ``filename`` in ``repository``; download the file if it is not cached.

    Parameters
    ----------
    name
        Name of the encoder, for error messages.
    also_missing
        Other files of the repository that are not on this machine, for error messages.

    Raises
    ------
    EncoderError
        The file is neither cached nor can it be downloaded; the hint says what to do.
    """
    from huggingface_hub import constants

    names = [filename, OTHER_FORMATS[filename]] if filename in OTHER_FORMATS else [filename]
    for each in names:
        cached = cached_file(repository, each)
        if cached is not None:
            return cached
    if constants.HF_HUB_OFFLINE:
        raise _missing_files(name, repository, [filename, *also_missing], "HF_HUB_OFFLINE is set", gated=gated)
    return _download(name, repository, names, also_missing, gated=gated)


def cached_file(repository: str, filename: str) -> Path | None:
    """Return the path of a file of the hub in the local cache; None if it is not there."""
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(repository, filename)
    return Path(cached) if isinstance(cached, str) else None


def read_json(name: str, source: str, filename: str, *others: str) -> dict[str, Any]:
    """Return the content of a JSON file in the folder or hub repository ``source``.

    Parameters
    ----------
    others
        Other files of the repository that the encoder needs; the error for a missing file names those that are
        missing, too.

    Raises
    ------
    EncoderError
        The file is missing or damaged.
    """
    if Path(source).is_dir():
        path = Path(source) / filename
    else:
        missing = [other for other in others if cached_file(source, other) is None]
        path = hub_file(name, source, filename, also_missing=missing)
    try:
        content: dict[str, Any] = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EncoderError(f"{path}: not a readable JSON file", hint="download the repository again") from error
    return content


def _download(name: str, repository: str, names: list[str], also_missing: Sequence[str], *, gated: bool) -> Path:
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, LocalEntryNotFoundError

    filename, *other_formats = names
    kind: type[EncoderError] = EncoderError
    try:
        get_hf_file_metadata(hf_hub_url(repository, filename), timeout=TIMEOUT)  # fails without retries
        return Path(hf_hub_download(repository, filename, etag_timeout=TIMEOUT))
    except Exception as error:  # the errors of an unreachable hub differ between client versions
        if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
            if other_formats:
                return _download(name, repository, other_formats, also_missing, gated=gated)
            reason, kind = "the repository does not contain it", NotInRepositoryError
        elif isinstance(error, GatedRepoError):
            reason, gated = "its authors have not given you access yet", True
        else:
            reason = f"the hub cannot be reached ({type(error).__name__})"
        raise _missing_files(name, repository, [filename, *also_missing], reason, kind, gated=gated) from error


def _missing_files(
    name: str,
    repository: str,
    filenames: Sequence[str],
    reason: str,
    kind: type[EncoderError] = EncoderError,
    *,
    gated: bool,
) -> EncoderError:
    from huggingface_hub import constants

    page = f"https://huggingface.co/{repository}"
    license_step = f"accept the license on {page} and run `hf auth login`; or " if gated else ""
    cache = f"the folder models--{repository.replace('/', '--')} of its cache into {constants.HF_HUB_CACHE}"
    target, weights = f"{repository} {' '.join(filenames)}", filenames[0].endswith(WEIGHTS_SUFFIXES)
    beside = " and ".join(filenames[weights:])
    if filenames[0].endswith("config.json"):
        kind_of_folder = "open_clip" if filenames[0].startswith("open_clip") else "hf"
        use = f"copy {cache}, or copy the files into a folder for --encoder {kind_of_folder}:FOLDER"
        target = repository
    elif weights:
        use = f"pass the file with --weights{beside and f', with {beside} in the same folder'}, or copy {cache}"
    else:
        use = f"put {beside} into the folder of the weights file, or copy {cache}"
    named, is_missing = f"the file {filenames[0]}", "is not on this machine"
    if len(filenames) > 1:
        named, is_missing = f"the files {' and '.join(filenames)}", "are not on this machine"
    return kind(
        f"{name}: {named} of {page} {is_missing}, and {reason}",
        hint=f"{license_step}run `hf download {target}` on a machine with internet access, then {use}",
    )
