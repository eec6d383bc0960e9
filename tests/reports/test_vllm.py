"""Backend ``vllm`` with a fake engine; `make check-backends` tests the real one."""

import sys
from types import ModuleType, SimpleNamespace

import pytest

from pipelines.core.errors import BackendError
from pipelines.core.question_files import load_questions
from pipelines.core.resources import DescribeReportsResources
from pipelines.core.settings import DescribeReportsSettings
from pipelines.reports.backends.base import Request, Sampling
from pipelines.reports.backends.vllm import VLLMBackend
from pipelines.reports.instructions import messages

LUNG = load_questions("lung")
SETTINGS = DescribeReportsSettings(backend="vllm", model="folder", max_tokens=50, temperature=0.5, seed=4)


class FakeEngine:
    """Counts one token per word; replies with the index of the conversation."""

    def __init__(self, **options):
        self.options = options
        self.llm_engine = SimpleNamespace(model_config=SimpleNamespace(max_model_len=options["max_model_len"] or 4096))
        self.asked = []

    def get_tokenizer(self):
        return SimpleNamespace(
            apply_chat_template=lambda conversation, **_: " ".join(m["content"] for m in conversation).split()
        )

    def chat(self, conversations, sampling, use_tqdm):
        self.asked.append((conversations, sampling))
        reasons = ["length" if "long" in c[-1]["content"] else "stop" for c in conversations]
        return [
            SimpleNamespace(
                outputs=[SimpleNamespace(text=f"{i}", token_ids=[1, 2], finish_reason=reason)], prompt_token_ids=[1]
            )
            for i, reason in enumerate(reasons)
        ]


@pytest.fixture(autouse=True)
def _engine(monkeypatch):
    vllm, platforms, sampling = (ModuleType(name) for name in ("vllm", "vllm.platforms", "vllm.sampling_params"))
    platforms.current_platform = SimpleNamespace(is_cpu=lambda: False)
    sampling.StructuredOutputsParams = SimpleNamespace
    vllm.LLM, vllm.SamplingParams = FakeEngine, SimpleNamespace
    vllm.platforms, vllm.sampling_params = platforms, sampling
    for module in (vllm, platforms, sampling):
        monkeypatch.setitem(sys.modules, module.__name__, module)


def request(text, sampling=None):
    return Request(text, messages(LUNG, text), sampling)


def test_the_engine_gets_the_resources_and_caches_the_questions():
    options = VLLMBackend(
        LUNG, SETTINGS, DescribeReportsResources(gpus=4, gpu_memory=0.5, context=8192)
    )._engine.options
    assert (options["tensor_parallel_size"], options["gpu_memory_utilization"], options["max_model_len"]) == (
        4,
        0.5,
        8192,
    )
    assert options["enable_prefix_caching"] is True
    assert options["structured_outputs_config"]["disable_any_whitespace"] is True


def test_a_batch_is_one_call_with_sampling_and_schema_per_request():
    backend = VLLMBackend(LUNG, SETTINGS, DescribeReportsResources())
    replies = dict(backend.complete([request("one"), request("two", Sampling(0.9, 7))]))
    assert [replies[index].text for index in (0, 1)] == ["0", "1"]
    ((_, parameters),) = backend._engine.asked
    assert [(p.temperature, p.seed, p.max_tokens) for p in parameters] == [(0.5, 4, 50), (0.9, 7, 50)]
    assert parameters[0].structured_outputs.json["required"] == list(LUNG.ids)


def test_a_report_too_long_for_the_model_is_an_error_and_the_others_are_answered():
    backend = VLLMBackend(LUNG, SETTINGS, DescribeReportsResources(context=2000))
    replies = dict(backend.complete([request("word " * 3000), request("short")]))
    assert replies[0].too_long
    assert "the model accepts 1950" in replies[0].error
    assert replies[1].text == "0"


def test_a_reply_cut_off_is_an_error():
    ((_, reply),) = VLLMBackend(LUNG, SETTINGS, DescribeReportsResources()).complete([request("a long story")])
    assert "cut off" in reply.error
    assert reply.text == ""


def test_a_missing_package_is_named_in_the_hint(monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(BackendError) as caught:
        VLLMBackend(LUNG, SETTINGS, DescribeReportsResources())
    assert "five-wsi[vllm]" in caught.value.hint
