#!/bin/sh
# Takes back the last STEP migrations, by the file of the same name in a folder beside them.
set -eu
for version in $("$PSQL" "$DATABASE_URL" -AtXqc "SELECT version FROM schema_migrations ORDER BY version DESC LIMIT ${STEP:-1}"); do
  "$PSQL" "$DATABASE_URL" -Xq -v ON_ERROR_STOP=1 -1 -f "$(echo "$MIGRATIONS"/down/"$version"_*.sql)" -c "DELETE FROM schema_migrations WHERE version = '$version'"
done
