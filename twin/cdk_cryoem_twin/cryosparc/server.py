"""A small CryoSPARC 5 API, typed by cryosparc-tools' own models and driven by the real cryosparc-tools client.

The client builds itself from the server's openapi.json and names its methods by each operation's `summary`; so the
summaries are the contract and the paths are ours. Queueing a job renders the lane's script with Jinja2 and runs its
command templates for real.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import boto3
import jinja2
import uvicorn
from cryosparc.models.auth import Token
from cryosparc.models.job import Job, JobStatus
from cryosparc.models.project import Project
from cryosparc.models.scheduler_lane import SchedulerLane
from cryosparc.models.scheduler_target import SchedulerTargetCluster
from cryosparc.models.session import Session
from cryosparc.models.user import User
from cryosparc.models.workspace import Workspace
from fastapi import Body, FastAPI, HTTPException, Query, Request
from fastapi.responses import PlainTextResponse

VERSION = "v5.0.3"
_NOBODY = "0" * 24
_LOGIN_FORM = {"requestBody": {"content": {"application/x-www-form-urlencoded": {"schema": {"type": "object"}}}}}

api = FastAPI(title="CryoSPARC", separate_input_output_schemas=False)
lanes: dict[str, SchedulerLane] = {}
targets: dict[str, SchedulerTargetCluster] = {}
projects: dict[str, Project] = {}
workspaces: dict[tuple[str, str], Workspace] = {}
jobs: dict[tuple[str, str], Job] = {}
cluster_job_ids: dict[tuple[str, str], str] = {}


def now() -> datetime.datetime:
    """The time, with a zone."""
    return datetime.datetime.now(datetime.UTC)


def one(store: Mapping[Any, Any], key: object, what: str) -> Any:
    """An entry, or 404 in words."""
    if key not in store:
        raise HTTPException(404, f"{what} {key} not found")
    return store[key]


def login_of_the_hooks() -> tuple[str, str]:
    """Who may log in: the user whose secret the stack made. As cryoSPARC does, only the password's hash is compared."""
    secret = os.environ.get("CRYOSPARC_SECRET")
    if secret is None:
        settings = Path(os.environ["CRYOEM_HOME"]) / "etc" / "head-node.env"
        lines = dict(line.split("=", 1) for line in settings.read_text().splitlines() if "=" in line)
        secret = lines["CRYOSPARC_SECRET"]
    found = json.loads(boto3.client("secretsmanager").get_secret_value(SecretId=secret)["SecretString"])
    return found["email"], hashlib.sha256(found["password"].encode()).hexdigest()


@api.get("/health", summary="health", response_class=PlainTextResponse)
def health() -> str:
    return "OK"


@api.post("/login", summary="login", openapi_extra=_LOGIN_FORM)
async def login(request: Request) -> Token:
    form = await request.form()
    if (form.get("username"), form.get("password")) != login_of_the_hooks():
        raise HTTPException(401, "Incorrect username or password")
    return Token(access_token="twin", token_type="bearer")


@api.get("/version", summary="config.get_version")
def version() -> str:
    return VERSION


@api.get("/users/me", summary="users.me")
def me() -> User:
    return User(_id=_NOBODY, name="hooks", first_name="Hooks", last_name="of the twin", lanes=list(lanes))


@api.get("/resources/lanes", summary="resources.find_lanes")
def find_lanes() -> list[SchedulerLane]:
    return list(lanes.values())


@api.delete("/resources/lanes/{name}", summary="resources.remove_lane", status_code=204)
def remove_lane(name: str) -> None:
    lanes.pop(name, None)


@api.get("/resources/clusters", summary="resources.find_clusters")
def find_clusters(lane: str | None = None) -> list[SchedulerTargetCluster]:
    return [target for target in targets.values() if lane in (None, target.lane)]


@api.post("/resources/clusters", summary="resources.add_cluster")
def add_cluster(body: SchedulerTargetCluster) -> SchedulerTargetCluster:
    try:
        jinja2.Environment().parse(body.config.script_tpl)
    except jinja2.TemplateSyntaxError as error:
        raise HTTPException(422, f"cluster script: {error}") from error
    targets[body.name] = body
    lanes[body.lane] = SchedulerLane(name=body.lane, type="cluster", title=body.title)
    return body


@api.get("/resources/clusters/{name}/script", summary="resources.find_cluster_script")
def find_cluster_script(name: str) -> str:
    return str(one(targets, name, "cluster").config.script_tpl)


