"""The frontier as a small SVG: hours across, dollars up."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

_WIDTH, _HEIGHT, _LEFT, _TOP, _RIGHT, _BOTTOM = 720, 440, 64, 48, 24, 52
_LEGEND = 212
_PALETTE = ("#1f5f8b", "#a33b20", "#2e7d32", "#7b4fa3", "#8a6d00", "#555555")


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """A plan on the picture. low and high: where it may be at best and at worst, (x, y) each."""

    x: float
    y: float
    label: str = ""
    low: tuple[float, float] | None = None
    high: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """Points of one kind. kind: stairs (a frontier), line, or dots."""

    name: str
    points: Sequence[Point]
    kind: str = "dots"


def chart(curves: Sequence[Curve], *, title: str, across: str, up: str, log_x: bool = False) -> str:
    """Curves in one picture, from zero up; with its legend. log_x: powers of two across."""
    every = [corner for curve in curves for point in curve.points for corner in _corners(point)]
    scale_x = _Scale.of([x for x, _ in every], _LEFT, _WIDTH - _RIGHT, log=log_x)
    scale_y = _Scale.of([y for _, y in every], _HEIGHT - _BOTTOM, _TOP)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" font-size="12" role="img">',
        f"<title>{html.escape(title)}</title>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        f'<text x="{_LEFT}" y="18" font-size="14">{html.escape(title)}</text>',
        f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 12}" text-anchor="end">{html.escape(across)}</text>',
        f'<text x="{_LEFT}" y="{_TOP - 10}">{html.escape(up)}</text>',
    ]
    for tick in scale_x.ticks():
        x = scale_x.at(tick)
        out.append(f'<path d="M{x} {_HEIGHT - _BOTTOM}V{_TOP}" stroke="#ddd"/>')
        out.append(f'<text x="{x}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle">{tick:g}</text>')
    for tick in scale_y.ticks():
        y = scale_y.at(tick)
        out.append(f'<path d="M{_LEFT} {y}H{_WIDTH - _RIGHT}" stroke="#ddd"/>')
        out.append(f'<text x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">{tick:g}</text>')
    left = _legend_left(curves, scale_x, scale_y)
    for number, curve in enumerate(curves):
        colour = _PALETTE[number % len(_PALETTE)]
        out += _curve(curve, colour, scale_x, scale_y)
        y = _TOP + 14 + 16 * number
        out.append(f'<circle cx="{left}" cy="{y - 4}" r="4" fill="{colour}"/>')
        out.append(f'<text x="{left + 10}" y="{y}">{html.escape(curve.name)}</text>')
    return "\n".join([*out, "</svg>"]) + "\n"


def _legend_left(curves: Sequence[Curve], scale_x: _Scale, scale_y: _Scale) -> float:
    """Where the legend begins: on the side with fewer points behind it, the right one if both are as good."""
    below = _TOP + 16 * (len(curves) + 1)
    high = [scale_x.at(p.x) for curve in curves for p in curve.points if scale_y.at(p.y) < below]
    right = sum(x > _WIDTH - _RIGHT - _LEGEND for x in high)
    left = sum(x < _LEFT + _LEGEND for x in high)
    return _LEFT + 12 if left < right else _WIDTH - _RIGHT - _LEGEND


def _corners(point: Point) -> list[tuple[float, float]]:
    return [(point.x, point.y), *(corner for corner in (point.low, point.high) if corner is not None)]


def _curve(curve: Curve, colour: str, scale_x: _Scale, scale_y: _Scale) -> list[str]:
    out = []
    placed = [(scale_x.at(point.x), scale_y.at(point.y)) for point in curve.points]
    if curve.kind != "dots" and len(placed) > 1:
        path = f"M{placed[0][0]} {placed[0][1]}" + "".join(
            f"H{x}V{y}" if curve.kind == "stairs" else f"L{x} {y}" for x, y in placed[1:]
        )
        out.append(f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
    for point, (x, y) in zip(curve.points, placed, strict=True):
        if point.low is not None and point.high is not None:
            (x1, y1), (x2, y2) = ((scale_x.at(a), scale_y.at(b)) for a, b in (point.low, point.high))
            out.append(f'<path d="M{x1} {y1}L{x2} {y2}" stroke="{colour}" stroke-width="6" stroke-opacity="0.25"/>')
        out.append(f'<circle cx="{x}" cy="{y}" r="{3 if curve.kind != "dots" else 5}" fill="{colour}"/>')
        if point.label:
            out.append(f'<text x="{x + 8}" y="{y - 6}" fill="{colour}">{html.escape(point.label)}</text>')
    return out


@dataclass(frozen=True, slots=True)
class _Scale:
    least: float
    most: float
    begin: float
    end: float
    log: bool

    @classmethod
    def of(cls, values: Sequence[float], begin: float, end: float, *, log: bool = False) -> _Scale:
        """From zero (or the least power of two) to a little above the greatest value."""
        most = max(values, default=1.0) or 1.0
        if log:
            return cls(2 ** math.floor(math.log2(min(values))), 2 ** math.ceil(math.log2(most)), begin, end, log)
        return cls(0.0, most * 1.05, begin, end, log)

    def at(self, value: float) -> float:
        """Where a value is, in the picture's pixels."""
        if self.log:
            part = math.log2(value / self.least) / (math.log2(self.most / self.least) or 1.0)
        else:
            part = (value - self.least) / (self.most - self.least)
        return round(self.begin + part * (self.end - self.begin), 1)

    def ticks(self) -> list[float]:
        """Round numbers, about six of them."""
        if self.log:
            return [self.least * 2**power for power in range(round(math.log2(self.most / self.least)) + 1)]
        step = 10 ** math.floor(math.log10(self.most / 5))
        step = next(step * factor for factor in (1, 2, 5, 10) if self.most / (step * factor) <= 8)
        return [number * step for number in range(math.floor(self.most / step) + 1)]
