"""Weights in the published layouts of encoders (names and shapes), at toy size and from a simple formula.

Tests compare our features with those of the authors' own code for the same weights and picture.
"""

import re
import zlib

import numpy as np
import torch

CENTERED_AT_ONE = ("norm1.weight", "norm2.weight", "norm.weight", "ln_q.weight", "ln_k.weight", "ln_contrast.weight")
SCALES = (*CENTERED_AT_ONE, "ln_1.weight", "ln_2.weight", "ln_final.weight", "layernorm.weight")


def weight(name, *shape):
    """Return sin(0.7 i + c) / 5, where c depends on the name; centered at 1 for scales, positive for variances."""
    index = torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
    values = torch.sin(index * 0.7 + zlib.crc32(name.encode()) % 1000) * 0.2
    if name.endswith("running_var"):
        values = values.abs() + 0.5
    return (values + name.endswith(CENTERED_AT_ONE)).reshape(shape).float()


def random_weights(state):
    """Return random weights of the same shapes; unlike those of `weight`, they do not have a low rank."""

    def random(name, value):
        values = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(tuple(value.shape))
        return torch.tensor(values * 0.3 + name.endswith(SCALES), dtype=torch.float32)

    return {name: random(name, value) for name, value in state.items()}


def picture(size):
    """Return normalized pixels (1, 3, size, size)."""
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    channels = [torch.sin(x * 0.11) + torch.cos(y * 0.07), torch.cos(x * 0.05 + y * 0.13), torch.sin(x * y * 0.003)]
    return torch.stack(channels).float()[None]


def filled(shapes):
    return {name: weight(name, *shape) for name, shape in shapes.items()}


def linear(name, n_out, n_in):
    return {f"{name}.weight": (n_out, n_in), f"{name}.bias": (n_out,)}


def norm(name, width):
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def block(name, width):
    return {
        **norm(f"{name}.norm1", width),
        **linear(f"{name}.attn.qkv", 3 * width, width),
        **linear(f"{name}.attn.proj", width, width),
        **norm(f"{name}.norm2", width),
        **linear(f"{name}.mlp.fc1", 4 * width, width),
        **linear(f"{name}.mlp.fc2", width, 4 * width),
    }


def vit(width, tokens, patch, *, prefix="", layer_scale=False):
    """Return the shapes of a Vision Transformer of two blocks with the names of timm and DINO."""
    shapes = {
        f"{prefix}cls_token": (1, 1, width),
        f"{prefix}pos_embed": (1, tokens, width),
        f"{prefix}patch_embed.proj.weight": (width, 3, patch, patch),
        f"{prefix}patch_embed.proj.bias": (width,),
        **norm(f"{prefix}norm", width),
    }
    for index in range(2):
        shapes.update(block(f"{prefix}blocks.{index}", width))
        if layer_scale:
            shapes.update({f"{prefix}blocks.{index}.ls{number}.gamma": (width,) for number in (1, 2)})
    return shapes


def conch():
    pool = "visual.attn_pool_contrast"
    return filled(
        {
            **vit(32, 5, 16, prefix="visual.trunk."),
            f"{pool}.query": (1, 16),
            f"{pool}.attn.q_proj_weight": (16, 16),
            f"{pool}.attn.k_proj_weight": (16, 32),
            f"{pool}.attn.v_proj_weight": (16, 32),
            f"{pool}.attn.in_proj_bias": (48,),
            **linear(f"{pool}.attn.out_proj", 16, 16),
            **norm(f"{pool}.ln_q", 16),
            **norm(f"{pool}.ln_k", 32),
            **norm("visual.ln_contrast", 16),
            "visual.proj_contrast": (16, 16),
            "visual.attn_pool_caption.query": (4, 24),
            **norm("visual.ln_caption", 24),
            "text.cls_emb": (16,),
            "text_decoder.text_projection": (16, 16),
            "logit_scale": (),
        }
    )


def conch_text():
    """Return the text tower of CONCH with 13 tokens, a context of 12 and two blocks of width 24."""
    shapes = {
        "text.cls_emb": (24,),
        "text.positional_embedding": (12, 24),
        "text.token_embedding.weight": (13, 24),
        "text.text_projection": (24, 16),
        **norm("text.ln_final", 24),
    }
    for index in range(2):
        block = f"text.transformer.resblocks.{index}"
        shapes.update({f"{block}.attn.in_proj_weight": (72, 24), f"{block}.attn.in_proj_bias": (72,)})
        shapes.update({**norm(f"{block}.ln_1", 24), **norm(f"{block}.ln_2", 24)})
        shapes.update(linear(f"{block}.attn.out_proj", 24, 24))
        shapes.update({**linear(f"{block}.mlp.c_fc", 96, 24), **linear(f"{block}.mlp.c_proj", 24, 96)})
    return random_weights(filled(shapes))


def conch_1_5():
    pool = "attn_pool_contrast"
    return filled(
        {
            **vit(32, 5, 16, prefix="trunk.", layer_scale=True),
            f"{pool}.query": (1, 16),
            **norm(f"{pool}.ln_q", 16),
            **norm(f"{pool}.ln_k", 32),
            f"{pool}.to_q.weight": (16, 16),
            f"{pool}.to_kv.weight": (32, 32),
            f"{pool}.to_out.weight": (16, 16),
            **norm("ln_contrast", 16),
        }
    )


