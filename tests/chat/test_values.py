"""JSON that models write, and JSON that everybody can read."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from telechat.chat.values import dump_json, load_json, mend_surrogates


def test_numbers_beyond_floating_point_are_written_as_text() -> None:
    assert dump_json(load_json('{"a": [1e999, -1e999, NaN]}')) == '{"a": ["Infinity", "-Infinity", "NaN"]}'


@given(st.text(st.characters() | st.characters(categories=["Cs"])))
def test_mended_text_is_utf8_and_the_rest_of_it_is_the_same(text: str) -> None:
    mended = mend_surrogates(text)
    mended.encode()
    assert mended.replace("\ufffd", "") == "".join(c for c in mend_surrogates(text) if c != "\ufffd")
    assert text.isascii() <= (mended == text)


def test_surrogate_pairs_are_joined_and_lone_ones_replaced() -> None:
    assert mend_surrogates("\ud83d\ude00 \ud83d \ude00x") == "😀 \ufffd \ufffdx"
