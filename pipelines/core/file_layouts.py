"""Contents of the files that are not Parquet tables: HDF5 datasets and attributes, columns of CSV files."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """A named value inside a file: an HDF5 attribute, a CSV column, or a key of a YAML or JSON file."""

    name: str
    kind: str
    """Type, in words."""
    meaning: str
    """Meaning, with its unit."""


@dataclass(frozen=True)
class Dataset:
    """One HDF5 dataset."""

    name: str
    kind: str
    """Shape and type, in words."""
    meaning: str
    attributes: tuple[Entry, ...] = ()


@dataclass(frozen=True)
class Hdf5Layout:
    """The contents of one kind of HDF5 file."""

    datasets: tuple[Dataset, ...]
    attributes: tuple[Entry, ...] = ()
    """Attributes of the root, besides those of every artifact."""


COORDS_ATTRIBUTES = (
    Entry("patch_size", "int64", "edge of a tile, pixels as the encoder sees it"),
    Entry("patch_size_level0", "int64", "edge of a tile, pixels at level 0"),
    Entry("level0_magnification", "float64", "10 divided by the microns per pixel at level 0"),
    Entry("target_magnification", "float64", "10 divided by the microns per pixel of the tiles"),
    Entry("overlap", "int64", "overlap of neighboring tiles, pixels as the encoder sees them"),
    Entry("name", "string", "id of the slide"),
    Entry("level0_width", "int64", "slide width, pixels at level 0"),
    Entry("level0_height", "int64", "slide height, pixels at level 0"),
)

FEATURES = Hdf5Layout(
    datasets=(
        Dataset("features", "(N, D) float16 or float32", "one feature vector per tile"),
        Dataset(
            "coords",
            "(N, 2) int64",
            "x, y of the top-left corner of each tile, pixels at level 0",
            COORDS_ATTRIBUTES,
        ),
        Dataset("row_checksums", "(N,) uint32", "CRC-32 of the bytes of a row of `features`, then of `coords`"),
    ),
    attributes=(
        Entry("slide_id", "string", "id of the slide"),
        Entry("encoder", "string", "name of the image encoder"),
        Entry("encoder_fingerprint", "string", "fingerprint of the encoder's weights and preprocessing"),
        Entry("mpp_x", "float64", "microns per pixel at level 0, horizontal"),
        Entry("mpp_y", "float64", "microns per pixel at level 0, vertical"),
        Entry("target_mpp", "float64", "microns per pixel of the tiles"),
        Entry("space", "string", "name of the space that the features share with texts; empty if there is none"),
        Entry("precision", "string", "floating-point precision of the encoder: fp32, bf16 or fp16"),
        Entry("mismatch", "string", "how the tiles differ from those the encoder was trained on; empty if they do not"),
        Entry("slide_path", "string", "path of the slide file when it was embedded"),
        Entry("five.row", "string", "the row of the slide in `slides.parquet`, as JSON"),
    ),
)

ATTENTION = Hdf5Layout(
    datasets=(
        Dataset("attention", "(P, N) float16", "attention of each prompt over the tiles; each row sums to 1"),
        Dataset(
            "prompts",
            "(P,) string",
            "names of the prompts: question ids, then the learned prompts; without a trained model those in `texts`",
        ),
        Dataset("contributions", "(K, N) float32", "what each tile adds to the logit of each class"),
        Dataset("classes", "(K,) string", "names of the classes; K is 0 if the logits are no sums over tiles"),
        Dataset(
            "similarities",
            "(S, N) float16",
            "cosine similarity of each tile to the texts of each class or answer; S is 0 for a trained model",
        ),
        Dataset("texts", "(S,) string", "a class, `question=answer`, or `other` for the best text of other tissue"),
        Dataset(
            "coords",
            "(N, 2) int64",
            "x, y of the top-left corner of each tile, pixels at level 0",
            (Entry("tile_size_level0", "int64", "edge of a tile, pixels at level 0"),),
        ),
    ),
)

_METRICS = {"accuracy": "accuracy", "macro_f1": "F1 averaged over the answers", "kappa": "Cohen's kappa"}
AGREEMENT = (
    Entry("question", "string", "id of the question"),
    Entry("n", "integer", "answers compared"),
    Entry("n_patients", "integer", "patients that they belong to"),
    Entry("majority", "number", "accuracy of always giving the most frequent reference answer, 0 to 1"),
    Entry("unknown_in_reference", "number", "share of reference answers that are `unknown`, 0 to 1"),
    Entry("unknown_given", "number", "share of given answers that are `unknown`, 0 to 1"),
    *(
        Entry(f"{name}{suffix}", "number", f"{meaning}{of}")
        for name, meaning in _METRICS.items()
        for suffix, of in (("", ""), ("_low", ", lower end of the 95 % interval"), ("_high", ", upper end"))
    ),
)
"""Columns of the table of `five evaluate-descriptions`."""
ANSWER_RATES = (
    Entry("question", "string", "id of the question"),
    Entry("answer", "string", "one answer to it; the rarest come first"),
    Entry("n_reference", "integer", "how often the reference has this answer"),
    Entry("n_given", "integer", "how often it was given"),
    *(
        Entry(f"{name}{suffix}", "number", f"{name} of this answer, 0 to 1{of}")
        for name in ("precision", "recall")
        for suffix, of in (("", ""), ("_low", ", lower end of the 95 % interval"), ("_high", ", upper end"))
    ),
)
"""Columns of the second table of `five evaluate-descriptions`."""

DEMO_SLIDES = (
    Entry("slide_id", "string", "id of the slide"),
    Entry("path", "string", "slide file, relative to the table"),
    Entry("patient_id", "string", "id of the patient"),
    Entry("label", "string", "class: glandular or keratinizing"),
)
_IDS = (Entry("report_id", "string", "id of the report"), Entry("patient_id", "string", "id of the patient"))
DEMO_REPORTS = (*_IDS, Entry("text", "string", "text of the report"))
DEMO_TRUTH = (
    *_IDS,
    Entry("differentiation", "string", "well, moderate, poor or unknown"),
    Entry("air_spaces", "string", "spread through air spaces: present, absent or unknown"),
    Entry("vascular_invasion", "string", "present, absent or unknown"),
    Entry("necrosis", "string", "tumor necrosis: present, absent or unknown"),
    Entry("pleural_invasion", "string", "present, absent or unknown"),
    Entry("adjacent_invasion", "string", "invasion of adjacent structures: present, absent or unknown"),
    Entry("margins", "string", "resection margins: clear, involved or unknown"),
    Entry("growth", "string", "growth pattern: glandular or keratinizing"),
)
"""Columns of the tables of `five demo cohort`; unknown: the report does not mention the finding."""

RUN_MANIFEST = (
    Entry("version", "integer", "version of this file format"),
    Entry("five_version", "string", "version of five-wsi"),
    Entry("settings", "object", "settings of the training"),
    Entry("inputs", "object", "input to its fingerprint; for the features, slide id to fingerprint"),
    Entry("best_epoch", "integer", "epoch whose weights were kept"),
    Entry("files", "object", "file name to the SHA-256 of the file"),
    Entry("digest", "string", "fingerprint of the other keys"),
)
"""Keys of ``manifest.json`` in a run folder."""
