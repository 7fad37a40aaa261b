"""What the hooks' correctness rests on, taken away one by one. Each must make some schedule bad, or the model proves nothing."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

_LAMBDA = "lambda/cdk_cryoem_lambda"
_HEAD_NODE = "constructs/cdk_cryoem/head_node/lib/cryoem_head"


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """A replacement of text in shipped source. The text must be there, so that a mutant cannot fade away unnoticed."""

    name: str
    path: str
    old: str
    new: str

    def make(self, root: Path, folder: Path) -> None:
        """Copy what is judged into the folder, changed. Errors: ValueError when the text is not there, or twice."""
        text = (root / self.path).read_text()
        if text.count(self.old) != 1:
            raise ValueError(
                f"{self.name}: {self.path} has the text {text.count(self.old)} times, not once:\n{self.old}"
            )
        for part in (_LAMBDA, _HEAD_NODE):
            shutil.copytree(root / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        (folder / self.path).write_text(text.replace(self.old, self.new))


MUTANTS = (
    Mutant(
        name="no condition on what is written down of datasets",
        path=f"{_LAMBDA}/records.py",
        old='                "ConditionExpression": condition,\n                "ExpressionAttributeValues": values,\n                **(',
        new='                "ExpressionAttributeValues": values,\n                **(',
    ),
    Mutant(
        name="state and event in two writes",
        path=f"{_LAMBDA}/records.py",
        old="                self._db.transact_write_items(TransactItems=[*changes, *said])  # type: ignore[list-item]\n",
        new=(
            "                self._db.transact_write_items(TransactItems=[*changes])\n"
            "                for each in said:\n"
            "                    self._db.transact_write_items(TransactItems=[each])\n"
        ),
    ),
    Mutant(
        name="a job and its totals in two writes",
        path=f"{_LAMBDA}/records.py",
        old='        return self._write(self._put({**item, **key}, condition="attribute_not_exists(pk)"), *added, events=events)\n',
        new=(
            "        self._write(*added)\n"
            '        return self._write(self._put({**item, **key}, condition="attribute_not_exists(pk)"), events=events)\n'
        ),
    ),
    Mutant(
        name="no fence: a node may have had a job since",
        path=f"{_HEAD_NODE}/power_down.py",
        old="    if node.epoch != epoch:\n",
        new="    if not epoch:\n",
    ),
    Mutant(
        name="no second look at the nodes",
        path=f"{_HEAD_NODE}/power_down.py",
        old="            reason = stale(node, wanted[node.name], pending)\n",
        new='            reason = ""\n',
    ),
    Mutant(
        name="no fingerprint: whatever the manifest is by now",
        path=f"{_HEAD_NODE}/register_lanes.py",
        old="    if found != expected:\n",
        new="    if not found:\n",
    ),
    Mutant(
        name="lanes are taken away from their jobs",
        path=f"{_HEAD_NODE}/register_lanes.py",
        old="    return sorted(found & slurm.partitions_of_jobs()) if found else []\n",
        new="    return []\n",
    ),
    Mutant(
        name="no sweeper",
        path=f"{_LAMBDA}/sweeper.py",
        old="    w = world()\n    failed: list[str] = []\n",
        new='    if context is None:\n        return {"swept": False}\n    w = world()\n    failed: list[str] = []\n',
    ),
    Mutant(
        name="no redrive of dead letters",
        path=f"{_LAMBDA}/sweeper.py",
        old='    sweep("dead letters", lambda: _redrive(w))\n',
        new="",
    ),
    Mutant(
        name="dead letters are deleted, then sent",
        path=f"{_LAMBDA}/redrive.py",
        old=(
            '            sqs.send_message(QueueUrl=queue, MessageBody=message["Body"])\n'
            '            sqs.delete_message(QueueUrl=dead, ReceiptHandle=message["ReceiptHandle"])\n'
        ),
        new=(
            '            sqs.delete_message(QueueUrl=dead, ReceiptHandle=message["ReceiptHandle"])\n'
            '            sqs.send_message(QueueUrl=queue, MessageBody=message["Body"])\n'
        ),
    ),
    Mutant(
        name="a hint that failed does not come again",
        path=f"{_LAMBDA}/hints.py",
        old="            failed += parsed\n",
        new="",
    ),
    Mutant(
        name="jobs that wait are not looked at",
        path=f"{_HEAD_NODE}/slurm.py",
        old="        if reason in _NEVER or reason.startswith(_BLOCKED) is not blocked:\n",
        new='        if state == "PENDING" or reason in _NEVER or reason.startswith(_BLOCKED) is not blocked:\n',
    ),
    Mutant(
        name="the head node stops without a last look",
        path=f"{_HEAD_NODE}/stop_head_node.py",
        old="    if needed:\n",
        new="    if not status:\n",
    ),
    Mutant(
        name="a recipe starts whether it runs or not",
        path=f"{_HEAD_NODE}/start_processing.py",
        old='    if done.exists():\n        return "finished"\n',
        new="",
    ),
    Mutant(
        name="an event is forgotten, then said",
        path=f"{_LAMBDA}/outbox.py",
        old="            batch = waiting[start : start + _BATCH]\n",
        new=(
            "            batch = waiting[start : start + _BATCH]\n"
            "            for item in batch:\n"
            '                self._db.delete_item(TableName=self._table, Key={"pk": item["pk"], "sk": item["sk"]})\n'
        ),
    ),
    Mutant(
        name="a node that is on is paid for until the next sweep",
        path=f"{_LAMBDA}/node_life.py",
        old="        return Look(until=max(int(now), seen.launched_at), over=0, looked_at=now)\n",
        new="        return Look(until=max(int(now), seen.launched_at) + 300, over=0, looked_at=now)\n",
    ),
    # Found by the model in code as it was.
    Mutant(
        name="a job that waits keeps a broken node",
        path=f"{_LAMBDA}/nodes.py",
        old='        if node.state != "down" and status.pending.get(node.lane, 0):\n',
        new="        if status.pending.get(node.lane, 0):\n",
    ),
    Mutant(
        name="a lane that is half gone counts as gone",
        path=f"{_HEAD_NODE}/register_lanes.py",
        old='        left_over = dict.fromkeys(unwanted(here.lanes, wanted), "")\n',
        new="        left_over: Dict[str, str] = {}\n",
    ),
    Mutant(
        name="each time a recipe is put off gives it another start",
        path=f"{_HEAD_NODE}/start_processing.py",
        old='    with Path(f"{notes}.unready").open("a") as unready:\n',
        new='    with Path(f"{notes}.later").open("a") as unready:\n',
    ),
)
