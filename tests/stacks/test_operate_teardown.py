"""`cryoem teardown` refuses while anything is on the file system alone, and deletes nothing. AWS is moto; FSx is a stub that
takes what botocore's model allows, the head node's list is given."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from botocore.session import get_session
from botocore.validate import validate_parameters
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

from operate_account import Deployed, at_hand, run

from cdk_cryoem_stacks.operate import catch_up, export, teardown
from cdk_cryoem_stacks.operate.ask import Failed
from cdk_cryoem_stacks.operate.listing import ListedFile
from cdk_cryoem_stacks.operate.unsaved import Loss, Stored, losses

ROOT = Path(__file__).parents[2]
FS = "fs-0123456789abcdef0"
IN_S3 = frozenset({"exists", "archived"})
_MODEL = get_session().get_service_model("fsx")
pure = settings(max_examples=200, deadline=None, derandomize=True, database=None)


def file(path: str, **changes: Any) -> ListedFile:
    return ListedFile(**{"path": path, "kind": "file", "size": 10, "mtime": 1000.0, "hsm": IN_S3, **changes})


def why(path: str, *, stored: Stored | None = Stored(10, 1000.0), **changes: Any) -> str | None:  # noqa: B008
    key = path.replace("data/", "datasets/", 1) if path.startswith("data/") else path
    objects = {} if stored is None else {key: stored}
    found = list(losses([file(path, **changes)], landing=objects, results=objects))
    assert len(found) <= 1
    return found[0].why if found else None


# --- the comparison -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["data/krios-1/a b/粒子.mrc", "projects/krios-1/CS-1/J1/map.mrc"])
def test_what_is_in_s3_as_it_is_is_no_loss(path: str) -> None:
    assert why(path) is None
    assert why(path, hsm=frozenset({"exists", "archived", "released"})) is None
    assert why(path, hsm=None) is None, "where Lustre cannot be asked, size and time decide"
    assert why(path, size=0, stored=Stored(0, 1000.0)) is None


@pytest.mark.parametrize("path", ["data/krios-1/mine.txt", "projects/krios-1/new.mrc"])
def test_what_is_not_in_s3_or_has_another_size_is(path: str) -> None:
    bucket = "landing" if path.startswith("data/") else "results"
    assert why(path, stored=None) == f"it is not in the {bucket} bucket"
    assert why(path, size=11) == f"it has 11 bytes, its object in the {bucket} bucket 10"


@pytest.mark.parametrize("path", ["data/d/a.mrc", "projects/d/a.mrc"])
@pytest.mark.parametrize(
    ("hsm", "word"),
    [({"exists", "archived", "dirty"}, "dirty"), (set(), "not archived"), ({"exists", "archived", "lost"}, "lost")],
)
def test_lustre_knows_what_size_and_time_do_not_tell(path: str, hsm: set[str], word: str) -> None:
    assert f"hsm_state: {word}" in (why(path, hsm=frozenset(hsm)) or "")


def test_a_result_that_is_younger_than_its_object_is_a_loss_and_a_movie_is_not() -> None:
    assert why("projects/d/a", mtime=1002.0) is None, "clocks differ"
    assert "after its object" in (why("projects/d/a", mtime=1002.1) or "")
    assert why("data/d/a", mtime=9e9) is None, "a movie's time is the microscope's"


@pytest.mark.parametrize("path", ["home/ada/notes.txt", "data", "datasets/d/a", "projectsx/a", "software/relion/bin"])
def test_what_is_outside_is_exported_by_nobody(path: str) -> None:
    assert "outside" in (why(path) or "")


def test_what_is_installed_again_and_what_has_no_content_is_no_loss() -> None:
    assert why("software/cryosparc_worker/bin/x", stored=None) is None
    assert why("projects/d/socket", kind="other", stored=None) is None


def test_a_link_needs_an_object() -> None:
    assert why("projects/d/link", kind="link", size=77, hsm=None) is None
    assert why("projects/d/link", kind="link", hsm=None, stored=None) == "it is not in the results bucket"


def test_what_could_not_be_read_is_a_loss() -> None:
    assert "Permission denied" in (why("projects/d", kind="folder", error="Permission denied") or "")
    assert "so nobody knows" in (why("projects/d/a", error="Input/output error") or "")


def test_a_name_that_fsx_does_not_export_is_said() -> None:
    assert why("projects/d/\udce9", stored=None) == "its name is no UTF-8, which FSx does not export"
    assert why("projects/" + "ü" * 510, stored=None) == "its name is too long for a key of S3"


names = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=8)
paths = st.tuples(st.sampled_from(["data", "projects", "home", "software"]), names, names).map("/".join)


@pure
@given(
    st.dictionaries(paths, st.tuples(st.integers(0, 3), st.sampled_from([0.0, 500.0, 5000.0])), max_size=8), st.data()
)
def test_nothing_that_s3_has_not_is_ever_passed(found: dict[str, tuple[int, float]], data: st.DataObject) -> None:
    """Whatever is on the file system and in the buckets: a file that is passed has an object of its size."""
    stored = {
        path: Stored(data.draw(st.integers(0, 3)), data.draw(st.sampled_from([400.0, 6000.0])))
        for path in found
        if data.draw(st.booleans())
    }
    landing = {f"datasets/{p.removeprefix('data/')}": s for p, s in stored.items() if p.startswith("data/")}
    results = {p: s for p, s in stored.items() if p.startswith("projects/")}
    files = [file(path, size=size, mtime=at) for path, (size, at) in found.items()]
    lost = {loss.path for loss in losses(files, landing=landing, results=results)}
    for path, (size, at) in found.items():
        if path not in lost:
            assert path.startswith(("data/", "projects/", "software/cryosparc_worker/"))
            assert stored[path].size == size
            assert path.startswith("data/") or at <= stored[path].at + 2


# --- the command --------------------------------------------------------------------------------------------------------


class FSx:
    """A file system with its two associations. on_export: what an export task does."""

    def __init__(self) -> None:
        self.state: str | None = "AVAILABLE"
        self.associations: dict[str, dict[str, Any]] = {
            "/data": _association("dra-0123456ab", "/data", {"AutoImportPolicy": {"Events": ["NEW", "CHANGED"]}}),
            "/projects": _association(
                "dra-0123456ac", "/projects", {"AutoExportPolicy": {"Events": ["NEW", "CHANGED"]}}
            ),
        }
        self.tasks: list[dict[str, Any]] = []
        self.on_export: Callable[[], None] = lambda: None
        self.end: dict[str, Any] = {"Lifecycle": "SUCCEEDED"}
        self.calls: list[str] = []

    def describe_file_systems(self, **given: Any) -> dict[str, Any]:
        self._check("DescribeFileSystems", given)
        if self.state is None:
            raise ClientError({"Error": {"Code": "FileSystemNotFound", "Message": "no"}}, "DescribeFileSystems")
        return {"FileSystems": [{"FileSystemId": FS, "Lifecycle": self.state}]}

    def describe_data_repository_associations(self, **given: Any) -> dict[str, Any]:
        self._check("DescribeDataRepositoryAssociations", given)
        for each in self.associations.values():
            if each["Lifecycle"] == "UPDATING":
                each["Lifecycle"] = "AVAILABLE"
                return {"Associations": [{**each, "Lifecycle": "UPDATING"}]}
        # One a page.
        found, start = list(self.associations.values()), int(given.get("NextToken", "0000"))
        more = {"NextToken": f"{start + 1:04}"} if start + 1 < len(found) else {}
        return {"Associations": found[start : start + 1], **more}

    def describe_data_repository_tasks(self, **given: Any) -> dict[str, Any]:
        self._check("DescribeDataRepositoryTasks", given)
        answer = {"DataRepositoryTasks": [dict(each) for each in self.tasks]}
        for each in self.tasks:
            if each["Lifecycle"] == "PENDING":
                each["Lifecycle"] = "EXECUTING"
            elif each["Lifecycle"] == "EXECUTING" and each.get("Ours"):
                self.on_export()
                each |= {"Status": {"TotalCount": 2, "SucceededCount": 2, "FailedCount": 0}, **self.end}
        return answer

    def update_data_repository_association(self, **given: Any) -> dict[str, Any]:
        self._check("UpdateDataRepositoryAssociation", given)
        each = next(a for a in self.associations.values() if a["AssociationId"] == given["AssociationId"])
        each |= {"S3": given["S3"], "Lifecycle": "UPDATING"}
        self.calls.append(f"export {given['S3']['AutoExportPolicy']['Events']}")
        return {"Association": each}

    def create_data_repository_task(self, **given: Any) -> dict[str, Any]:
        self._check("CreateDataRepositoryTask", given)
        assert self.associations["/projects"]["S3"]["AutoExportPolicy"]["Events"] == []
        self.calls.append(f"{given['Type']} {given['Paths']}")
        name = f"task-0123456789abcdef{len(self.tasks)}"
        self.tasks.append({"TaskId": name, "Lifecycle": "PENDING", "Ours": True, **given})
        return {"DataRepositoryTask": self.tasks[-1]}

    @staticmethod
    def _check(call: str, given: dict[str, Any]) -> None:
        validate_parameters(given, _MODEL.operation_model(call).input_shape)


def _association(name: str, path: str, rules: dict[str, Any]) -> dict[str, Any]:
    return {"AssociationId": name, "FileSystemPath": path, "Lifecycle": "AVAILABLE", "S3": rules}


class World:
    """The system, its FSx and what the head node lists."""

    def __init__(self, system: Deployed) -> None:
        self.system, self.fsx, self.files = system, FSx(), [file("data/d/a.mrc"), file("projects/p/map.mrc")]
        self.listings = 0
        for bucket, key in (("movies", "datasets/d/a.mrc"), ("results", "projects/p/map.mrc")):
            system.clients.s3.create_bucket(Bucket=bucket)
            self.store(bucket, key)
        system.stack("cryoem-storage", LandingBucket="movies", ResultsBucket="results", FileSystemId=FS)

    def store(self, bucket: str, key: str) -> None:
        self.system.clients.s3.put_object(Bucket=bucket, Key=key, Body=b"x" * 10)

    def only_projects(self, *given: Any, folder: str, **more: Any) -> Iterator[ListedFile]:
        assert folder == "projects"
        self.listings += 1
        return iter([each for each in self.files if each.path.startswith("projects/")])

    def listing(self, *given: Any, folder: str, **more: Any) -> Iterator[ListedFile]:
        assert folder == ".", "all of it: what is outside of both folders is lost too"
        self.listings += 1
        return iter(self.files)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[World]:
    with at_hand(monkeypatch, tmp_path) as system:
        made = World(system)
        monkeypatch.setitem(system.clients.__dict__, "fsx", made.fsx)
        monkeypatch.setattr(teardown, "file_listing", made.listing)
        monkeypatch.setattr(catch_up, "file_listing", made.only_projects)
        monkeypatch.setattr(export, "_EVERY_SECONDS", 0.0)
        yield made


def document(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_when_everything_is_in_s3_it_prints_the_commands_in_their_order(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("teardown") == 0
    told = capsys.readouterr().out
    assert "deletion: {allowed: [file_system]}" in told
    lines = [line.strip() for line in told.splitlines() if line.startswith("  ")]
    assert lines == [
        "tools/cdk destroy cryoem-hooks cryoem-cluster cryoem-ingest",
        "tools/cdk deploy cryoem-storage -c cryoem:delete=cryoem",
        "tools/cdk destroy cryoem-storage cryoem-network",
    ]
    assert run("teardown", "--json") == 0
    found = document(capsys)
    assert (found["safe"], found["lost"], found["commands"]) == (True, [], lines)


def test_a_load_balancer_is_unprotected_before_the_first_destroy(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its deletion protection would end `destroy` with the hooks gone and the cluster's stack DELETE_FAILED."""
    world.system.stack("cryoem-cluster", WebAddress="internal-em-1.elb.amazonaws.com", HeadNode="i-1")
    assert run("teardown", "--json") == 0
    first, second, *_ = document(capsys)["commands"]
    assert first.startswith("aws elbv2 modify-load-balancer-attributes --region us-east-1")
    assert "Key=deletion_protection.enabled,Value=false" in first
    assert "LoadBalancers[?DNSName=='internal-em-1.elb.amazonaws.com'].LoadBalancerArn" in first
    assert second == "tools/cdk destroy cryoem-hooks cryoem-cluster cryoem-ingest"


