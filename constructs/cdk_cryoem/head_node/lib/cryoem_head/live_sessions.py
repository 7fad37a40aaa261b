"""live-sessions: sessions of cryoSPARC Live that hold GPUs and have nothing to do, and pausing one of them.

`show` prints those that have been idle for so many minutes; `pause` pauses one, if it is still idle since the same moment. A
paused session keeps everything: exposures, picks, particles, parameters. Whoever starts it again goes on where it was, and
exposures that came meanwhile are found then. So to pause one too many costs a click, and one too few a node of GPUs.

Idle is a session that runs, has workers on nodes, has no exposure waiting or in progress, and had none that was found or
changed since `since`. One whose exposures wait is never idle: then its jobs wait for nodes, or it is stuck, which a person
has to see. Needs boto3 and cryosparc-tools. Without cryoSPARC 5 there are no such sessions.
"""

from __future__ import annotations

import argparse
import datetime
import fcntl
import math
import re
import time
from dataclasses import asdict, dataclass
from typing import Any, Dict, List, Optional, Tuple

from . import cryosparc_five, outcome, settings, versions
from .outcome import Mask

NAME = "live-sessions"
_DEFAULT_IDLE_MINUTES = 30
_UTC = datetime.timezone.utc
_SESSION = re.compile(r"(P[0-9]{1,9})(S[0-9]{1,9})")
# A worker that is only launched waits for its node in Slurm's queue, and nobody pays for it yet.
_ON_A_NODE = ("started", "running", "waiting")
_SECOND_PHASE = ("phase2_class2D_handle", "phase2_refine_handle")


@dataclass(frozen=True)
class Idle:
    """A session that holds GPUs for nothing. since: epoch seconds of the last thing that happened in it."""

    id: str
    project: str
    session: str
    title: str
    since: int
    idle_minutes: int
    lane: str
    gpus: int


@dataclass(frozen=True)
class Look:
    """What was seen of a running session, times in epoch seconds. changed: exposures that changed after `since`."""

    project: str
    session: str
    title: str
    running: bool
    since: float
    work_left: int
    changed: int
    lane: str
    gpus: int

    @property
    def id(self) -> str:
        """Project and session, P3S1."""
        return f"{self.project}{self.session}"


def stale(look: Look, *, seen: Optional[int] = None) -> str:
    """Why a session is not idle, or not any longer since the moment it was seen idle from; empty when it is."""
    if not look.running:
        return "not running"
    if not look.gpus:
        return "no worker on a node"
    if look.work_left:
        return "exposures wait or are in progress"
    if look.changed or (seen is not None and int(look.since) != seen):
        return "something happened since"
    return ""


