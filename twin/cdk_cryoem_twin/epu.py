"""The files EPU leaves beside the movies, and the metadata that stand for CTF estimation and picking."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
import numpy.typing as npt

BOX_PX = 64
PIXEL_SIZE_ANGSTROM = 4.0
FRAMES = 5
DOSE_PER_FRAME = 4.0
"""Electrons per square angstrom and frame."""
VOLTAGE_KV = 300.0
SPHERICAL_ABERRATION_MM = 2.7
AMPLITUDE_CONTRAST = 0.1

FIRST_EXPOSURE = datetime(2026, 3, 17, 9, 12, 5, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True, slots=True)
class Exposure:
    """Where and how one movie was taken. Defocus in angstrom (positive is underfocus), angles in degrees."""

    square: int
    stem: str
    taken: datetime
    defocus_u: float
    defocus_v: float
    defocus_angle: float

    @property
    def folder(self) -> str:
        """Folder of the movie relative to the dataset."""
        return f"Images-Disc1/GridSquare_{self.square}/Data"

    @property
    def movie(self) -> str:
        """Path of the movie relative to the dataset."""
        return f"{self.folder}/{self.stem}_Fractions.mrc"


def write_metadata(
    folder: Path,
    exposures: Sequence[Exposure],
    *,
    picks: npt.NDArray[np.int64],
    angles: npt.NDArray[np.float64],
    drifts: npt.NDArray[np.float64],
) -> None:
    """Write what is given instead of computed; names are relative to the dataset."""
    (folder / "ctf.star").write_text(
        optics(image=False)
        + star(
            "micrographs",
            ("MicrographName", "OpticsGroup", "DefocusU", "DefocusV", "DefocusAngle"),
            [(e.movie, 1, e.defocus_u, e.defocus_v, e.defocus_angle) for e in exposures],
        )
    )
    (folder / "true_angles.star").write_text(
        star(
            "",
            ("MicrographName", "CoordinateX", "CoordinateY", "AngleRot", "AngleTilt", "AnglePsi"),
            [
                (exposure.movie, *pick, *angle)
                for exposure, pick_group, angle_group in zip(exposures, picks.tolist(), angles.tolist(), strict=True)
                for pick, angle in zip(pick_group, angle_group, strict=True)
            ],
        )
    )
    # Like RELION, give the shift that puts a frame back onto the first one. Adding zero turns -0.0 into 0.0.
    corrections = -drifts + 0.0
    (folder / "true_drift.star").write_text(
        star(
            "",
            ("MicrographName", "MicrographFrameNumber", "MicrographShiftX", "MicrographShiftY"),
            [
                (exposure.movie, number, *shift)
                for exposure, drift in zip(exposures, corrections.tolist(), strict=True)
                for number, shift in enumerate(drift, start=1)
            ],
        )
    )


def optics(*, image: bool) -> str:
    """The optics table of RELION 3.1: of extracted images, or of micrographs."""
    labels = ["OpticsGroup", "OpticsGroupName", "AmplitudeContrast", "SphericalAberration", "Voltage"]
    row: list[object] = [1, "opticsGroup1", AMPLITUDE_CONTRAST, SPHERICAL_ABERRATION_MM, VOLTAGE_KV]
    if image:
        labels += ["ImagePixelSize", "ImageSize", "ImageDimensionality"]
        row += [PIXEL_SIZE_ANGSTROM, BOX_PX, 2]
    else:
        labels += ["MicrographOriginalPixelSize", "MicrographPixelSize"]
        row += [PIXEL_SIZE_ANGSTROM, PIXEL_SIZE_ANGSTROM]
    return star("optics", labels, [row])


def star(block: str, labels: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """One table of a STAR file; ``labels`` without the prefix that RELION gives them."""
    head = [
        f"\ndata_{block}\n",
        "loop_",
        *(f"_rln{label} #{number}" for number, label in enumerate(labels, start=1)),
    ]
    return "\n".join([*head, *(" ".join(map(str, row)) for row in rows)]) + "\n\n"


def exposure_xml(exposure: Exposure) -> str:
    """What processing programs read of EPU's description of an exposure; lengths in metres, like there."""
    dose = DOSE_PER_FRAME * FRAMES * 1e20
    return f"""<?xml version="1.0" encoding="utf-8"?>
<MicroscopeImage xmlns="http://schemas.datacontract.org/2004/07/Fei.SharedObjects"
                 xmlns:a="http://schemas.microsoft.com/2003/10/Serialization/Arrays">
  <name>{escape(exposure.stem)}</name>
  <CustomData>
    <a:KeyValueOfstringanyType><a:Key>AppliedDefocus</a:Key>\
<a:Value>{-(exposure.defocus_u + exposure.defocus_v) / 2 * 1e-10:.4e}</a:Value></a:KeyValueOfstringanyType>
    <a:KeyValueOfstringanyType><a:Key>Dose</a:Key><a:Value>{dose:.4e}</a:Value></a:KeyValueOfstringanyType>
  </CustomData>
  <microscopeData>
    <acquisition><acquisitionDateTime>{exposure.taken:%Y-%m-%dT%H:%M:%SZ}</acquisitionDateTime></acquisition>
    <gun><AccelerationVoltage>{VOLTAGE_KV * 1000:.0f}</AccelerationVoltage></gun>
  </microscopeData>
  <SpatialScale>
    <pixelSize>
      <x><numericValue>{PIXEL_SIZE_ANGSTROM * 1e-10:.3e}</numericValue></x>
      <y><numericValue>{PIXEL_SIZE_ANGSTROM * 1e-10:.3e}</numericValue></y>
    </pixelSize>
  </SpatialScale>
</MicroscopeImage>
"""


def write_session(out: Path, exposures: Sequence[Exposure]) -> None:
    """Write EpuSession.dm."""
    squares = "\n".join(f"    <GridSquare>{square}</GridSquare>" for square in sorted({e.square for e in exposures}))
    session = out / "EpuSession.dm"
    session.write_text(f"""<?xml version="1.0" encoding="utf-8"?>
<EpuSessionXml xmlns="http://schemas.datacontract.org/2004/07/Applications.Epu.Persistence">
  <Name>{escape(out.name)}</Name>
  <StartDateTime>{FIRST_EXPOSURE:%Y-%m-%dT%H:%M:%SZ}</StartDateTime>
  <OutputFormat>mrc</OutputFormat>
  <Fractions>{FRAMES}</Fractions>
  <GridSquares>
{squares}
  </GridSquares>
</EpuSessionXml>
""")
    set_time(session, FIRST_EXPOSURE)


def set_time(path: Path, moment: datetime) -> None:
    """Give a file the time of its exposure, as the microscope would."""
    os.utime(path, (moment.timestamp(), moment.timestamp()))
