#!/bin/sh
# Dumps the log to a folder: DATABASE_URL=postgres://… deploy/backup.sh /var/backups/gateway
# The address leads to PostgreSQL itself, not to a PgBouncer. Needs pg_dump, no older than the server. A dump that is there is whole.
set -eu
folder=$1
name="gateway-$(date -u +%Y%m%dT%H%M%SZ).dump"
umask 077
mkdir -p "$folder"
trap 'rm -f "$folder/.$name"' EXIT
pg_dump --format=custom --no-owner --no-privileges --dbname="$DATABASE_URL" --file="$folder/.$name"
pg_restore --list "$folder/.$name" > /dev/null
sync "$folder/.$name"
mv "$folder/.$name" "$folder/$name"
echo "$folder/$name"
