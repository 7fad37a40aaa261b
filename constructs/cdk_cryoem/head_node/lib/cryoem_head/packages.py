"""cryoSPARC's packages: ask for the licence, download, unpack, install. Each step is done once, and redone if it broke off.

The licence id never is an argument: curl gets its URL on standard input. cryoSPARC's installer is sourced by a bash that
gets its script on standard input. Version 5's is not told the licence at all: it takes any id of the right form, and with
the real one it would add the newest patch to the master alone, so that neither is what was pinned.
"""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import List, Mapping

from . import versions
from .account import CommandFailed
from .installation import LICENSE_VARIABLE, Installation, Package
from .outcome import Refused

_NO_LICENSE = "00000000-0000-0000-0000-000000000000"
_CURL = ("curl", "--config", "-", "--silent", "--show-error", "--location", "--connect-timeout", "30")
_DOWNLOAD = ("--fail", "--retry", "5", "--retry-connrefused", "--speed-limit", "1000", "--speed-time", "120")
# Exit statuses of curl: an error of HTTP's, and a server that cannot go on in the middle of a file.
_HTTP_ERROR, _NO_RANGE, _BAD_RESUME = 22, 33, 36


def check_license(installation: Installation, license_id: str) -> None:
    """Refuse a licence that cryoSPARC's server does not know. What the server says otherwise is left to the download."""
    url = f"{installation.here.cryosparc_server}/checklicenseexists/{license_id}"
    try:
        answer = installation.account.run(*_CURL, "--max-time", "60", text=_url(url), quiet=True)
        known = json.loads(answer).get("success")
    except (CommandFailed, ValueError, AttributeError):
        return
    if known is False:
        raise Refused(
            "cryoSPARC's server does not know this licence id: correct the secret"
            f" {installation.here.cryosparc_license_secret}, then systemctl restart cryoem-cryosparc"
        )


def fetch(installation: Installation, kind: str, version: str, license_id: str) -> Path:
    """The package's archive, downloaded unless it is there, and of this version."""
    account = installation.account
    archive = installation.packages / f"cryosparc_{kind}-v{version}.tar.gz"
    if not archive.is_file():
        url = f"{installation.here.cryosparc_server}/download/{kind}-v{version}/{license_id}"
        part = archive.with_name(f"{archive.name}.part")
        try:
            _download(installation, url, part)
        except CommandFailed as error:
            if re.search(r"error: 40[0134]", str(error)):
                raise Refused(
                    f"cryoSPARC's server has no {kind} of version {version} for this licence ({error}): correct the"
                    f" version, or the secret {installation.here.cryosparc_license_secret}"
                ) from error
            if error.status not in (_HTTP_ERROR, _NO_RANGE, _BAD_RESUME) or not part.exists():
                raise
            # What is there cannot be continued, or there is nothing left to continue: once from the beginning.
            account.remove(part)
            _download(installation, url, part)
        _verify(installation, part, kind, version)
        account.move(part, archive)
    return archive


def _download(installation: Installation, url: str, part: Path) -> None:
    installation.account.run(*_CURL, *_DOWNLOAD, "--continue-at", "-", "--output", str(part), text=_url(url))


def _url(url: str) -> str:
    return f'url = "{url}"\n'


def _verify(installation: Installation, archive: Path, kind: str, version: str) -> None:
    """Refuse what is no package, or another one. A server that dislikes a licence may say so in a page with status 200."""
    with archive.open("rb") as file:
        start = file.read(200)
    if start[:2] != b"\x1f\x8b":
        installation.account.remove(archive)
        said = start.decode(errors="replace").strip()
        raise Refused(f"cryoSPARC's server sent no package of the {kind} {version} for this licence, but: {said}")
    try:
        found = installation.account.run("tar", "-xOzf", str(archive), f"cryosparc_{kind}/version", quiet=True).strip()
    except CommandFailed:
        installation.account.remove(archive)
        raise
    if found.lstrip("v") != version:
        installation.account.remove(archive)
        raise Refused(f"cryoSPARC's server sent the {kind} {found} when it was asked for {version}")


def install(installation: Installation, package: Package, version: str, license_id: str) -> None:
    """Put the package to its place and run its installer. Whatever half of it is there goes first."""
    archive = fetch(installation, package.kind, version, license_id)
    _unpack(installation, package, archive)
    script = _script(installation, package, version, license_id)
    installation.account.run("bash", "-s", text=script, folder=package.folder)
    if package.version != version:
        raise Refused(f"the installer of the {package.kind} {version} left {package.version or 'nothing'} behind")
    package.configure(master_values(installation) if package.kind == "master" else {})
    package.configure({LICENSE_VARIABLE: license_id})
    package.note("installed", version=version)
    installation.account.remove(archive)


def _unpack(installation: Installation, package: Package, archive: Path) -> None:
    """Beside its place, on the same disk; then at once to it."""
    account = installation.account
    drafts = package.folder.parent / "packages" / f"unpacking-{package.kind}"
    before = package.folder.with_name(f"{package.folder.name}.before")
    account.remove(drafts, before)
    account.run("mkdir", "-p", str(drafts))
    account.run("tar", "-xzf", str(archive), "-C", str(drafts), "--no-same-owner")
    unpacked = drafts / f"cryosparc_{package.kind}"
    package.note_in(unpacked)
    if package.folder.exists():
        account.move(package.folder, before)
    account.move(unpacked, package.folder)
    account.remove(drafts, before)


def _script(installation: Installation, package: Package, version: str, license_id: str) -> str:
    arguments: List[str] = ["--license", _NO_LICENSE if versions.is_five(version) else license_id, "--yes"]
    if package.kind == "master":
        values = master_values(installation)
        arguments += ["--hostname", values["CRYOSPARC_MASTER_HOSTNAME"], "--dbpath", values["CRYOSPARC_DB_PATH"]]
        arguments += ["--port", values["CRYOSPARC_BASE_PORT"]]
    elif versions.is_five(version):
        # There is none on a head node; jobs find the GPUs of their nodes.
        arguments += ["--nogpu"]
    return (
        # Version 4's writes the licence down.
        "umask 077\n"
        f"set -- {' '.join(map(shlex.quote, arguments))}\n"
        # An installer finds its folder by its own name.
        f"BASH_ARGV0={shlex.quote(str(package.folder / 'install.sh'))}\n"
        ". ./install.sh </dev/null\n"
    )


def master_values(installation: Installation) -> Mapping[str, str]:
    """What the master's config.sh says besides the licence. A head node made anew has another name than the one before."""
    return {
        "CRYOSPARC_MASTER_HOSTNAME": installation.host,
        "CRYOSPARC_DB_PATH": str(installation.database),
        "CRYOSPARC_BASE_PORT": str(installation.here.cryosparc_port),
    }
