"""A double of cryoSPARC 5's API as recipes use it: typed by cryosparc-tools' own models, spoken to by its real client.

The client names its methods by the summaries of openapi.json, so those are the contract and the paths are ours. It proves the
interface, not what cryoSPARC does behind it.
"""

from __future__ import annotations

import datetime
import functools
import hashlib
import threading
from typing import Annotated, Any

import cryosparc.tools  # the client knows its models only after this
import httpx
import uvicorn
from cryosparc.models.auth import Token
from cryosparc.models.exposure import Exposure
from cryosparc.models.job import Job
from cryosparc.models.job_spec import Connection
from cryosparc.models.project import Project
from cryosparc.models.session import ExposureGroup, LiveComputeResources, Session
from cryosparc.models.user import User
from cryosparc.models.workspace import Workspace
from fastapi import Body, FastAPI, HTTPException, Query, Request

assert cryosparc.tools
EMAIL, PASSWORD = "hooks@cryoem.invalid", "Hush7Hush7Hush7"
_NOBODY = "0" * 24
_FORM = {"requestBody": {"content": {"application/x-www-form-urlencoded": {"schema": {"type": "object"}}}}}
Times = Annotated[list[datetime.datetime] | None, Query()]
Texts = Annotated[list[str] | None, Query()]
# Filled in by the client's whole argument; a default would make it optional, as in cryoSPARC's own schema.
Values = Annotated[dict[str, Any], Body()]


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


class Killed(BaseException):
    """What a power failure is to a program: nothing of it runs any further."""


class Cryosparc:
    """A master's documents, and what it was asked for."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin with nothing."""
        self.projects: list[Project] = []
        self.sessions: list[Session] = []
        self.exposures: list[Exposure] = []
        self.workspaces: list[Workspace] = []
        self.jobs: list[Job] = []
        self.calls: list[str] = []
        self.shared: list[tuple[str, str]] = []
        self.workflow: list[tuple[str, str]] = []
        self.bodies: list[dict[str, Any]] = []

    def did(self, *names: str) -> list[str]:
        """Of the calls that change something, those of these names; all without a name."""
        return [call for call in self.calls if not names or call in names]

    def session(self, project_uid: str, session_uid: str) -> Session:
        for session in self.sessions:
            if (session.project_uid, session.session_uid) == (project_uid, session_uid):
                return session
        raise HTTPException(404, f"session {project_uid} {session_uid} not found")

    def job(self, project_uid: str, job_uid: str) -> Job:
        return next(job for job in self.jobs if (job.project_uid, job.uid) == (project_uid, job_uid))

    def add_project(self, title: str, parent_dir: str) -> Project:
        number = len(self.projects) + 1
        made = Project(
            _id=f"{number:024}", uid=f"P{number}", uid_num=number, project_dir=f"{parent_dir}/CS-{number}", title=title,
            owner_user_id=_NOBODY, size_last_updated=now(), created_at=now(),
        )  # fmt: skip
        self.projects.append(made)
        return made

    def add_session(self, project_uid: str, title: str) -> Session:
        number = len(self.sessions) + 1
        made = Session(
            _id=f"{number:024}", uid=f"W{number}", uid_num=number, project_uid=project_uid, title=title,
            project_uid_num=int(project_uid[1:]), workspace_type="live", session_uid=f"S{number}",
            session_uid_num=number, session_dir=f"S{number}", errors=[], created_at=now(),
        )  # fmt: skip
        self.sessions.append(made)
        return made

    def add_exposure(
        self, session: Session, at: datetime.datetime, *, changed: datetime.datetime | None = None
    ) -> None:
        number = len(self.exposures) + 1
        self.exposures.append(
            Exposure(
                _id=f"{number:024}", uid=number, project_uid=session.project_uid, session_uid=session.session_uid,
                exp_group_id=1, abs_file_path=f"/m{number}", size=1, discovered_at=at, created_at=at,
                updated_at=changed or at,
            )
        )  # fmt: skip

    def add_job(self, project_uid: str, workspace_uid: str, type: str, title: str, params: dict[str, Any]) -> Job:
        number = len(self.jobs) + 1
        slots = {name: {"type": "exposure", "title": name} for name in ("movies", "exposures", "particles")}
        made = Job(
            _id=f"{number:024}", uid=f"J{number}", uid_num=number, project_uid=project_uid, title=title, description="",
            project_uid_num=int(project_uid[1:]), workspace_uids=[workspace_uid], job_dir=f"J{number}", status_num=0,
            job_dir_size_last_updated=now(), created_at=now(), build_errors=[],
            spec={
                "type": type, "params": params, "inputs": slots, "ui_tile_width": 1, "ui_tile_height": 1,
                "resource_spec": {"cpu": 1, "gpu": 0, "ram": 1, "ssd": False},
            },
        )  # fmt: skip
        self.jobs.append(made)
        return made


