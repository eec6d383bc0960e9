import multiprocessing
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.core.cohort import CohortSlide
from pipelines.core.errors import ArtifactError, ChangedSettingsError
from pipelines.core.files import file_digest
from pipelines.core.provenance import Provenance
from pipelines.core.schemas import PATIENT_PREDICTIONS, PREDICTIONS
from pipelines.model.prediction.patients_table import PATIENTS, PREDICTED, refuse_stale_patients
from pipelines.model.prediction.prediction_table import FILES, PredictionTable


@dataclass
class Job:
    """A simple PredictionJob: the same slides for all shards, and features that a test may change."""

    n: int = 6
    provenance: Provenance = field(default_factory=lambda: Provenance({"split": "all"}, "weights"))
    label: str = "a"
    features: dict = field(default_factory=dict)
    texts = {"a": ["text"], "b": ["text"]}  # noqa: RUF012

    @property
    def slides(self):
        return [CohortSlide(f"s{number}", patient_id=f"p{number // 2}") for number in range(self.n)]

    def identity(self, slide):
        known = {"patient_id": slide.patient_id, "label": self.label, "split": "test", "learned_from": False}
        return {"slide_id": slide.slide_id, **known}

    def is_of_current_features(self, row, slide):
        return row["features"] == self.features.get(slide.slide_id, "f")


def row_of(job, number):
    scores = {"prob_a": 0.25, "prob_b": 0.75, "logit_a": -1.0, "logit_b": float(number)}
    columns = {"predicted": "b", "n_tiles": 5, "features": "f", **dict.fromkeys(FILES), **scores}
    return {**job.identity(job.slides[number]), **columns}


def predict(out, job, numbers):
    """Do what `five predict` does: keep valid rows, make the others, finish. Return which were made."""
    table = PredictionTable(out, job)
    slides = [job.slides[number] for number in numbers]
    kept = table.refresh(slides)
    made = [number for number, slide in zip(numbers, slides, strict=True) if slide.slide_id not in kept]
    for number in made:
        table.add(row_of(job, number))
    return made, table.finish(lambda: None)


def ids(out):
    return [row["slide_id"] for row in PREDICTIONS.read_rows(out / PREDICTED)]


def assert_complete(out, job=None):
    """Assert that the tables are those of one undisturbed run."""
    job = job or Job()
    assert PREDICTIONS.read_rows(out / PREDICTED) == [row_of(job, number) for number in range(job.n)]
    refuse_stale_patients(out / PATIENTS)
    assert sum(row["n_slides"] for row in PATIENT_PREDICTIONS.read_rows(out / PATIENTS)) == job.n


def test_shards_that_start_and_end_at_the_same_time_lose_no_row_and_the_last_writes_the_patients(tmp_path):
    job = Job()
    first, second = PredictionTable(tmp_path, job), PredictionTable(tmp_path, job)
    shards = [(first, (0, 2, 4)), (second, (1, 3, 5))]
    for table, numbers in shards:
        table.refresh([job.slides[number] for number in numbers])
    for table, numbers in shards:
        for number in numbers:
            table.add(row_of(job, number))
    assert first.finish(lambda: None) == 3
    assert not (tmp_path / PATIENTS).exists()
    assert second.finish(lambda: None) == 0
    assert_complete(tmp_path)


def test_a_shard_that_starts_after_another_has_written_keeps_its_rows(tmp_path):
    job = Job()
    late = PredictionTable(tmp_path, job)
    predict(tmp_path, job, (0, 2, 4))
    late.refresh([job.slides[1]])
    assert ids(tmp_path) == ["s0", "s2", "s4"]


STEPS = st.lists(
    st.tuples(st.integers(0, 1), st.sampled_from(["start", "add", "flush", "finish", "damage", "remove"])), max_size=25
)


@given(STEPS)
def test_at_any_moment_of_any_schedule_patients_exist_only_if_they_fit_and_both_shards_end_complete(
    tmp_path_factory, steps
):
    out, job = tmp_path_factory.mktemp("out"), Job()
    tables = [PredictionTable(out, job), PredictionTable(out, job)]
    todo = [[0, 2, 4], [1, 3, 5]]

    def do(shard, step):
        if step == "start":
            tables[shard].refresh([job.slides[number] for number in (0, 2, 4)] if shard == 0 else [])
        elif step == "add" and todo[shard]:
            tables[shard].add(row_of(job, todo[shard].pop(0)))
        elif step == "flush":
            tables[shard].flush()
        elif step == "finish":
            assert tables[shard].finish(lambda: None) == job.n - len(ids(out))
        elif step == "damage" and (out / PREDICTED).exists():
            (out / PREDICTED).write_bytes((out / PREDICTED).read_bytes()[:-9])
        elif step == "remove":
            (out / PREDICTED).unlink(missing_ok=True)

    for shard, step in steps:
        do(shard, step)
        if step in ("flush", "finish") and (out / PATIENTS).exists():
            assert_complete(out)
    predict(out, job, (0, 2, 4))  # then both shards run again
    predict(out, job, (1, 3, 5))
    assert_complete(out)


def _shard(out, number, count, barrier):
    job = Job(40)
    table = PredictionTable(out, job)
    barrier.wait()
    table.refresh([])
    for slide in range(number, job.n, count):
        table.add(row_of(job, slide))
        table.flush()
    table.finish(lambda: None)