@pytest.mark.parametrize("by", ["option", "variable"])
def test_the_commands_name_the_file_that_was_read(
    world: World, by: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """tools/cdk takes what CRYOEM_CONFIG names; the commands of operators as well."""
    Path("cryoem.yaml").rename("site b.yaml")
    Path("cryoem.yaml").write_text("name: other\n")
    if by == "variable":
        monkeypatch.setenv("CRYOEM_CONFIG", "site b.yaml")
    assert run("teardown", "--json", *(["--config", "site b.yaml"] if by == "option" else [])) == 0
    found = document(capsys)["commands"]
    assert found[0] == "CRYOEM_CONFIG='site b.yaml' tools/cdk destroy cryoem-hooks cryoem-cluster cryoem-ingest"
    assert all(line.startswith("CRYOEM_CONFIG='site b.yaml' tools/cdk ") for line in found)


def test_an_option_goes_over_the_variable_also_in_what_is_printed(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CRYOEM_CONFIG", "nowhere.yaml")
    assert run("teardown", "--json", "--config", "cryoem.yaml") == 0
    assert document(capsys)["commands"][0].startswith("CRYOEM_CONFIG=cryoem.yaml tools/cdk destroy cryoem-hooks")


def test_what_is_not_in_s3_is_listed_and_refused(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.files += [file("projects/p/new.mrc", size=3_000_000_000), file("home/ada/notes.txt")]
    assert run("teardown") == 1
    told = capsys.readouterr()
    assert "2 files (3 GB) would be lost" in told.out
    assert '"projects/p/new.mrc"  3 GB  it is not in the results bucket' in told.out
    assert "nothing of this system may be destroyed yet" in told.err
    assert "tools/cdk" not in told.out
    assert run("teardown", "--json") == 1
    found = document(capsys)
    assert (found["safe"], found["files"], found["bytes"], found["commands"]) == (False, 2, 3_000_000_010, [])
    assert {loss["path"] for loss in found["lost"]} == {"projects/p/new.mrc", "home/ada/notes.txt"}


def test_twenty_are_shown_and_json_has_all(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.files += [file(f"projects/p/{n:02}.mrc") for n in range(21)]
    assert run("teardown") == 1
    told = capsys.readouterr().out
    assert told.count("it is not in the results bucket") == teardown.SHOWN == 20
    assert "and 1 more; --json has all of them" in told
    assert run("teardown", "--json") == 1
    assert document(capsys)["files"] == 21


def test_a_name_of_any_bytes_can_be_shown(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.files.append(file("projects/p/\udce9\x1b[31m\n.mrc"))
    assert run("teardown") == 1
    assert r'"projects/p/\udce9\u001b[31m\n.mrc"' in capsys.readouterr().out


@pytest.mark.parametrize("state", ["MISCONFIGURED", "UPDATING", "FAILED"])
def test_a_file_system_that_is_not_available_is_refused(
    world: World, state: str, capsys: pytest.CaptureFixture[str]
) -> None:
    world.fsx.state = state
    assert run("teardown") == 1
    assert f"the file system is {state}, not AVAILABLE" in capsys.readouterr().out
    assert world.listings == 0


def test_an_association_that_does_not_work_is_refused_with_fsxs_words(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.fsx.associations["/projects"] |= {"Lifecycle": "MISCONFIGURED", "FailureDetails": {"Message": "no access"}}
    assert run("teardown") == 1
    assert "the association on /projects is MISCONFIGURED, not AVAILABLE: no access" in capsys.readouterr().out


@pytest.mark.parametrize("folder", ["/data", "/projects"])
def test_a_missing_association_is_refused(world: World, folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    del world.fsx.associations[folder]
    assert run("teardown") == 1
    assert f"there is no association on {folder}" in capsys.readouterr().out


def test_while_anybody_may_write_it_is_refused(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    node = world.system.instance("g5.4xlarge")
    world.system.put("dataset", "krios-1", state="arriving")
    world.system.put("dataset", "krios-2", state="landed")
    world.fsx.tasks = [{"TaskId": "task-1", "Type": "RELEASE_DATA_FROM_FILESYSTEM", "Lifecycle": "EXECUTING"}]
    assert run("teardown", "--json") == 1
    nodes, arriving, task = sorted(document(capsys)["refusals"])
    assert nodes == f"1 node on, whose jobs may write: {node}"
    assert "still arriving: krios-1;" in arriving
    assert "task-1 (RELEASE_DATA_FROM_FILESYSTEM) has not ended" in task
    assert world.listings == 0


def test_a_file_system_that_is_gone_is_said(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.fsx.state = None
    assert run("teardown") == 1
    assert f"FSx knows no file system {FS}" in capsys.readouterr().err


def test_export_exports_what_is_below_projects_and_looks_again(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.files.append(file("projects/p/new.mrc"))
    world.fsx.on_export = lambda: world.store("results", "projects/p/new.mrc")
    assert run("teardown", "--export") == 0
    told = capsys.readouterr()
    assert "Everything on the file system is in S3" in told.out
    assert "executing" in told.err
    assert "exported: 2 of 2 files" in told.err
    assert world.fsx.calls == ["export []", "EXPORT_TO_REPOSITORY ['projects']", "export ['NEW', 'CHANGED']"]
    assert world.listings == 2


def test_export_does_nothing_when_nothing_of_projects_is_missing(world: World) -> None:
    world.files.append(file("home/ada/notes.txt"))
    assert run("teardown", "--export") == 1
    assert (world.fsx.calls, world.listings) == ([], 1)


def test_what_the_export_did_not_bring_is_still_refused(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.files += [file("projects/p/new.mrc"), file("data/d/mine.txt")]
    world.fsx.on_export = lambda: world.store("results", "projects/p/new.mrc")
    assert run("teardown", "--export", "--json") == 1
    assert [loss["path"] for loss in document(capsys)["lost"]] == ["data/d/mine.txt"]


@pytest.mark.parametrize("end", ["FAILED", "CANCELED"])
def test_a_failed_export_is_said_and_the_automatic_one_is_on_again(
    world: World, end: str, capsys: pytest.CaptureFixture[str]
) -> None:
    world.files.append(file("projects/p/new.mrc"))
    world.fsx.end = {"Lifecycle": end, "FailureDetails": {"Message": "KMS key disabled"}}
    assert run("teardown", "--export") == 1
    assert f"is {end} (2 of 2 files): KMS key disabled" in capsys.readouterr().err
    assert world.fsx.calls[-1] == "export ['NEW', 'CHANGED']"


@pytest.mark.parametrize("moment", ["describe_data_repository_tasks", "create_data_repository_task"])
def test_whatever_happens_the_automatic_export_is_on_again(
    world: World, moment: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    world.files.append(file("projects/p/new.mrc"))
    asked = world.fsx.describe_data_repository_tasks

    def interrupted(**given: Any) -> dict[str, Any]:
        if moment.startswith("describe") and not world.fsx.tasks:
            return asked(**given)
        raise KeyboardInterrupt

    monkeypatch.setattr(world.fsx, moment, interrupted)
    assert run("teardown", "--export") == 1
    assert world.fsx.calls[-1] == "export ['NEW', 'CHANGED']"
    assert world.fsx.associations["/projects"]["S3"] == {"AutoExportPolicy": {"Events": ["NEW", "CHANGED"]}}


def test_an_export_that_was_left_switched_off_is_switched_on(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.files.append(file("projects/p/new.mrc"))
    world.fsx.associations["/projects"]["S3"] = {"AutoExportPolicy": {"Events": []}}
    run("teardown", "--export")
    assert world.fsx.associations["/projects"]["S3"] == {"AutoExportPolicy": {"Events": ["NEW", "CHANGED"]}}


def test_jobs_that_came_during_the_export_are_seen(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.files.append(file("projects/p/new.mrc"))

    def exported() -> None:
        world.store("results", "projects/p/new.mrc")
        world.system.instance("g5.4xlarge")

    world.fsx.on_export = exported
    assert run("teardown", "--export") == 1
    assert "1 node on" in capsys.readouterr().out


def test_an_association_that_never_settles_is_given_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def stuck(**given: Any) -> dict[str, Any]:
        return {"Associations": [{**world.fsx.associations["/projects"], "Lifecycle": "UPDATING"}]}

    monkeypatch.setattr(world.fsx, "describe_data_repository_associations", stuck)
    times = iter(range(0, 10**6, 300))
    with pytest.raises(Failed, match="is UPDATING, and was to be AVAILABLE"):
        export.export(
            world.system.clients, FS, world.fsx.associations["/projects"], say=lambda text: None,
            clock=lambda: float(next(times)), pause=lambda seconds: None,
        )  # fmt: skip
    assert world.fsx.calls[-1] == "export ['NEW', 'CHANGED']"


# --- cryoem export ------------------------------------------------------------------------------------------------------


def in_use(world: World) -> None:
    """As a system with a microscope nearly always is."""
    world.system.instance("g5.4xlarge")
    world.system.put("dataset", "krios-1", state="arriving")


def test_on_a_system_in_use_an_export_catches_up(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    in_use(world)
    world.files += [file("projects/p/new.mrc"), file("data/d/mine.txt"), file("home/ada/notes.txt")]
    world.fsx.on_export = lambda: world.store("results", "projects/p/new.mrc")
    assert run("teardown", "--export") == 1
    assert world.fsx.calls == [], "the other command refuses on such a system"
    assert run("export") == 0
    told = capsys.readouterr()
    assert "Everything below /projects is in S3, as it is" in told.out
    assert "1 file below /projects not in S3 as they are" in told.err
    assert world.fsx.calls == ["export []", "EXPORT_TO_REPOSITORY ['projects']", "export ['NEW', 'CHANGED']"]


def test_an_export_of_nothing_switches_nothing_off(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    in_use(world)
    assert run("export") == 0
    assert "Everything below /projects is in S3" in capsys.readouterr().out
    assert (world.fsx.calls, world.listings) == ([], 1)


def test_an_export_can_be_looked_at_first(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.files.append(file("projects/p/new.mrc"))
    assert run("export", "--dry-run") == 1
    told = capsys.readouterr().out
    assert '"projects/p/new.mrc"  10 B  it is not in the results bucket' in told
    assert "run this once more" not in told
    assert world.fsx.calls == []


def test_what_was_written_while_the_automatic_export_was_off_is_told(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that is written later is brought by the automatic export; one of before it was on again by nobody."""
    now = 10_000.0
    monkeypatch.setattr("cdk_cryoem_stacks.operate.save_command.time.time", lambda: now)
    world.files.append(file("projects/p/new.mrc"))

    def exported() -> None:
        world.store("results", "projects/p/new.mrc")
        world.files += [file("projects/p/gap.mrc", mtime=now - 5), file("projects/p/later.mrc", mtime=now + 61)]

    world.fsx.on_export = exported
    assert run("export") == 1
    told = capsys.readouterr().out
    assert "gap.mrc" in told
    assert "later.mrc" not in told
    assert "run this once more" in told
    assert catch_up.comes_by_itself(now + 60.1, now)
    assert not catch_up.comes_by_itself(now + 60, now), "clocks differ"
    world.fsx.on_export = lambda: world.store("results", "projects/p/gap.mrc")
    assert run("export") == 0
    assert "; 1 file written since, which the automatic export brings" in capsys.readouterr().out


def test_while_the_head_node_sleeps_it_exports_and_says_that_it_did_not_look(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def asleep(*given: Any, **more: Any) -> Any:
        raise Failed("the head node is stopped, and only it sees the file system: cryoem wake")

    monkeypatch.setattr(catch_up, "file_listing", asleep)
    assert run("export", "--dry-run") == 1
    assert world.fsx.calls == []
    capsys.readouterr()
    assert run("export") == 0
    assert "was not looked at: the head node is stopped" in capsys.readouterr().out
    assert world.fsx.calls[-1] == "export ['NEW', 'CHANGED']"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"Lifecycle": "MISCONFIGURED"}, "the association on /projects is MISCONFIGURED, not AVAILABLE"),
        ({"FileSystemPath": "/other"}, "there is no association on /projects"),
    ],
)
def test_an_export_needs_its_association(
    world: World, change: dict[str, str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    world.fsx.associations["/projects"] |= change
    assert run("export") == 1
    assert says in capsys.readouterr().err
    assert world.fsx.calls == []


def test_an_export_waits_for_no_other_task(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.fsx.tasks = [{"TaskId": "task-1", "Type": "IMPORT_METADATA_FROM_REPOSITORY", "Lifecycle": "EXECUTING"}]
    assert run("export") == 1
    assert "task-1 (IMPORT_METADATA_FROM_REPOSITORY) has not ended" in capsys.readouterr().err
    assert world.fsx.calls == []


def test_the_documented_policy_names_exactly_the_actions_of_fsx_and_s3_that_are_asked_for() -> None:
    (section,) = re.findall(r"^## Tearing down\n(.*?)(?=^## )", (ROOT / "docs" / "iam.md").read_text(), re.M | re.S)
    (policy,) = (json.loads(text) for text in re.findall(r"```json\n(.*?)```", section, re.S))
    named = {action for statement in policy["Statement"] for action in statement["Action"]}
    files = ("teardown.py", "export.py", "catch_up.py")
    code = "".join((ROOT / "stacks/cdk_cryoem_stacks/operate" / f).read_text() for f in files)
    assert named == set(re.findall(r'"((?:fsx|s3|cloudformation):[A-Z]\w+)"', code))
    writes = {action for action in named if not re.match(r"\w+:(Describe|List)", action)}
    assert writes == {"fsx:UpdateDataRepositoryAssociation", "fsx:CreateDataRepositoryTask"}


def test_a_verdict_with_losses_has_no_commands() -> None:
    lost = [Loss(path="a", size=1, why="because")]
    assert teardown.Verdict(refusals=(), lost=lost, commands=["rm"]).document()["commands"] == []
