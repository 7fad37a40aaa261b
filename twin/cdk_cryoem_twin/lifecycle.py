"""up and down: the emulator, the CDK's own bootstrap and deployment of the very stacks, and everything gone again."""

from __future__ import annotations

import fcntl
import io
import json
import shutil
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import psutil
from botocore.config import Config as BotoConfig

from cdk_cryoem_stacks.flags import SERVICE_TOKEN_CONTEXT

from . import processes
from .environment import (
    ACCOUNT,
    REGION,
    Mode,
    base_environment,
    certificate,
    client_environment,
    endpoint,
)
from .places import Places
from .waiting import wait_for

PROVIDER = "twin-pcluster-provider"
Say = Callable[[str], None]
_PROGRAMS = {
    "aws": "cdk_cryoem_twin.aws_command",
    "systemctl": "cdk_cryoem_twin.systemctl_command",
    "cryosparcw": "cdk_cryoem_twin.cryosparc.worker",
    "cryosparc-job": "cdk_cryoem_twin.cryosparc.submit",
}
_NEEDED = {
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    "sbatch": "slurm-client",
    "munged": "munge",
    "relion_refine": "relion",
}


class CannotStart(Exception):
    """Why the twin cannot come up, and what to do."""


@contextmanager
def alone(places: Places) -> Iterator[None]:
    """Keep others from changing this checkout's twin meanwhile. Errors: CannotStart when one does."""
    places.root.parent.mkdir(parents=True, exist_ok=True)
    with places.root.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CannotStart(
                f"another command is at work on the twin in {places.root}; wait for it or end it"
            ) from error
        yield


def up(
    places: Places, mode: Mode, say: Say, *, config: Path, stacks: Sequence[str] = ("--all",)
) -> dict[str, dict[str, str]]:
    """Bring the twin up and deploy the stacks; returns the stacks' outputs. On a twin that is up, deploys again.

    stacks: names of some, with which come those that they need.
    """
    _check(places)
    if not is_up(places):
        if places.root.exists():
            down(places, say)
        _prepare(places, mode)
        say("emulator")
        _start_emulator(places, mode)
    mode.save(places)
    # Of a command that was killed; it would hold the CDK's lock.
    processes.stop_matching(places, "cdk")
    say("cdk bootstrap")
    _cdk(places, mode, ["bootstrap", f"aws://{ACCOUNT}/{REGION}"], log="cdk-bootstrap.log", config=config)
    token = _provider(places, mode)
    say("cdk deploy")
    outputs = places.run / "outputs.json"
    _cdk(
        places,
        mode,
        ["deploy", *stacks, "--concurrency", "4", "--require-approval", "never"]
        + ["--outputs-file", str(outputs), "-c", f"{SERVICE_TOKEN_CONTEXT}={token}"],
        log="cdk-deploy.log",
        config=config,
    )
    found: dict[str, dict[str, str]] = json.loads(outputs.read_text())
    return found


def down(places: Places, say: Say = lambda text: None) -> int:
    """Stop every process of the twin and remove its folder; returns how many processes there were."""
    stopped = processes.stop_all(places)
    if places.root.exists():
        shutil.rmtree(places.root)
    say(f"{stopped} processes stopped, {places.root} removed")
    return stopped


def is_up(places: Places) -> bool:
    """Whether the emulator runs."""
    return places.settings_file.exists() and processes.alive(places.run / "emulator.pid")


def outputs(places: Places) -> dict[str, str]:
    """All outputs of all stacks."""
    stacks: dict[str, dict[str, str]] = json.loads((places.run / "outputs.json").read_text())
    return {name: value for stack in stacks.values() for name, value in stack.items()}


def clients(places: Places, mode: Mode) -> Callable[[str], Any]:
    """A maker of boto3 clients of the emulator, as the deploying user."""
    session = boto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name=REGION)

    def make(service: str) -> Any:
        return session.client(  # type: ignore[call-overload]
            service,
            endpoint_url=endpoint(places, mode),
            verify=str(certificate(places)) if mode.strict else None,
            config=BotoConfig(proxies={}, retries={"max_attempts": 2}),
        )

    return make


def _check(places: Places) -> None:
    problem = places.problem()
    if problem:
        raise CannotStart(problem)
    missing = sorted({package for program, package in _NEEDED.items() if _which(places, program) is None})
    if missing:
        raise CannotStart(f"missing programs; install them: apt-get install {' '.join(missing)}")
    if _which(places, "cdk") is None:
        raise CannotStart("the CDK CLI is missing; run: make setup")
    if not is_up(places):
        processes.stop_all(places)
        for port in (places.emulator_port, places.slurmctld_port, places.cryosparc_port, *places.node_ports):
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError as error:
                    raise CannotStart(
                        f"port {port} is taken by {_holder(port)}; if that is another checkout's twin, "
                        "run 'cryoem twin down' there, or use a checkout in another folder"
                    ) from error


