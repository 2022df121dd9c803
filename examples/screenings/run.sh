#!/bin/sh
# Adds a second record type without code: the service serves the routes of the type declared in screenings.toml.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../service.sh"

cinequery records check "$here"
start "$here"

for screening in \
    '{"film": "The Third Man", "starts_at": "2026-05-01T20:15:00Z", "hall": "Blue Hall", "seats": 120}' \
    '{"film": "Metropolis", "starts_at": "2026-05-02T18:00:00Z", "hall": "Blue Hall", "subtitled": true}' \
    '{"film": "Nosferatu", "starts_at": "2026-05-02T22:30:00Z", "sale_ends": "2026-05-01"}'; do
    request POST /api/v1/screenings -H 'content-type: application/json' -d "$screening"
done

# `is null` finds records without a value in a nullable field.
request GET /api/v1/screenings -G --data-urlencode 'filter=hall is null or subtitled'

# An unknown field: the response has its position and suggests the right name.
request GET /api/v1/screenings -G --data-urlencode 'filter=seets > 100'

request GET '/api/v1/screenings/facets?by=hall'
request GET '/api/v1/screenings/export?format=csv'
stop
