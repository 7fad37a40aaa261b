"""cryosparc-workflow: a chain of cryoSPARC jobs on a dataset, each queued on the lane of its stage.

Called again after it died anywhere it goes on: jobs that are there are not made again, those that are connected, set or queued
are left as they are, and nothing that has been queued once is queued again. It ends when everything is queued; cryoSPARC starts
each job when those before it have ended. Its settings are in cryosparc-workflow.json, with either

jobs                list of jobs: title (unique), type (cryoSPARC's name of it), params, inputs ({input: [title, output]})

or, for a workflow that is saved in cryoSPARC,

workflow_id         its id
body                what cryoSPARC's own page sends to apply it; not documented by cryoSPARC, see the documentation's page
params              {type: {param: value}}, set in every job of the type before it is queued

and for both

lanes               {type: lane}, where it shall not follow the stages; null: queued without a lane, on the master
users               e-mail addresses of cryoSPARC's users who may see the project

{dataset}, {project_uid} and {workspace_uid} are filled in wherever text is. Interactive jobs (select_2D and its like) are made
and not queued: a person works in them, and the jobs behind them wait. Costs what the jobs cost. Reads the secret of the hooks'
login (secretsmanager:GetSecretValue, which the head node may). Needs boto3 and cryosparc-tools.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from . import cryosparc_five, recipe_parameters, settings, stage_lanes
from .outcome import Mask, Refused

NAME = "cryosparc-workflow"
_KNOWN = ("jobs", "workflow_id", "body", "params", "lanes", "users")
_KNOWN_OF_A_JOB = ("title", "type", "params", "inputs")
# Jobs in which a person works, in the browser (cryoSPARC's job register, kind interactive).
_INTERACTIVE = ("select_2D", "curate_exposures", "curate_exposures_v2", "inspect_picks", "inspect_picks_v2", "manual_picker", "manual_picker_v2")  # fmt: skip


@dataclass(frozen=True)
class Step:
    """One job of the chain. inputs: title and output of another step, by the name of the input."""

    title: str
    type: str
    params: Mapping[str, Any]
    inputs: Mapping[str, Tuple[str, str]]


@dataclass(frozen=True)
class Wanted:
    """A chain of jobs, or a saved workflow (workflow_id) and what to set in its jobs."""

    steps: Sequence[Step]
    workflow_id: str
    body: Mapping[str, Any]
    params: Mapping[str, Mapping[str, Any]]
    lanes: Mapping[str, Optional[str]]
    users: Sequence[str]


def parse(parameters: Mapping[str, Any]) -> Wanted:
    """The parameters, checked. Errors: Refused, naming everything that is missing or wrong."""
    check = recipe_parameters.Check(NAME)
    check.unknown(parameters, _KNOWN)
    if ("jobs" in parameters) == ("workflow_id" in parameters):
        check.problems.append("either jobs or workflow_id must be there")
    steps = _steps(parameters, check)
    workflow_id = check.text(parameters, "workflow_id", "id of a workflow") if "workflow_id" in parameters else ""
    lanes = check.section(parameters, "lanes")
    for job_type, lane in lanes.items():
        if lane is not None and not isinstance(lane, str):
            check.problems.append(f"lanes.{job_type} is {lane!r}, not the name of a lane or null")
    params = check.section(parameters, "params")
    for job_type in params:
        check.section(params, job_type)
    body, users = check.section(parameters, "body"), check.texts(parameters, "users")
    check.end()
    return Wanted(steps=steps, workflow_id=workflow_id, body=body, params=params, lanes=lanes, users=users)


def _steps(parameters: Mapping[str, Any], check: recipe_parameters.Check) -> List[Step]:
    entries = parameters.get("jobs", [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        check.problems.append("jobs is not a list of objects")
        return []
    if "jobs" in parameters and not entries:
        check.problems.append("jobs is empty")
    steps: List[Step] = []
    for number, entry in enumerate(entries, 1):
        under = f"jobs[{number}]."
        check.unknown(entry, _KNOWN_OF_A_JOB, under=under)
        title = check.text(entry, "title", "how it is called", under=under)
        job_type = check.text(entry, "type", "cryoSPARC's name of its type", under=under)
        before = {step.title for step in steps}
        if title in before:
            check.problems.append(f"{under}title is {title!r}, as that of another job")
        inputs: Dict[str, Tuple[str, str]] = {}
        for name, source in check.section(entry, "inputs").items():
            if not isinstance(source, list) or len(source) != 2 or source[0] not in before:
                check.problems.append(f"{under}inputs.{name} is {source!r}, not [title of a job above, its output]")
                continue
            inputs[name] = (source[0], str(source[1]))
        steps.append(Step(title=title, type=job_type, params=check.section(entry, "params"), inputs=inputs))
    return steps


def fill(value: Any, words: Mapping[str, str]) -> Any:
    """The value with {word} replaced, wherever text is in it; other braces stay."""
    if isinstance(value, str):
        for word, text in words.items():
            value = value.replace(f"{{{word}}}", text)
        return value
    if isinstance(value, dict):
        return {name: fill(each, words) for name, each in value.items()}
    return [fill(each, words) for each in value] if isinstance(value, list) else value


def lane_for(job_type: str, *, asked: Mapping[str, Optional[str]], stages: Mapping[str, str]) -> Optional[str]:
    """A job's lane; None for the master. Errors: Refused for a type that nobody has a lane for."""
    if job_type in asked:
        return asked[job_type]
    if job_type not in stages:
        raise Refused(
            f"no stage has the job type {job_type}: name its lane in lanes of {NAME}.json, or null for the master"
        )
    return stages[job_type]


