"""A tour of cinequery with the client that openapi-python-client makes of its OpenAPI document."""

import os
from collections.abc import Iterator
from datetime import date
from typing import TypeVar

from cinequery_client import AuthenticatedClient, Client
from cinequery_client.api.movies import create_movie, delete_movie, list_movies, update_movie
from cinequery_client.api.token import sign_in
from cinequery_client.models import Diagnostic, Movie, MovieDraft, MoviePatch, Problem, TokenRequest
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
    created = create_movie.sync_detailed(
        client=client,
        body=MovieDraft(
            title="The Third Man",
            genre="film noir",
            release_year=1949,
            expiry_date=date(2031, 12, 31),
        ),
    )
    movie = accepted(created.parsed)
    print(f"created {movie.title}, version {movie.version}")

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

    match list_movies.sync(client=client, filter_='gnre = "film noir"'):
        case Problem(diagnostics=[Diagnostic() as at, *_]):
            print(f"rejected: {at.code} at column {at.column}: {at.message}; {at.help_}")
        case _:
            raise SystemExit("a field that does not exist was found")

    match delete_movie.sync(movie.id, client=client, if_match=updated.headers["ETag"]):
        case Problem() as problem:
            raise failure(problem)
    print("deleted")


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
