"""register-lanes: cryoSPARC and RELION get exactly the lanes of the manifest.

`show` prints what they have and what they ought to have; `converge` makes the one the other, under a lock, comparing
again before each step. Needs boto3 and, for version 5 of cryoSPARC, cryosparc-tools. Without a cryoSPARC master only
RELION's files are written.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any, Dict, Iterable, List, Mapping, Optional, Protocol, Set, Tuple

import boto3

from . import lane_files, settings, slurm, versions
from .lanes_of_four import CryosparcFour

_TEMPORARY_FAILURE = 75
# In the lane's own folder: what cryoSPARC was given last, so that its own additions are no difference.
_REGISTERED = "registered.sha256"


class Master(Protocol):
    """What either version's master can do with lanes."""

    def targets(self) -> Dict[str, Any]:
        """Cluster targets by name, each with config.script_tpl."""

    def add(self, files: Mapping[str, str]) -> None:
        """Add a cluster target with a lane of the same name, or replace it."""

    def remove(self, name: str) -> None:
        """Remove a cluster target and its lane, or what is left of the two."""


class Cryosparc:
    """The lanes of a master of version 5, through its API by the real cryosparc-tools client."""

    def __init__(self, url: str, *, email: str, password: str) -> None:
        from cryosparc.tools import CryoSPARC

        self._api: Any = CryoSPARC(url, email=email, password=password).api

    def targets(self) -> Dict[str, Any]:
        """Cluster targets by name."""
        return {str(target.name): target for target in self._api.resources.find_clusters()}

    def add(self, files: Mapping[str, str]) -> None:
        """Add a cluster target with a lane of the same name, or replace it."""
        from cryosparc.models.scheduler_target import Cluster, SchedulerTargetCluster

        info = json.loads(files["cluster_info.json"])
        commands = {name: info[name] for name in info if name.endswith("_cmd_tpl")}
        self._api.resources.add_cluster(
            SchedulerTargetCluster(
                name=info["name"],
                lane=info["name"],
                title=info["title"],
                hostname=info["name"],
                worker_bin_path=info["worker_bin_path"],
                cache_path=info["cache_path"],
                cache_reserve_mb=info["cache_reserve_mb"],
                cache_quota_mb=info["cache_quota_mb"],
                config=Cluster(
                    type="cluster",
                    script_tpl=files["cluster_script.sh"],
                    tpl_vars=[],
                    custom_var_names=list(lane_files.CUSTOM_VARIABLES),
                    **commands,
                ),
            )
        )

    def remove(self, name: str) -> None:
        """Remove a cluster target and its lane, or what is left of the two."""
        if name in self.targets():
            self._api.resources.remove_cluster(name)
        if any(lane.name == name for lane in self._api.resources.find_lanes()):
            self._api.resources.remove_lane(name)


def read_manifest(here: settings.Settings, expected: str) -> Dict[str, Any]:
    """The manifest, if it is still the one that was decided on."""
    ssm = boto3.client("ssm", region_name=here.region)
    text = ssm.get_parameter(Name=here.manifest_parameter)["Parameter"]["Value"]
    found = hashlib.sha256(text.encode()).hexdigest()
    if found != expected:
        print(f"the manifest is {found} by now, not {expected}: look again", file=sys.stderr)
        sys.exit(_TEMPORARY_FAILURE)
    manifest: Dict[str, Any] = json.loads(text)
    return manifest


def connect(here: settings.Settings) -> Optional[Master]:
    """The master, or None on a head node without one."""
    if not here.cryosparc_url:
        return None
    # Who installed cryoSPARC by hand wrote down its address only; that was version 5.
    if here.cryosparc_installed and not versions.is_five(here.cryosparc_installed):
        return connect_four(here)
    secret = boto3.client("secretsmanager", region_name=here.region).get_secret_value(SecretId=here.cryosparc_secret)
    login = json.loads(secret["SecretString"])
    try:
        return Cryosparc(here.cryosparc_url, email=login["email"], password=login["password"])
    except Exception as error:
        # Whatever the client raises while the master starts: the hint will be looked at again.
        print(f"cryoSPARC at {here.cryosparc_url} does not answer: {error}", file=sys.stderr)
        sys.exit(_TEMPORARY_FAILURE)


