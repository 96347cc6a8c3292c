#!/bin/sh
# Restores the application's database from a snapshot, with the services stopped for the moment of the exchange.
#
#     scripts/restore-from-backup.sh [SNAPSHOT] [OPTION…]
#
# A thin wrapper over firn-restore for users of the script of this name from the migration guide. That one dropped the
# database first; this one builds the new database beside it, asks for the database's name, exchanges the two, and keeps the old one.
# DATABASE (a2d2_production) and SERVICES (a2d2-web a2d2-worker) can be set in the environment.
set -eu

database=${DATABASE:-a2d2_production}
services=${SERVICES:-a2d2-web a2d2-worker}
case "${1:-}" in
-h | --help)
  sed -n '2,8s/^# \{0,1\}//p' "$0"
  exit 0
  ;;
'' | -*) snapshot=latest ;;
*)
  snapshot=$1
  shift
  ;;
esac

# These go by no snapshot.
for word in "$@"; do
  case $word in
  --undo | --recover | --forget-old) snapshot= ;;
  --config | --config=*) printf '%s: name the configuration with FIRN_CONFIG: the services are added to it\n' "$(basename "$0")" >&2; exit 64 ;;
  esac
done

sudo=
[ "$(id -u)" = 0 ] || sudo='sudo '
configuration=$(mktemp)
trap 'rm -f "$configuration"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
# The usual configuration applies too, except for the maintenance.
for file in "${FIRN_CONFIG:-}" ./firn.yaml "${HOME:-/}/.config/firn/firn.yaml" /etc/firn/firn.yaml; do
  # Anybody may have put a file into the working folder.
  if [ "$file" = ./firn.yaml ] && [ -z "$(find ./firn.yaml -maxdepth 0 \( -user 0 -o -user "$(id -u)" \) ! -perm -o+w 2>/dev/null)" ]; then continue; fi
  if [ -n "$file" ] && [ -f "$file" ]; then
    awk '/^[^ #]/ { inside = /^maintenance:/ } !inside' "$file" >"$configuration"
    break
  fi
done
{
  printf 'maintenance:\n  stop:\n    - %ssystemctl stop %s\n' "$sudo" "$services"
  printf '  start:\n    - %ssystemctl start %s\n' "$sudo" "$services"
  if [ -n "${HEALTH_URL:-}" ]; then printf '  health: %s\n' "$HEALTH_URL"; fi
} >>"$configuration"

# Not exec: the configuration is removed afterwards.
"${FIRN_RESTORE:-firn-restore}" "$database" ${snapshot:+"$snapshot"} --config "$configuration" "$@"
