"""The metrics of a bridge, collected from its features when they are read (Prometheus text format 0.0.4)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

_PREFIX = "broker_plane_"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. `read` returns its value, or the values by the label `label`."""

    kind: Literal["counter", "gauge"]
    read: Callable[[], int | Mapping[str, int]]
    label: str = ""


def counter(read: Callable[[], int | Mapping[str, int]], label: str = "") -> Metric:
    """A metric that only grows."""
    return Metric("counter", read, label)


def gauge(read: Callable[[], int | Mapping[str, int]]) -> Metric:
    """A metric that may also fall."""
    return Metric("gauge", read)


class Metrics:
    """All metrics of one bridge."""

    def __init__(self) -> None:
        self._answers: Counter[tuple[str, int]] = Counter()
        self._metrics: dict[str, Metric] = {}

    def add(self, metrics: Mapping[str, Metric]) -> None:
        """Add the metrics of a feature, by their names without the prefix."""
        self._metrics.update(metrics)

    def expect(self, routes: Iterable[str]) -> None:
        """Show these routes from the start, with no answer yet: a counter that appears with 1 has no rate."""
        for route in routes:
            self._answers.setdefault((route, 200), 0)

    def answered(self, route: str, status: int) -> None:
        """Count an answer of a route."""
        self._answers[route, status] += 1

    def render(self) -> str:
        """The metrics as text."""
        lines = [f"# TYPE {_PREFIX}requests_total counter"]
        for (route, status), count in sorted(self._answers.items()):
            lines.append(f'{_PREFIX}requests_total{{route="{route}",status="{status}"}} {count}')
        for name, metric in self._metrics.items():
            lines += _lines(_PREFIX + name, metric)
        return "\n".join(lines) + "\n"


def _lines(name: str, metric: Metric) -> Iterator[str]:
    yield f"# TYPE {name} {metric.kind}"
    value = metric.read()
    if isinstance(value, int):
        yield f"{name} {value}"
        return
    for label, count in sorted(value.items()):
        yield f'{name}{{{metric.label}="{label}"}} {count}'
