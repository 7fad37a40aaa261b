"""A head node, and what it finds outside of it: cryoSPARC's server, Secrets Manager, SSM and S3, on loopback."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import http.server
import io
import json
import os
import pwd
import select
import shutil
import signal
import socket
import subprocess
import tarfile
import tempfile
import threading
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shipped import Shipment

LICENSE = "3f0c1d9e-7a44-4c1b-9d55-0123456789ab"
EMAIL, PASSWORD = "hooks@cryoem.invalid", "Hush7Hush7Hush7"
BUCKET = "results"
_DOUBLES = Path(__file__).resolve().parent / "doubles"
_LICENSE_ARN = "arn:aws:secretsmanager:eu-central-1:111122223333:secret:license-AbCdEf"


@functools.cache
def package(kind: str, version: str, record: Path) -> bytes:
    """A package as cryoSPARC's server sends it."""
    installer = (_DOUBLES / "installer.sh").read_text().replace("@kind@", kind).replace("@version@", version)
    command = '#!/bin/sh\nexec /usr/bin/python3 "$(dirname "$(dirname "$0")")/cryosparc.py" "$@"\n'
    files = {"version": f"v{version}\n", "record": str(record), "cryosparc.py": (_DOUBLES / "cryosparc.py").read_text()}
    files[f"bin/{'cryosparcm' if kind == 'master' else 'cryosparcw'}"] = command
    files["padding"] = "0123456789abcdef" * 5_000
    if version.startswith("5"):
        files["install.sh"] = f'. "$(dirname "${{BASH_SOURCE[0]}}")/install/install_{kind}.sh"\n'
        files[f"install/install_{kind}.sh"] = installer
    else:
        files["install.sh"] = installer
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=0) as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(f"cryosparc_{kind}/{name}")
            member.size, member.mode = len(text.encode()), 0o755
            archive.addfile(member, io.BytesIO(text.encode()))
    return buffer.getvalue()


# Notes what every command of ours is called with, also those that are too short to be seen in /proc.
_RECORDER = """import subprocess
begin = subprocess.Popen.__init__
def record(self, args, *more, **options):
    with open({commands!r}, "a") as commands:
        commands.write(f"{{args}}\\n")
    begin(self, args, *more, **options)
subprocess.Popen.__init__ = record
"""


