"""A dataset with something of everything, as the hooks write it; and the same as it would be read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cdk_cryoem_stacks.dataset_report.model import Given, Lane

T0 = 1_795_000_000.0
"""2026-11-18 11:06:40 UTC."""
LANES = (
    Lane(name="cpu", gpus=0, vcpus=32, usd_per_hour=1.536, instance_type="m6i.8xlarge", price_of="us-east-1, 2026-11"),
    Lane(name="gpu1", gpus=1, vcpus=16, usd_per_hour=1.624, instance_type="g5.4xlarge", gpu_model="a10g", price_of="us-east-1, 2026-11"),
    Lane(name="gpu4", gpus=4, vcpus=48, usd_per_hour=5.672, instance_type="g5.12xlarge", gpu_model="a10g", price_of="us-east-1, 2026-11"),
    Lane(name="gpu8", gpus=8, vcpus=192, usd_per_hour=30.13118, instance_type="g6e.48xlarge", gpu_model="l40s", price_of="us-east-1, 2026-11"),
)  # fmt: skip
DATASET: Mapping[str, Any] = {
    "sk": "2026-11-18-krios-spike",
    "state": "landed",
    "objects": 5712,
    "movies": 5600,
    "size_bytes": 1_600_000_000_000,
    "first_at": T0,
    "last_at": T0 + 18 * 3600,
    "landed_at": T0 + 18.3 * 3600,
    "looked_at": T0 + 19 * 3600,
    "reason": "nothing left to transfer",
    "processing_at": T0 + 20 * 3600,
    "processing": "finished",
}
RECEIPT: Mapping[str, Any] = {
    "version": 1,
    "dataset": "2026-11-18-krios-spike",
    "complete": True,
    "statement": "Every file of this dataset that was on the share at looked_at, and that DataSync is to copy, is in the"
    " landing bucket and verified: it is safe to purge what the manifest lists from the microscope disk.",
    "reasons": [],
    "files": 5712,
    "movies": 5600,
    "bytes": 1_600_000_000_000,
    "verified": 5712,
    "unverified": 0,
    "different": 0,
    "missing": 0,
    "unknown": 0,
    "examples": [],
    "landed_at": T0 + 18.3 * 3600,
    "last_at": T0 + 18 * 3600,
    "looked_at": T0 + 18.2 * 3600,
    "made_at": T0 + 18.5 * 3600,
    "manifest": {"key": "datasets/2026-11-18-krios-spike.manifest.jsonl.gz", "version_id": "v1", "sha256": "ab"},
}


def job(
    number: int, name: str, lane: str, hour: float, wait: float, run: float, gpus: float, usd: float | None, **more: Any
) -> dict[str, Any]:
    """A record of a job. hour: of its submission after T0; wait, run: in minutes."""
    submitted = T0 + hour * 3600
    started = submitted + wait * 60
    ended = int(started + run * 60)
    return {
        "sk": f"{ended:012d}#{number}",
        "name": name,
        "user": "cryosparcuser",
        "project": DATASET["sk"],
        "lane": lane,
        "state": "COMPLETED",
        "submitted_at": int(submitted),
        "started_at": int(started),
        "ended_at": ended,
        "seconds": int(run * 60),
        "nodes": f"{lane}-dy-{number}",
        "gpus": gpus,
        "cpus": 4.0,
        **({} if usd is None else {"usd": usd}),
        **more,
    }


def jobs() -> list[dict[str, Any]]:
    """Jobs of both clients, with failures, repeats, one without a price and one that no name tells the stage of."""
    return [
        job(11, "cryosparc_P3_J1_import_movies", "cpu", 18.4, 4, 6, 0, 0.03, cpus=2.0),
        job(12, "cryosparc_P3_J2_patch_motion_correction_multi", "gpu8", 18.5, 7, 95, 8, 47.707417),
        job(13, "cryosparc_P3_J3_patch_ctf_estimation_multi", "gpu8", 20.2, 1, 33, 8, 16.57205),
        job(14, "cryosparc_P3_J4_blob_picker_gpu", "gpu1", 20.8, 5, 36, 1, 0.9744),
        job(15, "cryosparc_P3_J5_extract_micrographs_multi", "gpu8", 21.5, 6, 14, 8, 7.030567),
        job(16, "cryosparc_P3_J6_class_2D_new", "gpu4", 21.9, 6, 61, 4, 5.766533, state="FAILED"),
        job(17, "cryosparc_P3_J6_class_2D_new", "gpu4", 23.1, 1, 280, 4, 26.469333),
        job(18, "cryosparc_P3_J7_homo_abinit", "gpu1", 40.0, 5, 380, 1, 10.285333),
        job(19, "cryosparc_P3_J8_hetero_refine", "gpu1", 46.6, 1, 410, 1, 11.097333),
        job(20, "cryosparc_P3_J9_hetero_refine", "gpu1", 46.6, 5, 325, 1, 8.796667),
        job(21, "cryosparc_P3_J10_nonuniform_refine_new", "gpu1", 64.0, 5, 190, 1, 5.142667, user="anna"),
        job(22, "cryosparc_P3_J11_nonuniform_refine_new", "gpu1", 64.2, 5, 347, 1, 9.392133, user="anna"),
        job(23, "Refine3D/job012/", "gpu4", 66.0, 12, 96, 4, 9.0752, user="anna"),
        job(24, "PostProcess/job013/", "cpu", 68.0, 3, 4, 0, 0.0256, user="anna", cpus=8.0),
        job(25, "my own script", "gpu1", 68.1, 4, 22, 1, 0.595467, user="anna"),
        job(26, "cryosparc_P3_J12_var_3D", "old-lane", 68.2, 3, 30, 1, None, user="anna"),
        job(27, "cryosparc_P3_J13_local_resolution", "gpu1", 69.0, 90, 0, 0, 0.0, user="anna", state="CANCELLED", started_at=0),
    ]  # fmt: skip


def nodes() -> list[dict[str, Any]]:
    """Records of nodes: those of the lanes while the jobs ran, and one of another lane."""
    lives = [("gpu8", 18.5, 22.0, 30.131), ("gpu4", 21.9, 28.2, 5.672), ("gpu4", 66.0, 68.1, 5.672)]
    lives += [("gpu1", 20.8, 21.7, 1.624), ("gpu1", 40.0, 53.8, 1.624), ("gpu1", 46.7, 52.4, 1.624)]
    lives += [
        ("gpu1", 64.0, 70.3, 1.624),
        ("gpu1", 64.2, 70.3, 1.624),
        ("cpu", 18.4, 18.8, 1.536),
        ("cpu", 68.0, 68.3, 1.536),
    ]
    lives += [("live", 0.0, 18.0, 5.672)]
    return [
        {
            "sk": f"{int(T0 + since * 3600):012d}#i-{number:017x}",
            "instance_id": f"i-{number:017x}",
            "kind": "node",
            "lane": lane,
            "gpus": {"gpu1": 1, "gpu4": 4, "gpu8": 8, "live": 4}.get(lane, 0),
            "from": int(T0 + since * 3600),
            "until": int(T0 + until * 3600),
            "usd_per_hour": usd,
            "over": 1,
        }
        for number, (lane, since, until, usd) in enumerate(lives)
    ]


def given(**changed: Any) -> Given:
    """Everything as it would be read."""
    whole: dict[str, Any] = {
        "name": DATASET["sk"],
        "system": "cryoem",
        "region": "us-east-1",
        "at": T0 + 96 * 3600,
        "item": DATASET,
        "receipt": None,
        "document": RECEIPT,
        "jobs": jobs(),
        "nodes": nodes(),
        "lanes": LANES,
        "notes": (),
    }
    return Given(**{**whole, **changed})
