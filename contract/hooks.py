"""Extends Schemathesis with what OpenAPI cannot express: the filter language, files of movies, and dependencies
between the values of a request."""

import csv
import io
import json
import os
from copy import deepcopy
from datetime import date
from pathlib import Path
from uuid import uuid4

import requests
import schemathesis
from hypothesis import strategies as st
from schemathesis.generation.meta import TestPhase

DOCUMENT = Path(__file__).parent.parent / "openapi" / "v1.json"
MOVIE = json.loads(DOCUMENT.read_text(encoding="utf-8"))["components"]["schemas"]["Movie"]
KINDS = {"uuid": "id", "date": "date", "date-time": "timestamp", "int32": "integer", "int64": "integer"}
FIELDS = {name: KINDS.get(field.get("format"), "text") for name, field in MOVIE["properties"].items()}


# The filter language. Its reference is grammar/README.md.

COMPARISONS = st.sampled_from(["=", "!=", "<", "<=", ">", ">="])
MATCHES = st.sampled_from(["contains", "starts with", "ends with"])
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)


def quoted(text):
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


# For each type: a strategy for its values, and a function that writes one as a literal.
LITERALS = {
    "text": (TEXTS, quoted),
    "integer": (st.integers(-(2**31), 2**31 - 1), str),
    "date": (st.dates(), str),
    "timestamp": (st.datetimes(), lambda moment: moment.isoformat() + "Z"),
    "id": (st.uuids(), lambda uuid: quoted(str(uuid))),
}
ARITHMETIC = st.builds(
    "{} {} {}{}".format,
    st.sampled_from(["today", "now"]),
    st.sampled_from("+-"),
    st.integers(0, 100),
    st.sampled_from(["d", "w", "mo", "y"]),
)


def predicates_of(field):
    kind = FIELDS[field]
    values, written = LITERALS[kind]
    literals = values.map(written)
    bounds = st.tuples(values, values).map(sorted)
    fields = st.sampled_from([name for name, other in FIELDS.items() if other == kind])
    negation = st.sampled_from(["", "not "])
    operands = literals | fields
    if kind in ("date", "timestamp"):
        word = "today" if kind == "date" else "now"
        operands |= ARITHMETIC.filter(lambda text: text.startswith(word))
    choices = [
        st.builds("{} {} {}".format, st.just(field), COMPARISONS, operands),
        st.builds(
            lambda negation, bounds: f"{field} {negation}between {written(bounds[0])} and {written(bounds[1])}",
            negation,
            bounds,
        ),
        st.builds(
            lambda negation, items: f"{field} {negation}in ({', '.join(items)})",
            negation,
            st.lists(literals, min_size=1, max_size=4),
        ),
        st.sampled_from([f"{field} is null", f"{field} is not null"]),
    ]
    if kind == "text":
        choices.append(st.builds("{} {}{} {}".format, st.just(field), negation, MATCHES, literals))
    if kind == "date":
        part = st.sampled_from(["year", "month"])
        choices.append(st.builds(f"{{}}({field}) {{}} {{}}".format, part, COMPARISONS, st.integers(1, 9999)))
    return st.one_of(choices)


PREDICATES = st.sampled_from(list(FIELDS)).flatmap(predicates_of)
FILTERS = st.recursive(
    PREDICATES,
    lambda inner: st.builds("{} {} {}".format, inner, st.sampled_from(["and", "or"]), inner)
    | inner.map("not ({})".format),
    max_leaves=5,
)
ORDERS = st.lists(
    st.tuples(st.sampled_from(list(FIELDS)), st.sampled_from(["", " asc", " desc"])),
    min_size=1,
    max_size=4,
    unique_by=lambda key: key[0],
).map(lambda keys: ", ".join(map("".join, keys)))

schemathesis.openapi.format("filter", FILTERS)
schemathesis.openapi.format("order_by", ORDERS)
schemathesis.openapi.format("entity_tags", st.sampled_from(['"1"', '"2"', '"1", W/"2"', "*"]))

# These operations accept any text and report the problems in it.
LENIENT = ("checkQuery", "completeQuery")


