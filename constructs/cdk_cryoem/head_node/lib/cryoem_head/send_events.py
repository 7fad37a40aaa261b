"""send-events: what is in the spool goes to EventBridge; a file is set aside once EventBridge has taken it.

Run by root from a systemd path unit and a timer. Needs boto3. An outage costs time, not events.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import boto3

from . import forgotten_jobs, settings
from .spool import waiting

SOURCE = "cryoem.slurm"
DETAIL_TYPE = "Slurm Job State Change"
_BATCH = 10  # PutEvents takes ten entries at most
_KEPT_SECONDS = 86_400.0
_LOOK_SECONDS = 60.0


def send(spool: Path, *, event_bus: str, events: Any) -> int:
    """Send all that is waiting; returns how many EventBridge took. What can never be sent is set aside, not lost."""
    taken = 0
    sent = spool / forgotten_jobs.SENT
    files = waiting(spool)
    for start in range(0, len(files), _BATCH):
        batch = []
        for path in files[start : start + _BATCH]:
            try:
                text = path.read_text()
                json.loads(text)
            except ValueError:
                print(f"send-events: {path} is no JSON, set aside", file=sys.stderr)
                path.rename(path.with_suffix(".unreadable"))
                continue
            batch.append((path, text))
        if not batch:
            continue
        answer = events.put_events(
            Entries=[
                {"EventBusName": event_bus, "Source": SOURCE, "DetailType": DETAIL_TYPE, "Detail": text}
                for _, text in batch
            ]
        )
        for (path, _), entry in zip(batch, answer["Entries"]):
            if "EventId" in entry:
                sent.mkdir(exist_ok=True)
                path.rename(sent / path.name)
                taken += 1
                continue
            print(f"send-events: {path.name} not taken: {entry.get('ErrorMessage')}", file=sys.stderr)
            if entry.get("ErrorCode") == "MalformedDetail":
                # It would be refused for ever, and systemd would start us for it again and again.
                path.rename(path.with_suffix(".unreadable"))
    return taken


def look_for_forgotten(here: settings.Settings, *, now: float) -> None:
    """Spool what nobody told of, and forget what was sent long ago. Slurm may be away; what is in the spool is sent anyway."""
    try:
        if forgotten_jobs.ours(here.home):
            forgotten_jobs.spool(here, now=now)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        print(f"send-events: Slurm was not asked for jobs: {error}", file=sys.stderr)
    for path in (here.spool / forgotten_jobs.SENT).glob("*.json"):
        if path.stat().st_mtime < now - _KEPT_SECONDS:
            path.unlink()


def main() -> None:
    """Send once; or stay, where no systemd would start us again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stay", action="store_true", help="look into the spool twice a second, for ever")
    stay = parser.parse_args().stay
    here = settings.load()
    events = boto3.client("events", region_name=here.region)
    clock = threading.Event()
    looked_at = 0.0
    while True:
        now = time.time()
        try:
            if now - looked_at >= _LOOK_SECONDS:
                looked_at = now
                look_for_forgotten(here, now=now)
            send(here.spool, event_bus=here.event_bus, events=events)
        except Exception as error:
            if not stay:
                raise
            print(f"send-events: {error}; the spool keeps {len(waiting(here.spool))} events", file=sys.stderr)
        if not stay:
            return
        clock.wait(0.5)


if __name__ == "__main__":
    main()
