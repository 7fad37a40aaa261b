"""The dataset is laid out like an EPU session, says the truth about itself and can be made again."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from xml.etree import ElementTree

import mrcfile  # type: ignore[import-untyped]
import numpy as np
import pytest

from cdk_cryoem_twin.acquisition import Acquisition, RelionMissingError, acquire, main, synthetic_volume

MOVIE = re.compile(
    r"Images-Disc1/GridSquare_(?P<square>\d{8})/Data/"
    r"FoilHole_(?P<hole>\d{8})_Data_\d{8}_\d{8}_(?P<date>\d{8})_(?P<time>\d{6})_Fractions\.mrc"
)


@pytest.fixture(scope="module")
def acquisition(tmp_path_factory: pytest.TempPathFactory) -> Acquisition:
    folder = tmp_path_factory.mktemp("microscope")
    return acquire(folder / "session", truth=folder / "truth.mrc", movies=9, particles_per_movie=5, seed=3)


def star_rows(path: Path, *, table: str) -> list[dict[str, str]]:
    labels: list[str] = []
    rows: list[dict[str, str]] = []
    inside = False
    for line in path.read_text().splitlines():
        if line.startswith("data_"):
            inside, labels = line == f"data_{table}", []
        elif inside and line.startswith("_rln"):
            labels.append(line.split()[0].removeprefix("_rln"))
        elif inside and labels and line.strip():
            rows.append(dict(zip(labels, line.split(), strict=True)))
    return rows


def digests(root: Path) -> dict[str, str]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_movies_are_named_and_ordered_as_epu_does(acquisition: Acquisition) -> None:
    matches = [MOVIE.fullmatch(str(movie.relative_to(acquisition.root))) for movie in acquisition.movies]
    assert all(matches)
    taken = [match["date"] + match["time"] for match in matches if match]
    assert taken == sorted(set(taken))
    holes = [match["hole"] for match in matches if match]
    assert holes == sorted(set(holes))
    assert len({match["square"] for match in matches if match}) == 2
    assert [movie.stat().st_mtime for movie in acquisition.movies] == sorted(
        movie.stat().st_mtime for movie in acquisition.movies
    )
    assert (acquisition.root / "EpuSession.dm").is_file()


def test_metadata_beside_each_movie_tells_how_it_was_taken(acquisition: Acquisition) -> None:
    space = "{http://schemas.datacontract.org/2004/07/Fei.SharedObjects}"
    for movie in acquisition.movies:
        tree = ElementTree.parse(movie.with_name(movie.name.replace("_Fractions.mrc", ".xml")))
        pixel = tree.findtext(f".//{space}pixelSize/{space}x/{space}numericValue")
        voltage = tree.findtext(f".//{space}AccelerationVoltage")
        moment = tree.findtext(f".//{space}acquisitionDateTime")
        assert pixel is not None
        assert float(pixel) == pytest.approx(acquisition.pixel_size_angstrom * 1e-10)
        assert voltage is not None
        assert float(voltage) == acquisition.voltage_kv * 1000
        assert moment is not None
        assert re.sub(r"[-:Z]", "", moment).replace("T", "_") in movie.name


def test_movies_are_frames_of_counted_electrons(acquisition: Acquisition) -> None:
    expected = acquisition.dose_per_frame * acquisition.pixel_size_angstrom**2
    for movie in acquisition.movies:
        with mrcfile.open(movie) as mrc:
            assert mrc.data.shape == (
                acquisition.frames,
                acquisition.micrograph_px,
                acquisition.micrograph_px,
            )
            assert acquisition.frames > 1
            assert mrc.is_image_stack()
            assert float(mrc.voxel_size.x) == acquisition.pixel_size_angstrom
            frames = mrc.data.astype(np.float64)
        assert not np.array_equal(frames[0], frames[1])
        # Shot noise: the variance of a count is its mean. Particles are few here and add little.
        assert frames.mean() == pytest.approx(expected, rel=0.01)
        assert frames.var(axis=(1, 2)) == pytest.approx(expected, rel=0.1)


def test_picks_add_up_and_their_boxes_do_not_overlap(acquisition: Acquisition) -> None:
    total = 0
    for movie in acquisition.movies:
        rows = star_rows(acquisition.root / "Metadata" / f"{movie.stem}_coords.star", table="")
        centres = np.array([[float(row["CoordinateX"]), float(row["CoordinateY"])] for row in rows])
        total += len(centres)
        assert centres.min() >= acquisition.box_px / 2
        assert centres.max() <= acquisition.micrograph_px - acquisition.box_px / 2
        apart = np.abs(centres[:, None] - centres[None]).max(axis=2)
        assert apart[~np.eye(len(centres), dtype=bool)].min() >= acquisition.box_px
    assert total == acquisition.particles == 45


def test_particles_are_dark_and_where_the_picks_say(acquisition: Acquisition) -> None:
    inside, outside = [], []
    for movie in acquisition.movies:
        picture = mrcfile.read(movie).astype(np.float64).sum(axis=0)
        y, x = np.mgrid[: picture.shape[0], : picture.shape[1]]
        rows = star_rows(acquisition.root / "Metadata" / f"{movie.stem}_coords.star", table="")
        near = np.zeros(picture.shape, bool)
        for row in rows:
            near |= np.hypot(x - float(row["CoordinateX"]), y - float(row["CoordinateY"])) < 8
        inside.append(picture[near].mean())
        outside.append(picture[~near].mean())
    assert np.mean(inside) < 0.99 * np.mean(outside)


def test_what_is_given_covers_every_movie_and_particle(acquisition: Acquisition) -> None:
    names = [str(movie.relative_to(acquisition.root)) for movie in acquisition.movies]
    metadata = acquisition.root / "Metadata"
    assert [row["MicrographName"] for row in star_rows(metadata / "ctf.star", table="micrographs")] == names
    assert len(star_rows(metadata / "true_angles.star", table="")) == acquisition.particles
    drift = star_rows(metadata / "true_drift.star", table="")
    assert len(drift) == len(names) * acquisition.frames
    assert {row["MicrographShiftX"] for row in drift if row["MicrographFrameNumber"] == "1"} == {"0.0"}


def test_the_true_volume_is_not_in_the_dataset(acquisition: Acquisition) -> None:
    assert acquisition.truth.is_file()
    assert not acquisition.truth.is_relative_to(acquisition.root)
    assert hashlib.sha256(acquisition.truth.read_bytes()).hexdigest() not in digests(acquisition.root).values()


def test_a_seed_gives_the_same_bytes_again_and_another_does_not(tmp_path: Path) -> None:
    made = {}
    for name, seed in (("first", 5), ("again", 5), ("other", 6)):
        root = tmp_path / name / "session"
        acquire(root, truth=tmp_path / name / "truth.mrc", movies=2, particles_per_movie=2, seed=seed)
        made[name] = digests(tmp_path / name)
    assert made["first"] == made["again"]
    assert made["first"].keys() != made["other"].keys()
    assert made["first"]["truth.mrc"] != made["other"]["truth.mrc"]


def test_a_dataset_is_not_written_over(acquisition: Acquisition, tmp_path: Path) -> None:
    with pytest.raises(FileExistsError):
        acquire(acquisition.root, truth=tmp_path / "truth.mrc")


@pytest.mark.parametrize("wrong", [{"movies": 0}, {"particles_per_movie": 0}], ids=["no movies", "no particles"])
def test_counts_below_one_are_refused(tmp_path: Path, wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        acquire(tmp_path / "session", truth=tmp_path / "truth.mrc", **wrong)


def test_a_true_volume_within_the_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="outside"):
        acquire(tmp_path / "session", truth=tmp_path / "session" / "truth.mrc")


def test_without_relion_the_error_names_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RelionMissingError, match="package 'relion'"):
        acquire(tmp_path / "session", truth=tmp_path / "truth.mrc", movies=1, particles_per_movie=1)
    assert not (tmp_path / "session").exists()


def test_the_volume_leaves_room_in_its_box_and_has_no_symmetry() -> None:
    volume = synthetic_volume(seed=7)
    size = volume.shape[0]
    z, y, x = np.mgrid[:size, :size, :size] - size // 2
    assert volume[z**2 + y**2 + x**2 > (0.45 * size) ** 2].max() < 1e-3 * volume.max()
    for turned in (np.flip(volume), np.rot90(volume, 2, (0, 1)), np.rot90(volume, 2, (1, 2))):
        assert np.corrcoef(volume.ravel(), turned.ravel())[0, 1] < 0.7


def test_help_explains_the_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    assert "--movies" in capsys.readouterr().out
