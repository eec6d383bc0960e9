"""The public Python API: what `pipelines` lists, the one signature of the stages, the example of docs/python.md."""

import inspect
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import pipelines
from pipelines.core.errors import FiveError
from pipelines.core.selection import Selection

STAGES = ("tile", "embed", "describe_reports", "train", "predict")
DOCS = Path(__file__).parents[1] / "docs"


def listed() -> list[tuple[str, str]]:
    """Return (module, name) of everything that the docstring of the package lists."""
    block = pipelines.__doc__.split("without notice.")[1].split("The stages that write")[0]
    block = re.sub(r",\n\s+", ", ", block)
    rows = re.findall(r"^ +(pipelines\.[\w.]+) +(.*)$", block, flags=re.MULTILINE)
    return [(module, name) for module, names in rows for name in re.findall(r"\w+", names.split(", which")[0])]


@pytest.mark.parametrize(("module", "name"), listed())
def test_every_listed_name_exists_and_is_documented(module, name):
    assert getattr(import_module(module), name).__doc__


@pytest.mark.parametrize("name", [*STAGES, "evaluate", "evaluate_descriptions"])
def test_a_stage_exports_what_is_listed(name):
    module = import_module(f"pipelines.{name}")
    assert set(module.__all__) >= {each for home, each in listed() if home == f"pipelines.{name}"}


@pytest.mark.parametrize("name", STAGES)
def test_stages_have_one_signature(name):
    stage = getattr(import_module(f"pipelines.{name}"), name)
    parameters = inspect.signature(stage).parameters
    assert list(parameters)[:3] == ["inputs", "out", "settings"]
    assert {"selection", "resources", "on_result"} <= set(parameters)
    assert all(p.kind is p.KEYWORD_ONLY for p in list(parameters.values())[3:])


@pytest.mark.parametrize("name", STAGES)
def test_plans_have_one_signature(name):
    module = import_module(f"pipelines.{name}")
    assert list(inspect.signature(module.plan).parameters)[:4] == ["inputs", "out", "settings", "selection"]


@pytest.mark.parametrize("function", ["stage", "plan"])
@pytest.mark.parametrize(
    ("name", "selection"),
    [
        ("tile", Selection(limit=5)),
        ("embed", Selection(limit=5)),
        ("train", Selection(only_failed=True)),
        ("predict", Selection(only_failed=True)),
    ],
)
def test_a_selection_that_a_stage_does_not_support_is_refused(name, selection, function, tmp_path):
    module = import_module(f"pipelines.{name}")
    inputs = {
        "tile": lambda: module.TileInputs(tmp_path),
        "embed": lambda: module.EmbedInputs(tmp_path),
        "train": lambda: module.TrainInputs(tmp_path),
        "predict": lambda: module.PredictInputs(tmp_path, tmp_path),
    }[name]()
    settings = getattr(module, f"{name.title()}Settings")()
    call = module.plan if function == "plan" else getattr(module, name)
    with pytest.raises(FiveError, match="is not supported"):
        call(inputs, tmp_path / "out", settings, selection=selection)


def test_importing_the_package_loads_no_heavy_library():
    code = "import sys, pipelines; assert not {'numpy', 'torch', 'pyarrow'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
def test_the_example_of_the_docs_runs(tmp_path):
    page = (DOCS / "python.md").read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL))
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