@api.post("/resources/clusters/{name}/verify", summary="resources.verify_cluster")
def verify_cluster(name: str) -> str:
    target = one(targets, name, "cluster")
    return _command(target, target.config.qinfo_cmd_tpl, {})


@api.delete("/resources/clusters/{name}", summary="resources.remove_cluster", status_code=204)
def remove_cluster(name: str) -> None:
    targets.pop(name, None)


@api.post("/projects", summary="projects.create")
def create_project(title: str, parent_dir: str, description: str | None = None) -> Project:
    number = len(projects) + 1
    folder = Path(parent_dir) / f"CS-{title.lower().replace(' ', '-')}"
    folder.mkdir(parents=True, exist_ok=True)
    projects[f"P{number}"] = Project(
        uid=f"P{number}",
        uid_num=number,
        project_dir=str(folder),
        owner_user_id=_NOBODY,
        title=title,
        description=description or "",
        size_last_updated=now(),
        created_at=now(),
    )
    return projects[f"P{number}"]


@api.get("/projects", summary="projects.find")
def find_projects(order: int = 1, after: str | None = None, limit: int = 100) -> list[Project]:
    return [] if after else list(projects.values())


@api.get("/projects/{project_uid}", summary="projects.find_one")
def find_project(project_uid: str) -> Project:
    return Project.model_validate(one(projects, project_uid, "project"))


@api.get("/sessions", summary="sessions.find")
def find_sessions(
    order: int = 1, after: str | None = None, limit: int = 100, status: Annotated[list[str] | None, Query()] = None
) -> list[Session]:
    """None: the double has no Live. The head node's live-sessions asks."""
    return []


@api.post("/projects/{project_uid}/workspaces", summary="workspaces.create")
def create_workspace(
    project_uid: str, title: str, description: str | None = None, created_by_job_uid: str | None = None
) -> Workspace:
    number = sum(key[0] == project_uid for key in workspaces) + 1
    made = Workspace(
        uid=f"W{number}",
        project_uid=project_uid,
        workspace_type="base",
        title=title,
        description=description,
        uid_num=number,
        project_uid_num=int(project_uid[1:]),
    )
    workspaces[project_uid, made.uid] = made
    return made


@api.post("/projects/{project_uid}/workspaces/{workspace_uid}/jobs", summary="jobs.create")
def create_job(
    project_uid: str,
    workspace_uid: str,
    type: str,
    params: Annotated[dict[str, Any], Body()],
    title: str = "",
    description: str = "",
    created_by_job_uid: str | None = None,
    enable_bench: bool = False,
) -> Job:
    project = one(projects, project_uid, "project")
    one(workspaces, (project_uid, workspace_uid), "workspace")
    number = sum(key[0] == project_uid for key in jobs) + 1
    (Path(project.project_dir) / f"J{number}").mkdir(exist_ok=True)
    made = Job(
        uid=f"J{number}",
        project_uid=project_uid,
        workspace_uids=[workspace_uid],
        job_dir=f"J{number}",
        job_dir_size_last_updated=now(),
        title=title,
        description=description,
        created_at=now(),
        build_errors=[],
        status_num=0,
        uid_num=number,
        project_uid_num=int(project_uid[1:]),
        spec={
            "type": type,
            "params": params,
            "ui_tile_width": 1,
            "ui_tile_height": 1,
            "resource_spec": {"cpu": 4, "gpu": int(params.get("compute_num_gpus", 1)), "ram": 2, "ssd": False},
        },
    )
    jobs[project_uid, made.uid] = made
    return made


@api.get("/projects/{project_uid}/jobs/{job_uid}", summary="jobs.find_one")
def find_job(project_uid: str, job_uid: str) -> Job:
    return Job.model_validate(one(jobs, (project_uid, job_uid), "job"))


@api.get("/projects/{project_uid}/jobs/{job_uid}/status", summary="jobs.get_status")
def job_status(project_uid: str, job_uid: str) -> JobStatus:
    status: JobStatus = one(jobs, (project_uid, job_uid), "job").status
    return status


@api.post("/projects/{project_uid}/jobs/{job_uid}/cluster_custom_vars", summary="jobs.set_cluster_custom_vars")
def set_cluster_custom_vars(
    project_uid: str, job_uid: str, cluster_custom_vars: Annotated[dict[str, str], Body()]
) -> Job:
    job = one(jobs, (project_uid, job_uid), "job")
    job.cluster_job_custom_vars = cluster_custom_vars
    return Job.model_validate(job)


