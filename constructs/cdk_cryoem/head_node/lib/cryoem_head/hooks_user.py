"""The hooks' user in cryoSPARC: made through the master's own interface, with the licence as credential.

`cryosparcm user create` (5) and `cryosparcm createuser` (4) take a password as an argument, which everybody on the host
can read. The interface behind them does not. Version 5: the REST API by cryosparc-tools, whose login with the licence is
deprecated and there. Version 4: command_core's JSON-RPC, as cryosparc-tools 4 speaks it. If that should fail on a real
master, an administrator can make the user in the browser, with the email and password of the login's secret: whoever can
log in is not made again. Needs cryosparc-tools for version 5.
"""

from __future__ import annotations

import hashlib
import json
import urllib.parse
import urllib.request
import uuid
from typing import Any, Dict

from . import versions
from .credentials import Login
from .outcome import Refused

_NAMES = {"username": "hooks", "first_name": "Hooks", "last_name": "CryoEM"}
_NOT_LET_IN = (400, 401, 403, 404, 422)


class UsersOfFive:
    """Users of a master of version 5."""

    def __init__(self, url: str, license_id: str) -> None:
        self._url, self._license_id = url, license_id

    def knows(self, login: Login) -> bool:
        """Whether the login works."""
        from cryosparc.errors import APIError

        try:
            self._api(login.email, login.password)
        except APIError as error:
            if error.code in _NOT_LET_IN:
                return False
            raise
        return True

    def make(self, login: Login) -> None:
        """Make the user, or give it the login's password."""
        from cryosparc.errors import APIError

        users = self._api("cryosparc", self._license_id).users
        try:
            users.find_one(login.email)
        except APIError as error:
            if error.code != 404:
                raise
            users.create(_sha256(login.password), email=login.email, role="admin", **_NAMES)
            return
        users.request_reset_password(login.email)
        token = users.find_one(login.email).reset_token
        users.reset_password(login.email, _sha256(login.password), token=token)

    def _api(self, name: str, password: str) -> Any:
        import cryosparc.tools  # the client knows its models only after this
        from cryosparc.api import APIClient
        from cryosparc.constants import API_SUFFIX

        assert cryosparc.tools
        return APIClient(f"{self._url}{API_SUFFIX}", auth=(name, _sha256(password)), headers={})


class UsersOfFour:
    """Users of a master of version 4."""

    def __init__(self, url: str, license_id: str) -> None:
        parts = urllib.parse.urlsplit(url)
        self._url, self._license_id = f"http://{parts.hostname}:{(parts.port or 0) + 2}/api", license_id

    def knows(self, login: Login) -> bool:
        """Whether the login works."""
        answer = self._call("get_id_by_email_password", login.email, login.password)
        return "error" not in answer and bool(answer.get("result"))

    def make(self, login: Login) -> None:
        """Make the user."""
        names = _NAMES["username"], _NAMES["first_name"], _NAMES["last_name"]
        answer = self._call("create_user", "initial", login.email, login.password, *names, True)
        if "error" in answer:
            # Not what it said: that may repeat what it was told.
            raise Refused(
                f"cryoSPARC did not make the user {login.email}. If there is one with another password, set the one of the"
                " login's secret in the browser"
            )

    def _call(self, method: str, *parameters: object) -> Dict[str, Any]:
        body = {"jsonrpc": "2.0", "method": method, "params": parameters, "id": str(uuid.uuid4())}
        headers = {"Content-Type": "application/json", "License-ID": self._license_id}
        request = urllib.request.Request(self._url, json.dumps(body).encode(), headers)  # noqa: S310 - ours, http
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=60) as answer:
            found: Dict[str, Any] = json.load(answer)
        return found


def ensure(url: str, version: str, license_id: str, login: Login) -> bool:
    """Let the hooks' user be there. Whether it had to be made."""
    users = UsersOfFive(url, license_id) if versions.is_five(version) else UsersOfFour(url, license_id)
    if users.knows(login):
        return False
    users.make(login)
    if not users.knows(login):
        raise Refused(f"cryoSPARC made the user {login.email} and does not let it in")
    return True


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
