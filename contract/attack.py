"""Runs sqlmap on every operation of openapi/v1.json, several at a time, and prints a line for each.

    contract/attack.py REPORTS ENGINE,URL,URL_OF_OPEN...

A second instance, with `--auth open`, is for the sign-in: with passwords it is limited after ten failures.
"""

import json
import os
import re
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

DOCUMENT = json.loads(Path("openapi/v1.json").read_text(encoding="utf-8"))
FAST = bool(os.environ.get("FAST"))
# Everything has to end by then; an operation that is not finished is reported as cut short.
BUDGET = 270 if FAST else 1700
# The highest; in the fast form one at which there is time for every value.
LEVEL = "2" if FAST else "5"
# Each sqlmap is bound by one core.
WORKERS = 2 * (os.cpu_count() or 1)
# The marker after which sqlmap inserts its payloads.
MARK = "*"

# Values for parameters without an example.
VALUES = {
    "title": "The Third Man",
    "release_year": "1949",
    "expiry_date": "2031-12-31",
    "cursor": "AAAA",
    "count": "exact",
    "why": "true",
    "caret": "5",
    "subject": "anna",
    "from": "2026-01-01",
    "to": "2026-12-31",
    "after": "a",
    # Writes that succeed raise the version, and those of another version never reach the statement.
    "If-Match": ", ".join(f'"{version}"' for version in range(1, 400)),
    "If-None-Match": '"7"',
}
FILTER = 'genre = "drama" and release_year > 1990'


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
    """Signs in and creates what the paths of the document name; returns the token and the id of a movie."""
    operations = DOCUMENT["paths"]
    credentials = {"username": "admin", "password": os.environ["PASSWORD"]}
    token = call(url, "POST", "/api/token", body=credentials)["access_token"]
    for path in ("/api/v1/users", "/api/v1/queries/movies"):
        call(url, "POST", path, token, operations[path]["post"]["requestBody"]["content"]["application/json"]["example"])
    movie = {"title": "Attacked", "genre": "drama", "release_year": 1994, "expiry_date": "2031-12-31"}
    return token, call(url, "POST", "/api/v1/movies", token, movie)["id"]


def example(parameter):
    name = parameter["name"]
    if name == "filter":
        return FILTER
    return str(VALUES.get(name, parameter.get("example", "")))


def marked(value):
    """The same JSON with a marker after each value. Numbers become texts, as a payload is no number."""
    if isinstance(value, dict):
        return {name: marked(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [marked(inner) for inner in value]
    return f"{value}{MARK}"


def request_of(method, path, operation, url, token, movie):
    """The request as text with markers, and how many there are."""
    headers = [f"Host: {url.removeprefix('http://')}", f"Authorization: Bearer {token}"]
    query = []
    for parameter in operation.get("parameters", []):
        name, place, value = parameter["name"], parameter["in"], example(parameter)
        if place == "path":
            # What is deleted is not there the second time, and must not be missing elsewhere.
            value = movie if name == "id" and method != "delete" else value
            path = path.replace("{%s}" % name, urllib.parse.quote(value) + MARK)
        elif place == "query":
            query.append(f"{name}={urllib.parse.quote(value)}{MARK}")
        else:
            headers.append(f"{name}: {value}{MARK}")
    body = ""
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        if media_type == "application/json":
            body = json.dumps(marked(content["example"]))
        elif media_type.endswith("urlencoded"):
            body = "&".join(f"{name}={value}{MARK}" for name, value in content["example"].items())
        else:
            body = json.dumps(marked(json.loads(content["example"])))
        headers.append(f"Content-Type: {media_type}")
    target = path + ("?" + "&".join(query) if query else "")
    lines = [f"{method.upper()} {target} HTTP/1.1", *headers, "", body]
    text = "\r\n".join(lines)
    return (text, text.count(MARK))


def attack(name, text, engine, seconds, reports):
    """Returns what sqlmap found, as a word and the reasons."""
    file = reports / f"{name}.request"
    file.write_bytes(text.encode())
    command = [
        os.environ["SQLMAP"], "-r", str(file), "--batch", "--level", LEVEL, "--risk", "3",
        "--dbms", engine, "--threads", "4", "--time-sec", "2", "--timeout", "10", "--retries", "1",
        "--union-cols", "1-12", "--skip-waf", "--disable-coloring", "--flush-session",
        "--output-dir", str(reports / f"{name}.session"), "--time-limit", str(int(seconds)),
        # Rejecting a payload is what the service should do, and no reason to give up.
        "--ignore-code", "*",
    ]
    log = reports / f"{name}.log"
    began = time.monotonic()
    with log.open("w") as output:
        try:
            subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, timeout=seconds + 30, check=False)
        except subprocess.TimeoutExpired:
            pass
    was_cut_short = time.monotonic() - began > seconds - 2
    said = log.read_text(errors="replace")
    failures = re.findall(r"\b(5\d\d) \([A-Za-z ]+\) - (\d+) times", said)
    if "injection point(s) with a total" in said:
        return "INJECTABLE", re.findall(r"^ *(?:Parameter|Type|Title|Payload): .*$", said, re.M)
    if failures:
        return "FAILED", [f"{times} responses with {code}" for code, times in failures]
    if "all tested parameters do not appear to be injectable" in said:
        return "not injectable", []
    attacked = said.count("testing for SQL injection on")
    if was_cut_short and attacked:
        return f"not injectable, cut short in value {attacked}", []
    return "NOT ATTACKED", said.strip().splitlines()[-4:]


def main():
    reports, instances = Path(sys.argv[1]), [entry.split(",") for entry in sys.argv[2:]]
    jobs, tokens, before = [], {}, {}
    for engine, url, url_open in instances:
        token, movie = prepare(url)
        tokens[url], before[url] = token, count(url, token)
        for path, operations in DOCUMENT["paths"].items():
            for method, operation in operations.items():
                at = url_open if path == "/api/token" else url
                text, markers = request_of(method, path, operation, at, token, movie)
                if markers:
                    jobs.append((engine, f"{method.upper()} {path}", operation["operationId"], text, markers))
    # Those with few values end early and leave their time to the others.
    jobs.sort(key=lambda job: job[4])
    started, total = time.monotonic(), sum(job[4] for job in jobs)
    results, left = [], [total]

    def run(job):
        engine, title, operation, text, markers = job
        began = time.monotonic()
        # A share of the time that is left, by the number of values, for all workers together.
        seconds = max(15, WORKERS * (BUDGET - (began - started)) * markers / left[0])
        left[0] -= markers
        verdict, reasons = attack(f"{engine}-{operation}", text, engine, seconds, reports)
        took = time.monotonic() - began
        print(f"{engine:10} {title:45} {markers} values {took:5.0f} s  {verdict}", flush=True)
        for reason in reasons:
            print(f"    {reason.strip()}", flush=True)
        results.append(verdict)

    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(run, jobs))
    bad = [verdict for verdict in results if not verdict.startswith("not injectable")]
    for engine, url, _ in instances:
        after = count(url, tokens[url])
        print(f"{engine}: alive; {before[url]} movies before, {after} after")
        if after < before[url]:
            bad.append("movies are missing")
    whole = sum(verdict == "not injectable" for verdict in results)
    print(
        f"{len(results)} operations, {total} values attacked: {len(bad)} failures; "
        f"{whole} finished, {len(results) - whole - len(bad)} cut short; reports in {reports}"
    )
    sys.exit(bool(bad))


main()
