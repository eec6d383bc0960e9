"""Measure one aspect of a training step in its own process, for `tests.benchmarks.training`.

``python -m tests.benchmarks.training_steps NAME [NUMBER ...]`` prints JSON. CPU times are seconds on one
thread. Peak memory is the increase over the resident memory before the step (Linux only).
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from pipelines.core.settings import TrainSettings
from pipelines.core.settings.model import ModelSettings
from pipelines.model.data.bags import BagFile, BagReader, TileBag
from pipelines.model.data.batches import Data
from pipelines.model.networks.bag_model import ModelSpec
from pipelines.model.networks.fusion import TileFusion
from pipelines.model.networks.fusion_model import SHARPNESS, FusionModel
from pipelines.model.training.footprint import footprint
from pipelines.model.training.objectives import DescriptionMatching

WIDTH, PROMPTS, PADDED = 512, 20, 16384
"""Channels of features and model; number of prompts; tiles of a padded bag in the published code."""
SLIDES = 8
"""Slides per batch; the descriptions of the others are the negatives of a slide."""
QUESTIONS = {name: f"evidence of {name} in the resected tumor" for name in "abcdef"}
WORDS = tuple(f"word{number}" for number in range(200))


def random_bag(n_tiles: int, *, seed: int = 0) -> TileBag:
    """Return a bag of random float16 features whose tiles are on a square grid."""
    rng = np.random.default_rng(seed)
    side = int(np.ceil(np.sqrt(n_tiles)))
    corners = np.stack([np.arange(n_tiles) % side, np.arange(n_tiles) // side], axis=1) * 448
    grid_position = torch.from_numpy((corners / 448).astype(np.float32))
    features = torch.from_numpy(rng.normal(size=(n_tiles, WIDTH)).astype(np.float16))
    return TileBag(f"s{seed}", features, corners, 448, grid_position, torch.arange(n_tiles) / n_tiles, 1.0)


def cpu_seconds(work: Callable[[], object]) -> float:
    """Return the CPU seconds of one call of ``work``."""
    before = time.process_time()
    work()
    return time.process_time() - before


def in_turn(methods: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the median CPU seconds of each method over ``rounds`` alternating calls, after one warm-up call."""
    spent: dict[str, list[float]] = {name: [] for name in methods}
    for number in range(rounds + 1):
        for name, work in methods.items():
            seconds = cpu_seconds(work)
            if number:
                spent[name].append(seconds)
    return {name: median(seconds) for name, seconds in spent.items()}


def peak_mb(work: Callable[[], object]) -> float:
    """Return the largest increase of resident memory during one call of ``work``, MB."""
    Path("/proc/self/clear_refs").write_text("5")  # reset the recorded peak
    before = _memory("VmRSS")
    work()
    return (_memory("VmHWM") - before) / 1e3


def _memory(name: str) -> int:
    """Return an entry of /proc/self/status, kB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def visual_step(n_tiles: int, exact_up_to: int | None = None) -> Callable[[], object]:
    """Return a function that runs forward and backward of the visual part on one bag, with all weights trainable."""
    fusion = TileFusion(WIDTH, cross_residual=True, pad_key=False, sharpness=SHARPNESS, exact_up_to=exact_up_to)
    tiles = random_bag(n_tiles).features.float()
    positions, prompts = torch.zeros_like(tiles), functional.normalize(torch.randn(PROMPTS, WIDTH), dim=-1)

    def step() -> None:
        fusion.zero_grad(set_to_none=True)
        fusion(tiles, positions, [n_tiles], prompts).sum().backward()

    return step


def bare_step(n_tiles: int) -> Callable[[], object]:
    """Return a function that runs only the matrix products and attentions of `visual_step`, forward and backward."""
    shapes = [(n_tiles, WIDTH, 3 * WIDTH), (n_tiles, WIDTH, WIDTH), (n_tiles, WIDTH, 4 * WIDTH)]
    shapes += [(n_tiles, 4 * WIDTH, WIDTH), (n_tiles, WIDTH, 2 * WIDTH)]
    products = [(torch.randn(n, k, requires_grad=True), nn.Linear(k, m)) for n, k, m in shapes]
    gradients = [torch.randn(n, m) for n, _, m in shapes]
    heads = WIDTH // 64
    q, k, v = (torch.randn(1, heads, n_tiles, 64, requires_grad=True) for _ in range(3))
    prompts = torch.randn(1, heads, PROMPTS, 64, requires_grad=True)

    def step() -> None:
        for (inputs, layer), gradient in zip(products, gradients, strict=True):
            inputs.grad = None
            layer.zero_grad(set_to_none=True)
            layer(inputs).backward(gradient)
        for queries in (q, prompts):
            for tensor in (q, k, v, prompts):
                tensor.grad = None
            attended = functional.scaled_dot_product_attention(queries, k, v)
            attended.backward(torch.ones_like(attended))

    return step


def write_bert_base(folder: Path) -> Path:
    """Write a BERT of the size of Bio_ClinicalBERT with random weights, and a whole-word tokenizer."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", ";"]
    vocabulary = {word: index for index, word in enumerate([*special, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    named = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=512, **named).save_pretrained(folder)
    BertModel(BertConfig(vocab_size=len(vocabulary))).save_pretrained(folder)
    return folder


def descriptions(number: int) -> list[tuple[str, ...]]:
    """Return ``number`` descriptions of six answers with 11 words each, about 70 tokens, as for real reports."""
    rng = np.random.default_rng(1)
    return [tuple(" ".join(rng.choice(WORDS, 11)) for _ in QUESTIONS) for _ in range(number)]


def make_model(text_model: str, **changes: object) -> FusionModel:
    """Return the published network in training mode for features of `WIDTH` channels."""
    torch.manual_seed(0)
    settings = ModelSettings(model="five-fusion", text_model=text_model, **changes)  # type: ignore[arg-type]
    return FusionModel(settings, ModelSpec(WIDTH, "bench", "0", 224, 0.5, QUESTIONS)).train()


def whole_step(model: FusionModel, n_tiles: int, settings: TrainSettings) -> Callable[[], object]:
    """Return a function that runs a training step on `SLIDES` bags with descriptions, including the update."""
    answers = descriptions(60)
    bags = [random_bag(n_tiles, seed=number) for number in range(SLIDES)]
    objective = DescriptionMatching({one.slide_id: answers[n] for n, one in enumerate(bags)}, answers, settings)
    optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], lr=1e-5)
    rng = np.random.default_rng(0)

    def step() -> None:
        objective.loss(model, bags, rng).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def measure_visual(numbers: Sequence[int]) -> dict[str, float]:
    """Return CPU seconds of the visual part and of its bare arithmetic per bag size, and of a padded bag."""
    methods = {f"{kind} {n}": make(n) for n in numbers for kind, make in (("five", visual_step), ("bare", bare_step))}
    spent = in_turn(methods, 5)
    return spent | {f"five {PADDED}": cpu_seconds(visual_step(PADDED))}


