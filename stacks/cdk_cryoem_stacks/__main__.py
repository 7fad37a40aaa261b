"""`python app.py`: synthesise the system that the configuration file describes."""

from __future__ import annotations

import sys

from .config_file import ConfigError, load
from .which_file import config_file


def main() -> None:
    """Read the file that CRYOEM_CONFIG names (default cryoem.yaml) and synthesise. Exit code 2 for a wrong file."""
    path = config_file()
    try:
        config = load(path)
    except ConfigError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    # After the file is known to be right: importing the CDK takes longer than reading it.
    from cdk_cryoem import CryoEmError

    from .app import build, make_app

    app = make_app()
    try:
        build(app, config, config_folder=path.parent)
    except CryoEmError as error:  # what no single line of the file is to blame for
        print(f"{path}: {error}", file=sys.stderr)
        sys.exit(2)
    app.synth()


if __name__ == "__main__":
    main()
