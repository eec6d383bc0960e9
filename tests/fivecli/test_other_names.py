import re

import pytest
from typer.testing import CliRunner

from fivecli.app import app, commands_by_option
from fivecli.other_names import NOTES, OTHER_NAMES
from tests.fivecli.test_help import COMMANDS

runner = CliRunner()


def options(command):
    return {
        option.removeprefix("--")
        for parameter in command.params
        for option in (*parameter.opts, *parameter.secondary_opts)
    }


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


@pytest.mark.parametrize(
    ("arguments", "explanation"),
    [
        ("tile --batch-size", "--batch-size is an option of five embed and five train."),
        ("predict --tile_size=3", "--tile-size is an option of five tile."),
        ("evaluate --no-attention", "--no-attention is an option of five predict."),
        ("train --num-workers", "--workers is an option of five tile, five embed, five describe-reports and five demo"),
        ("predict --workers", "--workers is an option of five tile, five embed, five describe-reports and five demo"),
        ("embed --patch-size", "--tile-size is an option of five tile."),
        ("evaluate --checkpoint", "--weights is an option of five embed. --init is an option of five train."),
        ("--tile-size 224 tile", "--tile-size is an option of five tile."),
        ("demo --patients 8 cohort", "--patients is an option of five demo cohort."),
        ("tile --version", "--version is an option of five."),
    ],
)
def test_an_option_that_the_command_lacks_is_explained(arguments, explanation):
    result = runner.invoke(app, arguments.split(), env={"COLUMNS": "300"})
    option = next(word for word in arguments.split() if word.startswith("--")).partition("=")[0]
    assert result.exit_code == 2
    assert f"No such option: {option}. {explanation}" in result.output


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_none_of_our_options_gets_a_wrong_suggestion(path):
    command = COMMANDS[path]
    for option, owners in commands_by_option().items():
        if option in options(command) or option == "help":
            continue
        with pytest.raises(Exception, match=f"No such option: --{option}") as error:
            command.make_context("five", [f"--{option}", "1"], obj=commands_by_option)
        message = error.value.format_message()
        suggestion = re.search(r"Did you mean --(\S+?)[? ]", message)
        if suggestion:
            assert option in OTHER_NAMES[suggestion[1]], message
        else:
            assert f"--{option} is an option of {owners[0]}" in message
        assert "Possible options" not in message


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
