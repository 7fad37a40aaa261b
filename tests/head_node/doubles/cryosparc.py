#!/usr/bin/env python3
"""A double of cryoSPARC's two packages: the commands and the daemon of a master. Standard library only.

It is licensed software and cannot be here. What is known of it from public sources is done here as it is done there: names of
commands and options of version 4 and 5, what an installer writes, that the master is a daemon, that a database belongs to one
version, how users are made. It proves the interface, not cryoSPARC.
"""

import hashlib
import http.server
import json
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
import urllib.parse
from pathlib import Path

ROOT = Path(__file__).resolve().parent
RECORD = Path((ROOT / "record").read_text())
VERSION = (ROOT / "version").read_text().strip().lstrip("v")
FIVE = VERSION.startswith("5")
RUN = ROOT / "run"


def look_for_leaks():
    """Search what every process of this machine was called with, and config.sh, for what nobody may see."""
    secrets = [secret.encode() for secret in json.loads((RECORD / "secrets.json").read_text())]
    path = ROOT / "config.sh"
    if path.exists() and path.stat().st_mode & 0o077 and any(secret in path.read_bytes() for secret in secrets):
        with (RECORD / "leaks").open("a") as leaks:
            leaks.write(f"{path} can be read by others\n")
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes()
        except OSError:
            continue
        if any(secret in command for secret in secrets):
            with (RECORD / "leaks").open("a") as leaks:
                leaks.write(command.replace(b"\0", b" ").decode(errors="replace") + "\n")


def stage(name):
    """A point that the test may stop at: it is told, and this process stays until it is killed or released."""
    look_for_leaks()
    with (RECORD / "stages").open("a") as stages:
        stages.write(f"{name}\n")
    pause = RECORD / "pause"
    if pause.exists() and pause.read_text() == name:
        pause.unlink()
        (RECORD / "says").write_text(name)
        (RECORD / "hears").read_text()


def settings():
    """config.sh, as a shell would read it."""
    lines = (ROOT / "config.sh").read_text().splitlines()
    pairs = (line.removeprefix("export ").partition("=") for line in lines if line.startswith("export "))
    return {name: value.strip('"') for name, _, value in pairs}


class Database:
    """The documents, in one file of the database's folder."""

    def __init__(self):
        self.folder = Path(settings()["CRYOSPARC_DB_PATH"])
        self.path = self.folder / "documents.json"

    def read(self):
        if not self.path.exists():
            return {"version": VERSION, "users": {}, "targets": [], "projects": []}
        return json.loads(self.path.read_text())

    def write(self, documents):
        self.path.write_text(json.dumps(documents))

    def start(self):
        """A database belongs to the version that wrote it."""
        documents = self.read()
        if documents["version"] != VERSION:
            (RECORD / "broken").write_text(f"{VERSION} was let loose on a database of {documents['version']}\n")
            sys.exit(f"the database is of version {documents['version']}, not {VERSION}")
        self.write(documents)
        (self.folder / "mongod.lock").write_text("1")


def pid():
    try:
        found = int((RUN / "master.pid").read_text())
        os.kill(found, 0)
    except (OSError, ValueError):
        return 0
    return found


