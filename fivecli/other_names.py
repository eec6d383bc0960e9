"""Names that other tools use for our options, for a correct "did you mean"."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

OTHER_NAMES: Mapping[str, tuple[str, ...]] = {
    "output": (
        *("out", "out-dir", "outdir", "output-dir", "output-path", "output-folder", "job-dir", "save-dir", "save-path"),
        *("result-dir", "results-dir", "feat-dir", "features-dir", "log-dir", "dest", "destination"),
    ),
    "workers": (
        *("num-workers", "n-workers", "max-workers", "nworkers", "jobs", "n-jobs", "num-jobs", "threads"),
        *("num-threads", "processes", "num-processes", "nproc", "cpus", "num-cpus", "cores", "concurrency", "parallel"),
    ),
    "device": ("gpu", "gpus", "gpu-id", "gpu-ids", "cuda", "devices", "accelerator"),
    "cohort": (
        *("csv", "csv-path", "csv-file", "csv-fpath", "clini-table", "slide-table", "clini", "table", "metadata"),
        *("custom-list-of-wsis", "labels", "dataset-csv"),
    ),
    "shard": ("num-shards", "shard-id", "shard-index", "partition"),
    "overwrite": ("force", "replace", "no-skip", "clean"),
    "stage-dir": ("wsi-cache", "cache-dir", "cache", "scratch", "scratch-dir", "tmp-dir"),
    "dry-run": ("plan", "dryrun", "simulate"),
    "seed": ("random-seed", "random-state", "rng-seed"),
    "config": ("config-file", "cfg", "yaml", "settings"),
    # tile
    "tile-size": ("patch-size", "patch-px", "tile-px", "tile-size-px", "tilesize", "patchsize", "crop-size"),
    "target-mpp": (
        *("mag", "magnification", "target-mag", "objective-power", "objective", "level", "patch-level", "tile-mpp"),
        *("patch-mpp", "resolution", "out-mpp"),
    ),
    "overlap": ("stride", "step", "step-size", "tile-stride", "patch-overlap"),
    "tissue-method": ("segmenter", "seg-method", "tissue-detector", "segmentation", "tissue-segmenter"),
    "min-tissue": ("min-tissue-proportion", "tissue-threshold", "tissue-fraction", "min-tissue-fraction"),
    "max-pen": ("remove-penmarks", "remove-artifacts", "pen-threshold"),
    "min-focus": ("blur-threshold", "focus-threshold"),
    "max-white": ("white-threshold", "background-threshold"),
    # embed
    "encoder": ("patch-encoder", "tile-encoder", "feature-extractor", "extractor", "backbone", "model", "model-name"),
    "weights": ("ckpt", "checkpoint", "ckpt-path", "checkpoint-path", "weights-path", "patch-encoder-ckpt-path"),
    "save-patches": ("save-tiles", "save-images", "extract-patches"),
    "batch-size": ("bs", "batch", "batchsize", "minibatch-size", "feat-batch-size"),
    "precision": ("amp", "half", "fp16", "bf16", "mixed-precision", "use-amp"),
    # describe-reports
    "questions": ("question-set", "schema", "prompts", "template"),
    "backend": ("engine", "provider", "mode"),
    "base-url": ("api-base", "api-url", "endpoint", "url", "server"),
    "max-tokens": ("max-new-tokens", "n-predict", "max-output-tokens", "max-completion-tokens"),
    "votes": ("n-samples", "num-samples", "samples", "self-consistency", "best-of"),
    "temperature": ("temp",),
    "gpus": ("tensor-parallel-size", "num-gpus", "n-gpus"),
    "gpu-memory": ("gpu-memory-utilization",),
    "context": ("max-model-len", "context-length", "ctx-size", "num-ctx"),
    "limit": ("max-reports", "first", "head"),
    "gold": ("reference", "references", "ground-truth", "gt", "labels", "truth"),
    # train and predict
    "descriptions": ("reports", "texts", "captions"),
    "classes": ("class-texts-file", "class-names", "categories", "prompt-file", "classnames"),
    "init": ("ckpt", "checkpoint", "ckpt-path", "checkpoint-path", "pretrained", "init-from", "resume-from"),
    "run": ("model", "ckpt", "checkpoint", "ckpt-path", "checkpoint-path", "model-path", "model-dir", "run-dir"),
    "regime": ("task", "mode", "stage"),
    "model": ("arch", "architecture", "model-type", "model-name", "mil-model", "aggregator", "mil", "llm", "model-id"),
    "text-model": ("text-encoder", "language-model", "bert"),
    "epochs": ("max-epochs", "num-epochs", "n-epochs", "epoch"),
    "patience": ("early-stopping", "early-stop", "early-stopping-patience"),
    "lr": ("learning-rate", "max-lr", "base-lr", "peak-lr"),
    "weight-decay": ("wd", "reg", "decay"),
    "warmup": ("warmup-ratio", "warmup-epochs", "warmup-steps", "warm-up"),
    "clip-norm": ("grad-clip", "gradient-clip", "gradient-clip-val", "max-grad-norm", "clip-grad"),
    "accumulation": (
        *("gradient-accumulation", "gradient-accumulation-steps", "grad-accum", "accumulation-steps", "gc"),
        *("accumulate-grad-batches", "accum-iter", "accumulate"),
    ),
    "checkpoint-activations": ("gradient-checkpointing", "grad-checkpointing", "activation-checkpointing"),
    "balance": ("weighted-sample", "weighted-sampling", "class-weights", "balanced"),
    "max-tiles": ("bag-size", "max-patches", "num-tiles", "n-tiles", "num-patches", "max-instances"),
    "shots": ("n-shots", "num-shots", "k-shot", "k-shots", "few-shot", "shot"),
    "percent": ("label-frac", "train-fraction", "label-fraction"),
    "folds": ("k-folds", "k-fold", "kfold", "k", "n-folds", "num-folds", "n-splits", "cv", "cross-validation"),
    "fold": ("fold-id", "fold-index", "fold-idx", "k-start"),
    "val-fraction": ("val-frac", "val-size", "val-ratio", "validation-fraction", "validation-split"),
    "test-fraction": ("test-frac", "test-size", "test-ratio"),
    "splits": ("split-dir", "splits-dir", "split-file", "splits-file", "split"),
    "split": ("splits", "subset", "part"),
    "heatmaps": ("heatmap", "draw-heatmaps", "save-heatmaps"),
    "resamples": ("bootstrap", "n-bootstrap", "num-bootstrap", "n-bootstraps", "bootstraps", "bootstrap-samples"),
    "level": ("unit", "per-patient", "aggregate"),
}
"""Name of our option -> names that other tools use for it, all without dashes in front."""

NOTES: Mapping[str, str] = {
    "target-mpp": "20x is 0.5 microns per pixel, 40x is 0.25",
    "overlap": "the overlap is the tile size minus the step",
    "device": "for example cuda or cuda:0",
    "warmup": "as a fraction of the steps",
    "percent": "from 0 to 100",
    "shard": "as INDEX/COUNT, for example 3/16",
}
"""How our option differs from other tools' options."""


def our_name(other: str, known: Collection[str]) -> str:
    """Return the option among ``known`` that has the meaning of another tool's option, or an empty string."""
    plain = _plain(other)
    if plain in known:
        return plain
    return next((ours for ours, others in OTHER_NAMES.items() if plain in others and ours in known), "")


def explain_unknown(name: str, known: Collection[str], commands: Mapping[str, Sequence[str]]) -> str:
    """Explain an option that a command does not have; return an empty string if it is probably a spelling mistake.

    Parameters
    ----------
    known
        Options of the command, without dashes.
    commands
        Option without dashes -> the commands that have it.
    """
    if suggestion := our_name(name, known):
        note = f" ({NOTES[suggestion]})" if suggestion in NOTES else ""
        return f"No such option: {name}. Did you mean --{suggestion}{note}?"
    plain = _plain(name)
    meanings = [plain] if plain in commands else [ours for ours, others in OTHER_NAMES.items() if plain in others]
    places = [f"--{ours} is an option of {_listed(commands[ours])}." for ours in meanings if ours in commands]
    return " ".join((f"No such option: {name}.", *places)) if meanings else ""


def _plain(name: str) -> str:
    return name.lstrip("-").replace("_", "-").lower()


def _listed(names: Sequence[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
