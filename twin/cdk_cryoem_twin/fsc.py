"""Does a map show the molecule that was on the grid? Fourier shell correlation against the true volume.

Both volumes have to lie in the same frame, which they do when the reconstruction used the true orientations:
nothing is aligned here. The correlation of a shell does not depend on the scale of its Fourier coefficients,
so a sharpened map and an unsharpened one get the same curve.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import mrcfile  # type: ignore[import-untyped]
import numpy as np
import numpy.typing as npt

Volume = npt.NDArray[np.floating]

FSC_CRITERION = 0.5
"""Correlation with a noise-free reference at which the signal of the map equals its noise."""

LIMIT_ANGSTROM = 14.0
"""Resolution in angstrom that a map of the default dataset has to reach; measured, see below.

Right: 11.6 to 12.2 A for four seeds, 13.3 A with half of the particles. Wrong: orientations of half of the
particles exchanged among them 14.5 A, orientations off by 5 degrees 14.8 A, no motion correction 17.0 A, one
eighth of the particles 17.4 A, no correction of the contrast transfer function 18.1 A, all orientations
shuffled 111 A or worse.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """How well a map agrees with the true volume.

    ``fsc`` has one correlation per shell, from the zero frequency to Nyquist; shell ``i`` lies at a
    resolution of ``box_px * pixel_size_angstrom / i`` angstrom. ``resolution_angstrom`` is where the curve
    first falls below ``FSC_CRITERION``, interpolated between shells; infinite if it never rises above it.
    ``passed`` is ``resolution_angstrom <= limit_angstrom``.
    """

    resolution_angstrom: float
    limit_angstrom: float
    fsc: tuple[float, ...]
    pixel_size_angstrom: float
    box_px: int
    passed: bool