def start(*services):
    stage(f"start {' '.join(services)}".strip())
    Database().start()
    if services == ("database",):
        return
    if pid():
        sys.exit("CryoSPARC is already running. If you would like to restart, use cryosparcm restart")
    subprocess.Popen(
        [sys.executable, __file__, "serve"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    print("CryoSPARC master started.")


def stop():
    running = pid()
    if running:
        os.kill(running, signal.SIGTERM)
        while pid():
            time.sleep(0.01)
    (Database().folder / "mongod.lock").unlink(missing_ok=True)


def back_up(options):
    Database().start()
    stage("backup")
    if (RECORD / "backup fails").exists():
        sys.exit("mongodump: no space left on device")
    (Path(options["--dir"]) / options["--file"]).write_text("archive\n" + Database().path.read_text())
    print(f"licence {settings()['CRYOSPARC_LICENSE_ID']}")


def restore(options):
    stage("restore")
    database = Database()
    if not (database.folder / "mongod.lock").exists():
        sys.exit("the database does not run")
    if (RECORD / "restore fails").exists():
        database.path.write_text("half of it")
        sys.exit("mongorestore: broken archive")
    database.path.write_text(Path(options["--file"]).read_text().removeprefix("archive\n"))


def update(options):
    """Over the old version, then the database. What an update that broke off left behind, the next one leaves alone."""
    if options["--version"] == f"v{VERSION}":
        print("Already up to date!")
        return
    if (Database().folder / "mongod.lock").exists() or pid():
        stop()
    with tarfile.open(ROOT / "cryosparc_master.tar.gz") as package:
        for member in package.getmembers():
            member.name = member.name.partition("/")[2]
            if member.name:
                package.extract(member, ROOT)
    stage("update: programs")
    if (RECORD / "update fails").exists():
        Database().path.write_text("half of it")
        sys.exit("validation of the database failed")
    database = Database()
    database.write({**database.read(), "version": options["--version"].lstrip("v")})
    stage("update: database")


class Web(http.server.BaseHTTPRequestHandler):
    """The web application, with the REST API of version 5 below /api/cmd."""

    def do_GET(self):
        path = urllib.parse.unquote(self.path)
        if path == "/":
            return self.answer(200, "the web application")
        if not FIVE or not path.startswith("/api/cmd/"):
            return self.answer(404, {})
        if path == "/api/cmd/openapi.json":
            return self.answer(200, SCHEMA)
        user = Database().read()["users"].get(path.rpartition("/")[2])
        return self.answer(200, shown(user)) if user else self.answer(404, {"detail": "no such user"})

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"] or 0)).decode()
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        name = urllib.parse.unquote(url.path.removeprefix("/api/cmd"))
        users = Database().read()["users"]
        if name == "/login":
            form = dict(urllib.parse.parse_qsl(body))
            if form["password"] != key(form["username"], users):
                return self.answer(401, {"detail": "Incorrect username or password"})
            return self.answer(200, {"access_token": form["username"], "token_type": "bearer"})
        if self.headers["Authorization"] != "Bearer cryosparc" and not name.endswith("/reset_password"):
            return self.answer(403, {"detail": "only administrators"})
        stage("user")
        if name == "/users":
            return self.answer(200, shown(put_user(password=json.loads(body), **query)))
        email, verb = name.removeprefix("/users/").split("/")
        if verb == "request_reset_password":
            return self.answer(200, shown(put_user(email, reset_token="1234")))
        if query.get("token") != users[email]["reset_token"]:
            return self.answer(403, {"detail": "wrong token"})
        return self.answer(200, shown(put_user(email, password=json.loads(body), reset_token=None)))

    def answer(self, status, document):
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Core(Web):
    """Version 4's command_core."""

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/api" or self.headers["License-ID"] != settings()["CRYOSPARC_LICENSE_ID"]:
            return self.answer(403, {})
        database, given = Database(), asked["params"]
        if asked["method"] == "get_id_by_email_password":
            user = database.read()["users"].get(given[0])
            found = (
                {"result": "id"} if user and user["password"] == sha256(given[1]) else {"error": {"message": "wrong"}}
            )
            return self.answer(200, found)
        stage("user")
        if given[1] in database.read()["users"]:
            return self.answer(200, {"error": {"message": f"{given} exists"}})
        put_user(
            given[1],
            password=sha256(given[2]),
            username=given[3],
            first_name=given[4],
            last_name=given[5],
            admin=given[6],
        )
        return self.answer(200, {"result": "id"})


def key(name, users):
    """The hash that lets somebody in; the licence is one, for the user cryosparc."""
    if name == "cryosparc":
        return sha256(settings()["CRYOSPARC_LICENSE_ID"])
    return users.get(name, {}).get("password")


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


def shown(user):
    """A user, as the API shows one."""
    return {name: value for name, value in {**user, "name": user["username"]}.items() if name != "password"}


def put_user(email, **values):
    database = Database()
    documents = database.read()
    user = documents["users"].setdefault(email, {})
    user.update(values)
    database.write(documents)
    return user


def _path(summary, method, path, *, query=(), body=None, model="User"):
    names = [part.strip("{}") for part in path.split("/") if part.startswith("{")]
    parameters = [{"name": name, "in": "path", "required": True} for name in names]
    parameters += [{"name": name, "in": "query", "required": False} for name in query]
    answer = {"content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{model}"}}}}
    schema = {"summary": summary, "parameters": parameters, "responses": {"200": answer}}
    if body:
        schema["requestBody"] = {
            "content": {body: {"schema": {"type": "object"} if "form" in body else {"type": "string"}}}
        }
    return path, {method: schema}