@schemathesis.hook
def before_load_schema(context, raw_schema):
    """Gives texts of the filter language a format of their own. Removes their maxLength: random texts never reach it,
    and a test of it makes a URL that is too long for the HTTP client."""
    schemas = raw_schema["components"]["schemas"]
    texts = [schemas[draft]["properties"] for draft in ("SearchRequest", "SavedQueryDraft")]
    for item in raw_schema["paths"].values():
        for operation in item.values():
            if operation["operationId"] not in LENIENT:
                parameters = operation.get("parameters", [])
                texts.append({parameter["name"]: parameter["schema"] for parameter in parameters})
            # Schemathesis expects bytes as the body of a file, but the example is a string.
            content = operation.get("requestBody", {}).get("content", {})
            content.get("application/octet-stream", {}).pop("example", None)
    # The document cannot say which members belong to which operation of a batch, and that a batch of several collections
    # needs the collection of each.
    item = {
        "type": "object",
        "required": ["op", "record"],
        "additionalProperties": False,
        "properties": {
            "op": {"type": "string", "enum": ["create"]},
            "collection": {"type": "string", "enum": ["movies"]},
            "record": {"$ref": "#/components/schemas/MovieDraft"},
        },
    }
    request = schemas["BatchRequest"]
    several = deepcopy(request)
    several["properties"]["operations"]["items"] = {**item, "required": [*item["required"], "collection"]}
    schemas["BatchItem"] = item
    schemas["SeveralBatchRequest"] = several
    body = raw_schema["paths"]["/api/v1/batch"]["post"]["requestBody"]["content"]["application/json"]
    body["schema"] = {"$ref": "#/components/schemas/SeveralBatchRequest"}
    # With it, an invalid record has a result of its own in a response of 200.
    for batch in (request, several):
        del batch["properties"]["atomic"]
    for text in texts:
        for name in text.keys() & {"If-Match", "If-None-Match"}:
            text[name].update(format="entity_tags")
        for name in text.keys() & {"filter", "order_by"}:
            text[name].update(format=name)
            text[name].pop("maxLength", None)


# Files of movies.

LINES = st.text(st.characters(exclude_categories=["Cc", "Cs", "Cf"]), min_size=1, max_size=30).filter(str.strip)
MOVIES = st.fixed_dictionaries(
    {
        "title": LINES,
        "genre": LINES,
        "release_year": st.integers(1870, 9999),
        "expiry_date": st.dates().map(str),
    }
)


def as_csv(movies):
    file = io.StringIO()
    writer = csv.DictWriter(file, ["title", "genre", "release_year", "expiry_date"])
    writer.writeheader()
    writer.writerows(movies)
    return file.getvalue().encode()


def as_ndjson(movies):
    return "".join(json.dumps(movie) + "\n" for movie in movies).encode()


FILES = st.lists(MOVIES, max_size=5)
schemathesis.openapi.media_type("application/octet-stream", FILES.map(as_ndjson))


# Error responses.

# Codes of requests that belong to no operation.
OUTSIDE_OPERATIONS = {"method_not_allowed", "unknown_route"}


@schemathesis.check
def documented_code(context, response, case):
    """Checks that the document lists the code and status of an error response for the operation."""
    if 400 <= response.status_code < 500 and response.content:
        code = response.json()["code"]
        listed = case.operation.definition.raw["responses"]["4XX"]["description"]
        assert f"`{code}` ({response.status_code})" in listed or code in OUTSIDE_OPERATIONS, code


# Dependencies of values on each other and on the records of the service.

TESTER = os.environ["CINEQUERY_USERNAME"]
PASSWORD = os.environ["CINEQUERY_PASSWORD"]
UNIQUE = {"createMovie": "title", "createMovieQuery": "name", "createUser": "name"}
INTERVALS = {"integer": "decade", "date": "quarter", "timestamp": "week"}
SAMPLES = {
    "text": "drama",
    "integer": 1994,
    "date": "2024-01-31",
    "timestamp": "2024-01-31T12:00:00Z",
    "id": "01890a5d-ac96-774b-bcce-b302099a8057",
}


@schemathesis.hook
def before_call(context, case, kwargs):
    protect_test_user(case)
    if case.meta and case.meta.generation.mode.is_positive:
        use_existing_movie(case)
        use_valid_cursor(case)
        use_new_key(case)
        make_consistent(case)


def use_new_key(case):
    """Replaces the idempotency key: one that another request has used is rejected, however valid it is."""
    if case.headers and "Idempotency-Key" in case.headers:
        case.headers["Idempotency-Key"] = str(uuid4())


def protect_test_user(case):
    """Replaces the name of the test user. Changing, deleting or signing out this user would end the tests."""
    body = case.body if isinstance(case.body, dict) else {}
    for values, name in ((case.path_parameters, "name"), (body, "subject")):
        if case.method != "GET" and values.get(name) == TESTER:
            values[name] = "another user"


def use_existing_movie(case):
    """Creates a movie for the request, because a random id never exists. In stateful tests links supply the id."""
    if case.path_parameters.get("id") and case.meta.phase.name != TestPhase.STATEFUL:
        movie = create_movie(case)
        case.path_parameters["id"] = movie["id"]
        if "If-Match" in case.headers:
            case.headers["If-Match"] = f'"{movie["version"]}"'


