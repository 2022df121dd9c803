"""The figures as tables, as a file of values and as a plot, and their way into docs/performance.md."""

import csv
import datetime
import html
import os
import pathlib
import re
import statistics
import subprocess
import sys

from programs import READS, ROOT, WORKLOADS

RESULTS = ROOT / "target" / "load" / "results.csv"
PAGE = ROOT / "docs" / "performance.md"
PUBLISHED = ROOT / "docs" / "performance.csv"
PICTURE = ROOT / "docs" / "pictures" / "performance.svg"

# The measures of a row. Not every part has each.
MEASURES = {
    "service_us": 1,
    "database_us": 1,
    "per_second": 1,
    "p50_ms": 3,
    "p99_ms": 3,
    "bytes": 0,
    "milliseconds": 1,
    "memory_mib": 1,
}
COLUMNS = ["part", "movies", "workload", "program", "round", *MEASURES, "date", "commit", "machine"]

# Ratios within a round. The journal counts for the creates of no other program, so those without it are compared.
SERVICE, POSTGRES, SQLITE = "service CPU", "PostgreSQL CPU", "cinequery on SQLite"
RATIOS = [
    # Title, program, the one that it is compared with, measure, workloads.
    (f"{SERVICE}, to bare", "cinequery", "bare", "service_us", READS),
    (f"{SERVICE}, to bare", "cinequery, no journal", "bare", "service_us", ("create",)),
    (f"{POSTGRES}, to pgbench", "cinequery", "pgbench", "database_us", READS),
    (f"{POSTGRES}, to pgbench", "cinequery, no journal", "pgbench", "database_us", ("create",)),
    (f"{POSTGRES} of bare, to pgbench", "bare", "pgbench", "database_us", tuple(WORKLOADS)),
    (f"{SQLITE}: CPU, to the loop through sqlx", SQLITE, "loop, sqlx", "service_us", READS),
    (f"{SQLITE}: CPU, to the loop through rusqlite", SQLITE, "loop, rusqlite", "service_us", READS),
    (f"{SQLITE}: requests per second, to PocketBase", SQLITE, "PocketBase", "per_second", READS),
    (
        f"{SQLITE}: requests per second, to PocketBase",
        f"{SQLITE}, no journal",
        "PocketBase",
        "per_second",
        ("create",),
    ),
]


def progress(row):
    """A line for one measurement."""
    text = f"round {row['round']}  {row['workload']:7} {row['program']:31}"
    text += f"{row['service_us']:8.1f} + {row['database_us']:6.1f} µs  {row['per_second']:9.1f}/s"
    return text + (f"  p99 {row['p99_ms']:7.2f} ms" if row["p99_ms"] is not None else "")


def medians(rows, *measures):
    """The medians over the rounds, by workload, program and number of movies."""
    groups = {}
    for row in rows:
        groups.setdefault((row["workload"], row["program"], row.get("movies")), []).append(row)

    def median(group, measure):
        values = [row[measure] for row in group if row.get(measure) is not None]
        return statistics.median(values) if values else None

    return {key: [median(group, measure) for measure in measures] for key, group in groups.items()}


def ratio(rows, program, other, measure, workload):
    """The median of the ratios within each round, or None."""
    values = {
        (row["program"], row["round"]): row[measure] for row in rows if row["workload"] == workload
    }
    rounds = {number for _, number in values}
    pairs = [(values.get((program, number)), values.get((other, number))) for number in rounds]
    quotients = [one / two for one, two in pairs if one is not None and two]
    return statistics.median(quotients) if quotients else None


