"""Image towers that timm and transformers lack: a timm trunk with the authors' stem or head.

They follow the publications and the layout of the published weights. Parameters have the published names.
B tiles per batch, S pixels per tile edge, T tokens, D channels of the trunk, E channels of the features.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

HEADS = 8
"""Attention heads of the token pooling in CONCH and CONCH 1.5."""


class AttentionPool(nn.Module):
    """CONCH's token pooling with one learned query."""

    def __init__(self, dim: int, context_dim: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(1, dim))
        self.attn = nn.MultiheadAttention(dim, HEADS, kdim=context_dim, vdim=context_dim, batch_first=True)
        self.ln_q = nn.LayerNorm(dim)
        self.ln_k = nn.LayerNorm(context_dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return (B, E) for ``tokens`` (B, T, D)."""
        keys = self.ln_k(tokens)
        query = self.ln_q(self.query).expand(len(tokens), -1, -1)  # (B, 1, E)
        pooled: Tensor = self.attn(query, keys, keys, need_weights=False)[0]
        return pooled[:, 0]


class PlainAttentionPool(nn.Module):
    """CONCH 1.5's token pooling with one learned query and projections without biases."""

    def __init__(self, dim: int, context_dim: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(1, dim))
        self.ln_q = nn.LayerNorm(dim)
        self.ln_k = nn.LayerNorm(context_dim)
        self.to_q = nn.Linear(dim, dim, bias=False)
        self.to_kv = nn.Linear(context_dim, 2 * dim, bias=False)
        self.to_out = nn.Linear(dim, dim, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return (B, E) for ``tokens`` (B, T, D)."""
        query = self.to_q(self.ln_q(self.query)).expand(len(tokens), -1, -1)  # (B, 1, E)
        key, value = self.to_kv(self.ln_k(tokens)).chunk(2, dim=-1)  # (B, T, E)
        by_head = (part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in (query, key, value))
        pooled = functional.scaled_dot_product_attention(*by_head)  # (B, heads, 1, E / heads)
        projected: Tensor = self.to_out(pooled.transpose(1, 2).flatten(1))
        return projected


class ConchTower(nn.Module):
    """CONCH's image tower without the contrastive projection, as its authors use it for slides."""

    def __init__(self, trunk: Any, dim: int, pool: type[nn.Module]) -> None:
        super().__init__()
        self.trunk = trunk
        self.attn_pool_contrast = pool(dim, trunk.num_features)
        self.ln_contrast = nn.LayerNorm(dim)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return (B, E) for ``pixels`` (B, 3, S, S)."""
        pooled: Tensor = self.ln_contrast(self.attn_pool_contrast(self.trunk.forward_features(pixels)))
        return pooled


class ConchJointTower(ConchTower):
    """CONCH's image tower with the contrastive projection, as its authors use it with texts."""

    def __init__(self, trunk: Any, dim: int) -> None:
        super().__init__(trunk, dim, AttentionPool)
        self.proj_contrast = nn.Parameter(torch.empty(dim, dim))

    def forward(self, pixels: Tensor) -> Tensor:
        """Return L2-normalized (B, E) for ``pixels`` (B, 3, S, S)."""
        return functional.normalize(super().forward(pixels) @ self.proj_contrast, dim=-1)


class MuskJointTower(nn.Module):
    """MUSK's image tower with the projection into the space shared with text."""

    def __init__(self, trunk: Any, dim: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.vision_head = nn.Linear(trunk.num_features, dim, bias=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return L2-normalized (B, E) for ``pixels`` (B, 3, S, S)."""
        return functional.normalize(self.vision_head(self.trunk.forward_features(pixels)[:, 0]), dim=-1)


class KeepTower(nn.Module):
    """KEEP's image tower, with L2-normalized features in the space shared with text."""

    def __init__(self, trunk: Any, dim: int) -> None:
        super().__init__()
        self.visual = trunk
        self.visual_head = nn.Sequential(nn.Linear(trunk.num_features, dim), nn.GELU(), nn.Linear(dim, dim))

    def forward(self, pixels: Tensor) -> Tensor:
        """Return (B, E) for ``pixels`` (B, 3, S, S)."""
        return functional.normalize(self.visual_head(self.visual(pixels)), dim=-1)


class ConvStem(nn.Module):
    """CTransPath's stem: three convolutions instead of the patch embedding of Swin Transformers."""

    def __init__(
        self,
        img_size: int | tuple[int, int],
        patch_size: int,
        in_chans: int,
        embed_dim: int,
        norm_layer: Any = nn.LayerNorm,
        **_: object,  # further arguments that timm passes to its own stem
    ) -> None:
        super().__init__()
        self.patch_size = (patch_size, patch_size)
        height, width = img_size if isinstance(img_size, tuple) else (img_size, img_size)
        self.grid_size = (height // patch_size, width // patch_size)
        narrow, wide = embed_dim // 8, embed_dim // 4
        self.proj = nn.Sequential(
            *(nn.Conv2d(in_chans, narrow, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(narrow), nn.ReLU()),
            *(nn.Conv2d(narrow, wide, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(wide), nn.ReLU()),
            nn.Conv2d(wide, embed_dim, 1),
        )
        self.norm = norm_layer(embed_dim)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return (B, S / 4, S / 4, D) for ``pixels`` (B, 3, S, S)."""
        normed: Tensor = self.norm(self.proj(pixels).permute(0, 2, 3, 1))
        return normed


class TransformersTower(nn.Module):
    """A vision model of transformers with the interface of timm's networks."""

    def __init__(self, model: Any, *, class_token: bool = False) -> None:
        """Wrap ``model``; with ``class_token``, the class token replaces the output of the model's pooler."""
        super().__init__()
        self.model = model
        self.class_token = class_token
        self.num_prefix_tokens = 1 + getattr(model.config, "num_register_tokens", 0)

    def forward_features(self, pixels: Tensor) -> Tensor:
        """Return the tokens (B, T, D) for ``pixels`` (B, 3, S, S)."""
        tokens: Tensor = self.model(pixel_values=pixels).last_hidden_state
        return tokens

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the model's own pooled or projected features (B, D) for ``pixels`` (B, 3, S, S)."""
        output = self.model(pixel_values=pixels)
        projected: Tensor | None = getattr(output, "image_embeds", None)
        pooled: Tensor = output.pooler_output if projected is None else projected
        if self.class_token:
            pooled = output.last_hidden_state[:, 0]
        return pooled.flatten(1)  # convolutional networks pool to (B, D, 1, 1)