def idle_sessions(looks: List[Look], *, now: float, idle_minutes: int) -> List[Idle]:
    """Those that hold GPUs and have had nothing to do for so long, the one with most GPUs first."""
    found = [
        Idle(
            id=look.id,
            project=look.project,
            session=look.session,
            title=look.title,
            since=int(look.since),
            idle_minutes=int((now - look.since) // 60),
            lane=look.lane,
            gpus=look.gpus,
        )
        for look in looks
        if not stale(look) and now - look.since >= idle_minutes * 60
    ]
    return sorted(found, key=lambda session: (-session.gpus, session.since, session.id))


def gpus_of(session: Any) -> int:
    """How many GPUs a session's jobs have on nodes now."""
    resources = session.compute_resources
    workers = sum(worker.status in _ON_A_NODE for worker in session.phase_one_workers.values())
    gpus: int = math.ceil(workers / max(1, resources.phase_one_workers_per_gpu))
    for child in session.rtp_childs:
        if child.status in _ON_A_NODE:
            second = child.rtp_handle_func in _SECOND_PHASE
            gpus += int(resources.phase_two_gpus if second else resources.auxiliary_gpus)
    return gpus


def look_at(api: Any, session: Any) -> Look:
    """A session, and the newest of its exposures."""
    which = {"project_uid": [session.project_uid], "session_uid": [session.session_uid]}
    newest = api.exposures.find(order=-1, limit=1, **which)
    moments = [moment.timestamp() for moment in session.running_at[-1:]]
    moments += [max(e.created_at, e.discovered_at, e.updated_at).timestamp() for e in newest]
    since = max(moments, default=0.0)
    # The newest exposure need not be the last one that something was done with.
    after = datetime.datetime.fromtimestamp(int(since) + 1, _UTC)
    until = after + datetime.timedelta(days=3650)
    return Look(
        project=session.project_uid,
        session=session.session_uid,
        title=session.title or "",
        running=session.status == "running",
        since=since,
        work_left=int(session.stats.total_queued + session.stats.total_in_progress),
        changed=int(api.exposures.count(updated_at=(after, until), **which)),
        lane=session.compute_resources.phase_one_lane or "",
        gpus=gpus_of(session),
    )


def looks(api: Any) -> List[Look]:
    """Every session that runs."""
    return [look_at(api, session) for session in cryosparc_five.pages(api.sessions.find, status=["running"])]


def pause(api: Any, name: str, *, seen: int) -> str:
    """Pause a session, if it is still idle since then. Why not; empty when it was paused."""
    project, session = parse(name)
    reason = stale(look_at(api, api.sessions.find_one(project, session)), seen=seen)
    if not reason:
        api.sessions.pause(project, session)
    return reason


def parse(name: str) -> Tuple[str, str]:
    """P3S1 in its two parts. Errors: ArgumentTypeError."""
    found = _SESSION.fullmatch(name)
    if not found:
        raise argparse.ArgumentTypeError(f"{name!r} is no session; P3S1 is one")
    return found[1], found[2]


def connect(here: settings.Settings, mask: Mask) -> Optional[Any]:
    """The API; None where nobody can have such a session. Errors: Later when the master does not answer."""
    if not here.cryosparc_url or (here.cryosparc_installed and not versions.is_five(here.cryosparc_installed)):
        return None
    return cryosparc_five.connect(here, mask)


def work(arguments: argparse.Namespace, mask: Mask) -> Dict[str, Any]:
    """What is asked for, as the document to print."""
    here = settings.load()
    api = connect(here, mask)
    if arguments.mode == "show":
        found: List[Idle] = []
        if api is not None:
            with cryosparc_five.answers():
                found = idle_sessions(looks(api), now=time.time(), idle_minutes=arguments.idle_minutes)
        return {"sessions": [asdict(session) for session in found]}
    if api is None:
        return {"paused": [], "left_alone": {arguments.session: "no cryoSPARC 5 here"}}
    with open(here.home / "live-sessions.lock", "w") as lock, cryosparc_five.answers():
        fcntl.flock(lock, fcntl.LOCK_EX)
        reason = pause(api, arguments.session, seen=arguments.seen)
    left = {arguments.session: reason} if reason else {}
    return {"paused": [] if reason else [arguments.session], "left_alone": left}


def _session_name(text: str) -> str:
    parse(text)
    return text


def main() -> None:
    """Show or pause, and print one document."""
    parser = argparse.ArgumentParser(prog=NAME, description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    modes = parser.add_subparsers(dest="mode", required=True)
    show = modes.add_parser("show", help="the sessions that are idle")
    show.add_argument("--idle-minutes", type=int, default=_DEFAULT_IDLE_MINUTES)
    pausing = modes.add_parser("pause", help="pause one, if it is still idle since then")
    pausing.add_argument("--session", required=True, type=_session_name, help="id of the session, P3S1")
    pausing.add_argument("--seen", required=True, type=int, help="its since, as show printed it")
    arguments = parser.parse_args()
    mask = Mask()
    outcome.end(NAME, lambda: work(arguments, mask), mask)


if __name__ == "__main__":
    main()
