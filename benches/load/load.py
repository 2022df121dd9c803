#!/usr/bin/env python3
"""Measures the service beside a bare program with the same libraries, pgbench and PocketBase.

Everything runs on this machine in a temporary folder, with servers of its own, and is stopped at the end. The figures
are CPU time for each request, as the operating system accounts it: other programs on the machine change them less than
rates and latencies. Programs take turns in rounds. Compare figures of one run only.
"""

import argparse
import itertools
import os
import pathlib
import re
import shutil
import sys
import tempfile

sys.dont_write_bytecode = True
if sys.version_info < (3, 11):
    sys.exit("Python 3.11 or later is needed")

import movies
import parts
import processes
import report
from programs import (
    READS,
    ROOT,
    WORKLOADS,
    Bare,
    Cinequery,
    Loop,
    Pgbench,
    Pocketbase,
    Served,
    call,
)

PROGRAMS = ("pgbench", "bare", "postgres", "sqlite", "loops", "pocketbase")
GROWTH = (10_000, 100_000, 1_000_000)


class World:
    """The databases with their movies, and the programs on them."""

    def __init__(self, folder, options, rows, wanted=PROGRAMS):
        self.folder, self.options = folder, options
        folder.mkdir(parents=True, exist_ok=True)
        # PostgreSQL runs as another user.
        folder.chmod(0o755)
        self.records = folder / "movies.ndjson"
        print(f"preparing {rows:,} movies", flush=True)
        movies.write(self.records, rows)
        (folder / "genres.txt").write_text("\n".join(movies.GENRES) + "\n")
        self.unlogged = folder / "movies.toml"
        declared = (ROOT / "records" / "movies.toml").read_text()
        self.unlogged.write_text(declared.replace("\nunique =", "\njournal = false\nunique =", 1))
        self.programs = []
        if {"pgbench", "bare", "postgres"} & set(wanted):
            self.add_postgres(wanted)
        if {"sqlite", "loops"} & set(wanted):
            self.add_sqlite(wanted)
        if "pocketbase" in wanted:
            try:
                self.programs.append(Pocketbase(folder, self.records))
            except LookupError as error:
                print(f"without PocketBase: {error}")

    def cinequery(self, name, cluster=None, file=None, records=None):
        return Cinequery(self.folder, name, self.options.binary, cluster, records, file)

    def add_postgres(self, wanted):
        self.cluster = cluster = processes.Cluster(self.folder)
        cluster.create("movies")
        logged = self.cinequery("cinequery", cluster)
        logged.prepare(self.records)
        cluster.settle("movies", "changes")
        unlogged = self.cinequery("cinequery, no journal", cluster, records=self.unlogged)
        unlogged.workloads = lambda: ("create",)
        for program in (logged, unlogged):
            program.start()
        self.postgres = logged
        statements = sent_statements(logged, unlogged)
        if "pgbench" in wanted:
            self.programs.append(Pgbench(self.folder, logged, statements))
        if "postgres" in wanted:
            self.programs += [logged, unlogged]
        if "bare" in wanted:
            self.programs.append(Bare(self.folder, self.options.bare, logged, statements))

    def add_sqlite(self, wanted):
        files = [self.folder / "movies.db", self.folder / "unlogged.db"]
        logged = self.cinequery("cinequery on SQLite", file=files[0])
        logged.prepare(self.records)
        shutil.copy(*files)
        unlogged = self.cinequery("cinequery on SQLite, no journal", None, files[1], self.unlogged)
        unlogged.workloads = lambda: ("create",)
        for program in (logged, unlogged):
            program.start()
        self.sqlite = logged
        if "sqlite" in wanted:
            self.programs += [logged, unlogged]
        if "loops" in wanted:
            explained = explained_statements(logged)
            for driver in ("sqlx", "rusqlite"):
                self.programs.append(Loop(self.folder, self.options.bare, driver, logged, explained))

    def check(self):
        """Ends the program if two programs have other movies for the same request."""
        served = [it for it in self.programs if isinstance(it, Served) and "id" in it.workloads()]
        years = itertools.cycle(range(2021, 2029))
        for number, (genre, year) in enumerate(zip(movies.GENRES, years)):
            values = {"genre": genre, "from": f"{year}-03-10", "to": f"{year}-11-28"}
            for workload, program in itertools.product(READS, served):
                found = found_by(program, workload, number * 97, values)
                if program is served[0]:
                    expected = found
                # Programs on the same database have the same ids, versions and timestamps too.
                is_same_database = program.database and program.database == served[0].database
                part = slice(None) if is_same_database else slice(4)
                if not found or [it[part] for it in found] != [it[part] for it in expected]:
                    other = f"{served[0].name}: {expected[:3]}\n{program.name}: {found[:3]}"
                    sys.exit(f"not the same movies for {workload} {values}:\n{other}")


