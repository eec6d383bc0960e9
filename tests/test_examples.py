"""The example scripts, run with a fake `five` that only records how it was called."""

import os
import subprocess
from pathlib import Path

import pytest

from pipelines.core.classes import load_classes
from pipelines.core.question_files import load_questions
from pipelines.synthetic.patients import FINDINGS, LABELS

EXAMPLES = Path(__file__).parent.parent / "docs" / "examples"
STAGES = ["tile", "embed", "describe-reports", "train", "predict", "evaluate", "train", "predict", "evaluate"]


@pytest.fixture
def run_script(tmp_path):
    """Return a function that runs a script with a fake `five COMMAND` that ends with a given exit code."""

    def run(script, *arguments, exits=None, **variables):
        cases = "".join(f"{stage}) exit {code};;" for stage, code in (exits or {}).items())
        five = tmp_path / "bin" / "five"
        five.parent.mkdir(exist_ok=True)
        five.write_text(f'#!/bin/sh\necho "$@" >> "{tmp_path}/calls"\ncase $1 in {cases} esac\n')
        five.chmod(0o755)
        environment = {**os.environ, **variables, "PATH": f"{five.parent}:{os.environ['PATH']}"}
        process = subprocess.run(
            ["bash", str(EXAMPLES / script), *arguments], env=environment, cwd=tmp_path, capture_output=True, text=True
        )
        calls = (tmp_path / "calls").read_text().splitlines() if (tmp_path / "calls").exists() else []
        return process, calls

    return run


def test_the_lung_script_runs_all_stages_in_order(run_script):
    process, calls = run_script("lung.sh", "c.csv", "r.csv", "out")
    assert process.returncode == 0, process.stderr
    assert [call.split()[0] for call in calls] == STAGES


def test_failed_slides_do_not_stop_the_script_and_it_exits_with_code_3(run_script):
    process, calls = run_script("lung.sh", "c.csv", "r.csv", "out", exits={"tile": 3})
    assert process.returncode == 3
    assert len(calls) == len(STAGES)
    assert "some slides or reports failed" in process.stderr


def test_an_error_stops_the_script_at_once_with_its_exit_code(run_script):
    process, calls = run_script("lung.sh", "c.csv", "r.csv", "out", exits={"embed": 1})
    assert process.returncode == 1
    assert [call.split()[0] for call in calls] == ["tile", "embed"]


def test_variables_choose_encoder_backend_and_model(run_script):
    _, calls = run_script("lung.sh", "c.csv", "r.csv", "out", ENCODER="timm:resnet50", BACKEND="vllm", MODEL="m")
    assert "--encoder timm:resnet50" in calls[1]
    assert calls[2].endswith("--backend vllm --model m")


def test_a_missing_argument_is_a_usage_error(run_script):
    process, calls = run_script("lung.sh", "c.csv")
    assert (process.returncode, calls) == (2, [])
    assert "usage:" in process.stderr


def test_the_demo_draws_a_cohort_runs_a_language_model_and_runs_the_lung_script(run_script):
    process, calls = run_script("demo.sh", "here")
    assert process.returncode == 0, process.stderr
    assert calls[0].startswith("demo cohort -o here/cohort")
    assert "--backend local --limit 2" in calls[1]
    assert [call.split()[0] for call in calls[2:]] == STAGES
    assert f"--questions {EXAMPLES / 'demo-questions.yaml'}" in calls[4]
    assert "SYNTHETIC" in process.stdout


def test_class_texts_of_the_demo_name_the_labels_of_the_cohort():
    assert set(load_classes(EXAMPLES / "demo-classes.yaml")) == set(LABELS)


def test_the_demo_asks_about_every_finding_of_its_reports():
    assert set(FINDINGS) < set(load_questions(EXAMPLES / "demo-questions.yaml").ids)


def test_class_texts_of_the_lung_script_name_the_two_cancers_with_several_texts_each():
    classes = load_classes(EXAMPLES / "lung-classes.yaml")
    assert list(classes) == ["LUAD", "LUSC"]
    assert all(len(texts) > 1 for texts in classes.values())


def test_the_question_set_of_the_lung_script_exists():
    assert "growth_pattern" in load_questions("lung-histology").ids