def page(found: list[Any], after: str | None, limit: int, order: int = 1) -> list[Any]:
    found = found[::order]
    ids = [each.id for each in found]
    start = ids.index(after) + 1 if after else 0
    return found[start : start + limit]


def api_of(c: Cryosparc) -> FastAPI:
    """The routes on these documents."""
    api = FastAPI(title="CryoSPARC", separate_input_output_schemas=False)

    @api.post("/login", summary="login", openapi_extra=_FORM)
    async def login(request: Request) -> Token:
        form = await request.form()
        if (form.get("username"), form.get("password")) != (EMAIL, hashlib.sha256(PASSWORD.encode()).hexdigest()):
            raise HTTPException(401, "Incorrect username or password")
        return Token(access_token="double", token_type="bearer")

    @api.get("/version", summary="config.get_version")
    def version() -> str:
        return "v5.0.3"

    @api.get("/users/me", summary="users.me")
    def me() -> User:
        return User(_id=_NOBODY, name="hooks", first_name="Hooks", last_name="CryoEM", lanes=[])

    @api.get("/projects", summary="projects.find")
    def find_projects(order: int = 1, after: str | None = None, limit: int = 100) -> list[Project]:
        return page(c.projects, after, limit, order)

    @api.post("/projects", summary="projects.create")
    def create_project(title: str, parent_dir: str, description: str | None = None) -> Project:
        c.calls.append("projects.create")
        return c.add_project(title, parent_dir)

    @api.post("/projects/{project_uid}/users/{user_id}", summary="projects.add_user_access")
    def add_user_access(project_uid: str, user_id: str) -> Project:
        c.calls.append("projects.add_user_access")
        c.shared.append((project_uid, user_id))
        return next(p for p in c.projects if p.uid == project_uid)

    _sessions(c, api)
    _workflows(c, api)
    return api


