"""No model file runs code: every call that loads one says so, and a model that needs its own code is refused."""

import ast
from pathlib import Path

import pytest

from pipelines.core.text_models import load_text_model
from tests.hostile_models import model_with_code

ROOT = Path(__file__).parents[1]
REQUIRED = {
    "from_pretrained": ("trust_remote_code", False),
    "from_config": ("trust_remote_code", False),
    "LLM": ("trust_remote_code", False),
    "transformers.pipeline": ("trust_remote_code", False),
    "torch.load": ("weights_only", True),
}
"""Call -> the argument that it must pass explicitly, with its value."""
RUNS_CODE = ("pickle.load", "pickle.loads", "joblib.load", "torch.hub.load", "yaml.load", "yaml.unsafe_load", "eval")
"""Calls that run code in the data they read."""


def calls(tree):
    """Yield the dotted name of every call in a module, with the call."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def unsafe_calls(source):
    """Return the calls in ``source`` that may run code from a model file."""
    found = []
    for name, call in calls(ast.parse(source)):
        required = REQUIRED.get(name) or (None if name == "torch.load" else REQUIRED.get(name.rpartition(".")[2]))
        given = {keyword.arg: getattr(keyword.value, "value", None) for keyword in call.keywords}
        if (required and given.get(required[0]) is not required[1]) or name in RUNS_CODE:
            found.append(f"line {call.lineno}: {name}")
        if name in ("np.load", "numpy.load") and given.get("allow_pickle"):
            found.append(f"line {call.lineno}: {name}")
    return found


def sources():
    folders = ("fivecli", "pipelines", "docs", "tests/benchmarks")
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def test_no_source_file_loads_a_model_in_a_way_that_may_run_its_code():
    assert {str(path): found for path in sources() if (found := unsafe_calls(path.read_text(encoding="utf-8")))} == {}


@pytest.mark.parametrize(
    "source",
    [
        "AutoModel.from_pretrained(x)",
        "transformers.AutoModel.from_pretrained(x, trust_remote_code=True)",
        "vllm.LLM(model=x, trust_remote_code=given)",
        "LLM(x)",
        "AutoModel.from_config(c)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "pickle.load(stream)",
        "yaml.load(text)",
    ],
)
def test_the_scan_finds_calls_that_may_run_code(source):
    assert len(unsafe_calls(source)) == 1


@pytest.mark.parametrize(
    "source",
    ["AutoModel.from_pretrained(x, trust_remote_code=False)", "torch.load(p, weights_only=True)", "np.load(p)"],
)
def test_the_scan_accepts_calls_that_run_no_code(source):
    assert unsafe_calls(source) == []


def test_a_text_model_that_needs_its_own_code_is_refused_without_running_it(tmp_path):
    with pytest.raises((OSError, ValueError)):
        load_text_model(str(model_with_code(tmp_path)))
    assert not (tmp_path / "code_was_run").exists()
