"""Valid inputs with a few changes, of which some are still valid, and what becomes of them."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import hypothesis
from hypothesis import strategies
from hypothesis.strategies import SearchStrategy

LONGEST_S = 60.0
"""More than anything takes that does not wait for something; machines of soaks are busy."""
NASTY = (b"9" * 5000, b"-1", b"NaN", b"Infinity", b"1e400", b"null", b"[" * 2000, b"\0", b"\x1b[2J", b'"a":1,')


JSON = strategies.recursive(
    strategies.none()
    | strategies.booleans()
    | strategies.integers(-(10**25), 10**25)
    | strategies.floats()
    | strategies.text(max_size=5),
    lambda inner: strategies.lists(inner, max_size=4) | strategies.dictionaries(strategies.text(max_size=5), inner),
    max_leaves=5,
)


def places_in(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a JSON value, as the names and numbers that lead there."""
    yield place
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, each in inner:
        yield from places_in(each, (*place, name))


def changed(value: Any, place: tuple[Any, ...], new: Any) -> Any:
    if not place:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[place[0]] = changed(value[place[0]], place[1:], new)
    return copy


def mutated_document(good: Any) -> SearchStrategy[bytes]:
    """A JSON text in which one value is any other, or a few bytes are changed."""
    places = strategies.sampled_from([*places_in(good)])
    of_places = strategies.tuples(places, JSON).map(lambda found: json.dumps(changed(good, *found)).encode())
    return of_places | mutated(json.dumps(good).encode())


@strategies.composite
def mutated(draw: Callable[..., Any], good: bytes) -> bytes:
    """A few bytes changed, taken away, repeated or put in."""
    content = bytearray(good)
    for _ in range(draw(strategies.integers(1, 4))):
        start = draw(strategies.integers(0, max(0, len(content) - 1)))
        stop = start + draw(strategies.integers(0, 12))
        pieces = strategies.binary(max_size=12) | strategies.just(bytes(content[start:stop]) * 2)
        content[start:stop] = draw(pieces | strategies.sampled_from(NASTY))
    return bytes(content)


def counted(count: int, inputs: SearchStrategy[Any], use: Callable[[Any], None], refusal: type[Exception]) -> str:
    """Use so many inputs, each of which must be taken or refused in one line and in time; return what happened."""
    ends: Counter[str] = Counter(refused=0)

    def check(given: Any) -> None:
        began = time.monotonic()
        try:
            use(given)
        except refusal as error:
            assert "\n" not in str(error)  # noqa: PT017  # either way is right
            ends["refused"] += 1
        else:
            ends["taken"] += 1
        assert time.monotonic() - began < LONGEST_S

    settings = hypothesis.settings(
        max_examples=count, deadline=None, derandomize=True, suppress_health_check=list(hypothesis.HealthCheck)
    )
    settings(hypothesis.given(inputs)(check))()
    assert ends.total() >= 0.9 * count
    assert ends["refused"] > 0
    return f"{ends.total()} ({ends['taken']} taken, {ends['refused']} refused); tracebacks 0, hangs 0"


def tried(count: int, inputs: SearchStrategy[Any], use: Callable[[Any], bool]) -> str:
    """Use so many inputs; `use` checks what came out and says whether it was taken. Return what happened."""
    ends: Counter[bool] = Counter()

    def check(given: Any) -> None:
        began = time.monotonic()
        ends[use(given)] += 1
        assert time.monotonic() - began < LONGEST_S

    settings = hypothesis.settings(
        max_examples=count, deadline=None, suppress_health_check=list(hypothesis.HealthCheck)
    )
    settings(hypothesis.given(inputs)(check))()
    assert ends.total() >= 0.9 * count
    return f"{ends.total()} ({ends[True]} taken, {ends[False]} refused); tracebacks 0, hangs 0"
