"""What is done to file systems in a `World`, by scientists, by accident and by deployments."""

from __future__ import annotations

import os

from botocore.exceptions import ClientError
from lustre_double import LustreDouble
from movie_ledger import MOVIES, LostError
from movie_world import World


def work_on_file_system(world: World) -> None:
    """What scientists do to /data and /projects, by intent or not."""
    store = world.file_system
    kinds = ["result", "result", "at home", "rm -rf data", "rm -rf projects", "rm", "overwrite", "cut", "new", "mv"]
    match world.rng.choice(kinds):
        case "at home":
            home = store.root / "home" / world.new("notes")
            home.parent.mkdir(exist_ok=True)
            home.write_bytes(b"on the file system alone")
        case "result":
            write_result(world)
        case "rm -rf data":
            store.empty(store.data)
        case "rm -rf projects":
            store.empty(store.projects)
        case "new":
            (store.data / world.new("by-hand")).write_bytes(b"by hand")
        case what:
            _spoil_on_file_system(world, what)
    # An export may come later than what is done next.
    if world.rng.random() < 0.6:
        world.synchronise()


def write_result(world: World) -> None:
    """A job leaves a result, which is not exported yet."""
    result = world.file_system.projects / "P1" / world.new("job") / "particles.star"
    result.parent.mkdir(parents=True, exist_ok=True)
    result.write_bytes(world.rng.randbytes(50))


def _spoil_on_file_system(world: World, what: str) -> None:
    files = world.file_system.files(world.file_system.data)
    if not files:
        return
    movie = world.rng.choice(files)
    match what:
        case "rm":
            movie.unlink()
        case "overwrite":
            movie.write_bytes(b"not a movie")
        case "cut":
            os.truncate(movie, 0)
        case _:
            movie.rename(movie.with_name(world.new("moved")))


def rebuild(world: World) -> None:
    """The file system is lost and made again; every movie that can be read is on it then. Errors: LostError."""
    world.file_system.delete()
    world.mount()
    world.synchronise()
    data = world.file_system.data
    there = {MOVIES + str(path.relative_to(data)) for path in world.file_system.files(data)}
    cold = {version[0] for version in world.ledger.current_versions() if not world.archive.readable(version)}
    if there != set(world.ledger.current()) - cold:
        raise LostError("the new file system does not have all movies, or others")


def unsaved(world: World, file_system: LustreDouble) -> list[str]:
    """Files that are not in S3 as they are, by their bytes. Of a movie any version will do."""
    world.ledger.look()
    lost = []
    for path in file_system.files(file_system.root):
        folder, _, name = path.relative_to(file_system.root).as_posix().partition("/")
        content = path.read_bytes()
        if folder == "data":
            saved = world.ledger.holds(MOVIES + name, content)
        else:
            saved = folder == "projects" and _result(world, f"projects/{name}") == content
        if not saved:
            lost.append(f"{folder}/{name}")
    return lost


def _result(world: World, key: str) -> bytes | None:
    try:
        found = world.ledger.s3.get_object(Bucket=world.results_bucket, Key=key)
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchKey":
            raise
        return None
    return bytes(found["Body"].read())


def deploy(world: World) -> None:
    """Another configuration, and back at the next time: another file system too. Errors: LostError."""
    if world.other_stacks is None:
        return
    before = dict(world.system.stacks)
    ((stack, logical, _),) = world.system.deployed.of_type("AWS::FSx::FileSystem")
    policy = before[stack]["Resources"][logical].get("DeletionPolicy")
    world.system.update(world.other_stacks)
    world.other_stacks = before
    world.follow()
    old = world.file_system
    if logical in world.system.stacks[stack]["Resources"]:
        return
    if policy == "Retain":
        world.retained.append(old)
    elif lost := unsaved(world, old):
        raise LostError(f"{lost[0]} went with the file system that an update took away")
    else:
        old.delete()
    world.mount()