@api.post("/projects/{project_uid}/jobs/{job_uid}/enqueue", summary="jobs.enqueue")
def enqueue(
    project_uid: str,
    job_uid: str,
    lane: str | None = None,
    hostname: str | None = None,
    gpus: Annotated[list[int] | None, Body()] = None,
    no_check_inputs_ready: bool = False,
) -> Job:
    job = one(jobs, (project_uid, job_uid), "job")
    if job.status != "building":
        raise HTTPException(422, f"job {job_uid} is {job.status}")
    target = next((t for t in targets.values() if t.lane == lane), None)
    if target is None:
        raise HTTPException(404, f"lane {lane} not found")
    variables = _variables(job, target)
    script = Path(str(variables["job_dir_abs"])) / "queue_sub_script.sh"
    script.write_text(jinja2.Template(target.config.script_tpl).render(**variables))
    printed = _command(target, target.config.qsub_cmd_tpl, {**variables, "script_path_abs": str(script)})
    cluster_job_ids[project_uid, job_uid] = printed.split()[-1]
    job.status, job.queued_at, job.launched_at, job.queued_to_lane = "launched", now(), now(), lane
    return Job.model_validate(job)


@api.post("/projects/{project_uid}/jobs/{job_uid}/kill", summary="jobs.kill")
def kill(project_uid: str, job_uid: str) -> Job:
    job = one(jobs, (project_uid, job_uid), "job")
    target = next(t for t in targets.values() if t.lane == job.queued_to_lane)
    cluster_job_id = cluster_job_ids[project_uid, job_uid]
    _command(target, target.config.qdel_cmd_tpl, {"cluster_job_id": cluster_job_id})
    return _mark(project_uid, job_uid, "killed", "killed_at")


@api.post("/projects/{project_uid}/jobs/{job_uid}/mark_running", summary="jobs.mark_running")
def mark_running(project_uid: str, job_uid: str) -> Job:
    return _mark(project_uid, job_uid, "running", "running_at")


@api.post("/projects/{project_uid}/jobs/{job_uid}/mark_completed", summary="jobs.mark_completed")
def mark_completed(project_uid: str, job_uid: str) -> Job:
    return _mark(project_uid, job_uid, "completed", "completed_at")


@api.post("/projects/{project_uid}/jobs/{job_uid}/mark_failed", summary="jobs.mark_failed")
def mark_failed(project_uid: str, job_uid: str, error: str | None = None) -> Job:
    return _mark(project_uid, job_uid, "failed", "failed_at")


def _mark(project_uid: str, job_uid: str, status: str, stamp: str) -> Job:
    job = one(jobs, (project_uid, job_uid), "job")
    job.status = status
    setattr(job, stamp, now())
    return Job.model_validate(job)


def _variables(job: Job, target: SchedulerTargetCluster) -> dict[str, object]:
    """What CryoSPARC's documentation lists for cluster script templates."""
    project = projects[job.project_uid]
    folder = Path(project.project_dir) / job.job_dir
    spec = job.spec.resource_spec
    worker = target.worker_bin_path
    arguments = f"--project {job.project_uid} --job {job.uid}"
    return {
        # A job's own values go before those of its target.
        **target.config.custom_vars,
        **job.cluster_job_custom_vars,
        "project_uid": job.project_uid,
        "job_uid": job.uid,
        "job_dir_abs": str(folder),
        "project_dir_abs": project.project_dir,
        "job_log_path_abs": str(folder / "job.log"),
        "num_cpu": spec.cpu,
        "num_gpu": spec.gpu,
        "ram_gb": spec.ram * 8.0,
        "worker_bin_path": worker,
        "cryosparc_username": "hooks",
        "job_type": job.spec.type,
        "job_creator": "hooks",
        "run_args": arguments,
        "run_cmd": f"{worker} run {arguments} > {folder / 'job.log'} 2>&1",
    }


def _command(target: SchedulerTargetCluster, template: str, variables: Mapping[str, object]) -> str:
    inner = jinja2.Template(template).render(**variables)
    command = jinja2.Template(target.config.send_cmd_tpl).render(command=inner, **variables)
    done = subprocess.run(shlex.split(command), capture_output=True, text=True, check=False)
    if done.returncode:
        raise HTTPException(500, f"{command}: {done.stderr.strip()}")
    return done.stdout


def main() -> None:
    """Serve on loopback. The client joins the schema's paths to /api/cmd."""
    outer = FastAPI(openapi_url=None)
    outer.mount("/api/cmd", api)
    uvicorn.run(outer, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")


if __name__ == "__main__":
    main()
