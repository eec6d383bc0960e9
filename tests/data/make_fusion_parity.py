"""Make fusion_parity.npz from reference values of the published fusion network.

Usage: python make_fusion_parity.py SOURCE OUT

SOURCE is a folder with patch_fusion_vectors.npz and pos_enc_512.npz. They hold inputs, random weights,
outputs and gradients of the published modules (ls1rius/WSI_FiVE). Two cases are kept:

* ``padded``: bags of 24, 10 and 1 tiles, padded to 24. Only one-dimensional gradients are kept, to make
  the file small.
* ``sampled``: half of 60 and of 37 tiles, padded to 32. All gradients are kept.

Weights are renamed to those of `pipelines.model.networks.fusion.TileFusion`.
"""

import sys
from pathlib import Path

import numpy as np

CASES = {"padded": "b_pad", "sampled": "c_sample"}
INPUTS = ("x", "prompt", "sample_range", "patch_inds", "patch_pub_cnt", "loss_weight")
RESULTS = ("self_attn_out", "out", "grad_x", "grad_prompt")
BLOCK = "_attn.resblocks.0."
NAMES = {
    "self" + BLOCK + "ln_1": "self_norm",
    "self" + BLOCK + "ln_2": "self_mlp_norm",
    "self" + BLOCK + "attn": "self_attention",
    "self" + BLOCK + "mlp": "self_mlp",
    "cross" + BLOCK + "ln_1": "tile_norm",
    "cross" + BLOCK + "ln_11": "prompt_norm",
    "cross" + BLOCK + "ln_2": "cross_mlp_norm",
    "cross" + BLOCK + "attn": "cross_attention",
    "cross" + BLOCK + "mlp": "cross_mlp",
    "project_for_cls": "project",
}
PARTS = {"in_proj_weight": "in_proj.weight", "in_proj_bias": "in_proj.bias", "c_fc": "up", "c_proj": "down"}


def our_name(theirs: str) -> str | None:
    """Return our name of a published weight; None for weights that the published network never uses."""
    if theirs == "self_attn.pad_embed.weight":
        return "pad"
    for prefix, ours in NAMES.items():
        if theirs.startswith(prefix + "."):
            rest = theirs[len(prefix) + 1 :]
            for old, new in PARTS.items():
                rest = rest.replace(old, new)
            return f"{ours}.{rest}"
    return None


def subset(source: Path) -> dict[str, np.ndarray]:
    """Return the arrays to keep."""
    with np.load(source / "patch_fusion_vectors.npz") as vectors:
        kept = {
            f"{ours}/{name}": vectors[f"{case}/{name}"] for ours, case in CASES.items() for name in INPUTS + RESULTS
        }
        for ours, case in CASES.items():
            for key in vectors.files:
                kind, _, theirs = key.removeprefix(f"{case}/").partition("/")
                name = our_name(theirs)
                if key.startswith(f"{case}/") and kind in ("state", "grad") and name:
                    value = vectors[key].reshape(-1) if name == "pad" else vectors[key]
                    if ours == "sampled" or kind == "state" or value.ndim == 1:
                        kept[f"{ours}/{kind}/{name}"] = value
    with np.load(source / "pos_enc_512.npz") as encoding:
        kept |= {f"positions/{name}": encoding[name] for name in encoding.files}
    return kept


if __name__ == "__main__":
    np.savez_compressed(sys.argv[2], **subset(Path(sys.argv[1])))
