#!/bin/sh
# From a CSV file to a service, and one field more, with nothing but an empty folder to begin with.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../service.sh"

cp "$here/books.csv" .
mkdir records

# A first declaration, from the file itself. The comments in it say what it was inferred from.
cinequery records infer books.csv >records/books.toml
cat records/books.toml
cinequery records check records

start records
request POST /api/v1/books/import -H 'content-type: text/csv' \
    --data-binary @books.csv

# A field that does not exist: the response says where, and which was meant.
request GET /api/v1/books -G --data-urlencode 'filter=autor contains "austen"'
request GET /api/v1/books -G --data-urlencode 'filter=author contains "austen"'
request GET '/api/v1/books/facets?by=translated'
stop

# The declaration after an edit: a field with a default, among others. The plan says what that takes.
cp "$here/books.toml" records/
cinequery migrate --plan --records records

# The service applies it at start. The books that were there have the default.
start records
request GET '/api/v1/books?count=exact' -G --data-urlencode 'filter=copies = 1' -d limit=1
request GET /openapi.json | grep -o '"Book":{'
stop
