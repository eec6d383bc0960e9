"""Tokenizers with a small vocabulary, written in the files of published text towers."""

import json
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, processors


def write_word_tokenizer(path: Path, words, *, start, end):
    """Write a ``tokenizer.json`` in which the id of a word is its place in ``words``.

    ``start`` and ``end`` are the words put around each text; unknown words become the last one.
    """
    ids = {word: place for place, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token=words[-1]))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = [(word, ids[word]) for word in (start, end)]
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{start} $A {end}", special_tokens=special)
    path.parent.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(path))


def write_conch_tokenizer(folder: Path):
    """Write 13 tokens: the special ones, w3 to w12."""
    words = ["<pad>", "<start_of_text>", "<end_of_text>", *(f"w{place}" for place in range(3, 13))]
    path = folder / "conch_byte_level_bpe_uncased.json"
    write_word_tokenizer(path, words, start=words[1], end=words[2])


BERT_WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "tumor", "normal", "lung", "##s", "of"]


def write_bert_tokenizer(folder: Path):
    """Write ``vocab.txt`` with the words in `BERT_WORDS`."""
    (folder / "vocab.txt").write_text("\n".join(BERT_WORDS) + "\n")


CLIP_PIECES = ["l", "u", "n", "g</w>", "lu", "lun", "lung</w>", "o", "f</w>", "of</w>"]
CLIP_WORDS = [*CLIP_PIECES, "<|startoftext|>", "<|endoftext|>"]


def write_clip_tokenizer(folder: Path):
    """Write ``vocab.json`` and ``merges.txt``, which make one token of "lung" and one of "of"."""
    (folder / "vocab.json").write_text(json.dumps({word: place for place, word in enumerate(CLIP_WORDS)}))
    (folder / "merges.txt").write_text("#version: 0.2\nl u\nlu n\nlun g</w>\no f</w>\n")