def fourier_shell_correlation(a: Volume, b: Volume) -> npt.NDArray[np.float64]:
    """Correlation of two equal cubes in shells one Fourier pixel wide, from zero frequency to Nyquist.

    A shell without any signal in one of the volumes has the correlation 0. Raises ``ValueError`` unless ``a``
    and ``b`` are cubes of the same size.
    """
    if a.ndim != 3 or a.shape != b.shape or len(set(a.shape)) != 1:
        raise ValueError(f"two cubes of equal size are needed, not {a.shape} and {b.shape}")
    size = a.shape[0]
    full = np.fft.fftfreq(size) * size
    half = np.fft.rfftfreq(size) * size
    radius = np.sqrt(full[:, None, None] ** 2 + full[None, :, None] ** 2 + half[None, None, :] ** 2)
    shell = np.rint(radius).astype(np.int64)
    # Half of the transform suffices, but only the planes between its first and last stand for two of the
    # whole.
    weight = np.full(half.size, 2.0)
    weight[0] = 1.0
    if size % 2 == 0:
        weight[-1] = 1.0
    inside = shell <= size // 2

    def per_shell(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        sums = np.bincount(shell[inside], (values * weight)[inside], size // 2 + 1)
        return np.asarray(sums, dtype=np.float64)

    fa = np.fft.rfftn(a.astype(np.float64))
    fb = np.fft.rfftn(b.astype(np.float64))
    cross = per_shell((fa * fb.conj()).real)
    power = np.sqrt(per_shell(np.abs(fa) ** 2) * per_shell(np.abs(fb) ** 2))
    return np.divide(cross, power, out=np.zeros_like(cross), where=power > 0)


def compare(map_path: Path, truth_path: Path, *, limit_angstrom: float = LIMIT_ANGSTROM) -> Agreement:
    """Compare a map with the true volume, both MRC files; the pixel size is read from the true volume.

    ``limit_angstrom`` is the resolution to reach. The default belongs to the default dataset: fewer movies
    hold fewer particles and reach less.

    Raises ``ValueError`` when the volumes differ in size and what ``mrcfile`` raises for a file it cannot
    read.
    """
    volume, _ = _read(map_path)
    truth, pixel_size = _read(truth_path)
    curve = fourier_shell_correlation(volume, truth)
    extent = truth.shape[0] * pixel_size
    crossing = _crossing(curve)
    resolution = extent / crossing if crossing > 0 else float("inf")
    return Agreement(
        resolution_angstrom=resolution,
        limit_angstrom=limit_angstrom,
        fsc=tuple(float(value) for value in curve),
        pixel_size_angstrom=pixel_size,
        box_px=truth.shape[0],
        passed=resolution <= limit_angstrom,
    )


def figure(agreement: Agreement, map_path: Path, truth_path: Path, out_png: Path) -> None:
    """Draw projections of the true volume and of the map, and the curve, into a PNG file."""
    # Drawing is the only use of matplotlib here, and importing it takes longer than comparing two maps.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    volume, truth = _read(map_path)[0], _read(truth_path)[0]
    extent = agreement.box_px * agreement.pixel_size_angstrom
    half = extent / 2
    sheet = Figure(figsize=(10.5, 4.0), layout="constrained", dpi=110)
    FigureCanvasAgg(sheet)
    left, right = sheet.subfigures(1, 2, squeeze=False, width_ratios=(1.25, 1.0))[0]

    panels = left.subplots(2, 3)
    for row, (name, data) in enumerate((("truth", truth), ("map", volume))):
        for axis, panel in enumerate(panels[row]):
            panel.imshow(data.sum(axis=axis), cmap="gray", origin="lower", extent=(-half, half, -half, half))
            panel.set(xticks=[], yticks=[])
            if row == 0:
                panel.set_title(f"along {'zyx'[axis]}", fontsize=10)
        panels[row][0].set_ylabel(name, fontsize=12)
    bar = 50.0
    start = half * 0.9 - bar
    panels[1][2].plot([start, start + bar], [-half * 0.86] * 2, color="white", linewidth=2.5, solid_capstyle="butt")
    panels[1][2].text(
        start + bar / 2, -half * 0.80, f"{bar:.0f} Å", color="white", ha="center", va="bottom", fontsize=9
    )

    plot = right.subplots()
    frequency = np.arange(len(agreement.fsc)) / extent
    colour = "tab:green" if agreement.passed else "tab:red"
    plot.axhline(0.0, color="0.85", linewidth=0.8)
    plot.axhline(FSC_CRITERION, color="0.5", linewidth=0.8, linestyle="--")
    plot.axvline(1 / agreement.limit_angstrom, color="0.5", linewidth=0.8, linestyle=":")
    note = f"limit {agreement.limit_angstrom:.0f} Å"
    plot.text(
        1 / agreement.limit_angstrom,
        0.03,
        note,
        color="0.4",
        fontsize=9,
        rotation=90,
        ha="right",
        va="bottom",
    )
    plot.plot(frequency, agreement.fsc, color=colour, linewidth=2)
    if np.isfinite(agreement.resolution_angstrom):
        plot.plot(1 / agreement.resolution_angstrom, FSC_CRITERION, "o", color=colour, markersize=7)
    plot.set(
        xlim=(0, frequency[-1]),
        ylim=(min(-0.1, min(agreement.fsc) - 0.05), 1.05),
        xlabel="resolution (Å)",
        ylabel="Fourier shell correlation",
    )
    marks = [mark for mark in (64, 32, 20, 16, 12, 10, 8, 6, 4) if mark >= 2 * agreement.pixel_size_angstrom]
    plot.set_xticks([1 / mark for mark in marks], [str(mark) for mark in marks])
    plot.spines[["top", "right"]].set_visible(False)
    verdict = "passed" if agreement.passed else "failed"
    plot.set_title(f"map against truth: {agreement.resolution_angstrom:.1f} Å, {verdict}", fontsize=11)
    sheet.savefig(out_png)


def _read(path: Path) -> tuple[Volume, float]:
    """A volume and its pixel size in angstrom."""
    with mrcfile.open(path, mode="r") as mrc:
        return np.array(mrc.data, dtype=np.float64), float(mrc.voxel_size.x)


def _crossing(curve: npt.NDArray[np.float64]) -> float:
    """Where the curve first falls below the criterion, in shells; 0 when the first shell is below it."""
    # The zero frequency only compares the means, which says nothing about the shape.
    below = np.flatnonzero(curve[1:] < FSC_CRITERION) + 1
    if not below.size:
        return float(len(curve) - 1)
    shell = int(below[0])
    if shell == 1:
        return 0.0
    above, under = float(curve[shell - 1]), float(curve[shell])
    return shell - 1 + (above - FSC_CRITERION) / (above - under)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns 0 when the map agrees with the true volume and 1 when it does not."""
    parser = argparse.ArgumentParser(
        prog="python -m cdk_cryoem_twin.fsc",
        description="Compare a map with the true volume of a synthetic dataset.",
    )
    parser.add_argument("map", type=Path, metavar="MAP", help="reconstructed map, MRC")
    parser.add_argument("truth", type=Path, metavar="TRUTH", help="true volume, MRC")
    parser.add_argument("--figure", type=Path, metavar="PNG", help="also draw the comparison")
    options = parser.parse_args(arguments)
    agreement = compare(options.map, options.truth)
    if options.figure is not None:
        figure(agreement, options.map, options.truth, options.figure)
    verdict = "passed" if agreement.passed else "failed"
    resolution, limit = agreement.resolution_angstrom, agreement.limit_angstrom
    print(f"{resolution:.1f} A at FSC {FSC_CRITERION}, limit {limit:.1f} A: {verdict}")
    return 0 if agreement.passed else 1


if __name__ == "__main__":
    raise SystemExit(main())
