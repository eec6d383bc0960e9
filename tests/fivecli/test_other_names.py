import pytest
from typer.testing import CliRunner

from fivecli.app import app
from fivecli.other_names import NOTES, OTHER_NAMES
from tests.fivecli.test_help import COMMANDS

runner = CliRunner()


def options(command):
    return {option.removeprefix("--") for parameter in command.params for option in parameter.opts}


@pytest.mark.parametrize(
    ("command", "other", "ours"),
    [
        ("tile", "--num-workers", "--workers"),
        ("tile", "--num_workers", "--workers"),
        ("tile", "--patch-size", "--tile-size"),
        ("tile", "--mag", "--target-mpp (20x is 0.5 microns per pixel, 40x is 0.25)"),
        ("tile", "--magnification", "--target-mpp"),
        ("tile", "--job-dir", "--output"),
        ("embed", "--patch-encoder", "--encoder"),
        ("embed", "--patch_encoder", "--encoder"),
        ("embed", "--gpu", "--device"),
        ("embed", "--checkpoint", "--weights"),
        ("describe-reports", "--max-new-tokens", "--max-tokens"),
        ("train", "--out", "--output"),
        ("train", "--output-dir", "--output"),
        ("train", "--save-dir", "--output"),
        ("train", "--max-epochs", "--epochs"),
        ("train", "--learning-rate", "--lr"),
        ("train", "--k-folds", "--folds"),
        ("train", "--checkpoint", "--init"),
        ("train", "--batch_size", "--batch-size"),
        ("train", "--bag-size=512", "--max-tiles"),
        ("predict", "--checkpoint", "--run"),
        ("evaluate-descriptions", "--ground-truth", "--gold"),
    ],
)
def test_an_option_of_another_tool_gets_our_name(command, other, ours):
    result = runner.invoke(app, [command, ".", other, "1"], env={"COLUMNS": "200"})
    assert result.exit_code == 2
    assert f"No such option: {other.partition('=')[0]}. Did you mean {ours}" in result.output


def test_an_option_that_the_command_does_not_have_is_not_suggested():
    result = runner.invoke(app, ["embed", ".", "--patch-size", "256"])  # similar to --batch-size, which is wrong
    assert "No such option: --patch-size" in result.output
    assert "--batch-size" not in result.output


def test_a_misspelled_option_gets_the_closest_one():
    assert "--tile-size" in runner.invoke(app, ["tile", ".", "--tile-sise", "256"]).output


def test_values_after_a_double_dash_are_no_options():
    assert "Did you mean" not in runner.invoke(app, ["tile", "--", "--gpu"]).output


@pytest.mark.parametrize("ours", [*OTHER_NAMES, *NOTES])
def test_every_suggestion_is_an_option_of_a_command(ours):
    assert any(ours in options(command) for command in COMMANDS.values())


class TestFormerEvaluateSubcommand:
    def test_it_names_the_new_command(self):
        result = runner.invoke(app, ["describe-reports", "evaluate", "descriptions", "--gold", "gold.csv"])
        assert "five evaluate-descriptions" in result.exception.hint

    def test_a_folder_of_that_name_is_a_folder_of_reports(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "evaluate").mkdir()
        (tmp_path / "evaluate" / "r1.txt").write_text("Lung, lobectomy: adenocarcinoma.")
        result = runner.invoke(app, ["describe-reports", "evaluate", "-o", "descriptions"])
        assert result.exit_code == 0, result.output
        assert (tmp_path / "descriptions" / "answers.parquet").exists()
