#!/bin/sh
# Turns a CSV file into a service, then adds a field. Starts with an empty folder.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../service.sh"

cp "$here/books.csv" .
mkdir records

# Infer a first declaration from the file. Its comments say what each field was inferred from.
cinequery records infer books.csv >records/books.toml
cat records/books.toml
cinequery records check records

start records
request POST /api/v1/books/import -H 'content-type: text/csv' \
    --data-binary @books.csv

# An unknown field: the response has its position and suggests the right name.
request GET /api/v1/books -G --data-urlencode 'filter=autor contains "austen"'
request GET /api/v1/books -G --data-urlencode 'filter=author contains "austen"'
request GET '/api/v1/books/facets?by=translated'
stop

# The declaration after an edit, which adds a field with a default. The plan lists the steps of the migration.
cp "$here/books.toml" records/
cinequery migrate --plan --records records

# The service applies the migration at start. Existing books get the default.
start records
request GET '/api/v1/books?count=exact' -G --data-urlencode 'filter=copies = 1' -d limit=1
request GET /openapi.json | grep -o '"Book":{'
stop
