#!/usr/bin/env python3
"""Measures the access paths that are chosen for many questions on 1,000,000 movies, beside their alternatives.

plans.rs has the questions. Prints the ten with the greatest ratio of the time of the chosen path to that of the
fastest, on SQLite and on PostgreSQL.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE / "load"))

import movies  # noqa: E402
import processes  # noqa: E402
import regress  # noqa: E402
import report  # noqa: E402
from programs import Cinequery  # noqa: E402

# The first of so many movies is of a genre that few others have.
RARE = 50_000


def write(path, count):
    """Writes the movies of the other benchmarks, of which a few are of a rare genre."""
    with open(path, "w") as file:
        for position, movie in enumerate(movies.movies(count)):
            if position % RARE == 0:
                movie["genre"] = "silent"
            file.write(json.dumps(movie) + "\n")


def fill(folder, options):
    """The same movies in a database of each engine. Returns their URLs by engine."""
    records = folder / "movies.ndjson"
    write(records, options.rows)
    cluster = processes.Cluster(folder)
    cluster.create("movies")
    urls = {}
    for engine, database in ("SQLite", None), ("PostgreSQL", cluster):
        service = Cinequery(folder, engine, options.binary, database, sqlite=folder / "movies.db")
        service.command("migrate")
        service.command("import", records)
        urls[engine] = service.url
    cluster.settle("movies")
    return urls


def worst(engine, lines):
    """A table of the ten questions with the greatest ratios."""
    rows = sorted((line.split("\t") for line in lines), key=lambda row: -float(row[0]))
    slow = sum(float(row[0]) > 3 for row in rows)
    yield f"{engine}, {len(rows)} questions: slower than 3 times their fastest path: {slow}."
    yield ""
    yield "| question | chosen, ms | fastest, ms | ratio |"
    yield "| --- | ---: | ---: | ---: |"
    for ratio, chosen, fastest, question in rows[:10]:
        yield f"| `{question}` | {chosen} | {fastest} | {ratio} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="movies, default 1,000,000")
    parser.add_argument("--binary", type=pathlib.Path, default=HERE.parent / "target/release/cinequery")
    parser.add_argument("--publish", action="store_true", help="write the tables into docs/performance.md")
    options = parser.parse_args()
    options.binary = options.binary.resolve()
    program, tables = regress.build("plans"), []
    with tempfile.TemporaryDirectory(prefix="cinequery-plans-") as folder:
        folder = pathlib.Path(folder)
        folder.chmod(0o755)
        try:
            for engine, url in fill(folder, options).items():
                output = subprocess.run([program, url], stdout=subprocess.PIPE, text=True, check=True)
                tables.append("\n".join(worst(engine, output.stdout.splitlines())))
                print(tables[-1] + "\n", flush=True)
        finally:
            processes.stop_all()
    if options.publish:
        about = report.about()
        said = f"{about['date']}, commit {about['commit']}, {about['machine']}, {options.rows:,} movies."
        page = report.with_section(report.PAGE.read_text(), "plans", "\n\n".join([said, *tables]))
        report.PAGE.write_text(page)


if __name__ == "__main__":
    main()
