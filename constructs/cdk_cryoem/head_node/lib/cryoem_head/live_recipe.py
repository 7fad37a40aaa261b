"""cryosparc-live: a session of cryoSPARC Live on a dataset, on the lanes of its stages, which pauses itself.

Called again after it died anywhere it goes on: each step looks at what the session has, and starting it is the last. A
session that has ever run is left alone, so that nobody's pause is undone. Its settings are in cryosparc-live.json:

movies              pattern of the movies' file names; every folder of the dataset is searched
gain_reference      file, relative to the dataset's folder or absolute, or a pattern of exactly one; null: movies are corrected
session             cryoSPARC's own parameters of a session; psize_A (A), accel_kv (kV), cs_mm (mm) and total_dose_e_per_A2
                    must be there
compute             cryoSPARC's own choice of lanes and GPUs, where it shall not follow the stages
auto_pause_minutes  the session is paused, and gives its GPUs back, after so many minutes without work (default 5)
users               e-mail addresses of cryoSPARC's users who may see the project

Costs what the lane's nodes cost while the session runs, and auto_pause_minutes of it for nothing at its end. Reads the secret
of the hooks' login and the lane manifest (secretsmanager:GetSecretValue, ssm:GetParameter, which the head node may). Needs
boto3 and cryosparc-tools.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence

from . import cryosparc_five, recipe_parameters, settings, stage_lanes
from .outcome import Mask, Refused

NAME = "cryosparc-live"
_KNOWN = ("movies", "gain_reference", "session", "compute", "auto_pause_minutes", "users")
_REQUIRED = {
    "psize_A": "pixel size, A",
    "accel_kv": "voltage, kV",
    "cs_mm": "spherical aberration, mm",
    "total_dose_e_per_A2": "dose of a movie, electrons per square A",
}
_DEFAULT_PAUSE_MINUTES = 5
# A worker of the first phase, one job of the second, one of what runs beside them: rows of stages.csv.
_PREPROCESSING, _STREAMING, _AUXILIARY = "rtp_worker", "class_2D_streaming", "homo_abinit"


@dataclass(frozen=True)
class Wanted:
    """A session as it shall be. gain_reference: empty for none."""

    movies: str
    gain_reference: str
    session: Mapping[str, Any]
    compute: Mapping[str, Any]
    auto_pause_minutes: int
    users: Sequence[str]


def parse(parameters: Mapping[str, Any], *, session_names: Sequence[str], compute_names: Sequence[str]) -> Wanted:
    """The parameters, checked. Errors: Refused, naming everything that is missing or wrong."""
    check = recipe_parameters.Check(NAME)
    check.unknown(parameters, _KNOWN)
    movies = check.text(parameters, "movies", "pattern of the movies' names, for example *_fractions.tiff")
    gain = parameters.get("gain_reference")
    if "gain_reference" not in parameters:
        check.problems.append("gain_reference is missing (a file of the dataset, or null if the movies are corrected)")
    elif gain is not None:
        check.text(parameters, "gain_reference", "a file of the dataset, or null if the movies are corrected")
    session = check.section(parameters, "session")
    check.unknown(session, session_names, under="session.")
    for name, meaning in _REQUIRED.items():
        check.positive(session, name, meaning, under="session.")
    compute = check.section(parameters, "compute")
    check.unknown(compute, compute_names, under="compute.")
    minutes = parameters.get("auto_pause_minutes", _DEFAULT_PAUSE_MINUTES)
    if isinstance(minutes, bool) or not isinstance(minutes, int) or not 1 <= minutes <= 1440:
        check.problems.append(f"auto_pause_minutes is {minutes!r}, not a whole number from 1 to 1440")
    users = check.texts(parameters, "users")
    check.end()
    return Wanted(
        movies=movies,
        gain_reference=gain or "",
        session=session,
        compute=compute,
        auto_pause_minutes=minutes,
        users=users,
    )


def compute_of(
    lanes: Mapping[str, str], manifest: Mapping[str, Mapping[str, Any]], asked: Mapping[str, Any]
) -> Dict[str, Any]:
    """Lanes and GPUs of a session: each stage's lane, all GPUs of a node for the first phase, and what was asked for.

    Errors: Refused for a lane that is none of the manifest's, or has no GPUs.
    """
    chosen = {
        "phase_one_lane": stage_lanes.lane_of(lanes, _PREPROCESSING),
        "phase_two_lane": stage_lanes.lane_of(lanes, _STREAMING),
        "auxiliary_lane": stage_lanes.lane_of(lanes, _AUXILIARY),
        **{name: value for name, value in asked.items() if name.endswith("_lane")},
    }
    for name, lane in chosen.items():
        if lane not in manifest:
            raise Refused(f"{name} of the session is {lane}, and the lanes are {', '.join(sorted(manifest))}")
        if not manifest[lane]["gpus"]:
            raise Refused(f"{name} of the session is {lane}, whose nodes have no GPUs")
    return {
        **chosen,
        # Every GPU of the node that is paid for. Streaming jobs get theirs on another node, or when the session pauses.
        "phase_one_gpus": int(manifest[chosen["phase_one_lane"]]["gpus"]),
        "phase_two_gpus": 1,
        "phase_two_ssd": bool(manifest[chosen["phase_two_lane"]]["cache_gb"]),
        "auxiliary_gpus": 1,
        "auxiliary_ssd": bool(manifest[chosen["auxiliary_lane"]]["cache_gb"]),
        **asked,
    }


def differs(wanted: Mapping[str, Any], model: Any) -> bool:
    """Whether a model of cryoSPARC's has other values than these."""
    return any(getattr(model, name) != value for name, value in wanted.items())


