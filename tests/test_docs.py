import importlib.util
import re
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from fivecli.app import app
from pipelines.core.classes import load_class_texts
from pipelines.core.question_files import load_questions
from pipelines.core.schemas import ANSWERS

ROOT = Path(__file__).parent.parent
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
SCRIPTS = sorted((ROOT / "docs" / "examples").glob("*.sh"))


def load(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_artifacts_is_up_to_date():
    rendered = load(ROOT / "docs" / "render_artifacts.py").render()
    assert (ROOT / "docs" / "artifacts.md").read_text(encoding="utf-8") == rendered, "run `make docs`"


@pytest.mark.parametrize("page", [*PAGES, *SCRIPTS], ids=lambda p: p.name)
def test_every_flag_that_the_docs_show_exists(page):
    """Commands in code blocks use existing subcommands and flags."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    commands = get_command(app).commands
    for name, arguments in re.findall(r"^ *(?:step )?five ([a-z][a-z-]+)(.*)$", text, flags=re.MULTILINE):
        assert name in commands, name
        group = commands[name]
        nested = getattr(group, "commands", {})
        command = nested.get(arguments.split()[0], group) if nested and arguments.split() else group
        known = {flag for p in command.params for flag in p.opts + p.secondary_opts} | {"--help"}
        for flag in re.findall(r"(?<=\s)--?[a-z][a-z-]*", arguments.split(" #")[0]):
            assert flag in known, f"{page.name}: five {name} {flag}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_between_pages_have_a_target(page):
    for target in re.findall(r"\]\(([^)#:]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_paths_that_the_docs_name_exist(page):
    for path in re.findall(r"`((?:pipelines|fivecli|tests|docs|core)/[\w/.-]*)`", page.read_text(encoding="utf-8")):
        assert any((root / path).exists() for root in (ROOT, ROOT / "pipelines")), f"{page.name}: {path}"


def test_the_question_set_that_the_docs_show_answers_a_report(tmp_path):
    page = (ROOT / "docs" / "reports.md").read_text(encoding="utf-8")
    (tmp_path / "questions.yaml").write_text(re.search(r"```yaml\n(.*?)```", page, flags=re.DOTALL)[1])
    (tmp_path / "reports.csv").write_text("report_id,patient_id,text\nr1,p1,Extensive necrosis is present.\n")
    arguments = ["describe-reports", str(tmp_path / "reports.csv"), "-o", str(tmp_path / "out")]
    result = CliRunner().invoke(app, [*arguments, "--questions", str(tmp_path / "questions.yaml")])
    assert result.exit_code == 0, result.output
    answers = {row["question_id"]: row["description"] for row in ANSWERS.read_rows(tmp_path / "out/answers.parquet")}
    assert answers["necrosis"] == "tumor necrosis present"
    assert list(answers) == [*load_questions("lung").ids, "necrosis"]


WALK = (ROOT / "docs" / "development.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("file", "names"), re.findall(r"^\| \d+\. .* \| `(.+?\.py)` \| (.+) \|$", WALK, re.MULTILINE))
def test_every_step_of_a_walk_names_a_function_or_class_of_its_file(file, names):
    code = (ROOT / file).read_text(encoding="utf-8")
    for name in re.findall(r"`(\w+)`", names):
        assert re.search(rf"^(def|class) {name}\b", code, re.MULTILINE), f"{file}: {name}"


def test_the_class_texts_that_the_docs_show_can_be_read(tmp_path):
    page = (ROOT / "docs" / "zero-shot.md").read_text(encoding="utf-8")
    (tmp_path / "classes.yaml").write_text(re.search(r"```yaml\n(.*?)```", page, flags=re.DOTALL)[1])
    found = load_class_texts(tmp_path / "classes.yaml")
    assert found.classes["LUAD"][:2] == [
        "an H&E image of lung adenocarcinoma.",
        "histopathology of lung adenocarcinoma.",
    ]
    assert len(found.other) == 4