def connect_four(here: settings.Settings) -> Master:
    """A master of version 4 that answers."""
    master = CryosparcFour(here)
    try:
        master.targets()
    except Exception as error:
        print(f"cryoSPARC {here.cryosparc_installed} does not answer: {error}", file=sys.stderr)
        sys.exit(_TEMPORARY_FAILURE)
    return master


def registered(folder: Path, cryosparc: Optional[Master]) -> Dict[str, str]:
    """Fingerprint of each lane that is really there: its files, and its target if there is a master."""
    targets = cryosparc.targets() if cryosparc else None
    found: Dict[str, str] = {}
    for lane in sorted(p for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else ():
        stamp = lane / _REGISTERED
        if not stamp.is_file():
            continue
        if targets is not None:
            target = targets.get(lane.name)
            if target is None or target.config.script_tpl != (lane / "cluster_script.sh").read_text():
                continue
        found[lane.name] = stamp.read_text().strip()
    return found


def write(folder: Path, files: Mapping[str, str]) -> None:
    """Write a lane's files, each at once or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        draft = folder / f".{name}"
        draft.write_text(text)
        draft.chmod(0o755 if name.endswith(".sh") else 0o644)
        draft.rename(folder / name)


def converge(
    here: settings.Settings, wanted: Mapping[str, Mapping[str, str]], cryosparc: Optional[Master]
) -> Dict[str, List[str]]:
    """Add what is missing, replace what differs, remove lanes of ours that are not wanted any longer and have no job."""
    changes: Dict[str, List[str]] = {"set": [], "removed": []}
    has = registered(here.lanes, cryosparc)
    for name, files in wanted.items():
        if has.get(name) == lane_files.digest(files):
            continue
        write(here.lanes / name, files)
        if cryosparc:
            cryosparc.add(files)
        (here.lanes / name / _REGISTERED).write_text(lane_files.digest(files) + "\n")
        changes["set"].append(name)
    for name in sorted(unwanted(here.lanes, wanted) - set(kept(here.lanes, wanted))):
        if cryosparc:
            cryosparc.remove(name)
        shutil.rmtree(here.lanes / name)
        changes["removed"].append(name)
    return changes


def unwanted(folder: Path, wanted: Iterable[str]) -> Set[str]:
    """Lanes of ours that the manifest does not name."""
    return {path.name for path in folder.iterdir() if path.is_dir()} - set(wanted)


def kept(folder: Path, wanted: Iterable[str]) -> List[str]:
    """Those of them that jobs still use, or wait for: a client could not follow them any longer without their lane."""
    found = unwanted(folder, wanted)
    return sorted(found & slurm.partitions_of_jobs()) if found else []


def main() -> None:
    """Show or converge, and print both sides as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mode", choices=("show", "converge"))
    parser.add_argument("--manifest-sha256", required=True, help="the manifest that was decided on")
    arguments = parser.parse_args()
    here = settings.load()
    os.umask(0o022)
    here.lanes.mkdir(parents=True, exist_ok=True)
    manifest = read_manifest(here, arguments.manifest_sha256)
    wanted: Dict[str, Dict[str, str]] = {
        lane["name"]: lane_files.render(
            lane,
            worker=here.cryosparc_worker,
            cache_root=str(here.scratch),
            sbatch=here.slurm_bin,
            home=str(here.home),
        )
        for lane in manifest["lanes"]
    }
    cryosparc = connect(here)
    changes: Dict[str, List[str]] = {}
    with open(here.lanes / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Of no client's own, so that there is nothing to compare: recipes and people read them.
        write(here.lanes, lane_files.render_stages(manifest.get("stages", {})))
        if arguments.mode == "converge":
            changes = converge(here, wanted, cryosparc)
        has = registered(here.lanes, cryosparc)
        still = kept(here.lanes, wanted)
        # One that only waits for its last job to go is neither there nor missing; one whose removal was not finished is there.
        left_over = dict.fromkeys(unwanted(here.lanes, wanted), "")
        shown = {name: digest for name, digest in {**left_over, **has}.items() if name not in still}
    digests: Tuple[Tuple[str, str], ...] = tuple((name, lane_files.digest(files)) for name, files in wanted.items())
    print(
        json.dumps(
            {
                "registered": shown,
                "wanted": dict(digests),
                "changes": changes,
                "kept": still,
                "closed": sorted(set(slurm.closed_partitions()) & set(wanted)),
            }
        )
    )


if __name__ == "__main__":
    main()