def _sessions(c: Cryosparc, api: FastAPI) -> None:
    one = "/projects/{project_uid}/sessions/{session_uid}"

    @api.get("/sessions", summary="sessions.find")
    def find(
        order: int = 1, after: str | None = None, limit: int = 100, project_uid: Texts = None, status: Texts = None
    ) -> list[Session]:
        found = [s for s in c.sessions if project_uid is None or s.project_uid in project_uid]
        return page([s for s in found if status is None or s.status in status], after, limit, order)

    @api.get(one, summary="sessions.find_one")
    def find_one(project_uid: str, session_uid: str) -> Session:
        return c.session(project_uid, session_uid)

    @api.post("/projects/{project_uid}/sessions", summary="sessions.create")
    def create(project_uid: str, title: str, description: str | None = None) -> Session:
        c.calls.append("sessions.create")
        return c.add_session(project_uid, title)

    @api.delete(one, summary="sessions.delete", status_code=204)
    def delete(project_uid: str, session_uid: str) -> None:
        c.calls.append("sessions.delete")
        c.sessions.remove(c.session(project_uid, session_uid))

    @api.get(f"{one}/groups", summary="sessions.find_exposure_groups")
    def find_groups(project_uid: str, session_uid: str) -> list[ExposureGroup]:
        return c.session(project_uid, session_uid).exposure_groups

    @api.post(f"{one}/groups", summary="sessions.create_exposure_group")
    def create_group(project_uid: str, session_uid: str) -> ExposureGroup:
        c.calls.append("sessions.create_exposure_group")
        groups = c.session(project_uid, session_uid).exposure_groups
        groups.append(ExposureGroup(exp_group_id=len(groups) + 1))
        return groups[-1]

    @api.post(one + "/groups/{exposure_group_id}", summary="sessions.update_exposure_group")
    def update_group(project_uid: str, session_uid: str, exposure_group_id: int, body: Values) -> ExposureGroup:
        c.calls.append("sessions.update_exposure_group")
        groups = c.session(project_uid, session_uid).exposure_groups
        number = exposure_group_id - 1
        if groups[number].final:
            raise HTTPException(422, "the exposure group is final")
        groups[number] = ExposureGroup(**{**groups[number].model_dump(), **body})
        return groups[number]

    @api.post(one + "/groups/{exposure_group_id}/final", summary="sessions.finalize_exposure_group")
    def finalize(project_uid: str, session_uid: str, exposure_group_id: int) -> ExposureGroup:
        c.calls.append("sessions.finalize_exposure_group")
        group = c.session(project_uid, session_uid).exposure_groups[exposure_group_id - 1]
        if group.final:
            raise HTTPException(422, "the exposure group is final")
        group.final = True
        return group

    @api.post(f"{one}/compute", summary="sessions.update_compute_configuration")
    def compute(project_uid: str, session_uid: str, body: LiveComputeResources) -> LiveComputeResources:
        c.calls.append("sessions.update_compute_configuration")
        c.session(project_uid, session_uid).compute_resources = body
        return body

    @api.post(f"{one}/params", summary="sessions.update_session_params")
    def params(project_uid: str, session_uid: str, body: Values, reprocess: bool = True, priority: int = 1) -> Session:
        c.calls.append("sessions.update_session_params")
        session = c.session(project_uid, session_uid)
        session.params = type(session.params)(**{**session.params.model_dump(), **body})
        return session

    @api.post(f"{one}/auto_pause", summary="sessions.configure_auto_pause")
    def auto_pause(
        project_uid: str, session_uid: str, auto_pause: str, auto_pause_after_idle_minutes: int = 10
    ) -> Session:
        c.calls.append("sessions.configure_auto_pause")
        session = c.session(project_uid, session_uid)
        session.auto_pause = auto_pause
        session.auto_pause_after_idle_minutes = auto_pause_after_idle_minutes
        return session

    @api.post(f"{one}/wait", summary="sessions.set_session_phase_one_wait_for_exposures")
    def wait(project_uid: str, session_uid: str, phase_one_wait_for_exposures: bool) -> Session:
        c.calls.append("sessions.set_session_phase_one_wait_for_exposures")
        session = c.session(project_uid, session_uid)
        session.phase_one_wait_for_exposures = phase_one_wait_for_exposures
        return session

    @api.post(f"{one}/start", summary="sessions.start")
    def start(project_uid: str, session_uid: str) -> Session:
        c.calls.append("sessions.start")
        session = c.session(project_uid, session_uid)
        if session.status == "running":
            raise HTTPException(422, "the session runs")
        session.status = "running"
        session.running_at.append(now())
        return session

    @api.post(f"{one}/pause", summary="sessions.pause")
    def pause(project_uid: str, session_uid: str) -> Session:
        c.calls.append("sessions.pause")
        session = c.session(project_uid, session_uid)
        session.status = "paused"
        session.paused_at.append(now())
        return session

    def exposures(project_uid: Texts, session_uid: Texts, updated_at: Times) -> list[Exposure]:
        return [
            e
            for e in c.exposures
            if (project_uid is None or e.project_uid in project_uid)
            and (session_uid is None or e.session_uid in session_uid)
            and (updated_at is None or updated_at[0] <= e.updated_at <= updated_at[1])
        ]

    @api.get("/exposures", summary="exposures.find")
    def find_exposures(
        order: int = 1, after: str | None = None, limit: int = 100, project_uid: Texts = None, session_uid: Texts = None,
        updated_at: Times = None,
    ) -> list[Exposure]:  # fmt: skip
        return page(exposures(project_uid, session_uid, updated_at), after, limit, order)

    @api.get("/exposures/count", summary="exposures.count")
    def count(project_uid: Texts = None, session_uid: Texts = None, updated_at: Times = None) -> int:
        return len(exposures(project_uid, session_uid, updated_at))