SCHEMA = {
    "info": {},
    "components": {},
    "paths": dict(
        [
            _path("login", "post", "/login", body="application/x-www-form-urlencoded", model="Token"),
            _path("users.create", "post", "/users", query=("email", "username", "first_name", "last_name", "role"), body="application/json"),
            _path("users.find_one", "get", "/users/{user_id}"),
            _path("users.request_reset_password", "post", "/users/{user_id}/request_reset_password"),
            _path("users.reset_password", "post", "/users/{user_id}/reset_password", query=("token",), body="application/json"),
        ]
    ),
}  # fmt: skip


def serve():
    RUN.mkdir(exist_ok=True)
    (RUN / "master.pid").write_text(str(os.getpid()))
    with (RECORD / "daemons").open("a") as daemons:
        daemons.write(f"{os.getpid()}\n")
    port = int(settings()["CRYOSPARC_BASE_PORT"])
    if FIVE:
        (RUN / "cryosparc_instance_config_2026_01_01_00h00.tar").write_text("lanes and users")
    else:
        core = http.server.ThreadingHTTPServer(("127.0.0.1", port + 2), Core)
        threading.Thread(target=core.serve_forever, daemon=True).start()
    http.server.ThreadingHTTPServer(("127.0.0.1", port), Web).serve_forever()


def cluster(verb, *names):
    database = Database()
    documents = database.read()
    if verb == "connect":
        info = json.loads(Path("cluster_info.json").read_text())
        target = {**info, "type": "cluster", "lane": info["name"], "script_tpl": Path("cluster_script.sh").read_text()}
        names = (info["name"],)
    documents["targets"] = [t for t in documents["targets"] if t["name"] not in names]
    if verb == "connect":
        documents["targets"].append(target)
    database.write(documents)


def cli(expression):
    if expression == "get_scheduler_targets()":
        print(Database().read()["targets"])
    elif not expression.startswith("remove_scheduler_lane("):
        sys.exit(f"no such function: {expression}")


OLD = {"backup": back_up, "restore": restore}


def main(command, *arguments):
    with (RECORD / "calls").open("a") as calls:
        calls.write(f"{VERSION} {command} {' '.join(arguments)}".strip() + "\n")
    options = dict(argument.partition("=")[::2] for argument in arguments if argument.startswith("--"))
    if command == "stage":
        stage(arguments[0])
    elif command == "deps":
        (ROOT / "deps").mkdir(exist_ok=True)
    elif command in ("start", "restart"):
        if command == "restart":
            stop()
        start(*arguments)
    elif command == "serve":
        serve()
    elif command == "stop":
        stop()
    elif command == "update" and "--help" in options:
        print("Options: --check --list --download --install" if FIVE else "--check, --override, --skip-download")
    elif command == "update" and ("--install" if FIVE else "--skip-download") in options:
        update(options)
    elif FIVE and command == "database" and arguments[0] in OLD:
        if "--help" not in options:
            OLD[arguments[0]](options)
    elif not FIVE and command in OLD:
        OLD[command](options)
    elif not FIVE and command == "cluster":
        cluster(*arguments)
    elif not FIVE and command == "cli":
        cli(arguments[0])
    else:
        sys.exit(f"No such command '{command}' of version {VERSION}.")


if __name__ == "__main__":
    main(*sys.argv[1:])
