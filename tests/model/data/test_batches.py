from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.core.settings import TrainSettings
from pipelines.model.data.bags import BagFile
from pipelines.model.data.batches import Data, Stopwatch, balanced_order, epoch_batches, read_ahead

SLIDES = [BagFile(f"s{number}", None, 10) for number in range(11)]


def data(**more):
    return Data(SLIDES, [], None, **more)


def test_an_epoch_has_every_slide_once_in_batches_of_the_set_size():
    batches = epoch_batches(data(), TrainSettings(batch_size=4), epoch=1)
    assert [len(batch.slides) for batch in batches] == [4, 4, 3]
    assert sorted(slide.slide_id for batch in batches for slide in batch.slides) == sorted(s.slide_id for s in SLIDES)


def test_batches_depend_on_seed_and_epoch_only():
    def order(seed, epoch):
        batches = epoch_batches(data(), TrainSettings(seed=seed), epoch)
        return [slide.slide_id for batch in batches for slide in batch.slides], batches[0].rng(0).integers(1000)

    assert order(1, 2) == order(1, 2)
    assert order(1, 2) != order(1, 3)
    assert order(1, 2) != order(2, 2)


def test_each_use_of_a_batch_has_its_own_random_stream():
    batch = epoch_batches(data(), TrainSettings(), epoch=1)[0]
    assert batch.rng(0).integers(2**31) != batch.rng(1).integers(2**31)


@given(sizes=st.lists(st.integers(1, 9), min_size=2, max_size=4), total=st.integers(1, 40), seed=st.integers(0, 99))
def test_a_balanced_order_has_equal_shares_per_class_and_repeats_no_member_early(sizes, total, seed):
    strata, start = [], 0
    for size in sizes:
        strata.append(list(range(start, start + size)))
        start += size
    order = balanced_order(strata, total, np.random.default_rng(seed)).tolist()
    counts = [Counter(row for row in order if row in members) for members in strata]
    shares = [sum(count.values()) for count in counts]
    assert len(order) == total
    assert max(shares) - min(shares) <= 1
    for count, members in zip(counts, strata, strict=True):
        times = [count[member] for member in members]
        assert max(times) - min(times) <= 1


def test_balanced_sampling_draws_the_rare_class_as_often_as_the_other():
    uneven = data(strata=[[0, 1], list(range(2, 11))])
    batches = epoch_batches(uneven, TrainSettings(regime="finetune", balance="sampling"), epoch=1)
    names = [slide.slide_id for batch in batches for slide in batch.slides]
    assert sum(name in ("s0", "s1") for name in names) in (5, 6)


class _Reader:
    def training(self, slide, ratio, max_tiles, rng):
        if slide.slide_id == "s3":
            raise OSError("gone")
        return slide.slide_id


def test_bags_come_in_batch_order_and_a_read_error_is_raised_at_its_batch():
    batches = epoch_batches(data(), TrainSettings(batch_size=1), epoch=1)
    names = [batch.slides[0].slide_id for batch in batches]
    failing, watch = names.index("s3"), Stopwatch()
    bags = read_ahead(batches, _Reader(), TrainSettings(), watch)
    assert [next(bags) for _ in range(failing)] == [[name] for name in names[:failing]]
    with pytest.raises(OSError, match="gone"):
        next(bags)
    assert watch.waited > 0
