import json

import pytest

from pipelines.core.cohort import CohortSlide
from pipelines.core.errors import ArtifactError, CohortError, SettingsError
from pipelines.core.provenance import Provenance
from pipelines.core.schemas import SPLITS
from pipelines.model.data.splits import make_splits, read_splits

SLIDES = [CohortSlide(f"s{k}", patient_id=f"0{k // 2}", label="AB"[k // 2 % 2]) for k in range(16)]
"""Eight patients, 00 to 07, with two slides each; labels alternate."""


def splits_of(rows):
    return {row["slide_id"]: row["split"] for row in rows}


def test_our_own_file_is_read_back(tmp_path):
    rows = make_splits(SLIDES, folds=4, fold=1, val_fraction=0.25, test_fraction=0, seed=3)
    SPLITS.write(tmp_path / "splits.parquet", rows, Provenance({}))
    assert splits_of(read_splits(tmp_path / "splits.parquet", SLIDES[::-1])) == splits_of(rows)


def test_a_clam_file_with_index_column_and_padding_is_read(tmp_path):
    path = tmp_path / "splits_0.csv"
    path.write_text(",train,val,test\n0,s0,s4,s8\n1,s1,,s9\n2,s2,,\n3,s3,,\n")
    splits = splits_of(read_splits(path, SLIDES))
    assert splits == {name: "train" for name in ("s0", "s1", "s2", "s3")} | {"s4": "val", "s8": "test", "s9": "test"}


def test_a_stamp_file_names_patients_and_validation_is_drawn_from_its_training_patients(tmp_path):
    path = tmp_path / "splits.json"
    folds = [
        {"train_patients": ["04", "05", "06", "07"], "test_patients": ["00", "01"]},
        {"train_patients": ["00", "01", "02", "03"], "test_patients": ["04", "05"]},
    ]
    path.write_text(json.dumps({"splits": folds}))
    rows = read_splits(path, SLIDES, fold=1, val_fraction=0.25)
    by_split = {name: {row["patient_id"] for row in rows if row["split"] == name} for name in ("train", "val", "test")}
    assert by_split["test"] == {"04", "05"}
    assert by_split["train"] | by_split["val"] == {"00", "01", "02", "03"}
    assert len(by_split["val"]) == 1
    with pytest.raises(SettingsError, match=r"fold: 2 is not in 0\.\.1"):
        read_splits(path, SLIDES, fold=2)
    with pytest.raises(SettingsError, match="fold: None"):
        read_splits(path, SLIDES)


def test_a_file_that_puts_a_patient_in_two_splits_is_refused(tmp_path):
    path = tmp_path / "splits_0.csv"
    path.write_text(",train,val,test\n0,s0,s4,s1\n1,s2,,\n")
    with pytest.raises(CohortError, match="patient '00' is in two splits: train and test"):
        read_splits(path, SLIDES)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "slide,fold\ns0,1\n", "no columns train and test"),
        ("b.csv", ",train,val,test\ns0,True,False,False\ns1,False,False,True\n", "True and False instead of slide ids"),
        ("a.csv", "train,val,test\nx.svs,,y.svs\n", "names no slide of the cohort"),
        ("a.csv", "train,val,test\ns0,,s0\n", "'s0' is in two splits: train and test"),
        ("a.json", '{"folds": []}', "no list 'splits'"),
        ("a.json", "not json", "no list 'splits'"),
        ("missing.json", None, "cannot be read"),
        ("missing.csv", None, "no such table"),
    ],
)
def test_other_files_are_refused(tmp_path, name, text, message):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(CohortError, match=message):
        read_splits(tmp_path / name, SLIDES, fold=0)


def test_another_parquet_table_is_refused(tmp_path):
    with pytest.raises(ArtifactError):
        read_splits(tmp_path / "splits.parquet", SLIDES)
