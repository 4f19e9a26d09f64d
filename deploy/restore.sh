#!/bin/sh
# Fills an empty database from a dump, all of it or nothing: DATABASE_URL=postgres://… deploy/restore.sh FILE
# Then start the gateway on it, of the same version or a newer one.
set -eu
pg_restore --single-transaction --exit-on-error --no-owner --no-privileges --dbname="$DATABASE_URL" "$1"
# Without statistics the first hours would be slow.
psql --no-psqlrc --quiet --dbname="$DATABASE_URL" --command=ANALYZE
