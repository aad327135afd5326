"""Losses of a run, averaged over short stretches."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class LearningCurve:
    """Points of the curve, and the sums of the stretch that is not closed yet."""

    points: list[dict[str, float]] = field(default_factory=list)
    sums: dict[str, float] = field(default_factory=dict)
    count: int = 0

    def add(self, losses: dict[str, float]) -> None:
        """Add the losses of one step."""
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.count += 1

    def close_point(self, step: int, seconds: float, stage: int) -> None:
        """Turn what was added since the last point into a new one; nothing happens if that is nothing."""
        if self.count:
            means = {name: round(value / self.count, 5) for name, value in self.sums.items()}
            self.points.append({"step": step, "seconds": round(seconds, 1), "stage": stage, **means})
        self.sums, self.count = {}, 0
