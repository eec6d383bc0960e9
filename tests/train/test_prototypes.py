"""`five train` with baselines that have no weights."""

import pytest

from pipelines.core.schemas import PREDICTIONS
from pipelines.core.settings import PredictSettings, TrainSettings
from pipelines.predict import PredictInputs, predict
from pipelines.train import TrainInputs, train
from tests.synthetic_features import write_cohort


@pytest.mark.parametrize("model", ["prototype", "simpleshot"])
def test_held_out_slides_are_classified_by_the_nearest_class_mean(tmp_path, model):
    cohort = write_cohort(tmp_path / "cohort")
    inputs = TrainInputs(cohort.features, cohort.table)
    train(inputs, tmp_path / "run", TrainSettings(model=model, regime="finetune"))
    predict(PredictInputs(cohort.features, tmp_path / "run", cohort.table), tmp_path / "out", PredictSettings())
    rows = PREDICTIONS.read_rows(tmp_path / "out" / "predictions.parquet")
    held_out = [row["predicted"] == row["label"] for row in rows if row["split"] == "test"]
    assert sum(held_out) >= 5 / 6 * len(held_out)  # chance is 1/2
    assert {row["split"] for row in rows if row["learned_from"]} == {"train", "val"}
    assert {row["attention"] for row in rows} == {None}


def test_one_slide_per_class_is_enough(tmp_path):
    cohort = write_cohort(tmp_path / "cohort", n_patients=12)
    inputs = TrainInputs(cohort.features, cohort.table)
    train(inputs, tmp_path / "run", TrainSettings(model="simpleshot", regime="finetune", shots=1))
    predict(PredictInputs(cohort.features, tmp_path / "run", cohort.table), tmp_path / "out", PredictSettings())
    rows = PREDICTIONS.read_rows(tmp_path / "out" / "predictions.parquet")
    assert [row["predicted"] for row in rows if row["learned_from"]] == [
        row["label"] for row in rows if row["learned_from"]
    ]
    assert sum(row["learned_from"] for row in rows) == 2
