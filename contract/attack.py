"""Runs sqlmap against every operation of openapi/v1.json, several in parallel, and prints a line for each.

    contract/attack.py REPORTS ENGINE,URL,URL_OF_OPEN...

The sign-in is attacked on a second instance with `--auth open`: with passwords, ten failures exhaust its rate limit.
"""

import http.client
import json
import os
import re
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

DOCUMENT = json.loads(Path("openapi/v1.json").read_text(encoding="utf-8"))
FAST = bool(os.environ.get("FAST"))
# The time for all attacks, in seconds. A value whose attack does not finish in time is reported as "cut short".
BUDGET = 60 * float(os.environ.get("MINUTES") or (4.5 if FAST else 28))
# The highest level and all techniques; with FAST only the techniques that fit into the time.
LEVEL, TECHNIQUES = ("2", "BE") if FAST else ("5", "BEUSTQ")
# A sqlmap process uses at most one core.
WORKERS = 2 * (os.cpu_count() or 1)
# The marker after which sqlmap inserts its payloads.
MARK = "*"

# Values for parameters without an example.
VALUES = {
    "title": "The Third Man",
    "release_year": "1949",
    "expiry_date": "2031-12-31",
    "count": "exact",
    "why": "true",
    "caret": "5",
    "on_conflict": "skip",
    "subject": "anna",
    "from": "2026-01-01",
    "to": "2026-12-31",
    # A successful write increments the version, and a tag of another version is rejected before the statement. So
    # this lists all versions that the attack can reach.
    "If-Match": ", ".join(f'"{version}"' for version in range(1, 400)),
    "If-None-Match": '"7"',
}
FILTER = 'genre = "drama" and release_year > 1990'
# DELETE is attacked with records that do not exist: other attacks need theirs, and every response must be the same.
ABSENT = {"id": "00000000-0000-7000-8000-000000000000", "name": "absent", "title": "Absent"}


def call(url, method, path, token=None, body=None):
    request = urllib.request.Request(url + path, method=method, data=body and json.dumps(body).encode())
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.load(response)


def count(url, token):
    return call(url, "GET", "/api/v1/movies?count=exact&limit=1", token)["total"]


def prepare(url):
    """Signs in and creates the records to read and the records to change. Returns the token and, for both, the values
    for `{id}` and `{name}` by collection path."""
    credentials = {"username": "admin", "password": os.environ["PASSWORD"]}
    token = call(url, "POST", "/api/token", body=credentials)["access_token"]
    read, changed = {}, {}
    for path, values, suffix in (
        ("/api/v1/users", read, ""),
        ("/api/v1/users", changed, "-2"),
        ("/api/v1/queries/movies", read, ""),
        ("/api/v1/queries/movies", changed, "-2"),
        ("/api/v1/movies", read, ""),
        ("/api/v1/movies", changed, ""),
    ):
        body = dict(DOCUMENT["paths"][path]["post"]["requestBody"]["content"]["application/json"]["example"])
        if path == "/api/v1/movies":
            # Both movies have the same title, so that a search for it has a second page.
            body["release_year"] += values is changed
        else:
            body["name"] += suffix
        created = call(url, "POST", path, token, body)
        values[path] = created["id"] if path == "/api/v1/movies" else body["name"]
    return token, read, changed


def marked(value):
    """Returns the JSON with a marker after each value."""
    if isinstance(value, dict):
        members = (f"{json.dumps(name)}: {marked(inner)}" for name, inner in value.items())
        return "{" + ", ".join(members) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(marked, value)) + "]"
    return json.dumps(value + MARK) if isinstance(value, str) else json.dumps(value) + MARK


def example(parameter, method):
    name = parameter["name"]
    if method == "delete" and name in ABSENT:
        return ABSENT[name]
    if name == "filter":
        return FILTER
    return str(VALUES.get(name, parameter.get("example", "")))


# Paging parameters, and the member of the previous page that has their value.
PAGING = {"cursor": "next_cursor", "after": "next_after"}