def musk():
    shapes = {
        "beit3.text_embed.weight": (11, 32),
        "beit3.vision_embed.mask_token": (1, 1, 32),
        "beit3.vision_embed.cls_token": (1, 1, 32),
        "beit3.vision_embed.proj.weight": (32, 3, 16, 16),
        "beit3.vision_embed.proj.bias": (32,),
        "language_head.weight": (32, 32),
        "vision_head.weight": (32, 32),
        "logit_scale": (),
    }
    for branch, positions in (("A", 7), ("B", 1024)):
        shapes[f"beit3.encoder.embed_positions.{branch}.weight"] = (positions, 32)
        shapes.update(norm(f"beit3.encoder.layer_norm.{branch}", 32))
        for index in range(2):
            layer = f"beit3.encoder.layers.{index}"
            for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
                shapes.update(linear(f"{layer}.self_attn.{part}.{branch}", 32, 32))
            for name in ("self_attn.inner_attn_ln", "self_attn_layer_norm", "final_layer_norm"):
                shapes.update(norm(f"{layer}.{name}.{branch}", 32))
            shapes.update(linear(f"{layer}.ffn.{branch}.fc1", 128, 32))
            shapes.update(linear(f"{layer}.ffn.{branch}.fc2", 32, 128))
            shapes.update(norm(f"{layer}.ffn.{branch}.ffn_layernorm", 128))
    return filled(shapes)


def ctranspath():
    """Return the weights of two stages of two blocks in the layout of timm 0.5, which the authors used."""
    shapes = {
        "patch_embed.proj.0.weight": (2, 3, 3, 3),
        "patch_embed.proj.3.weight": (4, 2, 3, 3),
        "patch_embed.proj.6.weight": (16, 4, 1, 1),
        "patch_embed.proj.6.bias": (16,),
        **norm("patch_embed.norm", 16),
        "layers.0.downsample.reduction.weight": (32, 64),
        **norm("layers.0.downsample.norm", 64),
        **norm("norm", 32),
    }
    for name, width in (("patch_embed.proj.1", 2), ("patch_embed.proj.4", 4)):
        shapes.update({f"{name}.{part}": (width,) for part in ("weight", "bias", "running_mean", "running_var")})
        shapes[f"{name}.num_batches_tracked"] = ()
    for stage, width, heads in ((0, 16, 2), (1, 32, 4)):
        for index in range(2):
            shapes.update(block(f"layers.{stage}.blocks.{index}", width))
            attention = f"layers.{stage}.blocks.{index}.attn"
            shapes[f"{attention}.relative_position_bias_table"] = (169, heads)
            shapes[f"{attention}.relative_position_index"] = (49, 49)
    shapes["layers.0.blocks.1.attn_mask"] = (4, 49, 49)
    return filled(shapes)


def dinov2(*, registers=0, swiglu=False, patch=14, chunks=0):
    """Return weights with the names of DINOv2's own code; ``chunks`` numbers blocks as its chunked training does."""
    shapes = vit(48, 5, patch, layer_scale=True)
    shapes["mask_token"] = (1, 48)
    if registers:
        shapes["register_tokens"] = (1, registers, 48)
    for index in range(2) if swiglu else ():
        for part in ("fc1", "fc2"):
            del shapes[f"blocks.{index}.mlp.{part}.weight"], shapes[f"blocks.{index}.mlp.{part}.bias"]
        shapes.update(linear(f"blocks.{index}.mlp.w12", 256, 48))  # 2 * 128, where 128 = 2 / 3 * 4 * 48
        shapes.update(linear(f"blocks.{index}.mlp.w3", 48, 128))
    if chunks:
        shapes = {re.sub(r"^blocks\.(\d)", r"blocks.\1.\1", name): shape for name, shape in shapes.items()}
    return filled(shapes)


def in_transformers_names(state):
    """Return DINOv2 weights with the names of the transformers releases that wrote the published files."""
    names = {
        r"^cls_token": "embeddings.cls_token",
        r"^mask_token": "embeddings.mask_token",
        r"^pos_embed": "embeddings.position_embeddings",
        r"^register_tokens": "embeddings.register_tokens",
        r"^patch_embed\.proj": "embeddings.patch_embeddings.projection",
        r"^norm\.": "layernorm.",
        r"^blocks": "encoder.layer",
        r"ls(\d)\.gamma": r"layer_scale\1.lambda1",
        r"mlp\.w12": "mlp.weights_in",
        r"mlp\.w3": "mlp.weights_out",
        r"attn\.proj": "attention.output.dense",
    }
    renamed = {}
    for name, value in state.items():
        for pattern, replacement in names.items():
            name = re.sub(pattern, replacement, name)
        if "attn.qkv" in name:
            for part, third in zip(("query", "key", "value"), value.chunk(3), strict=True):
                renamed[name.replace("attn.qkv", f"attention.attention.{part}")] = third
        else:
            renamed[name] = value
    return renamed
