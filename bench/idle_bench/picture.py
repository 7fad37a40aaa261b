"""The frontier as a small SVG: what idle nodes cost across, how long people wait up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Point = tuple[str, float, float]
_WIDTH, _HEIGHT, _LEFT, _TOP, _RIGHT, _BOTTOM = 700, 440, 64, 24, 70, 52
_COLOURS = ("#a33b20", "#1f5f8b", "#2e7d32", "#555555")


def frontier(curves: Mapping[str, Sequence[Point]], *, title: str) -> str:
    """Curves of (label, PBR, mean wait in seconds); a curve of one point is a point, with its label below."""
    every = [point for points in curves.values() for point in points]
    low_x, high_x = 1.1, max(x for _, x, _ in every) + 0.04
    low_y, high_y = 100.0, max(y for _, _, y in every) + 20

    def place(x: float, y: float) -> tuple[float, float]:
        across = _LEFT + (x - low_x) / (high_x - low_x) * (_WIDTH - _LEFT - _RIGHT)
        down = _HEIGHT - _BOTTOM - (y - low_y) / (high_y - low_y) * (_HEIGHT - _TOP - _BOTTOM)
        return round(across, 1), round(down, 1)

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" font-size="12">',
        f"<title>{title}</title>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
    ]
    for step in range(round((high_x - low_x) / 0.1) + 1):
        x, y = place(low_x + step * 0.1, low_y)
        if x <= _WIDTH - _RIGHT:
            out.append(f'<path d="M{x} {y}V{_TOP}" stroke="#ddd"/>')
            out.append(f'<text x="{x}" y="{y + 16}" text-anchor="middle">{low_x + step * 0.1:.1f}</text>')
    for seconds in range(int(low_y), int(high_y) + 1, 50):
        x, y = place(low_x, seconds)
        out.append(f'<path d="M{x} {y}H{_WIDTH - _RIGHT}" stroke="#ddd"/>')
        out.append(f'<text x="{x - 6}" y="{y + 4}" text-anchor="end">{seconds}</text>')
    out.append(f'<text x="{_LEFT}" y="{_HEIGHT - 12}">PBR: paid GPU-seconds / used GPU-seconds</text>')
    out.append(f'<text x="{_LEFT}" y="{_TOP - 8}">mean wait for a node, seconds</text>')
    for (name, points), colour in zip(curves.items(), _COLOURS * len(curves), strict=False):
        placed = [place(x, y) for _, x, y in points]
        path = "M" + "L".join(f"{x} {y}" for x, y in placed)
        if len(placed) > 1:
            out.append(f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        for (label, _, _), (x, y) in zip(points, placed, strict=True):
            out.append(f'<circle cx="{x}" cy="{y}" r="3.5" fill="{colour}"/>')
            if label and len(placed) > 1:
                out.append(f'<text x="{x + 7}" y="{y - 5}" fill="{colour}">{label}</text>')
            elif label:
                out.append(f'<text x="{x}" y="{y + 16}" fill="{colour}" text-anchor="middle">{label}</text>')
        out.append(f"<!-- {name} -->")
    return "\n".join([*out, "</svg>"]) + "\n"
