"""The comparison with the true volume accepts what is right and refuses what is not."""

from __future__ import annotations

from pathlib import Path

import mrcfile  # type: ignore[import-untyped]
import numpy as np
import numpy.typing as npt
import pytest

from cdk_cryoem_twin.acquisition import synthetic_volume
from cdk_cryoem_twin.fsc import LIMIT_ANGSTROM, compare, figure, fourier_shell_correlation, main

PIXEL_SIZE = 4.0


def write(path: Path, volume: npt.NDArray[np.floating]) -> Path:
    with mrcfile.new(path) as mrc:
        mrc.set_data(volume.astype(np.float32))
        mrc.voxel_size = PIXEL_SIZE
    return path


def noise(*, seed: int, size: int = 64) -> npt.NDArray[np.float64]:
    return np.random.default_rng(seed).normal(size=(size,) * 3)


def low_passed(volume: npt.NDArray[np.floating], *, shell: int) -> npt.NDArray[np.float64]:
    """The volume without anything beyond a shell, so that the frequency where it stops is known."""
    frequencies = np.fft.fftfreq(volume.shape[0]) * volume.shape[0]
    z, y, x = np.meshgrid(frequencies, frequencies, frequencies, indexing="ij")
    kept = np.rint(np.sqrt(x**2 + y**2 + z**2)) <= shell
    return np.asarray(np.fft.ifftn(np.fft.fftn(volume) * kept).real)


@pytest.fixture(scope="module")
def truth() -> npt.NDArray[np.float64]:
    return synthetic_volume(seed=7).astype(np.float64)


@pytest.mark.parametrize("size", [15, 16])
def test_a_map_agrees_with_itself_in_every_shell(size: int) -> None:
    volume = noise(seed=1, size=size)
    curve = fourier_shell_correlation(volume, volume)
    assert curve.shape == (size // 2 + 1,)
    assert curve == pytest.approx(1.0)


def test_scale_does_not_matter_but_sign_does() -> None:
    volume = noise(seed=1, size=16)
    assert fourier_shell_correlation(volume, 3.5 * volume) == pytest.approx(1.0)
    assert fourier_shell_correlation(volume, -volume) == pytest.approx(-1.0)


def test_the_order_of_the_maps_does_not_matter() -> None:
    a, b = noise(seed=1, size=16), noise(seed=2, size=16)
    assert fourier_shell_correlation(a, b) == pytest.approx(fourier_shell_correlation(b, a))


def test_it_equals_the_definition_over_the_whole_transform() -> None:
    a, b = noise(seed=1, size=12), noise(seed=2, size=12)
    fa, fb = np.fft.fftn(a), np.fft.fftn(b)
    frequencies = np.fft.fftfreq(12) * 12
    z, y, x = np.meshgrid(frequencies, frequencies, frequencies, indexing="ij")
    radius = np.rint(np.sqrt(x**2 + y**2 + z**2))
    for shell, value in enumerate(fourier_shell_correlation(a, b)):
        here = radius == shell
        power = np.sqrt((np.abs(fa[here]) ** 2).sum() * (np.abs(fb[here]) ** 2).sum())
        assert value == pytest.approx((fa[here] * fb[here].conj()).sum().real / power)


def test_an_empty_map_correlates_with_nothing() -> None:
    curve = fourier_shell_correlation(np.zeros((16, 16, 16)), noise(seed=1, size=16))
    assert curve == pytest.approx(0.0)


@pytest.mark.parametrize("shape", [(8, 8, 9), (9, 9, 9), (8, 8)])
def test_unequal_volumes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="equal size"):
        fourier_shell_correlation(np.zeros((8, 8, 8)), np.zeros(shape))


def test_the_true_volume_passes_at_nyquist(tmp_path: Path, truth: npt.NDArray[np.float64]) -> None:
    path = write(tmp_path / "truth.mrc", truth)
    agreement = compare(path, path)
    assert agreement.passed
    assert agreement.resolution_angstrom == pytest.approx(2 * PIXEL_SIZE)
    assert agreement.pixel_size_angstrom == PIXEL_SIZE


def test_unrelated_noise_fails(tmp_path: Path, truth: npt.NDArray[np.float64]) -> None:
    agreement = compare(write(tmp_path / "map.mrc", noise(seed=2)), write(tmp_path / "truth.mrc", truth))
    assert not agreement.passed


@pytest.mark.parametrize(("shell", "passes"), [(20, True), (16, False)])
def test_the_resolution_is_where_the_map_stops_agreeing(
    tmp_path: Path, truth: npt.NDArray[np.float64], shell: int, passes: bool
) -> None:
    # Noise that fills what the low pass removed, and is weak where the volume is.
    volume = low_passed(truth, shell=shell) + 1e-6 * noise(seed=4)
    agreement = compare(write(tmp_path / "map.mrc", volume), write(tmp_path / "truth.mrc", truth))
    extent = truth.shape[0] * PIXEL_SIZE
    assert extent / (shell + 1) <= agreement.resolution_angstrom <= extent / shell
    assert agreement.passed is passes


def test_the_limit_can_be_set(tmp_path: Path, truth: npt.NDArray[np.float64]) -> None:
    volume = write(tmp_path / "map.mrc", low_passed(truth, shell=16) + 1e-6 * noise(seed=4))
    reference = write(tmp_path / "truth.mrc", truth)
    assert compare(volume, reference).limit_angstrom == LIMIT_ANGSTROM
    assert compare(volume, reference, limit_angstrom=20.0).passed


@pytest.mark.parametrize("inverted", [False, True], ids=["right", "inverted contrast"])
def test_the_figure_is_drawn_for_any_outcome(tmp_path: Path, truth: npt.NDArray[np.float64], inverted: bool) -> None:
    volume = write(tmp_path / "map.mrc", -truth if inverted else truth)
    reference = write(tmp_path / "truth.mrc", truth)
    agreement = compare(volume, reference)
    assert agreement.passed is not inverted
    picture = tmp_path / "figure.png"
    figure(agreement, volume, reference, picture)
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_command_line_reports_the_verdict(
    tmp_path: Path, truth: npt.NDArray[np.float64], capsys: pytest.CaptureFixture[str]
) -> None:
    reference = write(tmp_path / "truth.mrc", truth)
    assert main([str(reference), str(reference), "--figure", str(tmp_path / "figure.png")]) == 0
    assert "passed" in capsys.readouterr().out
    assert (tmp_path / "figure.png").is_file()
    assert main([str(write(tmp_path / "map.mrc", noise(seed=2))), str(reference)]) == 1
    assert "failed" in capsys.readouterr().out
