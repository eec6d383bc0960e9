"""A small synthetic cohort without slides: tile features, descriptions, and a tiny text model."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipelines.core.descriptions_folder import QUESTION_SET
from pipelines.core.feature_file import CoordsAttributes, FeatureInfo
from pipelines.core.feature_writer import feature_writer
from pipelines.core.provenance import Provenance
from pipelines.core.question_files import load_questions, write_questions
from pipelines.core.questions import Question, QuestionSet
from pipelines.core.schemas import ANSWERS, EMBEDDED_SLIDES

PROVENANCE = Provenance({})
TILE = 448
"""Edge of a tile, pixels at level 0."""
DIM = 24
CLASSES = {"round": "round cells in rings", "spindle": "spindle cells in bundles"}
ANSWERS_OF = {  # one per question; the second answer is the same for both classes
    "round": ("rings of round cells", "margins are clear", "mucin is present"),
    "spindle": ("bundles of spindle cells", "margins are clear", "mucin is absent"),
}
QUESTIONS = QuestionSet(
    name="tiny",
    title="Tiny",
    questions=tuple(
        Question(id=name, question=f"{name}?", prompt=prompt, kind="phrase")
        for name, prompt in (("growth", "growth of cells"), ("margin", "margins"), ("mucin", "mucin is present"))
    ),
)

ASKED = Provenance({QUESTION_SET: QUESTIONS.fingerprint})
"""Provenance of answers to these questions."""


@dataclass(frozen=True)
class Cohort:
    """Paths of the files of a cohort."""

    features: Path
    descriptions: Path
    table: Path
    classes: Path


def write_bag(folder, slide_id, features, *, encoder="toy", fingerprint="0123", tile_size=224, mpp=0.5, space=""):
    """Write a feature file with (N, C) ``features``, whose tiles are on a square grid, and list it in the table."""
    n_tiles, dim = features.shape
    side = int(np.ceil(np.sqrt(max(n_tiles, 1))))
    corners = np.stack([np.arange(n_tiles) % side, np.arange(n_tiles) // side], axis=1) * TILE
    with feature_writer(
        folder / f"{slide_id}.h5",
        n_tiles=n_tiles,
        dim=dim,
        dtype="float16",
        info=FeatureInfo(slide_id, encoder, fingerprint, 0.25, 0.25, mpp, space),
        coords_attributes=CoordsAttributes(tile_size, TILE, 40.0, 20.0, 0, slide_id, side * TILE, side * TILE),
        provenance=PROVENANCE,
    ) as writer:
        writer.add(features.astype(np.float16), corners.astype(np.int64))
    if (folder / "slides.parquet").exists():
        list_slide(folder, slide_id, status="ok" if n_tiles else "empty", n_tiles=n_tiles)


def list_slide(folder, slide_id, **columns):
    """Change columns of a slide in the table of `five embed`, or add the slide."""
    rows = {row["slide_id"]: row for row in EMBEDDED_SLIDES.read_rows(folder / "slides.parquet")}
    rows[slide_id] = {**rows.get(slide_id, {"slide_id": slide_id, "encoder": "toy", "dim": DIM}), **columns}
    EMBEDDED_SLIDES.write(folder / "slides.parquet", rows.values(), PROVENANCE)


def slide_features(label, rng, n_tiles):
    """Return random features, (n_tiles, DIM), in which 34 % of the tiles have a raised channel for the class."""
    features = rng.normal(size=(n_tiles, DIM))
    has_signal = rng.random(n_tiles) < 0.34
    features[has_signal, 0 if label == "round" else 1] += 3.0
    return features


def write_cohort(folder, *, n_patients=24, seed=0, space=""):
    """Write features, answers, a cohort table and class texts for ``n_patients`` patients of alternating class."""
    rng = np.random.default_rng(seed)
    labels = [("round", "spindle")[number % 2] for number in range(n_patients)]
    rows, answers = [], []
    for number, label in enumerate(labels):
        slide, patient = f"s{number:02d}", f"p{number:02d}"
        write_bag(folder / "features", slide, slide_features(label, rng, int(rng.integers(20, 60))), space=space)
        rows.append({"slide_id": slide, "patient_id": patient, "status": "ok", "encoder": "toy", "dim": DIM})
        answers += [
            {"report_id": f"r{number}", "patient_id": patient, "question_id": question, "status": "value"}
            | {"description": phrase}
            for question, phrase in zip(QUESTIONS.ids, ANSWERS_OF[label], strict=True)
        ]
    EMBEDDED_SLIDES.write(folder / "features" / "slides.parquet", rows, PROVENANCE)
    ANSWERS.write(folder / "descriptions" / "answers.parquet", answers, ASKED)
    write_questions(QUESTIONS, folder / "descriptions" / "questions.yaml")
    with (folder / "cohort.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["slide_id", "patient_id", "label"])
        table.writerows((f"s{n:02d}", f"p{n:02d}", label) for n, label in enumerate(labels))
    lines = "".join(f"  {name}: {text}\n" for name, text in CLASSES.items())
    (folder / "classes.yaml").write_text(f"classes:\n{lines}")
    return Cohort(folder / "features", folder / "descriptions", folder / "cohort.csv", folder / "classes.yaml")


def ask_otherwise(descriptions, old, new):
    """Change a text in the questions of a descriptions folder, as if these had been asked."""
    path, table = descriptions / "questions.yaml", descriptions / "answers.parquet"
    path.write_text(path.read_text().replace(old, new))
    ANSWERS.write(table, ANSWERS.read_rows(table), Provenance({QUESTION_SET: load_questions(path).fingerprint}))


def write_tiny_bert(folder):
    """Write a BERT of 2 layers and 32 channels with random weights, and a tokenizer for the words used here."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast
    from transformers.utils import logging

    logging.disable_progress_bar()
    phrases = [*CLASSES.values(), *sum(ANSWERS_OF.values(), ()), *(q.prompt for q in QUESTIONS.questions)]
    words = sorted({word for phrase in phrases for word in phrase.split()})
    vocabulary = {word: index for index, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", ";", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=64, **special).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.2,
    )
    BertModel(config).save_pretrained(folder)
    return folder
