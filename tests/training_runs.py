"""Helpers for tests of `five train`: inputs of the synthetic cohort, small settings, and reading a run."""

from safetensors.torch import load_file

from pipelines.core.schemas import METRICS
from pipelines.core.settings import TrainSettings
from pipelines.train import TrainInputs


def small_settings(tiny_bert, **more):
    kept = {
        "model": "five-fusion",
        "width": 64,
        "diagnosis_prompts": 2,
        "prompt_tokens": 2,
        "epochs": 3,
        "lr": 1e-3,
        "lr_text": 1e-3,
    }
    return TrainSettings(text_model=str(tiny_bert), **{**kept, **more})


def pretrain_inputs(cohort, **more):
    return TrainInputs(cohort.features, cohort.table, descriptions=cohort.descriptions, **more)


def finetune_inputs(cohort, **more):
    return TrainInputs(cohort.features, cohort.table, classes=cohort.classes, **more)


def weights(run):
    return load_file(run / "model.safetensors")


def last(run, split, name):
    rows = METRICS.read_rows(run / "metrics.parquet")
    return [row["value"] for row in rows if (row["split"], row["name"]) == (split, name)][-1]
