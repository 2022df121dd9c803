"""The parts of the benchmark that are not loads: imports and exports, the start, and pages far down."""

import http.client
import os
import pathlib
import sqlite3
import sys
import time

import movies
import processes
import report
from programs import PASSWORD, Cinequery, call

# The columns of a movie as clients see them.
FIELDS = "id, title, genre, release_year, expiry_date, version, created_at, updated_at"


def prepared(folder, rows):
    """A folder with the movies as a file."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    records = folder / "movies.ndjson"
    movies.write(records, rows)
    (folder / "genres.txt").write_text("\n".join(movies.GENRES) + "\n")
    return records


def services(folder, options):
    """The service on a cluster of its own, and on a file; with tables and without movies."""
    cluster = processes.Cluster(folder)
    cluster.create("movies")
    postgres = Cinequery(folder, "PostgreSQL", options.binary, cluster)
    sqlite = Cinequery(folder, "SQLite", options.binary, None, sqlite=folder / "movies.db")
    return cluster, [postgres, sqlite]


# --- transfer ---


class Timed:
    """Measures a block: time, CPU time of processes, and the peak memory of one of them."""

    def __init__(self, rows, workload, program, count, database=None, service=None):
        self.row = {"workload": workload, "program": program, "round": 0}
        self.rows, self.count, self.database, self.service = rows, count, database, service
        self.cpu = self.memory = 0.0

    def __enter__(self):
        if self.service:
            pathlib.Path(f"/proc/{self.service}/clear_refs").write_text("5")
        self.before = [processes.cpu_seconds(pid) for pid in (self.service, self.database)]
        self.begin = time.monotonic()
        return self

    def run(self, command, output=os.devnull, **settings):
        """Runs a command, and takes its CPU time and memory."""
        process = processes.start(command, output, **settings)
        # Not `ru_maxrss`, which begins with the memory of this program.
        while (ended := os.wait4(process.pid, os.WNOHANG))[0] == 0:
            self.memory = max(self.memory, processes.status_mib(process.pid, "VmHWM"))
            time.sleep(0.01)
        _, status, usage = ended
        process.returncode = os.waitstatus_to_exitcode(status)
        processes.stop(process)
        if process.returncode != 0:
            sys.exit(f"{process.args}: exit code {process.returncode}")
        self.cpu = usage.ru_utime + usage.ru_stime

    def __exit__(self, failure, *_):
        if failure:
            return
        seconds = time.monotonic() - self.begin
        after = [processes.cpu_seconds(pid) for pid in (self.service, self.database)]
        service, database = (end - begin for begin, end in zip(self.before, after))
        if self.service:
            memory = processes.status_mib(self.service, "VmHWM")
        else:
            service, memory = self.cpu, self.memory
        self.row |= {
            "milliseconds": 1000 * seconds,
            "per_second": self.count / seconds,
            "service_us": 1e6 * service / self.count,
            "database_us": 1e6 * database / self.count,
            "memory_mib": memory,
        }
        self.rows.append(self.row)
        row = self.row
        rate = f"{row['per_second']:10,.0f}/s"
        print(f"{row['workload']:8} {row['program']:36} {seconds:8.2f} s {rate} {memory:6.0f} MiB", flush=True)


def send_file(service, records, token):
    """Imports a file over HTTP."""
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=1800)
    headers = {"authorization": f"Bearer {token}", "content-type": "application/x-ndjson"}
    with open(records, "rb") as body:
        connection.request("POST", "/api/v1/movies/import", body, headers, encode_chunked=False)
        response = connection.getresponse()
        text = response.read()
    if response.status != 200:
        sys.exit(f"import over HTTP: {response.status} {text[:500]}")


def fetch_file(service, token):
    """Exports over HTTP, and drops what arrives."""
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=1800)
    headers = {"authorization": f"Bearer {token}"}
    connection.request("GET", "/api/v1/movies/export?format=ndjson", headers=headers)
    response = connection.getresponse()
    while response.read(1 << 20):
        pass
    if response.status != 200:
        sys.exit(f"export over HTTP: {response.status}")


def transfer(options, folder):
    records = prepared(folder, options.rows)
    cluster, (postgres, sqlite) = services(folder, options)
    rows = []
    transfer_postgres(rows, options, cluster, postgres, records)
    processes.stop(cluster.process)
    transfer_sqlite(rows, options, sqlite, records)
    return rows


def sign_in(service):
    service.command("user", "add", "bench", "--role", "admin", input=PASSWORD + "\n")
    service.start()


def transfer_postgres(rows, options, cluster, service, records):
    psql = [f"{cluster.bin}/psql", "-Xq", "-v", "ON_ERROR_STOP=1", *cluster.arguments("movies")]
    binary, environment = options.binary, service.environment()

    def timed(workload, program, pid=None):
        return Timed(rows, workload, program, options.rows, cluster.pid, pid)

    def empty():
        cluster.sql("TRUNCATE movies, changes", "CHECKPOINT")

    service.command("migrate")
    with timed("import", "cinequery import, PostgreSQL") as block:
        block.run([binary, "import", records], env=environment)
    cluster.settle("movies", "changes")
    copies = {name: records.with_name(f"{name}.copy") for name in ("movies", "changes")}
    for name, file in copies.items():
        cluster.sql(f"\\copy {name} TO '{file}'")
    with timed("export", "cinequery export, PostgreSQL") as block:
        block.run([binary, "export", "-"], env=environment)
    with timed("export", "COPY movies (…) TO STDOUT") as block:
        block.run([*psql, "-c", f"COPY movies ({FIELDS}) TO STDOUT"])
    sign_in(service)
    with timed("export", "GET …/export, PostgreSQL", service.service):
        fetch_file(service, service.token)
    empty()
    with timed("import", "POST …/import, PostgreSQL", service.service):
        send_file(service, records, service.token)
    processes.stop(service.process)
    for names in (["movies"], ["movies", "changes"]):
        empty()
        texts = [part for name in names for part in ("-c", f"\\copy {name} FROM '{copies[name]}'")]
        with timed("import", f"COPY {' and '.join(names)} FROM STDIN") as block:
            block.run([*psql, "-1", *texts])


def transfer_sqlite(rows, options, service, records):
    binary, environment = options.binary, service.environment()

    def timed(workload, program, pid=None):
        return Timed(rows, workload, program, options.rows, None, pid)

    def empty():
        for end in ("", "-wal", "-shm"):
            pathlib.Path(f"{service.file}{end}").unlink(missing_ok=True)
        service.command("migrate")

    empty()
    statement, note = insertions(service.file)
    with timed("import", "cinequery import, SQLite") as block:
        block.run([binary, "import", records], env=environment)
    with timed("export", "cinequery export, SQLite") as block:
        block.run([binary, "export", "-"], env=environment)
    sign_in(service)
    with timed("export", "GET …/export, SQLite", service.service):
        fetch_file(service, service.token)
    processes.stop(service.process)
    empty()
    sign_in(service)
    with timed("import", "POST …/import, SQLite", service.service):
        send_file(service, records, service.token)
    processes.stop(service.process)
    for title, journal in (("movies", []), ("movies and changes", [note])):
        empty()
        with timed("import", f"bare loop, {title}, SQLite") as block:
            block.run([options.bare, "import", service.file, statement, records, *journal])


def insertions(file):
    """The statements of the bare loop: into the table of the movies, and into the journal."""
    connection = sqlite3.connect(file)
    names = [name for (_, name, *_) in connection.execute("PRAGMA table_info(movies)")]
    connection.close()
    places = ", ".join("?" * len(names))
    columns = "collection, version, subject, id, after, changed_at"
    return (
        f"INSERT INTO movies ({', '.join(names)}) VALUES ({places})",
        f"INSERT INTO changes ({columns}) VALUES ('movies', 1, 'bench', ?, ?, ?)",
    )


# --- start ---

STARTS = 11


def start(options, folder):
    rows = []
    records = prepared(folder, options.rows)
    cluster, both = services(folder, options)
    for service in both:
        service.prepare(records)
    for number in range(STARTS):
        for service in both:
            begin = time.monotonic()
            process = processes.start(service.settings(), service.log, env=service.environment())
            while not responds(service.port):
                if process.poll() is not None:
                    sys.exit(f"the service did not start; see {service.log.read_text()}")
                time.sleep(0.0005)
            spent = time.monotonic() - begin
            time.sleep(1)
            memory = processes.status_mib(process.pid, "VmRSS")
            processes.stop(process)
            row = {"workload": "start", "program": service.name, "round": number}
            rows.append({**row, "milliseconds": 1000 * spent, "memory_mib": memory})
            print(f"{service.name:12} {1000 * spent:6.1f} ms  {memory:5.1f} MiB", flush=True)
    return rows


def responds(port):
    """Whether the service is ready, and so also reaches its database."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