def request_of(method, path, operation, url, token, values, page=None):
    """Returns the request as text with a marker after each value. With `page`, the request for the page after it, in
    which only the paging parameter is marked."""
    headers = [f"Host: {url.removeprefix('http://')}", f"Authorization: Bearer {token}"]
    query = []
    mark = MARK if page is None else ""
    for parameter in operation.get("parameters", []):
        name, place, value = parameter["name"], parameter["in"], example(parameter, method)
        if place == "path":
            collection = path[: path.index("/{")]
            value = values.get(collection, value) if method != "delete" else value
            path = path.replace("{%s}" % name, urllib.parse.quote(value) + mark)
        elif name in PAGING:
            # A cursor is valid only for its own query; any other is rejected before the cursor is used.
            if page:
                query.append(f"{name}={urllib.parse.quote(page[PAGING[name]])}{MARK}")
        elif place == "query" and page is None:
            query.append(f"{name}={urllib.parse.quote(value)}{mark}")
        elif place == "query" and name == "limit":
            query.append("limit=1")
        elif place == "header":
            headers.append(f"{name}: {value}{mark}")
    body = ""
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        if media_type == "application/json":
            body = marked(content["example"])
        elif media_type.endswith("urlencoded"):
            body = "&".join(f"{name}={value}{MARK}" for name, value in content["example"].items())
        else:
            body = marked(json.loads(content["example"]))
        headers.append(f"Content-Type: {media_type}")
    target = path + ("?" + "&".join(query) if query else "")
    return "\r\n".join([f"{method.upper()} {target} HTTP/1.1", *headers, "", body])


def send(url, text):
    """Sends the request without payloads and returns the status and the JSON of the response."""
    headers, _, body = text.replace(MARK, "").partition("\r\n\r\n")
    line, *fields = headers.split("\r\n")
    method, target, _ = line.split(" ")
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
    connection.request(method, target, body or None, dict(field.split(": ", 1) for field in fields))
    response = connection.getresponse()
    content = response.read()
    connection.close()
    is_json = response.headers.get("Content-Type") in ("application/json", "application/problem+json")
    return response.status, json.loads(content) if is_json and content else {}


def requests_of(method, path, operation, url, token, values):
    """Yields the title and the text with markers of each request to attack."""
    title = f"{method.upper()} {path}"
    yield title, request_of(method, path, operation, url, token, values)
    for name in PAGING.keys() & {parameter["name"] for parameter in operation.get("parameters", [])}:
        _, page = send(url, request_of(method, path, operation, url, token, values, page={}))
        if page.get(PAGING[name]):
            yield f"{title}, {name}", request_of(method, path, operation, url, token, values, page)
        else:
            print(f"{title} has no second page: {name} is not attacked")


def attack(name, text, engine, seconds, reports):
    """Runs sqlmap on a request. Returns the verdict and the reasons for it."""
    file = reports / f"{name}.request"
    file.write_bytes(text.encode())
    command = [
        os.environ["SQLMAP"], "-r", str(file), "--batch", "--level", LEVEL, "--risk", "3",
        "--technique", TECHNIQUES, "--dbms", engine, "--threads", "4", "--time-sec", "2", "--timeout", "10",
        "--retries", "1",
        "--union-cols", "1-12", "--skip-waf", "--disable-coloring", "--flush-session",
        "--output-dir", str(reports / f"{name}.session"), "--time-limit", str(int(seconds)),
        # The service is expected to reject payloads; sqlmap must not stop because of that.
        "--ignore-code", "*",
    ]
    log = reports / f"{name}.log"
    started = time.monotonic()
    with log.open("w") as output:
        try:
            subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, timeout=seconds + 30, check=False)
        except subprocess.TimeoutExpired:
            pass
    was_cut_short = time.monotonic() - started > seconds - 2
    output = log.read_text(errors="replace")
    failures = re.findall(r"\b(5\d\d) \([A-Za-z ]+\) - (\d+) times", output)
    if "injection point(s) with a total" in output:
        return "INJECTABLE", re.findall(r"^ *(?:Parameter|Type|Title|Payload): .*$", output, re.M)
    if failures:
        return "FAILED", [f"{times} responses with {code}" for code, times in failures]
    if "all tested parameters do not appear to be injectable" in output:
        return "not injectable", []
    if was_cut_short and "testing for SQL injection on" in output:
        return "cut short", []
    return "NOT ATTACKED", output.strip().splitlines()[-4:]