def found_by(program, workload, number, values):
    """The movies of a response, each as a list of its values. The first four have the same form in all programs."""
    if workload == "id":
        ids = program.ids.read_text().split()
        values = {"id": ids[number % len(ids)]}
    response = program.get(workload, **values)
    whole = ("title", "genre", "release_year", "expiry_date", "id", "version", "created_at", "updated_at")
    # Programs write the fractions of seconds differently.
    lengths = {"expiry_date": 10, "created_at": 19, "updated_at": 19}
    return [
        [it.get(name) if name not in lengths else it[name][: lengths[name]] for name in whole]
        for it in response.get("items", [response])
    ]


def sent_statements(logged, unlogged):
    """The statement of each workload, as PostgreSQL receives it from the service."""
    values = {"genre": "drama", "from": "2024-01-31", "to": "2024-02-27"}
    values["id"] = logged.last
    statements = {}
    for workload in WORKLOADS:
        def send(workload=workload):
            if workload == "create":
                movie = {"title": "New", "genre": "drama", "release_year": 2000, "expiry_date": "2024-01-31"}
                call(unlogged.base + unlogged.urls[workload], movie, unlogged.token)
            else:
                logged.get(workload, **values)

        found = [it for it in logged.cluster.statements_of(send) if '"movies"' in it[0]]
        if len(found) != 1:
            sys.exit(f"expected one statement for {workload}, found {found}")
        sql, bound = found[0]
        expected = [values[name] for name in re.findall(r"{(\w+)}", logged.urls[workload])]
        more = bound[len(expected) :]
        if workload == "create":
            more = []
        elif bound != expected + more or not all(map(str.isdecimal, more)):
            sys.exit(f"{workload}: expected the values {expected}, found {bound} in {sql}")
        # Further values are limits, which are the same in each request.
        statements[workload] = {"sql": sql, "limits": list(map(int, more))}
    unlogged.clean()
    return statements


def explained_statements(program):
    """The SQL of each read on SQLite, as the service explains it."""
    statements = {}
    for workload in READS:
        if workload == "id":
            continue
        url = program.urls[workload]
        for name, value in {"genre": "drama", "from": "2024-01-31", "to": "2024-02-27"}.items():
            url = url.replace(f"{{{name}}}", value)
        url = url.replace("/api/v1/movies?", "/api/v1/query/explain?collection=movies&")
        explained = call(program.base + url, token=program.token)
        limit = 100 if workload == "week" else 20
        # The only value that the loop does not bind.
        statements[workload] = explained["sql"].replace("LIMIT ?", f"LIMIT {limit + 1}")
    select = statements["first"].partition(" ORDER BY ")[0]
    return {**statements, "id": f'{select} WHERE "id" = ?'}


