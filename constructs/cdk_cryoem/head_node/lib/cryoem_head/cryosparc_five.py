"""A master of version 5 through its API, by the real cryosparc-tools client, and what recipes share: project and pages.

The client sends a request again, twice, when the connection breaks. So whoever makes something looks afterwards what is
there, and goes on with the oldest of it.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List

from . import credentials, versions
from .outcome import Later, Mask, Refused
from .settings import NONE, Settings

_PAGE = 100
_BAD_REQUEST = (400, 422)


def connect(here: Settings, mask: Mask) -> Any:
    """The API, as the hooks' user. Errors: Refused without cryoSPARC 5, Later while it is installed or does not answer."""
    if not here.cryosparc_url:
        if here.cryosparc_version not in ("", NONE):
            raise Later("cryoSPARC is not installed yet")
        raise Refused("this head node has no cryoSPARC (section cryosparc of the configuration file)")
    # Who installed cryoSPARC by hand wrote down its address only; that was version 5.
    if here.cryosparc_installed and not versions.is_five(here.cryosparc_installed):
        raise Refused(f"this needs cryoSPARC 5, and here is {here.cryosparc_installed}")
    login = credentials.hooks_login(here, mask)
    from cryosparc.tools import CryoSPARC

    try:
        return CryoSPARC(here.cryosparc_url, email=login.email, password=login.password).api
    except Exception as error:
        # Whatever the client raises while the master starts.
        raise Later(f"cryoSPARC at {here.cryosparc_url} does not answer: {_line(error)}") from error


class NotAccepted(Refused):
    """The master does not accept a request as it is."""


def converging(converge: Callable[[], Dict[str, Any]]) -> Dict[str, Any]:
    """What converge makes of the truth, looked at twice if need be.

    When the client has sent a request again, the master may not accept the second one, because the first was done.
    """
    try:
        return converge()
    except NotAccepted:
        return converge()


@contextlib.contextmanager
def answers() -> Iterator[None]:
    """What the master refuses, in one line. Errors: NotAccepted for a request as it is, Later when the master goes away."""
    import httpx
    from cryosparc.errors import APIError

    try:
        yield
    except APIError as error:
        detail = error.data.get("detail", error.data) if isinstance(error.data, dict) else error.data
        said = f"cryoSPARC says {error.code}: {detail if isinstance(detail, str) else json.dumps(detail)}"
        if error.code in _BAD_REQUEST:
            raise NotAccepted(_line(said)) from error
        raise RuntimeError(_line(said)) from error
    except httpx.TransportError as error:
        raise Later(f"cryoSPARC went away: {_line(error)}") from error


def pages(find: Callable[..., List[Any]], **wanted: Any) -> Iterator[Any]:
    """Everything that a find of the API finds."""
    after = None
    while True:
        found = find(after=after, limit=_PAGE, **wanted)
        yield from found
        if len(found) < _PAGE:
            return
        after = found[-1].id


def project(api: Any, *, title: str, folder: Path) -> Any:
    """The project whose folder is in the given one; made, if there is none. It belongs to the hooks' user.

    Errors: Refused when the one there is archived or detached.
    """
    place = os.path.realpath(folder)

    def there() -> List[Any]:
        found = [p for p in pages(api.projects.find) if os.path.realpath(Path(p.project_dir).parent) == place]
        return sorted(found, key=lambda p: int(p.uid_num))

    found = there()
    if not found:
        api.projects.create(title=title, parent_dir=str(folder))
        found = there()
    if found[0].archived or found[0].detached:
        raise Refused(f"the project {found[0].uid} in {folder} is archived or detached")
    return found[0]


def share(api: Any, project_uid: str, users: Any) -> None:
    """Let users, by their e-mail addresses, see and change the project. Who may already is no matter."""
    for user in users:
        api.projects.add_user_access(project_uid, user)


def _line(text: object) -> str:
    return " ".join(str(text).split())