class Vulnerable(BaseHTTPRequestHandler):
    """A service that inserts a parameter into its SQL text."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        database = sqlite3.connect(":memory:")
        try:
            title = query.get("title", [""])[0]
            rows = database.execute(f"SELECT 'found' WHERE 'The Third Man' = '{title}'").fetchall()
            status, body = 200, json.dumps(rows).encode()
        except sqlite3.Error:
            status, body = 400, b"rejected"
        database.close()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def prove(reports):
    """Exits with an error if the attack misses a known injection."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Vulnerable)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"127.0.0.1:{server.server_port}"
    text = f"GET /?title=The%20Third%20Man{MARK} HTTP/1.1\r\nHost: {url}\r\n\r\n"
    verdict, reasons = attack("control", text, "SQLite", 60, reports)
    server.shutdown()
    print(f"control, a deliberately vulnerable service: {verdict}", flush=True)
    if verdict != "INJECTABLE":
        sys.exit("\n".join(["sqlmap did not find the injection of the control", *reasons]))


def main():
    reports, instances = Path(sys.argv[1]), [entry.split(",") for entry in sys.argv[2:]]
    prove(reports)
    jobs, tokens, before = [], {}, {}
    for engine, url, url_open in instances:
        token, read, changed = prepare(url)
        tokens[url], before[url] = token, count(url, token)
        for path, operations in DOCUMENT["paths"].items():
            for method, operation in operations.items():
                at, name = url_open if path == "/api/token" else url, operation["operationId"]
                values = changed if method in ("put", "patch") else read
                requests = requests_of(method, path, operation, at, token, values)
                for number, (title, text) in enumerate(requests):
                    if MARK not in text:
                        continue
                    status, problem = send(at, text)
                    # With any other status the request does not reach the database, and neither would a payload.
                    # The database detects duplicates (409) and missing records (404); the legacy routes return
                    # 400 for both.
                    is_known = status in (404, 409) if path != "/api" else status == 400
                    is_expected = status < 400 or method != "get" and is_known
                    if not is_expected:
                        sys.exit(f"{engine} {title}: expected success without a payload, found {status} {problem}")
                    jobs.append((engine, title, f"{name}-{number}", text, text.count(MARK)))
    # Requests with few values finish early; their remaining time is shared by the others.
    jobs.sort(key=lambda job: job[4])
    started, total = time.monotonic(), sum(job[4] for job in jobs)
    results, left = [], [total]

    def run(job):
        engine, title, operation, text, markers = job
        job_started = time.monotonic()
        verdicts, problems = [], []
        pieces = text.split(MARK)
        # Each value is attacked separately, so that none is skipped if there is no time for all payloads.
        for number in range(markers):
            single = "".join(pieces[: number + 1]) + MARK + "".join(pieces[number + 1 :])
            rest = BUDGET - (time.monotonic() - started)
            # The last values share the remaining time of all workers.
            seconds = max(5, min(rest, WORKERS * rest / left[0]))
            left[0] -= 1
            verdict, reasons = attack(f"{engine}-{operation}-{number}", single, engine, seconds, reports)
            verdicts.append(verdict)
            problems.extend(f"value {number + 1}: {verdict}: {reason.strip()}" for reason in reasons)
        counts = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in sorted(set(verdicts)))
        print(f"{engine:10} {title:45} {time.monotonic() - job_started:5.0f} s  values: {counts}", flush=True)
        for problem in problems:
            print(f"    {problem}", flush=True)
        results.extend(verdicts)

    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(run, jobs))
    bad = [verdict for verdict in results if verdict not in ("not injectable", "cut short")]
    for engine, url, _ in instances:
        after = count(url, tokens[url])
        print(f"{engine}: still running; {before[url]} movies before, {after} after")
        if after < before[url]:
            bad.append("movies were deleted")
    print(
        f"{len(jobs)} requests, {total} values attacked at level {LEVEL}: {len(bad)} failures; "
        f"{results.count('cut short')} values were cut short; reports in {reports}"
    )
    sys.exit(bool(bad))


main()