class Outside(http.server.ThreadingHTTPServer):
    """The services."""

    daemon_threads = True

    def __init__(self, record: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.record = record
        self.secrets = {"license": json.dumps({"license_id": LICENSE}), "cryosparc": ""}
        self.password, self.manifest = PASSWORD, '{"lanes": []}'
        self.objects: dict[str, bytes] = {}
        self.s3_away = False
        self.asked: list[str] = []
        self.cut_after: dict[str, int] = {}
        self.sends_instead: dict[str, str] = {}
        self.page_for_wrong_license = False
        self.checks_licenses = True
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Outside
    # botocore waits a second for the server to say that it wants a body, which only this protocol knows.
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        look_for_leaks(self.server.record)
        path = urllib.parse.urlsplit(self.path)
        parts = path.path.strip("/").split("/")
        if parts[0] == BUCKET:
            return self._s3_get("/".join(parts[1:]), dict(urllib.parse.parse_qsl(path.query)))
        self.server.asked.append("/".join(parts[:-1]))
        known = parts[-1] == LICENSE
        if parts[0] == "checklicenseexists" and not self.server.checks_licenses:
            return self._answer(503, b"")
        if parts[0] == "checklicenseexists":
            return self._answer(200, json.dumps({"success": known}).encode())
        if not known:
            page = b"<html>This license is not valid</html>"
            return self._answer(200 if self.server.page_for_wrong_license else 403, page)
        return self._package(parts[1])

    do_HEAD = do_GET  # noqa: N815

    def _package(self, name: str) -> None:
        kind, _, version = self.server.sends_instead.get(name, name).partition("-v")
        if version.startswith("5.9"):
            return self._answer(404, b"no such version")
        body, start = package(kind, version, self.server.record), 0
        if "Range" in self.headers:
            start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
            self.server.asked.append(f"{name} from {start}")
            if start >= len(body):
                return self._answer(416, b"", {"Content-Range": f"bytes */{len(body)}"})
        end = self.server.cut_after.pop(name, 0)
        ranged = {"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"} if start else {}
        self.send_response(206 if start else 200)
        for header, value in {"Content-Length": str(len(body) - start), **ranged}.items():
            self.send_header(header, value)
        self.end_headers()
        self.wfile.write(body[start : end or None])
        if end:
            self.wfile.flush()
            self.close_connection = True
        return None

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers["X-Amz-Target"] == "AmazonSSM.GetParameter":
            return self._answer(200, json.dumps({"Parameter": {"Value": self.server.manifest}}).encode())
        assert self.headers["X-Amz-Target"] == "secretsmanager.GetSecretValue"
        name = "license" if asked["SecretId"] == _LICENSE_ARN else "cryosparc"
        login = json.dumps({"email": EMAIL, "password": self.server.password})
        return self._answer(200, json.dumps({"SecretString": self.server.secrets[name] or login}).encode())

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.s3_away:
            return self._answer(403, b"<Error><Code>AccessDenied</Code></Error>")
        self.server.objects[self._key()] = body
        return self._answer(200, b"")

    def _key(self) -> str:
        return urllib.parse.unquote(urllib.parse.urlsplit(self.path).path).removeprefix(f"/{BUCKET}/")

    def _s3_get(self, key: str, query: dict[str, str]) -> None:
        if "list-type" in query:
            prefix = query.get("prefix", "")
            keys = [key for key in sorted(self.server.objects) if key.startswith(prefix)]
            items = "".join(f"<Contents><Key>{key}</Key><Size>1</Size></Contents>" for key in keys)
            xml = f"<ListBucketResult><IsTruncated>false</IsTruncated>{items}</ListBucketResult>"
            return self._answer(200, xml.encode(), {"Content-Type": "application/xml"})
        return self._answer(200, self.server.objects[self._key()])

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for header, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(header, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def look_for_leaks(record: Path) -> None:
    """What cryosparc.py does at each of its stages, while a command of ours talks to a server."""
    secrets = [secret.encode() for secret in json.loads((record / "secrets.json").read_text())]
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes()
        except OSError:
            continue
        if any(secret in command for secret in secrets):
            with (record / "leaks").open("a") as leaks:
                leaks.write(command.replace(b"\0", b" ").decode(errors="replace") + "\n")


class World:
    """The head node. Programs run as root would run them, and cryoSPARC as an ordinary user."""

    def __init__(self, shipment: Shipment, slurm_bin: Path, version: str) -> None:
        # Where that user can go; pytest's own folders are root's.
        self.base = Path(tempfile.mkdtemp(prefix="cryosparc-", dir="/tmp"))
        self.base.chmod(0o755)
        self.record, self.volume, self.fsx = self.base / "record", self.base / "cryosparc", self.base / "fsx"
        for folder in (self.record, self.volume, self.fsx):
            folder.mkdir()
        self.user = "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        self.record.chmod(0o777)
        hashes = [hashlib.sha256(secret.encode()).hexdigest() for secret in (LICENSE, PASSWORD)]
        self.secrets = [LICENSE, PASSWORD, *hashes]
        self._put(self.record / "secrets.json", json.dumps(self.secrets))
        for name in ("says", "hears"):
            os.mkfifo(self.record / name)
            (self.record / name).chmod(0o666)
        self.outside, self.shipment, self._slurm_bin = Outside(self.record), shipment, slurm_bin
        self.port = _free_ports()
        self.told: list[str] = []
        shipment.values |= {
            "user": self.user, "cryosparc_version": version, "cryosparc_license_secret": _LICENSE_ARN,
            "results_bucket": BUCKET,
        }  # fmt: skip
        self.bootstrap()
        # Every program of the head node has this folder on its path.
        packages = shipment.home / "packages"
        packages.mkdir()
        recorder = _RECORDER.format(commands=str(self.base / "commands"))
        (packages / "sitecustomize.py").write_text(recorder)

    def bootstrap(self) -> None:
        """What a deployment does."""
        done = self.shipment.bootstrap(
            CRYOEM_CRYOSPARC_FOLDER=str(self.volume), CRYOEM_FSX=str(self.fsx), CRYOEM_CRYOSPARC_HOST="localhost",
            CRYOEM_CRYOSPARC_PORT=str(self.port), CRYOEM_CRYOSPARC_SERVER=self.outside.url,
            CRYOEM_SLURM_BIN=str(self._slurm_bin),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    def want(self, version: str) -> None:
        """Deploy another version."""
        self.shipment.values["cryosparc_version"] = version
        self.bootstrap()

    @property
    def environment(self) -> dict[str, str]:
        url = self.outside.url
        return {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b",
            "AWS_ENDPOINT_URL_SECRETS_MANAGER": url, "AWS_ENDPOINT_URL_S3": url, "AWS_ENDPOINT_URL_SSM": url, "AWS_MAX_ATTEMPTS": "1",
            "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required", "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
            "LD_LIBRARY_PATH": "/nowhere", "CRYOSPARC_BASE_PORT": "1",
        }  # fmt: skip

    def begin(self, program: str, *arguments: str) -> subprocess.Popen[str]:
        """Start a program in a group of its own."""
        return subprocess.Popen(
            [self.shipment.home / "bin" / program, *arguments], env=self.environment, cwd="/", text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip

    def run(self, program: str = "install-cryosparc", *arguments: str) -> tuple[int, dict[str, Any], str]:
        """Its exit status, its document and what it said."""
        process = self.begin(program, *arguments)
        out, err = process.communicate(timeout=90)
        self.told += [out, err]
        return process.returncode, json.loads(out) if out else {}, err

    def install(self) -> dict[str, Any]:
        """A run that must be well."""
        status, document, said = self.run()
        assert status == 0, said
        return document

    def kill_at(self, stage: str, program: str = "install-cryosparc", *arguments: str) -> str:
        """Run a program until a stage of the double's, and end it and all that it started there and then."""
        self._put(self.record / "pause", stage)
        process = self.begin(program, *arguments)
        says = os.open(self.record / "says", os.O_RDONLY | os.O_NONBLOCK)
        try:
            ready, _, _ = select.select([says], [], [], 60)
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate(timeout=20)
            assert ready, f"never came to {stage}:\n{err}"
        finally:
            os.close(says)
        # A daemon that stopped there has a session of its own, and goes on.
        with contextlib.suppress(OSError):
            os.close(os.open(self.record / "hears", os.O_WRONLY | os.O_NONBLOCK))
        (self.record / "pause").unlink(missing_ok=True)
        self.told += [out, err]
        return err

    def reboot(self) -> None:
        """Everything that runs is gone, as after a power failure."""
        path = self.record / "daemons"
        for pid in path.read_text().split() if path.exists() else ():
            # Its folder may have gone before it.
            with contextlib.suppress(OSError):
                if str(self.base).encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(int(pid), signal.SIGKILL)
        (self.master / "run" / "master.pid").unlink(missing_ok=True)

    def close(self) -> None:
        self.reboot()
        self.outside.shutdown()
        self.outside.server_close()
        shutil.rmtree(self.base)

    def _put(self, path: Path, text: str) -> None:
        path.write_text(text)
        path.chmod(0o666)

    def fail(self, what: str) -> None:
        """Let the double fail at something, until it is taken back."""
        self._put(self.record / what, "")

    def mend(self, what: str) -> None:
        (self.record / what).unlink()

    @property
    def master(self) -> Path:
        return self.volume / "cryosparc_master"

    @property
    def worker(self) -> Path:
        return self.fsx / "software" / "cryosparc_worker"

    @property
    def documents(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.volume / "database" / "documents.json").read_text())
        return found

    def process(self, name: str) -> None:
        """Somebody processes data: the database has a project more."""
        path = self.volume / "database" / "documents.json"
        path.write_text(json.dumps({**self.documents, "projects": [*self.documents["projects"], name]}))

    @property
    def settings(self) -> dict[str, str]:
        lines = (self.shipment.home / "etc" / "head-node.env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if line)

    @property
    def stages(self) -> list[str]:
        path = self.record / "stages"
        return path.read_text().splitlines() if path.exists() else []

    @property
    def calls(self) -> list[str]:
        path = self.record / "calls"
        return path.read_text().splitlines() if path.exists() else []

    @property
    def commands(self) -> str:
        """Every command that a program of ours has started, with all its arguments."""
        path = self.base / "commands"
        return path.read_text() if path.exists() else ""

    def nothing_leaked(self) -> None:
        """No process was ever called with a secret, none was printed, and no file that others can read has one."""
        assert not (self.record / "leaks").exists(), (self.record / "leaks").read_text()
        assert not (self.record / "broken").exists(), (self.record / "broken").read_text()
        for text in [*self.told, self.commands]:
            assert not [secret for secret in self.secrets if secret in text]
        for root in (self.volume, self.fsx, self.shipment.home):
            for path in root.rglob("*"):
                if path.is_file() and path.stat().st_mode & 0o044 and _reachable(path, root):
                    content = path.read_bytes()
                    assert not [secret for secret in self.secrets if secret.encode() in content], path


def _reachable(path: Path, root: Path) -> bool:
    folders = [folder for folder in path.parents if folder.is_relative_to(root)]
    return all(folder.stat().st_mode & 0o011 for folder in folders)


def _free_ports() -> int:
    """A port that is free together with the one two above, where version 4 has its interface."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 2))
            except OSError:
                continue
            return port


def worlds(shipment: Shipment, slurm_bin: Path, version: str) -> Iterator[World]:
    """A world, and its end."""
    world = World(shipment, slurm_bin, version)
    try:
        yield world
        world.nothing_leaked()
    finally:
        world.close()
