#!/bin/sh
# psql for migrations that give it a URL: other users can read arguments, so the password goes into the environment.
url=$1
shift
secret=$(printf '%s' "$url" | sed -n 's|^[a-z]*://[^:@/]*:\([^@/]*\)@.*|\1|p')
if [ -n "$secret" ]; then
  PGPASSWORD=$(/usr/bin/printf '%b' "$(printf '%s' "$secret" | sed 's/%/\\x/g')")
  export PGPASSWORD
fi
exec "$PSQL_PROGRAM" "$(printf '%s' "$url" | sed 's|://\([^:@/]*\):[^@/]*@|://\1@|')" "$@"