def test_processes_that_write_at_the_same_time_lose_no_row(tmp_path):
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(4)
    shards = [context.Process(target=_shard, args=(tmp_path, number, 4, barrier)) for number in range(4)]
    for shard in shards:
        shard.start()
    for shard in shards:
        shard.join()
    assert [shard.exitcode for shard in shards] == [0] * 4
    assert_complete(tmp_path, Job(40))


def test_patients_are_removed_before_a_changed_row_is_written(tmp_path):
    job = Job()
    predict(tmp_path, job, range(6))
    job.features["s3"] = "other"
    table = PredictionTable(tmp_path, job)
    assert "s3" not in table.refresh(job.slides)
    assert not (tmp_path / PATIENTS).exists()
    assert "s3" not in ids(tmp_path)


def test_a_failed_slide_leaves_the_others_and_no_patients(tmp_path):
    assert predict(tmp_path, Job(), (0, 1, 2)) == ([0, 1, 2], 3)
    assert not (tmp_path / PATIENTS).exists()


def test_new_labels_replace_the_recorded_ones_and_patients_follow(tmp_path):
    predict(tmp_path, Job(), range(6))
    made, _ = predict(tmp_path, Job(label="b"), range(6))
    assert made == []
    assert {row["label"] for row in PATIENT_PREDICTIONS.read_rows(tmp_path / PATIENTS)} == {"b"}


def test_rows_of_slides_that_left_the_cohort_leave_the_table(tmp_path):
    predict(tmp_path, Job(6), range(6))
    made, missing = predict(tmp_path, Job(4), range(4))
    assert (made, missing) == ([], 0)
    assert_complete(tmp_path, Job(4))


@pytest.mark.parametrize("damage", [lambda raw: raw[:-9], lambda _: b"", lambda _: b"text", lambda raw: raw[:200]])
def test_a_damaged_table_is_made_again_with_a_warning(tmp_path, damage, caplog):
    predict(tmp_path, Job(), range(6))
    path = tmp_path / PREDICTED
    path.write_bytes(damage(path.read_bytes()))
    made, _ = predict(tmp_path, Job(), range(6))
    assert made == list(range(6))
    assert_complete(tmp_path)
    (record,) = caplog.records
    assert record.getMessage().startswith(f"{path}: ")
    assert record.getMessage().endswith("; the table is made again")


def test_a_table_of_an_older_version_is_made_again(tmp_path):
    PATIENT_PREDICTIONS.write(tmp_path / PREDICTED, [], Job().provenance)  # a table with other columns
    predict(tmp_path, Job(), range(6))
    assert_complete(tmp_path)


def test_rows_of_another_model_are_dropped_at_the_start_and_never_mixed_later(tmp_path):
    earlier, later = Job(), Job(provenance=Provenance({"split": "all"}, "other weights"))
    running = PredictionTable(tmp_path, earlier)
    running.refresh(earlier.slides)
    running.add(row_of(earlier, 0))
    running.flush()
    PredictionTable(tmp_path, later).refresh(later.slides)
    assert ids(tmp_path) == []
    assert predict(tmp_path, later, range(6))[0] == list(range(6))
    for step in (running.flush, lambda: running.finish(lambda: None)):
        with pytest.raises(ChangedSettingsError, match="another run, with other settings or another model") as error:
            step()
        assert error.value.hint == "choose another -o folder"
    assert_complete(tmp_path, later)


def test_valid_rows_are_found_without_writing(tmp_path):
    job = Job()
    assert PredictionTable(tmp_path / "new", job).valid(job.slides) == {}
    assert not (tmp_path / "new").exists()
    predict(tmp_path, job, (0, 1))
    assert list(PredictionTable(tmp_path, job).valid(job.slides[:2])) == ["s0", "s1"]


@pytest.mark.parametrize("column", FILES)
@pytest.mark.parametrize("damage", ["removed", "emptied", "one bit", "replaced by a folder"])
def test_a_slide_whose_file_is_missing_or_damaged_is_predicted_again_by_its_shard(tmp_path, column, damage):
    job = Job()
    path = FILES[column](tmp_path, "s1")
    path.parent.mkdir()
    path.write_bytes(b"content")
    table = PredictionTable(tmp_path, job)
    for number in range(6):
        table.add({**row_of(job, number), **({column: file_digest(path)} if number == 1 else {})})
    table.finish(lambda: None)
    assert len(table.valid(job.slides)) == 6
    path.unlink()
    if damage == "replaced by a folder":
        path.mkdir()
    elif damage != "removed":
        path.write_bytes(b"" if damage == "emptied" else b"contenu")
    assert len(table.valid([job.slides[0]])) == 1  # another shard does not read the files of this one
    assert "s1" not in table.refresh(job.slides)
    assert not (tmp_path / PATIENTS).exists()


def test_patients_of_other_predictions_are_refused(tmp_path):
    job = Job()
    predict(tmp_path, job, range(6))
    rows = PREDICTIONS.read_rows(tmp_path / PREDICTED)
    PREDICTIONS.write(tmp_path / PREDICTED, [{**row, "prob_a": 0.2, "prob_b": 0.8} for row in rows], job.provenance)
    with pytest.raises(ArtifactError, match=r"patients\.parquet: was made from other predictions"):
        refuse_stale_patients(tmp_path / PATIENTS)
    (tmp_path / PATIENTS).unlink()
    with pytest.raises(ArtifactError, match=r"patients\.parquet: no such file, because not every slide"):
        refuse_stale_patients(tmp_path / PATIENTS)
    (tmp_path / PREDICTED).unlink()
    refuse_stale_patients(tmp_path / PATIENTS)  # a table of patients alone cannot be checked