# --- pages ---

PAGE, DEEP = 20, 10_000
ORDERS = {"by id": "", "by year": "&order_by=release_year", "of a genre": "&filter=genre%20%3D%20%22drama%22"}


def pages(options, folder):
    rows = []
    records = prepared(folder, options.rows)
    cluster, both = services(folder, options)
    for service in both:
        service.prepare(records)
        if service.cluster:
            cluster.settle("movies", "changes")
        service.start()
    for title, query in ORDERS.items():
        for service in both:
            deep, number = walk(service, query)
            for turn in range(options.rounds):
                urls = [("page 1", ""), (f"page {number:,}", f"&cursor={deep}")]
                for name, cursor in urls[:: -1 if turn % 2 else 1]:
                    service.urls = {"first": f"/api/v1/movies?limit={PAGE}{query}{cursor}"}
                    measured = service.measure("first", options.seconds, 1)
                    row = {"workload": f"{title}, {name}", "program": service.name, "round": turn}
                    rows.append({**row, **measured})
                    print(report.progress(rows[-1]), flush=True)
    return rows


def walk(service, query):
    """The cursor of page `DEEP`, or of the last one, and its number."""
    remaining, cursor, passed = PAGE * (DEEP - 1), None, 0
    while remaining:
        limit = min(1000, remaining)
        url = f"{service.base}/api/v1/movies?limit={limit}{query}"
        page = call(url + (f"&cursor={cursor}" if cursor else ""), token=service.token)
        if "next_cursor" not in page:
            break
        cursor, passed, remaining = page["next_cursor"], passed + limit, remaining - limit
    return cursor, passed // PAGE + 1