def ever_ran(session: Any) -> bool:
    """Whether it was started before, by us or by somebody."""
    return session.status != "paused" or bool(session.running_at)


def converge(api: Any, *, wanted: Wanted, compute: Mapping[str, Any], data: Path, project_dir: Path) -> Dict[str, Any]:
    """The session, running. Errors: Refused when cryoSPARC finds it incomplete."""
    gain = str(recipe_parameters.one_file(data, wanted.gain_reference)) if wanted.gain_reference else None
    with cryosparc_five.answers():
        project = cryosparc_five.project(api, title=data.name, folder=project_dir)
        session = _session(api, project.uid, title=data.name)
        if ever_ran(session):
            return _document(session)
        at = (project.uid, session.session_uid)
        cryosparc_five.share(api, project.uid, wanted.users)
        if differs(compute, session.compute_resources):
            api.sessions.update_compute_configuration(*at, dict(compute))
        _watch(api, at, watch=data, movies=wanted.movies, gain=gain)
        if differs(wanted.session, session.params):
            # There is nothing yet that would have to be processed again.
            api.sessions.update_session_params(*at, dict(wanted.session), reprocess=False)
        if (session.auto_pause, session.auto_pause_after_idle_minutes) != ("graceful", wanted.auto_pause_minutes):
            api.sessions.configure_auto_pause(
                *at, auto_pause="graceful", auto_pause_after_idle_minutes=wanted.auto_pause_minutes
            )
        if not session.phase_one_wait_for_exposures:
            api.sessions.set_session_phase_one_wait_for_exposures(*at, phase_one_wait_for_exposures=True)
        session = api.sessions.find_one(*at)
        if session.errors:
            wrong = "; ".join(f"{'.'.join(map(str, e.loc))}: {e.type} ({e.input!r})" for e in session.errors)
            raise Refused(f"cryoSPARC does not start {at[0]} {at[1]}: {wrong}")
        return _document(api.sessions.start(*at))


def _session(api: Any, project_uid: str, *, title: str) -> Any:
    def there() -> List[Any]:
        found = cryosparc_five.pages(api.sessions.find, project_uid=[project_uid])
        return sorted((s for s in found if s.title == title), key=lambda s: int(s.session_uid_num))

    found = there()
    if not found:
        api.sessions.create(project_uid, title=title, description=f"Made by {NAME} when the dataset had landed")
        found = there()
        # The client may have asked twice. What came of that a moment ago is nobody's yet, and has never run.
        for twice in found[1:]:
            api.sessions.delete(project_uid, twice.session_uid)
    return found[0]


def _watch(api: Any, at: Sequence[str], *, watch: Path, movies: str, gain: Optional[str]) -> None:
    groups = api.sessions.find_exposure_groups(*at)
    if not groups:
        api.sessions.create_exposure_group(*at)
        groups = api.sessions.find_exposure_groups(*at)
    group = min(groups, key=lambda g: int(g.exp_group_id))
    if group.final:
        return
    values = {
        "file_engine_enable": True,
        "file_engine_recursive": True,
        "file_engine_watch_path_abs": str(watch),
        "file_engine_filter": movies,
        **({"gainref_path": gain} if gain else {}),
    }
    if differs(values, group):
        api.sessions.update_exposure_group(*at, group.exp_group_id, values)
    api.sessions.finalize_exposure_group(*at, group.exp_group_id)


def _document(session: Any) -> Dict[str, Any]:
    return {"project": session.project_uid, "session": session.session_uid, "status": session.status}


def work(data: Path, project_dir: Path, mask: Mask) -> Dict[str, Any]:
    """Do it for one dataset."""
    here = settings.load()
    parameters = recipe_parameters.load(NAME, home=here.home, data=data, project=project_dir)
    api = cryosparc_five.connect(here, mask)
    # The client knows its models only after it has been imported.
    from cryosparc.models.session import LiveComputeResources
    from cryosparc.models.session_params import LivePreprocessingParams

    wanted = parse(
        parameters,
        session_names=tuple(LivePreprocessingParams.model_fields),
        compute_names=tuple(LiveComputeResources.model_fields),
    )
    compute = compute_of(stage_lanes.types(here, "cryosparc"), stage_lanes.manifest(here), wanted.compute)
    return cryosparc_five.converging(
        lambda: converge(api, wanted=wanted, compute=compute, data=data, project_dir=project_dir)
    )


def main() -> None:
    """Called as every recipe is."""
    recipe_parameters.run(NAME, __doc__, work)


if __name__ == "__main__":
    main()
