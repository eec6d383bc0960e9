"""Get files of the Hugging Face hub from the local cache, or with a single download attempt."""

from __future__ import annotations

from pathlib import Path

from pipelines.core.errors import EncoderError

TIMEOUT = 5
"""Seconds to wait for the hub. The default of its client is half a minute."""
OTHER_FORMATS = {"model.safetensors": "pytorch_model.bin", "pytorch_model.bin": "model.safetensors"}
"""Weights file -> its name in the other format; repositories have either."""


def hub_file(name: str, repository: str, filename: str, *, gated: bool = False) -> Path:
    """Return the local path of ``filename`` in ``repository``; download the file if it is not cached.

    Parameters
    ----------
    name
        Name of the encoder, for error messages.

    Raises
    ------
    EncoderError
        The file is neither cached nor can it be downloaded; the hint says what to do.
    """
    from huggingface_hub import constants, try_to_load_from_cache

    names = [filename, OTHER_FORMATS[filename]] if filename in OTHER_FORMATS else [filename]
    for each in names:
        cached = try_to_load_from_cache(repository, each)
        if isinstance(cached, str):
            return Path(cached)
    if constants.HF_HUB_OFFLINE:
        raise _missing_file(name, repository, filename, "HF_HUB_OFFLINE is set", gated=gated)
    return _download(name, repository, names, gated=gated)


def _download(name: str, repository: str, names: list[str], *, gated: bool) -> Path:
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, LocalEntryNotFoundError

    filename, *other_formats = names
    try:
        get_hf_file_metadata(hf_hub_url(repository, filename), timeout=TIMEOUT)  # fails without retries
        return Path(hf_hub_download(repository, filename, etag_timeout=TIMEOUT))
    except Exception as error:  # the errors of an unreachable hub differ between client versions
        if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
            if other_formats:
                return _download(name, repository, other_formats, gated=gated)
            reason = "the repository does not contain it"
        elif isinstance(error, GatedRepoError):
            reason, gated = "its authors have not given you access yet", True
        else:
            reason = f"the hub cannot be reached ({type(error).__name__})"
        raise _missing_file(name, repository, filename, reason, gated=gated) from error


def _missing_file(name: str, repository: str, filename: str, reason: str, *, gated: bool) -> EncoderError:
    from huggingface_hub import constants

    page = f"https://huggingface.co/{repository}"
    license_step = f"accept the license on {page} and run `hf auth login`; or " if gated else ""
    cache = f"the folder models--{repository.replace('/', '--')} of its cache into {constants.HF_HUB_CACHE}"
    if filename.endswith(".json"):
        target, use = repository, f"then copy {cache}, or copy the files into a folder for --encoder hf:FOLDER"
    else:
        target, use = f"{repository} {filename}", f"then pass the file with --weights, or copy {cache}"
    return EncoderError(
        f"{name}: the file {filename} of {page} is not on this machine, and {reason}",
        hint=f"{license_step}run `hf download {target}` on a machine with internet access, {use}",
    )