def _holder(port: int) -> str:
    for connection in psutil.net_connections("tcp"):
        if connection.laddr and connection.laddr.port == port and connection.pid:
            return " ".join(psutil.Process(connection.pid).cmdline()[:4])
    return "another program"


def _which(places: Places, program: str) -> str | None:
    return shutil.which(program, path=base_environment(places)["PATH"])


def _prepare(places: Places, mode: Mode) -> None:
    for folder in (places.run / "tmp", places.logs, places.share, places.root / "home", places.root / "programs"):
        folder.mkdir(parents=True, exist_ok=True)
    for name, module in _PROGRAMS.items():
        program = places.root / "programs" / name
        program.write_text(f"#!/bin/sh\nexec '{sys.executable}' -m {module} \"$@\"\n")
        program.chmod(0o755)


def _start_emulator(places: Places, mode: Mode) -> None:
    environment = base_environment(places) | {
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(places.emulator_port),
        "MINISTACK_HOST": "localhost",
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "AWS_EC2_METADATA_DISABLED": "true",
        "HTTP_PROXY": "http://127.0.0.1:9",
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "NO_PROXY": "127.0.0.1,localhost",
    }
    if mode.strict:
        environment |= {"AUTH": "true", "USE_SSL": "1", "AWS_CA_BUNDLE": str(places.run / "ca.pem")}
    log = places.logs / "emulator.log"
    processes.start(
        [sys.executable, "-m", "cdk_cryoem_twin.emulator"],
        env=environment,
        log=log,
        pid_file=places.run / "emulator.pid",
        cwd=places.root,
    )

    def answers() -> bool:
        if not processes.alive(places.run / "emulator.pid"):
            raise CannotStart(f"the emulator ended: {log.read_text()[-1500:]}")
        if mode.strict and not certificate(places).exists():
            return False
        if mode.strict:
            system = Path("/etc/ssl/certs/ca-certificates.crt")
            authorities = system.read_text() if system.exists() else ""
            (places.run / "ca.pem").write_text(authorities + certificate(places).read_text())
        try:
            clients(places, mode)("sts").get_caller_identity()
        except Exception:
            # Any error means: not yet. The wait has a limit and names the log.
            return False
        return True

    wait_for(answers, "the emulator to answer", seconds=60, log=log)


def _provider(places: Places, mode: Mode) -> str:
    """The double of ParallelCluster's provider, as a Lambda function; its ARN is the service token."""
    make = clients(places, mode)
    function, iam = make("lambda"), make("iam")
    try:
        return str(function.get_function(FunctionName=PROVIDER)["Configuration"]["FunctionArn"])
    except function.exceptions.ResourceNotFoundException:
        pass_role = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    role = iam.create_role(
        RoleName=PROVIDER, AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [pass_role]})
    )["Role"]["Arn"]
    everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    iam.put_role_policy(RoleName=PROVIDER, PolicyName="everything", PolicyDocument=json.dumps(everything))
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("index.py", "from cdk_cryoem_twin.pcluster.provider import handler\n\n__all__ = ['handler']\n")
    made = function.create_function(
        FunctionName=PROVIDER,
        Runtime="python3.13",
        Handler="index.handler",
        Role=role,
        Timeout=600,
        Code={"ZipFile": code.getvalue()},
    )
    return str(made["FunctionArn"])


def _cdk(places: Places, mode: Mode, arguments: Sequence[str], *, log: str, config: Path) -> None:
    environment = client_environment(places, mode) | {
        "CRYOEM_CONFIG": str(config),
        # The templates are checked by `make synth` and the tests; here it would only cost time.
        "CDK_VALIDATION": "false",
    }
    target = places.logs / log
    started = time.time()
    with target.open("ab") as out:
        done = subprocess.run(
            ["cdk", "--output", str(places.run / "cdk.out"), "--app", f"{sys.executable} app.py", *arguments],
            env=environment,
            stdout=out,
            stderr=out,
            cwd=places.checkout,
            check=False,
        )
    if done.returncode:
        tail = "\n".join(target.read_text(errors="replace").splitlines()[-25:])
        raise CannotStart(
            f"cdk {arguments[0]} failed after {time.time() - started:.0f} s:\n{tail}\nall of it: {target}"
        )
