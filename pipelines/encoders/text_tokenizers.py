"""Find the files of a text tower's tokenizer and load it: texts become token ids, with special tokens, never cut."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.core.errors import EncoderError
from pipelines.encoders.hub import NotInRepositoryError, cached_file, hub_file
from pipelines.encoders.preset import Preset, TextPreset

Ids = list[list[int]]


@dataclass(frozen=True)
class Tokenizer:
    """Turns texts into token ids."""

    ids: Callable[[list[str]], Ids]
    """Texts -> token ids of each, with the special tokens at its start and end."""
    pad_id: int
    size: int
    """Number of tokens it knows."""
    limit: int = 10**9
    """Largest number of tokens of a text, as its own configuration says."""


@dataclass(frozen=True)
class TokenizerKind:
    """How the tokenizer of some text towers is stored and loaded."""

    files: tuple[tuple[str, ...], ...]
    """Names of its files. Each entry is enough; the first one found is used."""
    load: Callable[[Sequence[Path]], Tokenizer]
    package: str = ""
    """Python package of the authors that contains the files."""
    optional: tuple[str, ...] = ()
    """Names of further files that are downloaded if the repository has them."""


def find_tokenizer_files(preset: Preset, text: TextPreset, weights: Path | None) -> list[Path]:
    """Return the files of the tokenizer that are on this machine; empty if they are missing.

    They are looked for in the folder of the weights file, in the authors' package and in the cache of the hub.

    Parameters
    ----------
    weights
        The weights file, or None if it is unknown.
    """
    kind = TOKENIZERS[text.tokenizer]
    folders = [weights.parent] if weights else []
    for names in kind.files:
        for folder in [*folders, *_folders_in_package(kind)]:
            if all((folder / name).is_file() for name in names):
                return [folder / name for name in names]
        cached = [cached_file(preset.hub, name) for name in names] if preset.hub and not text.files_from else []
        found = [path for path in cached if path is not None]
        if len(found) == len(names):
            return found
    return []


def load_tokenizer(preset: Preset, text: TextPreset, weights: Path) -> Tokenizer:
    """Return the tokenizer of the text tower; missing files are downloaded from the hub.

    Raises
    ------
    EncoderError
        Files are missing or damaged, or belong to another text tower.
    """
    files = find_tokenizer_files(preset, text, weights) or _download(preset, text, weights)
    try:
        tokenizer = TOKENIZERS[text.tokenizer].load(files)
    except ImportError as error:
        raise EncoderError(
            f"{preset.name}: its tokenizer needs the packages sentencepiece and protobuf",
            hint="pip install 'five-wsi[sentencepiece]'",
        ) from error
    except Exception as error:  # tokenizers raises plain Exceptions, transformers many types
        raise EncoderError(
            f"{files[0]}: not a readable tokenizer ({type(error).__name__})",
            hint=f"expected the tokenizer of {preset.name}; download it again",
        ) from error
    if text.vocabulary and tokenizer.size != text.vocabulary:
        raise EncoderError(
            f"{files[0]}: not the tokenizer of {preset.name}: it knows {tokenizer.size:,} tokens, "
            f"not {text.vocabulary:,}",
            hint="keep the weights and the tokenizer of each encoder in a folder of their own",
        )
    return tokenizer


def _download(preset: Preset, text: TextPreset, weights: Path) -> list[Path]:
    kind, first = TOKENIZERS[text.tokenizer], None
    if text.files_from or not preset.hub:
        names = " or ".join(" and ".join(names) for names in kind.files)
        where = f"get it from {text.files_from} and put it there" if text.files_from else "put it there"
        package = f", or install the authors' package {kind.package}" if kind.package else ""
        raise EncoderError(
            f"{preset.name}: its tokenizer {names} is not in {weights.parent}, the folder of the weights file",
            hint=f"{where}{package}",
        )
    for needed in kind.files:
        try:
            files = [hub_file(preset.name, preset.hub, name, gated=preset.gated) for name in needed]
        except NotInRepositoryError as error:
            first = first or error
            continue
        for name in kind.optional:
            with suppress(NotInRepositoryError):
                hub_file(preset.name, preset.hub, name, gated=preset.gated)
        return files
    raise first or EncoderError(f"{preset.name}: has no tokenizer")


def _folders_in_package(kind: TokenizerKind) -> list[Path]:
    spec = importlib.util.find_spec(kind.package) if kind.package else None
    places = spec.submodule_search_locations if spec else None
    return [Path(place) / "open_clip_custom" / "tokenizers" for place in places or ()]


def _from_json(files: Sequence[Path]) -> Tokenizer:
    """Load a ``tokenizer.json``, which says all about splitting and special tokens."""
    from tokenizers import Tokenizer as Backend

    backend = Backend.from_file(str(files[0]))
    backend.no_truncation()
    backend.no_padding()

    def ids(texts: list[str]) -> Ids:
        return [encoding.ids for encoding in backend.encode_batch(texts)]

    pads = (backend.token_to_id(token) for token in ("<pad>", "[PAD]", "<|endoftext|>"))
    return Tokenizer(ids, next((pad for pad in pads if pad is not None), 0), backend.get_vocab_size())


def _with_transformers(class_name: str, **arguments: Any) -> Callable[[Sequence[Path]], Tokenizer]:
    def load(files: Sequence[Path]) -> Tokenizer:
        import transformers
        from transformers.utils import logging

        logging.set_verbosity_error()  # no warning about texts longer than the context: they are refused
        loader = getattr(transformers, class_name)
        folder = files[0].parent
        tokenizer = loader.from_pretrained(folder, local_files_only=True, trust_remote_code=False, **arguments)
        pad = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        limit = int(min(tokenizer.model_max_length, 10**9))
        return Tokenizer(lambda texts: tokenizer(texts)["input_ids"], pad or 0, len(tokenizer), limit)

    return load


def _either(load: Callable[[Sequence[Path]], Tokenizer]) -> Callable[[Sequence[Path]], Tokenizer]:
    """Return a loader that uses ``tokenizer.json`` if it is there, else ``load``."""
    return lambda files: (_from_json if files[0].name == "tokenizer.json" else load)(files)


def _musk(files: Sequence[Path]) -> Tokenizer:
    """Load MUSK's SentencePiece model. Ids are those of XLM-RoBERTa: one higher, after ``<s> <pad> </s> <unk>``."""
    from sentencepiece import SentencePieceProcessor

    model = SentencePieceProcessor(model_file=str(files[0]))
    start, pad, end, unknown = range(4)
    special = {model.unk_id(): unknown, model.bos_id(): start, model.eos_id(): end}

    def ids(texts: list[str]) -> Ids:
        return [[start, *(special.get(piece, piece + 1) for piece in model.encode(text)), end] for text in texts]

    return Tokenizer(ids, pad, model.get_piece_size())


CLIP_FILES, BERT_FILES = ("vocab.json", "merges.txt"), ("vocab.txt",)
TOKENIZERS: Mapping[str, TokenizerKind] = {
    "bert": TokenizerKind(
        (("tokenizer.json",), BERT_FILES), _either(_with_transformers("BertTokenizerFast", do_lower_case=True))
    ),
    "clip": TokenizerKind((("tokenizer.json",), CLIP_FILES), _either(_with_transformers("CLIPTokenizerFast"))),
    "conch": TokenizerKind((("conch_byte_level_bpe_uncased.json",),), _from_json, package="conch"),
    "musk": TokenizerKind((("tokenizer.spm",),), _musk),
    "open_clip": TokenizerKind(((),), _from_json),  # comes with the package
    "auto": TokenizerKind(
        (("tokenizer.json", "tokenizer_config.json"), CLIP_FILES, BERT_FILES, ("spiece.model",)),
        _with_transformers("AutoTokenizer"),
        optional=("special_tokens_map.json", "spiece.model"),
    ),
}
"""`TextPreset.tokenizer` -> kind of tokenizer. ``auto`` leaves the choice of the class to transformers."""