def use_valid_cursor(case):
    """Replaces a random cursor with that of the previous page, because a cursor is valid only for its own query."""
    body = case.body if isinstance(case.body, dict) else {}
    for values, name in ((case.query, "cursor"), (case.query, "after"), (body, "cursor")):
        if values and name in values:
            del values[name]
            make_consistent(case)
            page = requests.request(**case.as_transport_kwargs(base_url=case.operation.base_url))
            if cursor := page.json().get(f"next_{name}"):
                values[name] = cursor


def make_consistent(case):
    """Changes random values that contradict each other or the records of the service."""
    operation = case.operation.definition.raw["operationId"]
    query, body = case.query, case.body
    if operation in UNIQUE and case.meta.phase.name == TestPhase.STATEFUL:
        # A repeated scenario would create the same record again.
        body[UNIQUE[operation]] = str(uuid4())
    if operation == "replaceMovieQuery" and case.meta.phase.name == TestPhase.STATEFUL:
        # Another name would rename the query, while later links of the scenario still have the old name. Schemathesis
        # only knows deletions, so it would report a 404 on `.../{name}/results` as a lost query (ST302). Renaming is
        # tested by the other phases and tests/saved.rs.
        body["name"] = case.path_parameters["name"]
    if operation == "signIn":
        # Ten wrong passwords would block this IP address from signing in for a minute.
        body.update(username=TESTER, password=PASSWORD, scope=None)
    if operation == "startSession":
        body.update(username=TESTER, password=PASSWORD)
    if operation == "getMovieFacets" and "interval" in query:
        # The valid intervals depend on the type of the field; some types have none.
        interval = INTERVALS.get(FIELDS.get(query["by"]))
        if interval is None:
            del query["interval"]
        else:
            query["interval"] = interval
    if operation == "completeQuery" and "caret" in query:
        # A position inside a character is rejected. Those of ASCII are the same in all encodings.
        text = query.get("filter", "")
        query["caret"] = min(int(query["caret"]), len(text)) if text.isascii() else 0
    if operation == "exportMovies" and "fields" in query:
        query["fields"] = ",".join(FIELDS)
    if "from" in query:
        query["from"], query["to"] = sorted((query["from"], query.get("to") or str(date.today())))
    if operation == "importMovies":
        if query.get("on_conflict", "fail") == "fail":
            # A movie of the file may already exist.
            query["on_conflict"] = "skip"
        # Names and values of columns depend on the file.
        for name in query.keys() & {"map", "set", "sheet", "header_row", "encoding"}:
            del query[name]
        movies = [json.loads(line) for line in case.body.splitlines()]
        if query.get("format") in ("csv", "excel-csv"):
            case.body = as_csv(movies)
        elif query.get("format") == "json":
            case.body = json.dumps(movies).encode()
        elif query.get("format") == "xlsx":
            del query["format"]
        if not movies and "format" not in query:
            # A file of which nothing is known must have something.
            query["format"] = "ndjson"
    if operation == "legacyCreateMovie":
        # Like the previous service, the legacy routes return 400 if a movie already exists ...
        query["title"] = (query["title"] + str(uuid4()))[-300:]
    if operation == "legacyDeleteMovie":
        # ... and if it does not exist.
        movie = create_movie(case)
        query.update({name: movie[name] for name in query})
    if operation in ("createMovieQuery", "replaceMovieQuery"):
        if body.get("parameters"):
            body["filter"] = "genre = $genre"
            body["parameters"] = [{**body["parameters"][0], "name": "genre", "type": "text", "default": "drama"}]
        if body.get("filter") is None and body.get("order_by") is None:
            body["order_by"] = "title"
    if operation == "searchMovies" and (body.get("parameters") or "$" in (body.get("filter") or "")):
        body["filter"] = "genre = $genre"
        body["parameters"] = {"genre": "drama"}
    if operation == "runMovieQuery":
        query.update({f"p.{name}": value for name, value in arguments(case).items()})
    if operation == "runMovieQueryWithBody":
        body["parameters"] = arguments(case)


def arguments(case):
    """Returns a value for each parameter of the saved query."""
    response = send(case, "GET", f"/api/v1/queries/movies/{case.path_parameters['name']}")
    parameters = response.json().get("parameters", [])
    return {parameter["name"]: SAMPLES[parameter["type"]] for parameter in parameters}


def create_movie(case):
    movie = {"title": str(uuid4()), "genre": "drama", "release_year": 1994, "expiry_date": "2024-01-31"}
    response = send(case, "POST", "/api/v1/movies", json=movie)
    response.raise_for_status()
    return response.json()


def send(case, method, path, **request):
    headers = {"Authorization": case.headers["Authorization"]}
    return requests.request(method, case.operation.base_url + path, headers=headers, **request)
