"""Image-text models of transformers (CLIP, SigLIP and the like): their two towers, loaded from one weights file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipelines.encoders.preset import Preset, TextPreset
from pipelines.encoders.weights import State, misfit_error

TOWERS: Mapping[str, tuple[str, ...]] = {"image": ("vision", "visual"), "text": ("text",)}
"""Tower -> first letters of the names of its weights."""
PROJECTED = "projected"
"""Embedding rule of the image towers."""


def joint_text_preset(config: Mapping[str, Any]) -> TextPreset | None:
    """Return the text tower of a model with this ``config.json``; None if it does not embed both images and texts."""
    if not {"text_config", "vision_config"} <= config.keys():
        return None
    import transformers

    try:
        settings = transformers.AutoConfig.for_model(**config)
        model_class = transformers.AutoModel._model_mapping[type(settings)]
    except (KeyError, ValueError, TypeError):  # unknown to this version; reported when the encoder is loaded
        return None
    if not (hasattr(model_class, "get_image_features") and hasattr(model_class, "get_text_features")):
        return None
    return TextPreset(
        builder="hf",
        context_length=int(getattr(settings.text_config, "max_position_embeddings", 0)),
        padded=settings.model_type.startswith("siglip"),  # trained without attention masks
    )


def load_joint_model(preset: Preset, state: State, path: Path, tower: str) -> Any:
    """Return the image-text model of ``preset`` with the weights of one tower; the other one may be missing.

    Parameters
    ----------
    tower
        ``image`` or ``text``.

    Raises
    ------
    EncoderError
        The weights do not fit the tower.
    """
    import transformers

    config = transformers.AutoConfig.for_model(**preset.options)
    model, info = model_from_state(transformers.AutoModel._model_mapping[type(config)], config, state, preset, path)
    wanted = TOWERS[tower]
    missing = {name for name in info["missing_keys"] if name.startswith(wanted) and "position_ids" not in name}
    shapes = {str(key[0]) for key in info["mismatched_keys"] if str(key[0]).startswith(wanted)}
    raise_misfit(preset, path, {"missing": missing, "of another shape": shapes})
    return model.float()


def model_from_state(
    model_class: Any, config: Any, state: State, preset: Preset, path: Path, **arguments: Any
) -> tuple[Any, Mapping[str, Any]]:
    """Load ``state`` with transformers, which recognizes the weight names of its older versions.

    Returns the model and what did not fit: ``missing_keys``, ``unexpected_keys`` and ``mismatched_keys``.

    Raises
    ------
    EncoderError
        transformers cannot load the weights at all.
    """
    from transformers.utils import logging

    logging.set_verbosity_error()  # misfits are reported once, by the caller
    logging.disable_progress_bar()
    try:
        model, info = model_class.from_pretrained(
            None, config=config, state_dict=state, output_loading_info=True, trust_remote_code=False, **arguments
        )
    except (RuntimeError, ValueError) as error:
        raise misfit_error(preset, path, str(error).splitlines()[0]) from error
    return model, info


def raise_misfit(preset: Preset, path: Path, problems: Mapping[str, Any]) -> None:
    """Raise `EncoderError` with the first problem that has weight names; ``problems`` maps a problem to names."""
    for problem, names in problems.items():
        if names:
            raise misfit_error(preset, path, f"{len(names)} weights {problem}, first {min(map(str, names))}")


class JointImageTower(nn.Module):
    """The image tower of an image-text model of transformers, with the projection into the shared space."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        for name in ("text_model", "text_projection"):
            if hasattr(model, name):
                setattr(model, name, None)  # frees its memory

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the projected features (B, D) for ``pixels`` (B, 3, S, S), not L2-normalized."""
        return _vectors(self.model.get_image_features(pixel_values=pixels))


class JointTextTower(nn.Module):
    """The text tower of an image-text model of transformers."""

    def __init__(self, model: Any, *, padded: bool) -> None:
        super().__init__()
        self.model, self.padded = model, padded
        if hasattr(model, "vision_model"):
            model.vision_model = None  # frees its memory

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return (M, D) for token ids (M, L) and ``mask``, True for tokens of the text."""
        masks = {} if self.padded else {"attention_mask": mask.long()}
        return _vectors(self.model.get_text_features(input_ids=ids, **masks))


def _vectors(output: Any) -> Tensor:
    """Return the vectors that ``get_image_features`` or ``get_text_features`` gave; before transformers 5, a tensor."""
    vectors: Tensor = output if isinstance(output, torch.Tensor) else output.pooler_output
    return vectors