def measure_rounds(world, workloads, rounds, seconds):
    """Measures each program in each round. Returns a row for each measurement."""
    rows = []
    for program in world.programs:
        # Caches become warm.
        for workload in workloads:
            if workload in READS and workload in program.workloads():
                program.measure(workload, 1, 1)
    for number in range(rounds):
        for workload in workloads:
            # The order alternates, so that no program always follows the same one.
            for program in world.programs[:: -1 if number % 2 else 1]:
                if workload not in program.workloads():
                    continue
                measured = program.measure(workload, seconds, 100 + number)
                if workload == "create":
                    program.clean()
                row = {"workload": workload, "program": program.name, "round": number, **measured}
                rows.append(row)
                print(report.progress(row), flush=True)
    return rows


def requests(options, folder):
    world = World(folder, options, options.rows, options.programs)
    world.check()
    return measure_rounds(world, options.workloads, options.rounds, options.seconds)


def growth(options, folder):
    rows = []
    for count in GROWTH:
        world = World(folder / str(count), options, count, ("postgres", "sqlite"))
        world.programs = [world.postgres, world.sqlite]
        world.check()
        measured = measure_rounds(world, options.workloads, options.rounds, options.seconds)
        rows += [{**row, "movies": count} for row in measured]
        processes.stop_all()
        shutil.rmtree(folder / str(count))
    return rows


PARTS = {
    "requests": (requests, "CPU time, rate and latency of each workload and program"),
    "growth": (growth, "each workload at 10,000, 100,000 and 1,000,000 movies"),
    "transfer": (parts.transfer, "import and export beside COPY and a bare loop"),
    "start": (parts.start, "time to the first response, and idle memory"),
    "pages": (parts.pages, "page 1 and page 10,000 by cursor"),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    def names_in(known):
        return lambda text: checked(text.split(","), known)

    help = "; ".join(f"{name}: {text}" for name, (_, text) in PARTS.items())
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"default: requests. {help}")
    parser.add_argument("--rounds", type=int, default=6, help="an even number, default 6")
    parser.add_argument("--seconds", type=int, default=6, help="of each measurement, default 6")
    parser.add_argument("--rows", type=int, help="movies; default 100,000, and 1,000,000 for transfer and pages")
    parser.add_argument("--workloads", type=names_in(WORKLOADS), default=list(WORKLOADS), help=",".join(WORKLOADS))
    parser.add_argument("--programs", type=names_in(PROGRAMS), default=list(PROGRAMS), help=",".join(PROGRAMS))
    parser.add_argument("--binary", type=pathlib.Path, default=ROOT / "target/release/cinequery")
    parser.add_argument("--bare", type=pathlib.Path, default=ROOT / "target/release/cinequery-bare")
    parser.add_argument("--publish", action="store_true", help="write the figures into docs/performance.md")
    options = parser.parse_args()
    try:
        chosen = checked(options.parts or ["requests"], PARTS)
    except argparse.ArgumentTypeError as error:
        parser.error(str(error))
    if options.rows is not None and options.rows < 10_000:
        # Some requests would find nothing.
        parser.error("--rows: expected 10000 or more")
    processes.needed("wrk")
    for binary in (options.binary, options.bare):
        if not os.access(binary, os.X_OK):
            parser.error(f"{binary} does not exist; `make load` builds it")
    options.binary, options.bare = options.binary.resolve(), options.bare.resolve()
    for part in chosen:
        measure, _ = PARTS[part]
        own = argparse.Namespace(**vars(options))
        own.rows = options.rows or (1_000_000 if part in ("transfer", "pages") else 100_000)
        with tempfile.TemporaryDirectory(prefix="cinequery-load-") as folder:
            pathlib.Path(folder).chmod(0o755)
            try:
                rows = measure(own, pathlib.Path(folder))
            finally:
                processes.stop_all()
        print("\n" + report.table(part, rows) + "\n", flush=True)
        report.save(part, rows, own)
    if options.publish:
        report.publish()


def checked(names, known):
    """The names, if all are known."""
    if unknown := [name for name in names if name not in known]:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; known: {', '.join(known)}")
    return names


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("stopped")