def check_lanes(types: Sequence[str], wanted: Wanted, stages: Mapping[str, str]) -> None:
    """Errors: Refused for a type without a lane, before anything is queued."""
    for job_type in types:
        if job_type not in _INTERACTIVE:
            lane_for(job_type, asked=wanted.lanes, stages=stages)


def converge(api: Any, *, wanted: Wanted, stages: Mapping[str, str], data: Path, project_dir: Path) -> Dict[str, Any]:
    """The jobs, all of them queued."""
    check_lanes([step.type for step in wanted.steps], wanted, stages)
    with cryosparc_five.answers():
        project = cryosparc_five.project(api, title=data.name, folder=project_dir)
        cryosparc_five.share(api, project.uid, wanted.users)
        workspace = _workspace(api, project.uid, title=data.name)
        at = (project.uid, workspace.uid)
        words = {"dataset": str(data), "project_uid": at[0], "workspace_uid": at[1]}
        jobs = _apply(api, at, wanted, words) if wanted.workflow_id else _make(api, at, wanted.steps, words)
        check_lanes([job.spec.type for job in jobs], wanted, stages)
        for job in jobs:
            _set(api, job, fill(wanted.params.get(job.spec.type, {}), words))
        queued, left = [], []
        for job in jobs:
            if job.spec.type in _INTERACTIVE:
                left.append(job.uid)
            elif job.status == "building":
                lane = lane_for(job.spec.type, asked=wanted.lanes, stages=stages)
                api.jobs.enqueue(job.project_uid, job.uid, **({"lane": lane} if lane else {}))
                queued.append(job.uid)
    return {"project": at[0], "workspace": at[1], "queued": queued, "for_people": left}


def _workspace(api: Any, project_uid: str, *, title: str) -> Any:
    def there() -> List[Any]:
        found = cryosparc_five.pages(api.workspaces.find, project_uid=[project_uid])
        ours = [w for w in found if w.title == title and w.workspace_type == "base"]
        return sorted(ours, key=lambda w: int(w.uid_num))

    found = there()
    if not found:
        api.workspaces.create(project_uid, title=title, description=f"Made by {NAME} when the dataset had landed")
        found = there()
    return found[0]


def _jobs(api: Any, at: Sequence[str]) -> List[Any]:
    found = cryosparc_five.pages(api.jobs.find, project_uid=[at[0]], workspace_uid=[at[1]])
    return sorted(found, key=lambda job: int(job.uid_num))


def _make(api: Any, at: Sequence[str], steps: Sequence[Step], words: Mapping[str, str]) -> List[Any]:
    """The chain's jobs in its order, each with what it was connected to. Only jobs that are built are touched."""
    made: Dict[str, Any] = {}
    for job in reversed(_jobs(api, at)):
        # Of two with one title the older: the client may have asked twice.
        made[job.title] = job
    for step in steps:
        if step.title not in made:
            params = fill(dict(step.params), words)
            made[step.title] = api.jobs.create(*at, params, type=step.type, title=step.title)
        job = made[step.title]
        if job.status != "building":
            continue
        for name, (source, output) in step.inputs.items():
            parent = made[source].uid
            slot = job.spec.inputs.root.get(name)
            if not any(c.job_uid == parent and c.output == output for c in getattr(slot, "connections", ())):
                api.jobs.connect(at[0], job.uid, name, source_output_name=output, source_job_uid=parent)
    return [made[step.title] for step in steps]


def _apply(api: Any, at: Sequence[str], wanted: Wanted, words: Mapping[str, str]) -> List[Any]:
    """The jobs of the workflow's first run in the workspace."""

    def there() -> List[Any]:
        return [job for job in _jobs(api, at) if job.workflow is not None and job.workflow.id == wanted.workflow_id]

    found = there()
    if not found:
        api.workflows.apply_workflow(wanted.workflow_id, fill(dict(wanted.body), words))
        found = there()
    if not found:
        raise Refused(f"cryoSPARC applied the workflow {wanted.workflow_id}, and {at[0]} {at[1]} has no job of it")
    first = min(job.workflow.run for job in found)
    return [job for job in found if job.workflow.run == first]


def _set(api: Any, job: Any, params: Mapping[str, Any]) -> None:
    if job.status != "building":
        return
    has = job.spec.params.model_dump()
    for name, value in params.items():
        if has.get(name) != value:
            api.jobs.set_param(job.project_uid, job.uid, name, value)


def work(data: Path, project_dir: Path, mask: Mask) -> Dict[str, Any]:
    """Do it for one dataset."""
    here = settings.load()
    wanted = parse(recipe_parameters.load(NAME, home=here.home, data=data, project=project_dir))
    stages = stage_lanes.types(here, "cryosparc")
    api = cryosparc_five.connect(here, mask)
    return cryosparc_five.converging(
        lambda: converge(api, wanted=wanted, stages=stages, data=data, project_dir=project_dir)
    )


def main() -> None:
    """Called as every recipe is."""
    recipe_parameters.run(NAME, __doc__, work)


if __name__ == "__main__":
    main()