def measure_peak(numbers: Sequence[int]) -> dict[str, float]:
    """Return the peak memory of the visual part for one bag size, MB."""
    step = visual_step(numbers[0])
    visual_step(16)()  # excludes what torch allocates in its first step
    return {"peak": peak_mb(step)}


def measure_text(numbers: Sequence[int]) -> dict[str, float]:
    """Return CPU seconds per slide of training steps with a text model of BERT-base size, and of inference."""
    n_tiles = numbers[0]
    spent = {}
    with tempfile.TemporaryDirectory() as folder:
        text_model = str(write_bert_base(Path(folder)))
        spent["lora"] = (
            in_turn({"step": whole_step(make_model(text_model), n_tiles, TrainSettings())}, 1)["step"] / SLIDES
        )
        model = make_model(text_model, tuning="frozen", prompt_tokens=0)
        settings = TrainSettings(tuning="frozen", prompt_tokens=0, text_variants=1)
        spent["frozen"] = in_turn({"step": whole_step(model, n_tiles, settings)}, 1)["step"] / SLIDES
        model.eval()
        with torch.inference_mode():
            prompts, classes = model.encode_prompts(), model.encode_classes({"a": ["word1"], "b": ["word2"]})
            one = random_bag(n_tiles)
            infer = {"step": lambda: model.logits(model.encode_bags([one], prompts), classes)}
            spent["inference"] = in_turn(infer, 5)["step"]
    return spent


def measure_memory(numbers: Sequence[int]) -> dict[str, float]:
    """Return the peak memory of a training step with the packaged text model, and the estimate of `--dry-run`, MB.

    ``numbers`` are the tiles per bag, and 1 to recompute activations in the backward pass or 0 not to.
    """
    n_tiles, recompute = numbers
    settings = TrainSettings(tile_ratio=1.0, max_tiles=n_tiles, checkpoint_activations=bool(recompute))
    settings = settings.with_text_rate(is_tuned=False)
    model = make_model(settings.text_model)
    slides = [BagFile(f"s{number}", Path(), n_tiles) for number in range(SLIDES)]
    answers = descriptions(60)
    objective = DescriptionMatching({one.slide_id: answers[n] for n, one in enumerate(slides)}, answers, settings)
    if recompute:
        model.checkpoint_activations()
    whole_step(model, 16, settings)()  # excludes what the first step allocates, such as the moments of AdamW
    peak = peak_mb(whole_step(model, n_tiles, settings))
    size = footprint(model, objective, Data(slides, [], _RandomBags()), settings)
    return {"peak": peak, "estimate": size.step_mb}


class _RandomBags(BagReader):
    def training(self, bag: BagFile, ratio: float, max_tiles: int, rng: np.random.Generator) -> TileBag:
        return random_bag(min(max_tiles, bag.n_tiles), seed=int(bag.slide_id[1:]))


MEASUREMENTS: Mapping[str, Callable[[Sequence[int]], dict[str, float]]] = {
    "visual": measure_visual,
    "peak": measure_peak,
    "text": measure_text,
    "memory": measure_memory,
}

if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(MEASUREMENTS[sys.argv[1]]([int(number) for number in sys.argv[2:]])))