def markdown(head, lines):
    """A table. Columns after the first are aligned to the right."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, rule, *lines])


def number(value):
    """About three digits."""
    if value is None:
        return "–"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f}"


def in_order(rows, name):
    return list(dict.fromkeys(row[name] for row in rows))


def requests_tables(rows):
    workloads = [name for name in WORKLOADS if name in in_order(rows, "workload")]
    titles = [WORKLOADS[name] for name in workloads]
    all_programs = in_order(rows, "program")

    def table(title, cell, measures):
        found = medians(rows, *measures)
        lines = []
        for program in all_programs:
            cells = [found.get((name, program, rows[0].get("movies"))) for name in workloads]
            lines.append([program, *("–" if it is None or it[0] is None else cell(*it) for it in cells)])
        return markdown([title, *titles], [line for line in lines if set(line[1:]) != {"–"}])

    def cpu(service, database):
        return f"{service:.0f} + {database:.0f}" if database else f"{service:.0f}"

    ratios = {}
    for title, program, other, measure, of in RATIOS:
        for name in set(of) & set(workloads):
            value = ratio(rows, program, other, measure, name)
            if value is not None:
                ratios.setdefault(title, {})[name] = f"{value:.2f}"
    ratios = [[title, *(found.get(name, "–") for name in workloads)] for title, found in ratios.items()]
    return "\n\n".join([
        table("CPU µs a request: service + database", cpu, ["service_us", "database_us"]),
        markdown(["ratio, median of the rounds", *titles], ratios),
        table("requests per second", number, ["per_second"]),
        table("99th percentile of the latency, ms", number, ["p99_ms"]),
        table("bytes of a response", number, ["bytes"]),
    ])


def growth_table(rows):
    sizes = in_order(rows, "movies")
    found = medians(rows, "service_us", "database_us")
    lines = []
    for program in in_order(rows, "program"):
        for workload in in_order(rows, "workload"):
            cells = [found[workload, program, size] for size in sizes]
            texts = [f"{one:.0f} + {two:.0f}" if two else f"{one:.0f}" for one, two in cells]
            lines.append([f"{program}: {WORKLOADS[workload]}", *texts])
    return markdown(["CPU µs a request", *(f"{size:,} movies" for size in sizes)], lines)


def simple_table(measures):
    """A table with a line for each workload and program, and a column for each measure."""

    def table(rows):
        found = medians(rows, *measures)
        lines = [
            [f"{workload}: {program}", *(number(value or None) for value in values)]
            for (workload, program, _), values in found.items()
        ]
        return markdown(["", *measures.values()], lines)

    return table


# Which transfers are compared, by movies per second.
COMPARED = [
    ("import", "cinequery import, PostgreSQL", "COPY movies FROM STDIN"),
    ("import", "cinequery import, PostgreSQL", "COPY movies and changes FROM STDIN"),
    ("import", "POST …/import, PostgreSQL", "COPY movies and changes FROM STDIN"),
    ("import", "cinequery import, SQLite", "bare loop, movies, SQLite"),
    ("import", "POST …/import, SQLite", "bare loop, movies and changes, SQLite"),
    ("import", "cinequery import, SQLite", "bare loop, movies and changes, SQLite"),
    ("export", "cinequery export, PostgreSQL", "COPY movies (…) TO STDOUT"),
    ("export", "GET …/export, PostgreSQL", "COPY movies (…) TO STDOUT"),
]


def transfer_tables(rows):
    lines = []
    for workload, program, other in COMPARED:
        value = ratio(rows, program, other, "per_second", workload)
        lines += [[f"{program}, to {other}", f"{value:.2f}"]] if value else []
    return f"{transfer_table(rows)}\n\n{markdown(['ratio of movies per second', ''], lines)}"


transfer_table = simple_table({
    "milliseconds": "ms",
    "per_second": "movies per second",
    "service_us": "CPU µs a movie",
    "database_us": "of PostgreSQL",
    "memory_mib": "peak MiB",
})

TABLES = {
    "requests": requests_tables,
    "growth": growth_table,
    "transfer": transfer_tables,
    "start": simple_table({"milliseconds": "ms to the first response", "memory_mib": "MiB, idle"}),
    "pages": simple_table({
        "service_us": "CPU µs a request",
        "database_us": "of PostgreSQL",
        "per_second": "requests per second",
    }),
}


def table(part, rows):
    return TABLES[part](rows)


def git(*arguments):
    try:
        command = ["git", "-C", str(ROOT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def about():
    """The date, the commit and the machine."""
    models = re.findall(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    model = models[0] if models else os.uname().machine
    return {
        "date": datetime.date.today().isoformat(),
        "commit": git("rev-parse", "--short", "HEAD") or "unknown",
        "machine": f"{model}, {os.cpu_count()} cores",
    }


def save(part, rows, options):
    """Replaces the rows of a part in the file of results."""
    kept = [row for row in read(RESULTS) if row["part"] != part]
    common = {"part": part, "movies": options.rows, **about()}
    write(RESULTS, [*kept, *({**common, **row} for row in rows)])
    print(f"written to {RESULTS.relative_to(ROOT)}")


def read(path):
    if not path.exists():
        return []
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row.update({name: float(row[name]) if row[name] else None for name in MEASURES})
        row.update({name: int(row[name]) for name in ("movies", "round")})
    return rows


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        for row in rows:
            measured = {name: digits for name, digits in MEASURES.items() if row.get(name) is not None}
            rounded = {name: round(row[name], digits) for name, digits in measured.items()}
            writer.writerow({**row, **dict.fromkeys(MEASURES), **rounded})


def with_section(page, part, text):
    """The page with this text between the marks of a part."""
    begin, end = f"<!-- {part}: begin -->", f"<!-- {part}: end -->"
    if begin not in page or end not in page:
        sys.exit(f"{PAGE} has no {begin} … {end}")
    before, _, rest = page.partition(begin)
    return f"{before}{begin}\n\n{text}\n\n{end}{rest.partition(end)[2]}"


def publish():
    """Writes all results into the documents: the tables, the plot, and the medians as a file."""
    rows = read(RESULTS)
    page = PAGE.read_text()
    published = []
    for part in in_order(rows, "part"):
        own = [row for row in rows if row["part"] == part]
        found = medians(own, *MEASURES)
        for (workload, program, count), values in found.items():
            key = {"workload": workload, "program": program, "movies": count}
            same = [row for row in own if all(row[name] == value for name, value in key.items())]
            published.append({**same[0], "round": len(same), **dict(zip(MEASURES, values))})
        facts = own[0]
        said = f"{facts['date']}, commit {facts['commit']}, {facts['machine']}"
        rounds = 1 + max(row["round"] for row in own)
        said += f", {facts['movies']:,} movies" if part in ("requests", "transfer", "pages") else ""
        said += f". Median of {rounds} rounds." if rounds > 1 else "."
        page = with_section(page, part, f"{said}\n\n{table(part, own)}")
        if part == "requests":
            PICTURE.write_text(picture(own))
    PAGE.write_text(page)
    write(PUBLISHED, published)
    print(f"published in {PAGE.relative_to(ROOT)}")


# --- the plot ---

WIDTH, MARGIN, LEFT, BAR, GAP, HEAD = 780, 20, 190, 15, 5, 30
PLOTTED = {
    "pgbench": "pgbench",
    "bare": "bare program",
    "cinequery": "cinequery",
    "cinequery, no journal": "cinequery, no journal",
    "cinequery on SQLite": "cinequery on SQLite",
    "cinequery on SQLite, no journal": "on SQLite, no journal",
    "PocketBase": "PocketBase",
}
# Attributes and no style sheet, which the content security policy of the manual forbids. Colours are for a white ground,
# which the picture brings along.
DARK, FAINT, BLUE, PALE, GREY = "#1f2328", "#59636e", "#0969da", "#9cc7f5", "#8c959f"


def drawn_text(x, y, text, colour=DARK, anchor="start", weight="normal"):
    style = f'fill="{colour}" text-anchor="{anchor}" font-weight="{weight}"'
    return f'<text x="{x:.1f}" y="{y}" {style}>{html.escape(text)}</text>'


def drawn_bar(x, y, width, colour, height=BAR):
    return f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{height}" fill="{colour}"/>'


def picture(rows):
    """An SVG with a group of bars for each workload: the CPU time of the service and that of PostgreSQL."""
    found = medians(rows, "service_us", "database_us")
    movies, left = rows[0].get("movies"), MARGIN + LEFT
    parts, y = [], 74
    for workload, title in WORKLOADS.items():
        bars = {name: found.get((workload, name, movies)) for name in PLOTTED}
        bars = {name: values for name, values in bars.items() if values}
        if not bars:
            continue
        scale = (WIDTH - left - MARGIN - 90) / max(map(sum, bars.values()))
        parts.append(drawn_text(MARGIN, y, title, weight="600"))
        y += 10
        for name, (service, database) in bars.items():
            one, two, below = service * scale, database * scale, y + BAR - 3
            values = [f"{value:.0f}" for value in (service, database) if value]
            colour = BLUE if name.startswith("cinequery") else GREY
            parts += [
                drawn_text(left - 8, below, PLOTTED[name], anchor="end"),
                drawn_bar(left, y, one, colour),
                drawn_bar(left + one, y, two, PALE),
                drawn_text(left + one + two + 6, below, " + ".join(values), FAINT),
            ]
            y += BAR + GAP
        y += HEAD
    height = y + 6
    facts = rows[0]
    head = [
        drawn_text(MARGIN, 24, "CPU time of a request in microseconds", weight="600"),
        drawn_text(WIDTH - MARGIN, 24, "each group has its own scale", FAINT, "end"),
    ]
    x = MARGIN
    for colour, name in ((BLUE, "cinequery"), (GREY, "other services"), (PALE, "PostgreSQL")):
        head += [drawn_bar(x, 34, 12, colour, 12), drawn_text(x + 18, 44, name, FAINT)]
        x += 32 + 7 * len(name)
    said = f"{facts['date']}, commit {facts['commit']}, {facts['machine']}, {movies:,} movies"
    foot = drawn_text(MARGIN, height - 12, said, FAINT)
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    font = 'font-family="system-ui, sans-serif" font-size="12"'
    body = "\n".join([drawn_bar(0, 0, WIDTH, "#ffffff", height), *head, *parts, foot])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} {font} role="img">\n'
        f"<title>CPU time of a request, by workload and program</title>\n{body}\n</svg>\n"
    )
