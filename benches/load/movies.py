"""The movies of the benchmark: as many as asked for, the same each time."""

import json
import random

GENRES = (
    "drama comedy action thriller horror romance documentary crime adventure fantasy "
    "animation family mystery war western music history sport noir biography"
).split()
# The first genre has about ten times as many movies as the last.
WEIGHTS = [1 / (2 + rank) for rank in range(len(GENRES))]

FIRST_YEAR, LAST_YEAR = 2020, 2030

ADJECTIVES = (
    "amber bitter blind borrowed brittle careful crooked distant drowned early empty faithful "
    "foreign gentle hidden hollow idle last late little long lost narrow northern old open other "
    "patient pale quiet reckless second silent slow small southern spare strange sudden tender "
    "thin unknown upper wild winter wrong young"
).split()
NOUNS = (
    "accountant apartment archive bakery balcony bridge cabin canal carpenter cellar chapel "
    "clockmaker coast corridor customs dentist detour encore evening ferry garden gardener guest "
    "harbour hotel inspector island janitor kitchen ladder lantern letter lighthouse map market "
    "melody neighbour notebook orchard passenger pianist platform postcard promise quarry railway "
    "rehearsal river saturday shoemaker signal sister staircase stranger summer suitcase tailor "
    "telegram tenant theatre tunnel umbrella valley village violin waiter window winter witness"
).split()
PLACES = "Bergen Cadiz Dover Ghent Kotor Lviv Malmo Oporto Riga Siena Split Trieste".split()


def title(choose):
    """A title of two to six words."""
    adjective, noun, other = (choose(words).capitalize() for words in (ADJECTIVES, NOUNS, NOUNS))
    return choose([
        f"The {adjective} {noun}",
        f"The {adjective} {noun}",
        f"{adjective} {noun}",
        f"A {noun} in {choose(PLACES)}",
        f"The {noun} and the {other}",
        f"The {noun} of the {adjective} {other}",
    ])


def movies(count):
    """Movies as the service imports them. Title and year together are unique."""
    source = random.Random(1949)
    seen = {}
    for _ in range(count):
        name, year = title(source.choice), min(2025, int(source.triangular(1900, 2026, 2015)))
        repeated = seen[name, year] = seen.get((name, year), 0) + 1
        yield {
            "title": name if repeated == 1 else f"{name} {repeated}",
            "genre": source.choices(GENRES, WEIGHTS)[0],
            "release_year": year,
            "expiry_date": f"{source.randint(FIRST_YEAR, LAST_YEAR)}"
            f"-{source.randint(1, 12):02}-{source.randint(1, 28):02}",
        }


def write(path, count):
    """Writes the movies as JSON lines."""
    with open(path, "w") as file:
        file.writelines(json.dumps(movie) + "\n" for movie in movies(count))
