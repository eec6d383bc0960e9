import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.core.sealed_json import open_sealed, seal

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text().filter(lambda name: name != "digest"), values, max_size=4))
def test_a_sealed_record_is_read_back(record: dict[str, object]) -> None:
    assert open_sealed(json.dumps(seal(record))) == record


def test_every_flipped_bit_is_noticed_or_changes_nothing() -> None:
    record = {"settings": {"tile_size": 224, "name": "five", "share": 0.5, "shard": None, "keep": True}}
    text = json.dumps(seal(record), indent=2).encode()
    for position in range(8 * len(text)):
        flipped = bytearray(text)
        flipped[position // 8] ^= 1 << position % 8
        try:
            assert open_sealed(flipped.decode()) == record  # only white space has changed
        except ValueError:
            continue


@pytest.mark.parametrize("text", ["", "null", "[]", "{}", '{"a": 1}', '{"a": 1, "digest": "0"}', "{" * 5000])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"digest|not|nested|Expecting|content"):
        open_sealed(text)