def _workflows(c: Cryosparc, api: FastAPI) -> None:
    @api.get("/workspaces", summary="workspaces.find")
    def find_workspaces(
        order: int = 1, after: str | None = None, limit: int = 100, project_uid: Texts = None
    ) -> list[Workspace]:
        return page([w for w in c.workspaces if w.project_uid in (project_uid or [])], after, limit, order)

    @api.post("/projects/{project_uid}/workspaces", summary="workspaces.create")
    def create_workspace(project_uid: str, title: str, description: str | None = None) -> Workspace:
        c.calls.append("workspaces.create")
        number = len(c.workspaces) + 1
        c.workspaces.append(
            Workspace(
                _id=f"{number:024}", uid=f"W{number}", uid_num=number, project_uid=project_uid, title=title,
                workspace_type="base", project_uid_num=int(project_uid[1:]),
            )
        )  # fmt: skip
        return c.workspaces[-1]

    @api.get("/jobs", summary="jobs.find")
    def find_jobs(
        order: int = 1,
        after: str | None = None,
        limit: int = 100,
        project_uid: Texts = None,
        workspace_uid: Texts = None,
    ) -> list[Job]:
        found = [j for j in c.jobs if j.project_uid in (project_uid or []) and j.workspace_uids == workspace_uid]
        return page(found, after, limit, order)

    @api.post("/projects/{project_uid}/workspaces/{workspace_uid}/jobs", summary="jobs.create")
    def create_job(project_uid: str, workspace_uid: str, params: Values, type: str, title: str = "") -> Job:
        c.calls.append("jobs.create")
        return c.add_job(project_uid, workspace_uid, type, title, params)

    @api.post("/projects/{project_uid}/jobs/{job_uid}/inputs/{input_name}", summary="jobs.connect")
    def connect(project_uid: str, job_uid: str, input_name: str, source_output_name: str, source_job_uid: str) -> Job:
        c.calls.append("jobs.connect")
        job = c.job(project_uid, job_uid)
        slot = job.spec.inputs.root[input_name]
        if any((found.job_uid, found.output) == (source_job_uid, source_output_name) for found in slot.connections):
            raise HTTPException(422, "connected already, and this input takes nothing twice")
        slot.connections.append(Connection(job_uid=source_job_uid, output=source_output_name))
        return job

    @api.post("/projects/{project_uid}/jobs/{job_uid}/params/{param}", summary="jobs.set_param")
    def set_param(project_uid: str, job_uid: str, param: str, value: Annotated[Any, Body()]) -> Job:
        c.calls.append("jobs.set_param")
        job = c.job(project_uid, job_uid)
        setattr(job.spec.params, param, value)
        return job

    @api.post("/projects/{project_uid}/jobs/{job_uid}/enqueue", summary="jobs.enqueue")
    def enqueue(project_uid: str, job_uid: str, lane: str | None = None) -> Job:
        c.calls.append("jobs.enqueue")
        job = c.job(project_uid, job_uid)
        if job.status != "building":
            raise HTTPException(422, f"job {job_uid} is {job.status}")
        job.status, job.queued_to_lane = "queued", lane
        return job

    @api.post("/workflows/{workflow_id}/apply", summary="workflows.apply_workflow", status_code=204)
    def apply(workflow_id: str, schema: Values) -> None:
        c.calls.append("workflows.apply_workflow")
        c.bodies.append(schema)
        run = sum(body == schema for body in c.bodies)
        for number, (job_type, title) in enumerate(c.workflow):
            job = c.add_job(schema["projectUid"], schema["workspaceUid"], job_type, title, {})
            job.workflow = {"id": workflow_id, "jobId": str(number), "run": run}
            c.jobs[-1] = Job.model_validate(job.model_dump(by_alias=True, warnings=False))


@functools.cache
def master() -> tuple[Cryosparc, str]:
    """The API on a free port of loopback, as long as this process lives: its documents, and its address."""
    c = Cryosparc()
    outer = FastAPI(openapi_url=None)
    outer.mount("/api/cmd", api_of(c))
    server = uvicorn.Server(uvicorn.Config(outer, host="127.0.0.1", port=0, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.01)
        assert thread.is_alive()
    return c, f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"


class Line:
    """The client's line to the master. It may die after a request that the master has had, or only break."""

    def __init__(self) -> None:
        self.requests = 0
        self.die_after = self.break_after = 0

    def request(self, client: httpx.Client, method: str, url: str, **more: Any) -> httpx.Response:
        self.requests += 1
        number = self.requests
        response = _REQUEST(client, method, url, **more)
        if number == self.die_after:
            raise Killed
        if number == self.break_after:
            raise httpx.ReadError("connection reset by peer")
        return response


_REQUEST = httpx.Client.request
