"""What the OpenAPI document cannot say, for Schemathesis: the filter language, files of movies, and how
the values of one request depend on each other."""

import csv
import io
import json
import os
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


# The language, of which grammar/README.md is the reference.

COMPARISONS = st.sampled_from(["=", "!=", "<", "<=", ">", ">="])
MATCHES = st.sampled_from(["contains", "starts with", "ends with"])
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)


def quoted(text):
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


# The values of a type, which can be sorted, and how one is written.
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

# These two take any text, and say what is wrong with it.
LENIENT = ("checkQuery", "completeQuery")


@schemathesis.hook
def before_load_schema(context, raw_schema):
    """Texts of the language become a format. Their greatest length goes: it is not met by chance, and what
    tries it is an address that does not reach the service."""
    schemas = raw_schema["components"]["schemas"]
    texts = [schemas[draft]["properties"] for draft in ("SearchRequest", "SavedQueryDraft")]
    for item in raw_schema["paths"].values():
        for operation in item.values():
            if operation["operationId"] not in LENIENT:
                parameters = operation.get("parameters", [])
                texts.append({parameter["name"]: parameter["schema"] for parameter in parameters})
            # Schemathesis takes bytes alone for the body of a file, and an example is text.
            content = operation.get("requestBody", {}).get("content", {})
            content.get("application/octet-stream", {}).pop("example", None)
    for text in texts:
        for name in text.keys() & {"If-Match", "If-None-Match"}:
            text[name].update(format="entity_tags")
        for name in text.keys() & {"filter", "order_by"}:
            text[name].update(format=name)
            text[name].pop("maxLength", None)


# Files of movies.

LINES = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=30)
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


# What is refused, and why.

# Those of what is no request of an operation.
OF_NO_OPERATION = {"method_not_allowed", "unknown_route"}


@schemathesis.check
def documented_code(context, response, case):
    """A refusal has one of the codes that are listed with its operation."""
    if 400 <= response.status_code < 500 and response.content:
        code = response.json()["code"]
        listed = case.operation.definition.raw["responses"]["4XX"]["description"]
        assert f"`{code}` ({response.status_code})" in listed or code in OF_NO_OPERATION, code


# How values depend on each other, and on what the service holds.

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
    spare_the_tester(case)
    if case.meta and case.meta.generation.mode.is_positive:
        name_one_that_is_there(case)
        turn_the_page(case)
        agree(case)


def spare_the_tester(case):
    """Whoever changes, deletes or signs out the user of the tests ends them."""
    body = case.body if isinstance(case.body, dict) else {}
    for values, name in ((case.path_parameters, "name"), (body, "subject")):
        if case.method != "GET" and values.get(name) == TESTER:
            values[name] = "somebody else"


def name_one_that_is_there(case):
    """A random id is that of no movie. Where no link brings one, a movie is made for the request."""
    if case.path_parameters.get("id") and case.meta.phase.name != TestPhase.STATEFUL:
        movie = create_movie(case)
        case.path_parameters["id"] = movie["id"]
        if "If-Match" in case.headers:
            case.headers["If-Match"] = f'"{movie["version"]}"'


def turn_the_page(case):
    """A cursor belongs to its query, and comes from the page before."""
    body = case.body if isinstance(case.body, dict) else {}
    for values, name in ((case.query, "cursor"), (case.query, "after"), (body, "cursor")):
        if values and name in values:
            del values[name]
            agree(case)
            page = requests.request(**case.as_transport_kwargs(base_url=case.operation.base_url))
            if cursor := page.json().get(f"next_{name}"):
                values[name] = cursor


def agree(case):
    operation = case.operation.definition.raw["operationId"]
    query, body = case.query, case.body
    if operation in UNIQUE and case.meta.phase.name == TestPhase.STATEFUL:
        # A scenario that is told again creates it again.
        body[UNIQUE[operation]] = str(uuid4())
    if operation == "replaceMovieQuery" and case.meta.phase.name == TestPhase.STATEFUL:
        # Another name would rename the query, and later links of the scenario still have the old one. Schemathesis
        # takes a 404 on `.../{name}/results` after that for a lost query (ST302): it only knows deletions.
        # The other phases rename, and so does tests/saved.rs.
        body["name"] = case.path_parameters["name"]
    if operation == "signIn":
        # Whoever has a wrong password ten times keeps this address from signing in for a minute.
        body.update(username=TESTER, password=PASSWORD, scope=None)
    if operation == "getMovieFacets" and "interval" in query:
        # A field has the intervals of its type, or none.
        interval = INTERVALS.get(FIELDS.get(query["by"]))
        if interval is None:
            del query["interval"]
        else:
            query["interval"] = interval
    if operation == "completeQuery" and "caret" in query:
        query["caret"] = min(int(query["caret"]), len(query.get("filter", "")))
    if "from" in query:
        query["from"], query["to"] = sorted((query["from"], query.get("to") or str(date.today())))
    if operation == "importMovies":
        if query.get("on_conflict", "fail") == "fail":
            # A movie may be there already.
            query["on_conflict"] = "skip"
        if query.get("format") == "csv":
            case.body = as_csv(map(json.loads, case.body.splitlines()))
    if operation == "classicCreateMovie":
        # 400 is also the answer to a movie that is there already, as it was in the earlier service ...
        query["title"] = (query["title"] + str(uuid4()))[-300:]
    if operation == "classicDeleteMovie":
        # ... and to one that is not.
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
    """A value for each parameter that the saved query has."""
    answer = send(case, "GET", f"/api/v1/queries/movies/{case.path_parameters['name']}")
    parameters = answer.json().get("parameters", [])
    return {parameter["name"]: SAMPLES[parameter["type"]] for parameter in parameters}


def create_movie(case):
    movie = {"title": str(uuid4()), "genre": "drama", "release_year": 1994, "expiry_date": "2024-01-31"}
    answer = send(case, "POST", "/api/v1/movies", json=movie)
    answer.raise_for_status()
    return answer.json()


def send(case, method, path, **request):
    headers = {"Authorization": case.headers["Authorization"]}
    return requests.request(method, case.operation.base_url + path, headers=headers, **request)
