"""backup-database: `cryosparcm backup` to the retained volume, and a copy with the configuration to the results bucket.

May run while jobs run. Exit status 0: a backup was made and copied, or there is no cryoSPARC yet; 75: something else is
at cryoSPARC, and was for an hour. Needs boto3.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any, Dict, Optional

from . import backup_outcome, backups, credentials, settings
from .account import Account
from .installation import Installation, locked
from .master import Master
from .outcome import Mask, end

PROGRAM = "backup-database"


def back_up(installation: Installation, mask: Mask) -> Dict[str, Any]:
    """One backup, copied; the same document whoever asked for it."""
    here = installation.here
    bucket: Optional[backups.Bucket] = backups.bucket_of(here)
    made = backups.make(installation, Master(installation), credentials.license_id(here, mask))
    copied = backups.copy_missing(installation, bucket) if bucket else []
    # Not before it was copied: a volume with old backups is better than one without a copy.
    removed = backups.prune(installation)
    return {
        **made.document(),
        "in_bucket": made.name in copied,
        "url": bucket.url(made.name) if bucket else None,
        "copied": copied,
        "removed": removed,
        "left_out": made.manifest["left_out"],
    }


def main() -> None:
    """Do it, and print what was done."""
    argparse.ArgumentParser(prog=PROGRAM, description=__doc__).parse_args()
    mask = Mask()

    def work() -> Dict[str, Any]:
        here = settings.load(Path(os.environ["CRYOEM_HOME"]))
        if here.cryosparc_version == settings.NONE:
            return {"name": None, "reason": "the setup names no version of cryoSPARC"}
        with locked(here.home, wait_seconds=3600):
            installation = Installation(here, Account(here.user, mask))
            if not installation.master.installed:
                return {"name": None, "reason": f"no cryoSPARC is installed in {installation.master.folder} yet"}
            try:
                made = back_up(installation, mask)
            except Exception as error:
                backup_outcome.note(here.home, failed=mask(f"{type(error).__name__}: {error}"))
                raise
            backup_outcome.note(here.home)
            return made

    end(PROGRAM, work, mask)


if __name__ == "__main__":
    main()
