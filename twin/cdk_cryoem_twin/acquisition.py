"""A small single-particle dataset with a known answer, as EPU leaves it at the microscope.

What is true about it: a volume that nobody processing the dataset may see is projected by RELION with a
contrast transfer function, the projections are put into micrographs as dark particles on bright ice, the
micrograph drifts between frames, and every frame counts electrons, so the noise is shot noise. Motion
correction, extraction, classification and reconstruction therefore have real work to do and a right answer to
find.

What is given instead of computed: Debian has neither a free program that estimates the contrast transfer
function nor a picking program that works unattended on so few movies. The folder ``Metadata`` of the dataset
stands for those two steps (``ctf.star`` and one ``*_coords.star`` per movie). It also holds the true
orientations (``true_angles.star``), which stand for a converged 3D refinement, and the true drift
(``true_drift.star``, in the convention of RELION's motion correction), against which motion correction can be
checked. The true volume is written elsewhere: only the final comparison may read it.

Run ``python -m cdk_cryoem_twin.acquisition OUT --truth FILE`` to make one by hand.
"""

from __future__ import annotations

import argparse
import math
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import mrcfile  # type: ignore[import-untyped]
import numpy as np
import numpy.typing as npt

from .epu import (
    BOX_PX,
    DOSE_PER_FRAME,
    FIRST_EXPOSURE,
    FRAMES,
    PIXEL_SIZE_ANGSTROM,
    VOLTAGE_KV,
    Exposure,
    exposure_xml,
    optics,
    set_time,
    star,
    write_metadata,
    write_session,
)

Volume = npt.NDArray[np.float32]

# Boxes of neighbours touch but never overlap: a grid cell is a box plus the jitter on both sides of it.
_JITTER_PX = 4
_CELL_PX = BOX_PX + 2 * _JITTER_PX
_MARGIN_PX = 12
# Standard deviation of a projection over the mean count. The shot noise of all frames together is 0.056
# of the mean. Real particles are fainter; these are strong because a few hundred of them have to suffice.
_CONTRAST = 0.045
_MOVIES_PER_SQUARE = 8


class RelionMissingError(RuntimeError):
    """A RELION program that has to run is not on PATH."""

    def __init__(self, program: str) -> None:
        super().__init__(f"{program} is not on PATH; on Debian it is in the package 'relion'")


@dataclass(frozen=True, kw_only=True, slots=True)
class Acquisition:
    """One finished acquisition session: what lies where, and the numbers a processing program has to be told.

    ``movies`` are absolute paths in the order of exposure. ``particles`` counts the picks of all movies
    together. ``dose_per_frame`` is in electrons per square angstrom.
    """

    dataset: str
    root: Path
    truth: Path
    movies: tuple[Path, ...]
    particles: int
    pixel_size_angstrom: float
    box_px: int
    micrograph_px: int
    frames: int
    dose_per_frame: float
    voltage_kv: float


