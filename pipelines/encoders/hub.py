"""Files of the Hugging Face hub: from the cache, else in one attempt, else told which file to put where."""

from __future__ import annotations

from pathlib import Path

from pipelines.core.errors import EncoderError

TIMEOUT = 5
"""Seconds that the hub has to answer. Its own client would try for half a minute."""
TWINS = {"model.safetensors": "pytorch_model.bin", "pytorch_model.bin": "model.safetensors"}
"""Weights that repositories keep in either form, and the other form."""


def hub_file(name: str, repository: str, filename: str, *, gated: bool = False) -> Path:
    """Return ``filename`` of ``repository`` on this machine, fetched if need be.

    Parameters
    ----------
    name
        Of the encoder, for the error message.

    Raises
    ------
    EncoderError
        The file is not in the cache and cannot be fetched now; the hint says what to do.
    """
    from huggingface_hub import constants, try_to_load_from_cache

    names = [filename, TWINS[filename]] if filename in TWINS else [filename]
    for each in names:
        cached = try_to_load_from_cache(repository, each)
        if isinstance(cached, str):
            return Path(cached)
    if constants.HF_HUB_OFFLINE:
        raise _not_here(name, repository, filename, "the hub is switched off by HF_HUB_OFFLINE", gated=gated)
    return _fetch(name, repository, names, gated=gated)


def _fetch(name: str, repository: str, names: list[str], *, gated: bool) -> Path:
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, LocalEntryNotFoundError

    filename, *twins = names
    try:
        get_hf_file_metadata(hf_hub_url(repository, filename), timeout=TIMEOUT)  # no second attempt
        return Path(hf_hub_download(repository, filename, etag_timeout=TIMEOUT))
    except Exception as error:  # what an unreachable hub raises differs between versions of its client
        if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
            if twins:
                return _fetch(name, repository, twins, gated=gated)
            why = "the repository does not hold it"
        elif isinstance(error, GatedRepoError):
            why, gated = "its authors have not given you access yet", True
        else:
            why = f"the hub cannot be reached ({type(error).__name__})"
        raise _not_here(name, repository, filename, why, gated=gated) from error


def _not_here(name: str, repository: str, filename: str, why: str, *, gated: bool) -> EncoderError:
    from huggingface_hub import constants

    page = f"https://huggingface.co/{repository}"
    licence = f"accept the licence on {page} and run `hf auth login`; or " if gated else ""
    cache = f"its folder models--{repository.replace('/', '--')} of the cache there into {constants.HF_HUB_CACHE}"
    if filename.endswith(".json"):
        what, use = repository, f"then copy {cache}, or its files into a folder for --encoder hf:FOLDER"
    else:
        what, use = f"{repository} {filename}", f"then pass that file with --weights, or copy {cache}"
    return EncoderError(
        f"{name}: the file {filename} of {page} is not on this machine, and {why}",
        hint=f"{licence}where there is internet run `hf download {what}`, {use}",
    )
