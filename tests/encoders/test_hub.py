"""Files of the hub: the cache first, one attempt, then which file to put where."""

from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub import constants
from huggingface_hub.errors import EntryNotFoundError, GatedRepoError

from pipelines.core.errors import EncoderError
from pipelines.encoders.find_preset import find_preset
from pipelines.encoders.hub import hub_file
from pipelines.encoders.presets import ENCODER_PRESETS
from pipelines.encoders.weights import find_weights


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """Return the files asked of a hub that cannot be reached; the cache is empty."""
    asked = []

    def unreachable(url, **_):
        asked.append(url.rsplit("/", 1)[-1])
        raise ConnectionError("no route to host")

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", unreachable)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return asked


def raising(error):
    def answer(*_, **__):
        raise error

    return answer


def test_an_unreachable_hub_is_asked_once_and_the_error_says_which_file_to_bring(asked):
    with pytest.raises(
        EncoderError, match=r"pytorch_model\.bin of https://huggingface\.co/MahmoodLab/UNI2-h"
    ) as caught:
        find_weights(find_preset("uni2-h"))
    assert asked == ["pytorch_model.bin"]
    for words in ("accept the licence", "--weights", "hf download MahmoodLab/UNI2-h pytorch_model.bin"):
        assert words in caught.value.hint
    assert "models--MahmoodLab--UNI2-h" in caught.value.hint


def test_what_is_in_the_cache_is_used_without_asking(asked, monkeypatch, tmp_path):
    twin = tmp_path / "model.safetensors"
    twin.write_bytes(b"")
    cached = {"model.safetensors": str(twin)}
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda _, name: cached.get(name))
    assert hub_file("x", "a/b", "pytorch_model.bin") == twin  # kept in the other form
    assert asked == []


def test_a_hub_that_is_switched_off_is_not_asked(asked, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(EncoderError, match="HF_HUB_OFFLINE"):
        hub_file("x", "a/b", "config.json")
    assert asked == []


def test_weights_in_the_other_form_are_fetched(monkeypatch, asked, tmp_path):
    def metadata(url, **_):
        if url.endswith("pytorch_model.bin"):
            raise EntryNotFoundError("no such file")

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", metadata)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda repository, name, **_: str(tmp_path / name))
    assert hub_file("x", "a/b", "pytorch_model.bin").name == "model.safetensors"


def test_missing_access_is_told_apart_from_a_missing_connection(asked, monkeypatch):
    refused = GatedRepoError("no", response=SimpleNamespace(headers={}, request=None, status_code=403))
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", raising(refused))
    with pytest.raises(EncoderError, match="not given you access yet") as caught:
        hub_file("x", "a/b", "model.safetensors")
    assert "hf auth login" in caught.value.hint


def test_weights_that_are_on_no_hub_name_their_page():
    with pytest.raises(EncoderError) as caught:
        find_weights(ENCODER_PRESETS["ctranspath"])
    assert "ctranspath.pth as https://github.com/Xiyue-Wang/TransPath says" in caught.value.hint
