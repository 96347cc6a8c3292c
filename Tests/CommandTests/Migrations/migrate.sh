#!/bin/sh
# Applies what is pending of a folder of SQL files, each in a transaction of its own with its line in schema_migrations, as Rails does.
# A file whose name ends in .plain.sql runs outside of one.
set -eu
for file in "$MIGRATIONS"/*.sql; do
  version=$(basename "$file" | cut -d_ -f1)
  [ -z "$("$PSQL" "$DATABASE_URL" -AtXqc "SELECT 1 FROM schema_migrations WHERE version = '$version'")" ] || continue
  echo "== $version migrating"
  mark="INSERT INTO schema_migrations VALUES ('$version')"
  case $file in
  *.plain.sql) "$PSQL" "$DATABASE_URL" -Xq -v ON_ERROR_STOP=1 -f "$file" -c "$mark" ;;
  *) "$PSQL" "$DATABASE_URL" -Xq -v ON_ERROR_STOP=1 -1 -f "$file" -c "$mark" ;;
  esac
  echo "== $version migrated"
done