def synthetic_volume(*, seed: int, box_px: int = BOX_PX) -> Volume:
    """A bent chain of sixty blobs in two domains: without symmetry, so that one orientation is right.

    Returns a cube with ``box_px`` voxels along each edge; the chain stays within 0.27 of the edge from the
    centre, so that there is room in the box for what the contrast transfer function spreads.
    """
    rng = np.random.default_rng(seed)
    points = np.zeros((60, 3))
    place, heading = np.zeros(3), np.array([1.0, 0.0, 0.0])
    for index in range(len(points)):
        heading = heading + rng.normal(0.0, 0.55, 3) - 0.03 * place
        heading /= np.linalg.norm(heading)
        place = place + 2.6 * heading
        points[index] = place
    points -= points.mean(axis=0)
    points *= 0.265 * box_px / np.abs(points).max()
    z, y, x = np.mgrid[:box_px, :box_px, :box_px].astype(np.float32) - np.float32(box_px // 2)
    volume = np.zeros((box_px,) * 3, np.float32)
    for index, (px, py, pz) in enumerate(points):
        width = 1.1 if index < 35 else 1.5
        distance = (x - np.float32(px)) ** 2 + (y - np.float32(py)) ** 2 + (z - np.float32(pz)) ** 2
        volume += np.exp(-distance / np.float32(2.0 * width * width))
    return volume


def acquire(out: Path, *, truth: Path, movies: int = 16, particles_per_movie: int = 50, seed: int = 7) -> Acquisition:
    """Write a dataset to ``out`` and what it shows to ``truth``; the same arguments give the same bytes.

    ``out`` must not exist yet, or be empty; its last component becomes the name of the dataset. ``truth`` is
    an MRC file outside ``out``. The modification time of a file is the moment at which the microscope would
    have closed it. The default dataset is about 30 MB.

    Raises ``ValueError`` for a count below one or a ``truth`` inside ``out``, ``FileExistsError`` when
    ``out`` holds something, ``RelionMissingError`` without RELION and ``subprocess.CalledProcessError`` when
    RELION fails.
    """
    if movies < 1 or particles_per_movie < 1:
        raise ValueError("movies and particles_per_movie must be at least 1")
    out, truth = out.resolve(), truth.resolve()
    if truth.is_relative_to(out):
        raise ValueError(f"the true volume {truth} must lie outside the dataset {out}")
    if out.is_dir() and any(out.iterdir()):
        raise FileExistsError(f"{out} is not empty")
    relion_project = shutil.which("relion_project")
    if relion_project is None:
        raise RelionMissingError("relion_project")

    rng = np.random.default_rng(seed)
    exposures = _plan(rng, movies=movies)
    volume = synthetic_volume(seed=seed)
    truth.parent.mkdir(parents=True, exist_ok=True)
    _write_mrc(truth, volume, volume=True)

    count = movies * particles_per_movie
    angles = np.stack(
        [
            rng.uniform(-180.0, 180.0, count),
            np.degrees(np.arccos(rng.uniform(-1.0, 1.0, count))),
            rng.uniform(-180.0, 180.0, count),
        ],
        axis=1,
    ).round(3)
    projections = _project(relion_project, truth, exposures, angles.reshape(movies, particles_per_movie, 3))
    projections *= _CONTRAST / float(projections.std())

    edge = _micrograph_edge(particles_per_movie)
    picks = np.stack([_positions(rng, edge=edge, count=particles_per_movie) for _ in exposures])
    drifts = np.stack([_drift(rng) for _ in exposures])
    metadata = out / "Metadata"
    metadata.mkdir(parents=True)
    write_session(out, exposures)
    for index, exposure in enumerate(exposures):
        micrograph = np.ones((edge, edge))
        for (x, y), projection in zip(picks[index], projections[index], strict=True):
            left, top = int(x) - BOX_PX // 2, int(y) - BOX_PX // 2
            # Underfocused protein is darker than the ice around it, so extraction has to invert the contrast.
            micrograph[top : top + BOX_PX, left : left + BOX_PX] -= projection
        movie = out / exposure.movie
        movie.parent.mkdir(parents=True, exist_ok=True)
        _write_mrc(movie, _expose(rng, micrograph, drifts[index]), volume=False)
        # EPU names the metadata of an exposure like its movie, without the suffix of the movie.
        xml = movie.with_name(f"{exposure.stem}.xml")
        xml.write_text(exposure_xml(exposure))
        coords = metadata / f"{movie.stem}_coords.star"
        coords.write_text(star("", ("CoordinateX", "CoordinateY"), picks[index].tolist()))
        for written in (movie, xml, coords):
            set_time(written, exposure.taken)
    write_metadata(metadata, exposures, picks=picks, angles=angles.reshape((*picks.shape[:2], 3)), drifts=drifts)
    for table in ("ctf.star", "true_angles.star", "true_drift.star"):
        set_time(metadata / table, exposures[-1].taken)
    return Acquisition(
        dataset=out.name,
        root=out,
        truth=truth,
        movies=tuple(out / exposure.movie for exposure in exposures),
        particles=count,
        pixel_size_angstrom=PIXEL_SIZE_ANGSTROM,
        box_px=BOX_PX,
        micrograph_px=edge,
        frames=FRAMES,
        dose_per_frame=DOSE_PER_FRAME,
        voltage_kv=VOLTAGE_KV,
    )


def _plan(rng: np.random.Generator, *, movies: int) -> list[Exposure]:
    """Squares, foil holes, times and defocus of a session; moving to a new square takes three minutes."""
    taken = FIRST_EXPOSURE
    exposures = []
    square = int(rng.integers(20_000_000, 30_000_000))
    hole = square + 6000
    for index in range(movies):
        if index % _MOVIES_PER_SQUARE == 0:
            square += int(rng.integers(10, 90))
            hole += int(rng.integers(10, 40))
            taken += timedelta(seconds=0 if index == 0 else 180)
        area = square + 1000
        hole += int(rng.integers(1, 9))
        taken += timedelta(seconds=int(rng.integers(16, 23)))
        defocus = float(rng.uniform(10_000.0, 24_000.0))
        exposures.append(
            Exposure(
                square=square,
                stem=f"FoilHole_{hole}_Data_{area}_{area + 2}_{taken:%Y%m%d_%H%M%S}",
                taken=taken,
                defocus_u=round(defocus + 100.0, 1),
                defocus_v=round(defocus - 100.0, 1),
                defocus_angle=round(float(rng.uniform(0.0, 180.0)), 1),
            )
        )
    return exposures


def _micrograph_edge(particles: int) -> int:
    """Smallest edge in pixels that holds the particles; a multiple of 24 for fast Fourier transforms."""
    least = math.ceil(math.sqrt(particles)) * _CELL_PX + 2 * _MARGIN_PX
    return 24 * math.ceil(least / 24)


def _positions(rng: np.random.Generator, *, edge: int, count: int) -> npt.NDArray[np.int64]:
    """``count`` centres (x, y) in pixels whose boxes do not overlap and stay inside the micrograph."""
    side = math.ceil(math.sqrt(count))
    cells = np.sort(rng.permutation(side * side)[:count])
    corner = (edge - side * _CELL_PX) // 2 + _CELL_PX // 2
    grid = np.stack([cells % side, cells // side], axis=1) * _CELL_PX + corner
    return np.asarray(grid + rng.integers(-_JITTER_PX, _JITTER_PX + 1, (count, 2)), dtype=np.int64)


def _drift(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Global displacement (x, y) of each frame in pixels against the first: fast at first, then settling."""
    direction = rng.uniform(0.0, 2.0 * math.pi)
    steps = rng.uniform(0.8, 1.4) * 0.6 ** np.arange(FRAMES - 1)
    turns = direction + rng.normal(0.0, 0.4, FRAMES - 1)
    walk = np.cumsum(steps[:, None] * np.stack([np.cos(turns), np.sin(turns)], axis=1), axis=0)
    return np.concatenate([np.zeros((1, 2)), walk]).round(3)


def _expose(
    rng: np.random.Generator, micrograph: npt.NDArray[np.float64], drift: npt.NDArray[np.float64]
) -> npt.NDArray[np.int8]:
    """Count electrons frame by frame; the mean of ``micrograph`` is one."""
    mean = DOSE_PER_FRAME * PIXEL_SIZE_ANGSTROM**2
    spectrum = np.fft.rfft2(micrograph)
    fy = np.fft.fftfreq(micrograph.shape[0])[:, None]
    fx = np.fft.rfftfreq(micrograph.shape[1])[None, :]
    frames = np.empty((len(drift), *micrograph.shape), np.int8)
    for frame, (dx, dy) in zip(frames, drift, strict=True):
        moved = np.fft.irfft2(spectrum * np.exp(-2j * np.pi * (fx * dx + fy * dy)), s=micrograph.shape)
        # Counting detectors write one byte per pixel, and the mean is chosen seven deviations below its
        # limit.
        frame[:] = np.minimum(rng.poisson(mean * np.maximum(moved, 0.0)), np.iinfo(np.int8).max)
    return frames


def _project(
    program: str, truth: Path, exposures: Sequence[Exposure], angles: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Noise-free projections by RELION, with the contrast transfer function of their exposure."""
    rows = [
        (*angle, exposure.defocus_u, exposure.defocus_v, exposure.defocus_angle, 1)
        for exposure, group in zip(exposures, angles.tolist(), strict=True)
        for angle in group
    ]
    labels = ("AngleRot", "AngleTilt", "AnglePsi", "DefocusU", "DefocusV", "DefocusAngle", "OpticsGroup")
    with tempfile.TemporaryDirectory(prefix="acquisition-") as scratch:
        table = optics(image=True) + star("particles", labels, rows)
        (Path(scratch) / "angles.star").write_text(table)
        subprocess.run(
            [program, "--i", str(truth), "--ang", "angles.star", "--o", "projections", "--ctf",
             "--angpix", str(PIXEL_SIZE_ANGSTROM), "--pad", "2"],
            cwd=scratch, check=True, capture_output=True, text=True,
        )  # fmt: skip
        stack = mrcfile.read(Path(scratch) / "projections.mrcs")
    return np.asarray(stack, dtype=np.float64).reshape(*angles.shape[:2], BOX_PX, BOX_PX)


def _write_mrc(path: Path, data: npt.NDArray[np.float32] | npt.NDArray[np.int8], *, volume: bool) -> None:
    with mrcfile.new(path, overwrite=True) as mrc:
        mrc.set_data(data)
        if volume:
            mrc.set_volume()
        else:
            mrc.set_image_stack()
        mrc.voxel_size = PIXEL_SIZE_ANGSTROM
        # mrcfile signs a file with the time of writing, which would make equal datasets differ.
        mrc.header.label[0] = b"cdk-cryoem twin".ljust(80)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m cdk_cryoem_twin.acquisition",
        description="Make a small single-particle dataset with a known answer, laid out like an EPU session.",
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="folder of the dataset; must be absent or empty")
    parser.add_argument(
        "--truth",
        type=Path,
        metavar="FILE",
        help="where the true volume goes (default: OUT-truth.mrc beside OUT)",
    )
    parser.add_argument("--movies", type=int, default=16, help="number of movies (default: %(default)s)")
    parser.add_argument(
        "--particles-per-movie", type=int, default=50, help="particles in each movie (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=7, help="seed of everything random (default: %(default)s)")
    options = parser.parse_args(arguments)
    out: Path = options.out.resolve()
    try:
        made = acquire(
            out,
            truth=options.truth or out.with_name(f"{out.name}-truth.mrc"),
            movies=options.movies,
            particles_per_movie=options.particles_per_movie,
            seed=options.seed,
        )
    except (ValueError, FileExistsError, RelionMissingError) as error:
        parser.error(str(error))
    print(
        f"{made.dataset}: {len(made.movies)} movies of {made.frames} frames, {made.micrograph_px} px at "
        f"{made.pixel_size_angstrom} A, {made.particles} particles; true volume in {made.truth}"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
