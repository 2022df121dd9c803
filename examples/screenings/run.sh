#!/bin/sh
# A second record type without a line of code: screenings.toml declares it, and the service has its routes.
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

# Fields that may be null are found by `is null`.
request GET /api/v1/screenings -G --data-urlencode 'filter=hall is null or subtitled'

# A field that does not exist: the response says where, and which was meant.
request GET /api/v1/screenings -G --data-urlencode 'filter=seets > 100'

request GET '/api/v1/screenings/facets?by=hall'
request GET '/api/v1/screenings/export?format=csv'
stop
