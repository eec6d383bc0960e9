"""Files of the hub: the cache first, then one attempt, then an error that says which file to get."""

from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub import constants
from huggingface_hub.errors import EntryNotFoundError, GatedRepoError

from pipelines.core.errors import EncoderError
from pipelines.encoders.find_preset import find_preset
from pipelines.encoders.hub import hub_file
from pipelines.encoders.presets import ENCODER_PRESETS
from pipelines.encoders.text_tower import load_text_tower
from pipelines.encoders.weights import find_weights


@pytest.fixture
def requested(monkeypatch, tmp_path):
    """Return the list of files requested from a hub that cannot be reached, with an empty cache."""
    requested = []

    def unreachable(url, **_):
        requested.append(url.rsplit("/", 1)[-1])
        raise ConnectionError("no route to host")

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", unreachable)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return requested


def raising(error):
    def answer(*_, **__):
        raise error

    return answer


def test_an_unreachable_hub_is_tried_once_and_the_error_says_which_file_to_get(requested):
    with pytest.raises(
        EncoderError, match=r"pytorch_model\.bin of https://huggingface\.co/MahmoodLab/UNI2-h"
    ) as caught:
        find_weights(find_preset("uni2-h"))
    assert requested == ["pytorch_model.bin"]
    for words in ("accept the license", "--weights", "hf download MahmoodLab/UNI2-h pytorch_model.bin"):
        assert words in caught.value.hint
    assert "models--MahmoodLab--UNI2-h" in caught.value.hint


def test_cached_files_are_used_without_a_request(requested, monkeypatch, tmp_path):
    other_format = tmp_path / "model.safetensors"
    other_format.write_bytes(b"")
    cached = {"model.safetensors": str(other_format)}
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda _, name: cached.get(name))
    assert hub_file("x", "a/b", "pytorch_model.bin") == other_format  # cached in the other format
    assert requested == []


def test_an_offline_setting_prevents_requests(requested, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(EncoderError, match="HF_HUB_OFFLINE"):
        hub_file("x", "a/b", "config.json")
    assert requested == []


def test_weights_in_the_other_format_are_downloaded(monkeypatch, requested, tmp_path):
    def metadata(url, **_):
        if url.endswith("pytorch_model.bin"):
            raise EntryNotFoundError("no such file")

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", metadata)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda repository, name, **_: str(tmp_path / name))
    assert hub_file("x", "a/b", "pytorch_model.bin").name == "model.safetensors"


def test_missing_access_is_distinguished_from_a_missing_connection(requested, monkeypatch):
    access_error = GatedRepoError("no", response=SimpleNamespace(headers={}, request=None, status_code=403))
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", raising(access_error))
    with pytest.raises(EncoderError, match="not given you access yet") as caught:
        hub_file("x", "a/b", "model.safetensors")
    assert "hf auth login" in caught.value.hint


def test_the_error_for_weights_outside_the_hub_names_their_page():
    with pytest.raises(EncoderError) as caught:
        find_weights(ENCODER_PRESETS["ctranspath"])
    assert "get ctranspath.pth as described on https://github.com/Xiyue-Wang/TransPath" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("keep", ["model.safetensors", "tokenizer.json"]),
        ("plip", ["pytorch_model.bin", "tokenizer.json"]),
        ("musk-joint", ["model.safetensors", "tokenizer.spm"]),
        ("conch-joint", ["pytorch_model.bin", "conch_byte_level_bpe_uncased.json"]),
    ],
)
def test_the_error_for_a_missing_text_tower_names_weights_and_tokenizer(requested, name, files):
    with pytest.raises(EncoderError) as caught:
        load_text_tower(ENCODER_PRESETS[name])
    assert requested == files[:1]  # the hub is tried once
    for text in (caught.value.message, caught.value.hint):
        assert all(file in text for file in files)


@pytest.mark.parametrize("cached", [(), ("preprocessor_config.json",)])
def test_the_error_for_a_missing_repository_names_the_files_that_are_missing(requested, monkeypatch, tmp_path, cached):
    (tmp_path / "file").write_bytes(b"")
    found = {name: str(tmp_path / "file") for name in cached}
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda _, name: found.get(name))
    with pytest.raises(EncoderError) as caught:
        find_preset("hf:a/b")
    named = ["config.json", "preprocessor_config.json", "model.safetensors"]
    assert " and ".join(name for name in named if name not in cached) in caught.value.message
    assert "hf download a/b`" in caught.value.hint
    assert requested == ["config.json"]


def test_a_missing_tokenizer_is_looked_for_in_all_forms_and_named(requested, monkeypatch, tmp_path):
    (tmp_path / "w.safetensors").write_bytes(b"")
    with pytest.raises(EncoderError, match=r"the file tokenizer\.json of .*Astaxanthin/KEEP is not on this") as caught:
        load_text_tower(ENCODER_PRESETS["keep"], weights=tmp_path / "w.safetensors")
    assert "put tokenizer.json into the folder of the weights file" in caught.value.hint
    requested.clear()
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", absent := AbsentFiles(requested))
    with pytest.raises(EncoderError, match="the repository does not contain it"):
        load_text_tower(ENCODER_PRESETS["keep"], weights=tmp_path / "w.safetensors")
    assert absent.requested == ["tokenizer.json", "vocab.txt"]


class AbsentFiles:
    """A hub that is reached and has none of the files."""

    def __init__(self, requested):
        self.requested = requested

    def __call__(self, url, **_):
        self.requested.append(url.rsplit("/", 1)[-1])
        raise EntryNotFoundError("no such file")
