"""Which stage a job was of, by the name it had in Slurm. Pure.

cryoSPARC's jobs are named by the lanes' script (`lane_files.py` of the head node): cryosparc_P1_J2_class_2D_new, before
November 2026 without the type. RELION puts its job's folder in: Class2D/job012/ (`XXXnameXXX` is the output name in its
src/pipeline_jobs.cpp).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Client = Literal["cryosparc", "relion", ""]
_CRYOSPARC = re.compile(r"(cryosparc_P\d+_J\d+)(?:_(\w+))?", re.ASCII)
_RELION = re.compile(r"([A-Za-z0-9]+)/([^/]+)")

# Folder of a job in a RELION project (PROC_..._DIRNAME in its src/pipeline_jobs.h), and the stage with GPUs and without. Where
# one folder stands for several types of one stage each, those that nobody can tell apart by the folder are taken together.
FOLDERS: Mapping[str, tuple[str, str]] = {
    "Import": ("import", "import"),
    "MotionCorr": ("motion", "motion-cpu"),
    "CtfFind": ("ctf", "ctf-cpu"),
    "AutoPick": ("pick", "pick-cpu"),
    "Extract": ("extract-cpu", "extract-cpu"),
    "Class2D": ("class2d", "class2d"),
    "InitialModel": ("abinitio", "abinitio"),
    "Class3D": ("refine-mpi", "refine-mpi"),
    "Refine3D": ("refine-mpi", "refine-mpi"),
    "MultiBody": ("refine-mpi", "refine-mpi"),
    "CtfRefine": ("polish-cpu", "polish-cpu"),
    "Polish": ("polish-cpu", "polish-cpu"),
    "PostProcess": ("postprocess", "postprocess"),
    "LocalRes": ("postprocess", "postprocess"),
    "MaskCreate": ("postprocess", "postprocess"),
    "Subtract": ("postprocess", "postprocess"),
    "DynaMight": ("flex", "flex"),
    "ModelAngelo": ("model", "model"),
    "Denoise": ("denoise", "denoise"),
    "AlignTiltSeries": ("tomo", "tomo"),
    "Tomograms": ("tomo", "tomo"),
    "Reconstruct": ("tomo", "tomo"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Named:
    """What a name tells. identity: the same for each run of one job. stage: empty when the name does not tell it.

    type: as the client names it: class_2D_new, Class2D; empty when it is not known.
    """

    identity: str
    client: Client
    type: str
    stage: str


def read(name: str, *, gpus: float) -> Named:
    """A job by its name in Slurm, and by whether it had GPUs."""
    found = _CRYOSPARC.fullmatch(name)
    if found:
        kind = found[2] or ""
        return Named(identity=found[1], client="cryosparc", type=kind, stage=_types().get(kind, ""))
    plain = name.strip("/")
    found = _RELION.fullmatch(plain)
    if found and found[1] in FOLDERS:
        stage = FOLDERS[found[1]][0 if gpus else 1]
        return Named(identity=plain, client="relion", type=found[1], stage=stage)
    return Named(identity=plain, client="", type="", stage="")


@functools.cache
def _types() -> Mapping[str, str]:
    # Imported here: the library brings the CDK with it, which takes seconds.
    from cdk_cryoem.stages import stages

    return {kind: stage.name for stage in stages().values() for kind in stage.cryosparc_job_types}


def title(stage: str) -> str:
    """What a stage does, in the words of the table of stages; the stage itself when the table has none of that name."""
    from cdk_cryoem.stages import stages

    known = stages().get(stage)
    return known.description if known else stage


def order(stage: str) -> int:
    """Where a stage comes in the order in which a dataset goes through them; what is none comes last."""
    from cdk_cryoem.stages import stages

    names = list(stages())
    return names.index(stage) if stage in names else len(names)
