import ast
import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

import fivecli
from fivecli.app import app, main
from tests.slide_files import write_lossless_slide
from tests.tiling import TISSUE

COMMANDS = {command.name: command.callback for command in app.registered_commands}
STAGES = ["tile", "embed", "describe-reports", "train", "predict"]
runner = CliRunner()


def test_the_stages_are_commands_in_their_order():
    assert [name for name in COMMANDS if name in STAGES] == STAGES


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_shows_an_example(name):
    assert "Example: five " in COMMANDS[name].__doc__


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name):
    result = runner.invoke(app, [name, "--help"])
    assert result.exit_code == 0
    assert "Usage" in result.output


def test_help_loads_no_heavy_library():
    code = (
        "import sys; sys.argv = ['five', '--help']\n"
        "from fivecli.app import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'numpy', 'pyarrow', 'cv2', 'openslide', 'transformers', 'h5py', 'sklearn'}\n"
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


def test_an_error_is_shown_as_message_and_hint_without_traceback(tmp_path, monkeypatch, capsys):
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.setattr(sys, "argv", ["five", "tile", str(empty), "-o", str(tmp_path / "tiles")])
    with pytest.raises(SystemExit) as ended:
        main()
    shown = capsys.readouterr().err
    assert ended.value.code == 1
    assert "error: " in shown
    assert "no slides found" in shown
    assert "hint: " in shown
    assert "Traceback" not in shown


def fail_with(number):
    def fail(*_, **__):
        raise OSError(number, os.strerror(number), "tiles/five.json")

    return fail


def test_a_failure_of_the_disk_is_shown_without_traceback(tmp_path, monkeypatch, capsys):
    write_lossless_slide(tmp_path / "slides" / "a.tif", TISSUE, 0.5)
    monkeypatch.setattr("pipelines.tile.claim_folder", fail_with(errno.EIO))
    monkeypatch.setattr(sys, "argv", ["five", "tile", str(tmp_path / "slides"), "-o", str(tmp_path / "tiles")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert "error: tiles/five.json: Input/output error\nhint: " in capsys.readouterr().err


def test_an_error_of_the_system_that_is_not_of_the_disk_keeps_its_traceback(tmp_path, monkeypatch):
    write_lossless_slide(tmp_path / "slides" / "a.tif", TISSUE, 0.5)
    monkeypatch.setattr("pipelines.tile.claim_folder", fail_with(errno.ENOENT))
    monkeypatch.setattr(sys, "argv", ["five", "tile", str(tmp_path / "slides"), "-o", str(tmp_path / "tiles")])
    with pytest.raises(FileNotFoundError):
        main()


def test_columns_that_are_not_read_are_named_once_on_stderr(tmp_path):
    table = tmp_path / "c.csv"
    table.write_text("slide_id,pateint_id\na,p\n")
    code = "from fivecli.app import main; main()"
    arguments = ["tile", str(table), "--cohort", str(table), "-o", str(tmp_path / "out"), "--dry-run"]
    ended = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert ended.stderr == f"warning: {table}: columns that are not read: 'pateint_id' (did you mean patient_id?)\n"


def test_the_version_is_shown():
    assert runner.invoke(app, ["--version"]).output.startswith("five-wsi ")


@pytest.mark.parametrize(
    ("variable", "arguments"),
    [
        ("FIVE_VERSION", ["inspect"]),
        ("FIVE_INSTALL_COMPLETION", ["inspect"]),
        ("FIVE_SHOW_COMPLETION", ["inspect"]),
        ("FIVE_HELP", ["inspect"]),
        ("FIVE_INSPECT_HELP", ["inspect"]),
        ("FIVE_EMBED_LIST_ENCODERS", ["embed"]),
    ],
)
def test_options_that_only_print_are_not_read_from_the_environment(variable, arguments):
    result = runner.invoke(app, arguments, env={variable: "1"})
    assert result.exit_code == 2  # the argument is missing
    assert result.stdout == ""


class TestConfiguration:
    @pytest.fixture
    def config(self, tmp_path):
        def write(**values):
            path = tmp_path / "tile.yaml"
            path.write_text(yaml.safe_dump(values))
            return ["--config", str(path)]

        return write

    @pytest.fixture
    def used(self, tmp_path, monkeypatch):
        """Run ``five tile`` with arguments; return the settings that the stage was given."""

        def run(arguments, env=None):
            import pipelines.tile

            seen = {}
            (tmp_path / "a.svs").touch()
            monkeypatch.setattr(pipelines.tile, "tile", lambda *a, **k: seen.update(all=[*a, *k.values()]))
            runner.invoke(app, ["tile", str(tmp_path), "-o", str(tmp_path / "out"), *arguments], env=env)
            from pipelines.core.settings import TileSettings

            return next(value for value in seen["all"] if isinstance(value, TileSettings))

        return run

    def test_a_file_gives_defaults(self, config, used):
        assert used(config(tile_size=300)).tile_size == 300

    def test_the_environment_wins_over_the_file(self, config, used):
        assert used(config(tile_size=300), env={"FIVE_TILE_TILE_SIZE": "400"}).tile_size == 400

    def test_a_flag_wins_over_both(self, config, used):
        flags = [*config(tile_size=300), "--tile-size", "500"]
        assert used(flags, env={"FIVE_TILE_TILE_SIZE": "400"}).tile_size == 500

    def test_a_flag_turns_off_what_a_file_turns_on(self, config, used):
        assert used(config(keep_all=True)).keep_all
        assert not used([*config(keep_all=True), "--no-keep-all"]).keep_all

    def test_a_key_of_another_tool_gets_a_suggestion(self, config, tmp_path):
        result = runner.invoke(app, ["tile", str(tmp_path), "-o", str(tmp_path / "out"), *config(patch_size=3)])
        assert result.exception.hint == "use tile_size"

    def test_an_unknown_key_is_an_error_that_names_it(self, config, tmp_path):
        result = runner.invoke(app, ["tile", str(tmp_path), "-o", str(tmp_path / "out"), *config(tilesize=3)])
        assert "unknown setting 'tilesize'" in str(result.exception)


@pytest.mark.parametrize("path", sorted(Path(fivecli.__file__).parent.glob("*.py")), ids=lambda p: p.name)
def test_commands_import_stages_only_inside_functions(path):
    """Keep start-up light: at module level, commands import only settings, resources, errors and batch results."""
    light = tuple(f"pipelines.core.{name}" for name in ("settings", "resources", "errors", "batch"))
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(("pipelines", "fivecli")):
            assert node.module.startswith(("fivecli", *light)), f"{path}: {node.module}"
