"""A tour of cinequery with the client that openapi-python-client makes of its OpenAPI document."""

import os
from collections.abc import Iterator
from datetime import date
from typing import TypeVar
from uuid import uuid4

from cinequery_client import AuthenticatedClient, Client
from cinequery_client.api.movies import (
    batch_movies,
    bulk_delete_movies,
    create_movie,
    delete_movie,
    get_movie_history,
    list_movies,
    restore_movie,
    update_movie,
)
from cinequery_client.api.token import sign_in
from cinequery_client.models import (
    BatchItem,
    BatchItemRecordType0,
    BatchOperation,
    BatchRequest,
    Diagnostic,
    Movie,
    MovieDraft,
    MoviePatch,
    Problem,
    RestoreRequest,
    TokenRequest,
)
from cinequery_client.types import UNSET, Unset

T = TypeVar("T")


def main() -> None:
    url = os.environ.get("CINEQUERY_URL", "http://127.0.0.1:8080")
    credentials = TokenRequest(
        username=os.environ["CINEQUERY_USERNAME"],
        password=os.environ["CINEQUERY_PASSWORD"],
    )
    with Client(base_url=url, raise_on_unexpected_status=True) as client:
        token = accepted(sign_in.sync(client=client, body=credentials))
    print(f"signed in for {token.expires_in} s")
    with AuthenticatedClient(
        base_url=url, token=token.access_token, raise_on_unexpected_status=True
    ) as client:
        tour(client)


def tour(client: AuthenticatedClient) -> None:
    # `sync_detailed` has the headers too. A change names the version it is made to by its ETag.
    # With an idempotency key, a request whose response was lost can be sent again.
    key = str(uuid4())
    draft = MovieDraft(
        title="The Third Man",
        genre="film noir",
        release_year=1949,
        expiry_date=date(2031, 12, 31),
    )
    created = create_movie.sync_detailed(client=client, body=draft, idempotency_key=key)
    movie = accepted(created.parsed)
    print(f"created {movie.title}, version {movie.version}")
    retried = accepted(create_movie.sync(client=client, body=draft, idempotency_key=key))
    if retried.id != movie.id:
        raise SystemExit("a retry created another movie")
    print("retried: the same movie")

    found = accepted(
        list_movies.sync(
            client=client,
            filter_='genre = "film noir" and release_year between 1940 and 1949',
            order_by="release_year, title",
        )
    )
    titles = [f"{movie.title} ({movie.release_year})" for movie in found.items]
    print(f"found {', '.join(titles)}")

    sizes = [len(movies) for movies in pages(client)]
    print(f"walked {sum(sizes)} movies on {len(sizes)} pages")

    updated = update_movie.sync_detailed(
        movie.id,
        client=client,
        if_match=created.headers["ETag"],
        body=MoviePatch(expiry_date=date(2032, 6, 30)),
    )
    movie = accepted(updated.parsed)
    print(f"updated to version {movie.version}, expiring {movie.expiry_date}")

    history = accepted(get_movie_history.sync(movie.id, client=client))
    print(f"history: {', '.join(revision.kind for revision in history.items)}")

    match list_movies.sync(client=client, filter_='gnre = "film noir"'):
        case Problem(diagnostics=[Diagnostic() as at, *_]):
            print(f"rejected: {at.code} at column {at.column}: {at.message}; {at.help_}")
        case _:
            raise SystemExit("a field that does not exist was found")

    batch = BatchRequest(
        operations=[
            BatchItem(
                op=BatchOperation.CREATE,
                record=BatchItemRecordType0.from_dict(
                    {
                        "title": title,
                        "genre": "drama",
                        "release_year": 2001,
                        "expiry_date": "2031-12-31",
                    }
                ),
            )
            for title in ("Batch One", "Batch Two")
        ]
    )
    results = accepted(batch_movies.sync(client=client, body=batch)).results
    print(f"wrote a batch: {', '.join(str(result.status) for result in results)}")

    # Nothing is deleted unless exactly so many movies match.
    report = accepted(
        bulk_delete_movies.sync(client=client, filter_='title starts with "Batch "', expect=2)
    )
    print(f"deleted {report.written} that match a filter")

    remove(client, movie, updated.headers["ETag"])
    print("deleted")
    restored = restore_movie.sync_detailed(movie.id, client=client, body=RestoreRequest(version=1))
    print(f"restored as version {accepted(restored.parsed).record.version}")
    remove(client, movie, restored.headers["ETag"])


def remove(client: AuthenticatedClient, movie: Movie, version: str) -> None:
    """Deletes a movie that has this version."""
    match delete_movie.sync(movie.id, client=client, if_match=version):
        case Problem() as problem:
            raise failure(problem)


def pages(client: AuthenticatedClient) -> Iterator[list[Movie]]:
    """Every page of the catalogue."""
    cursor: str | Unset = UNSET
    while True:
        page = accepted(list_movies.sync(client=client, limit=10, cursor=cursor))
        yield page.items
        if not page.next_cursor:
            return
        cursor = page.next_cursor


def accepted(response: T | Problem | None) -> T:
    """Returns the data of a response, or ends the program if it is a problem."""
    if isinstance(response, Problem):
        raise failure(response)
    # The clients raise UnexpectedStatus where a call without a result would return None.
    assert response is not None
    return response


def failure(problem: Problem) -> SystemExit:
    return SystemExit(f"{problem.code}: {problem.detail}")


main()
