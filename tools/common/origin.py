"""Where and when a run was: what tables and files carry along with its numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Origin:
    """Empty, or None, what the tool that ran did not say."""

    host: str
    processor: str
    commit: str
    date: str  # in UTC, when it began
    load: float | None  # processes that wanted to run, before it began


def origin_of(run: dict[str, Any], record: dict[str, Any] | None = None) -> Origin:
    """Of what bench or collectives wrote and, where a sweep ran it, the sweep's record. bench says
    it at the top, in `host` and in `run`; older ones say less."""
    places = [run, run.get("run"), run.get("host"), record, (record or {}).get("host")]
    known = [place for place in places if isinstance(place, dict)]
    machines = [
        place for place in (run.get("host"), (record or {}).get("host")) if isinstance(place, dict)
    ]
    return Origin(
        host=_text(known[:1], "host") or _text(machines, "name") or _text(machines, "host"),
        processor=_text(known, "processor") or _text(machines, "cpu"),
        commit=_text(known, "commit"),
        date=_text(known, "date") or _text(known, "time"),
        load=_number(known, "load"),
    )


def _found(places: list[dict[str, Any]], name: str) -> Iterator[Any]:
    return (place[name] for place in places if name in place)


def _text(places: list[dict[str, Any]], name: str) -> str:
    found = (value for value in _found(places, name) if isinstance(value, str))
    return next((" ".join(value.split()) for value in found if value.strip()), "")


def _number(places: list[dict[str, Any]], name: str) -> float | None:
    for value in _found(places, name):
        if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e15:
            return None if math.isnan(value) else value
    return None
