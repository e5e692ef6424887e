"""Ways to damage a file, from a random generator: bits, bytes, blocks, numbers and lines."""

from __future__ import annotations

import re

import numpy as np

# What numbers in headers are replaced by: borders of integer types, sizes no memory holds, and no numbers at all.
_NUMBERS = (
    b"0",
    b"-1",
    b"1",
    b"2",
    b"3",
    b"7",
    b"255",
    b"256",
    b"65535",
    b"65536",
    b"2147483647",
    b"2147483648",
    b"-2147483648",
    b"4294967295",
    b"9223372036854775807",
    b"99999999999999999999",
    b"1e308",
    b"-1e-308",
    b"1e999",
    b"nan",
    b"inf",
    b"0.0",
    b"1e-40",
    b"",
    b"x",
    b"1,2",
    b"0x10",
    b"\xd9\xa3",
    b"1" * 5000,
)
_TEXTS = (
    b"",
    b" ",
    b"\x00",
    b"\xff\xfe",
    b"\n",
    b"\n\n",
    b":",
    b":=",
    b"=",
    b"(",
    b")",
    b"(nan,nan,nan)",
    b"none",
    b"../",
    b"/etc/passwd",
    b"%s%n",
    b"<",
    b"]]>",
    b"&x;",
    b"{",
    b"[" * 3000,
    b'"',
    b"\\",
    b"*a",
    b"&a",
    b"!!python/none",
)


def mutated(content: bytes, rng: np.random.Generator, others: tuple[bytes, ...] = ()) -> bytes:
    """``content`` with one to four damages.

    Args:
        others: files of the same kind, to take blocks from.
    """
    for _ in range(int(rng.integers(1, 5))):
        content = _DAMAGES[int(rng.integers(len(_DAMAGES)))](content, rng, others)
    return content


def _place(content: bytes, rng) -> int:
    """A place in the file; one in two in its first 400 bytes, where headers are."""
    end = max(1, len(content))
    return int(rng.integers(min(end, 400) if rng.random() < 0.5 else end))


def _flip_bits(content, rng, _):
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 9)) if data else 0):
        data[_place(content, rng)] ^= 1 << int(rng.integers(8))
    return bytes(data)


def _set_bytes(content, rng, _):
    start, count = _place(content, rng), int(rng.integers(1, 9))
    filler = bytes([int(rng.choice([0, 1, 127, 128, 254, 255, 32, 10]))]) * count
    return content[:start] + filler + content[start + count :]


def _cut(content, rng, _):
    return content[: _place(content, rng)]


def _delete(content, rng, _):
    start = _place(content, rng)
    return content[:start] + content[start + int(rng.integers(1, 64)) :]


def _repeat(content, rng, _):
    start, count = _place(content, rng), int(rng.integers(1, 64))
    return content[:start] + content[start : start + count] * int(rng.integers(2, 40)) + content[start + count :]


def _insert(content, rng, _):
    start = _place(content, rng)
    return content[:start] + rng.bytes(int(rng.integers(1, 32))) + content[start:]


def _splice(content, rng, others):
    other = others[int(rng.integers(len(others)))] if others else content
    start = _place(content, rng)
    return content[:start] + other[_place(other, rng) :][: int(rng.integers(1, 400))] + content[start:]


def _replace_number(content, rng, _):
    found = list(re.finditer(rb"-?\d+(?:\.\d+)?(?:e[-+]?\d+)?", content[:4000]))
    if not found:
        return _set_bytes(content, rng, _)
    match = found[int(rng.integers(len(found)))]
    return content[: match.start()] + _NUMBERS[int(rng.integers(len(_NUMBERS)))] + content[match.end() :]


def _replace_text(content, rng, _):
    found = list(re.finditer(rb"[A-Za-z_]+|[(){}\[\]<>:=,\"']", content[:4000]))
    if not found:
        return _insert(content, rng, _)
    match = found[int(rng.integers(len(found)))]
    return content[: match.start()] + _TEXTS[int(rng.integers(len(_TEXTS)))] + content[match.end() :]


def _shuffle_lines(content, rng, _):
    head, tail = content[:4000].split(b"\n"), content[4000:]
    one, other = (int(n) for n in rng.integers(len(head), size=2))
    if rng.random() < 0.5:
        head[one], head[other] = head[other], head[one]
    elif rng.random() < 0.5:
        head.insert(one, head[other])
    else:
        del head[one]
    return b"\n".join(head) + tail


_DAMAGES = (
    _flip_bits,
    _set_bytes,
    _cut,
    _delete,
    _repeat,
    _insert,
    _splice,
    _replace_number,
    _replace_text,
    _shuffle_lines,
    _replace_number,
    _replace_text,
)
