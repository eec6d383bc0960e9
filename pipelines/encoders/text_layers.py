"""Text towers of CONCH and MUSK, which transformers lacks. Parameters have the published names, without a prefix.

M texts per batch, L tokens, W channels of the transformer, D channels of the space shared with images.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

FIRST_POSITION = 2
"""MUSK's first position, as in Fairseq."""


class ConchText(nn.Module):
    """CONCH's text tower: a causal transformer with a class token behind the padded text.

    Read in https://github.com/mahmoodlab/CONCH, which follows the CoCa of open_clip.
    """

    def __init__(self, vocab_size: int, width: int, heads: int, layers: int, dim: int, length: int = 128) -> None:
        super().__init__()
        self.cls_emb = nn.Parameter(torch.empty(width))
        self.token_embedding = nn.Embedding(vocab_size, width)
        self.positional_embedding = nn.Parameter(torch.empty(length, width))
        self.transformer = _Blocks(width, heads, layers)
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(torch.empty(width, dim))

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return (M, D) for token ids (M, L) padded to L = 127, and ``mask``, True for tokens of the text."""
        tokens = torch.cat([self.token_embedding(ids), self.cls_emb.expand(len(ids), 1, -1)], dim=1)
        tokens = tokens + self.positional_embedding[: tokens.shape[1]]
        tokens = self.transformer(tokens, self._hidden(mask))
        pooled: Tensor = self.ln_final(tokens[:, -1]) @ self.text_projection
        return pooled

    @staticmethod
    def _hidden(mask: Tensor) -> Tensor:
        """Return (M, L + 1, L + 1), True where a token (row) must not see another (column).

        As in the authors' code, the columns of the class token (the last row) are shifted by one: it sees the first
        padding token, and not itself unless the text fills the context.
        """
        size = mask.shape[1] + 1
        hidden = torch.ones(size, size, dtype=torch.bool, device=mask.device).triu(1).repeat(len(mask), 1, 1)
        hidden[:, -1, 1:] |= ~mask
        return hidden


class _Blocks(nn.Module):
    def __init__(self, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(_Block(width, heads) for _ in range(layers))

    def forward(self, tokens: Tensor, hidden: Tensor) -> Tensor:
        for block in self.resblocks:
            tokens = block(tokens, hidden)
        return tokens


class _Block(nn.Module):
    """A pre-norm transformer block with the names of open_clip."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        layers = {"c_fc": nn.Linear(width, 4 * width), "gelu": nn.GELU(), "c_proj": nn.Linear(4 * width, width)}
        self.mlp = nn.ModuleDict(layers)

    def forward(self, tokens: Tensor, hidden: Tensor) -> Tensor:
        """Return (M, L, W) for tokens (M, L, W) and the places (M, L, L) that each must not see."""
        normed = self.ln_1(tokens)
        by_head = hidden.repeat_interleave(self.attn.num_heads, dim=0)
        tokens = tokens + self.attn(normed, normed, normed, attn_mask=by_head, need_weights=False)[0]
        values: Tensor = self.ln_2(tokens)
        for layer in self.mlp.values():
            values = layer(values)
        return tokens + values


class MuskText(nn.Module):
    """MUSK's text tower: the language branch of BEiT-3 and the language head.

    Read in https://github.com/lilab-stanford/MUSK.
    """

    def __init__(self, vocab_size: int, width: int, heads: int, layers: int, dim: int, positions: int = 1024) -> None:
        super().__init__()
        self.text_embed = nn.Embedding(vocab_size, width)
        self.embed_positions = nn.Embedding(positions, width)
        self.layers = nn.ModuleList(_SubLayerNormBlock(width, heads) for _ in range(layers))
        self.layer_norm = nn.LayerNorm(width)
        self.language_head = nn.Linear(width, dim, bias=False)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return (M, D) for token ids (M, L) and ``mask``, True for tokens of the text."""
        places = torch.arange(FIRST_POSITION, ids.shape[1] + FIRST_POSITION, device=ids.device)
        tokens = (self.text_embed(ids) + self.embed_positions(places)) * mask[..., None]
        for layer in self.layers:
            tokens = layer(tokens, mask)
        first: Tensor = self.language_head(self.layer_norm(tokens[:, 0]))
        return first


class _SubLayerNormBlock(nn.Module):
    """A transformer block with layer norms inside the attention and the feed-forward network (Magneto)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        names = ("q_proj", "k_proj", "v_proj", "out_proj")
        attention = {name: nn.Linear(width, width) for name in names}
        self.self_attn = nn.ModuleDict({**attention, "inner_attn_ln": nn.LayerNorm(width)})
        self.self_attn_layer_norm, self.final_layer_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        feed_forward = {"fc1": nn.Linear(width, 4 * width), "fc2": nn.Linear(4 * width, width)}
        self.ffn = nn.ModuleDict({**feed_forward, "ffn_layernorm": nn.LayerNorm(4 * width)})

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Return (M, L, W) for tokens (M, L, W) and ``mask`` (M, L), True for tokens of the text."""
        attention, normed = self.self_attn, self.self_attn_layer_norm(tokens)
        by_head = (attention[name](normed).unflatten(-1, (self.heads, -1)) for name in ("q_proj", "k_proj", "v_proj"))
        query, key, value = (part.transpose(1, 2) for part in by_head)  # (M, heads, L, W / heads)
        seen = mask[:, None, None, :]
        attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=seen)
        attended = attention["inner_attn_ln"](attended.transpose(1, 2).flatten(2))
        tokens = tokens + attention["out_proj"](attended)
        values: Tensor = functional.gelu(self.ffn["fc1"](self.final_layer_norm(tokens)))
        values = self.ffn["fc2"](self.ffn["ffn_layernorm"](values))
        return tokens + values
