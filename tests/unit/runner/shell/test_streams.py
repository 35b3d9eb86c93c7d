"""Heads, tails and the beginning of output."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mainstay.runner.shell.streams import Framed, Kept


@given(st.lists(st.binary(max_size=50), max_size=20), st.integers(2, 100))
def test_what_is_kept_is_the_head_and_the_tail(chunks: list[bytes], limit: int) -> None:
    kept, whole = Kept(limit), b"".join(chunks)
    for chunk in chunks:
        kept(chunk)
    if len(whole) <= limit:
        assert (kept.value(), kept.dropped) == (whole, 0)
    else:
        head = limit - limit // 2
        assert kept.value() == whole[:head] + whole[len(whole) - limit // 2 :]
        assert kept.dropped == len(whole) - limit


@given(st.binary(max_size=300), st.binary(max_size=300), st.integers(1, 17))
def test_what_comes_before_the_token_is_noise_however_it_is_cut(noise: bytes, output: bytes, size: int) -> None:
    got = bytearray()
    framed = Framed(b"TOKEN-0123", got.extend)
    stream = noise + b"TOKEN-0123 ok\n" + output
    for start in range(0, len(stream), size):
        framed(stream[start : start + size])
    assert (bytes(got), framed.line, bytes(framed.noise)) == (output, b"ok", noise)


def test_endless_noise_is_not_kept() -> None:
    got = bytearray()
    framed = Framed(b"TOKEN", got.extend)
    for _ in range(200):
        framed(b"n" * 10_000)
    assert len(framed.noise) < 200_000
    framed(b"TOKEN ok\nx")
    assert got == b"x"
