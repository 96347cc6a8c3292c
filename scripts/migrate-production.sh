#!/bin/sh
# Migrates the application's database, with a snapshot before it, the services stopped meanwhile, and a way back.
#
#     scripts/migrate-production.sh [OPTION…] [-- COMMAND…]
#
# A thin wrapper over firn-migrate run for those who know the script of this name from the migration guide. Where the command fails,
# or the application is not well afterwards, what was migrated is rolled back (--on-failure stop or restore, or on-failure in
# firn.yaml: another answer).
# APP (/var/www/a2d2/current), SERVICES (a2d2-worker a2d2-web), or STOP and START (commands), HEALTH_URL (http://localhost:3000/health),
# HEALTH_RETRIES (10, every three seconds) and RAILS_ENV (production) can be set in the environment. COMMAND is else:
# bundle exec rails db:migrate. Options are those of firn-migrate run.
set -eu

case "${1:-}" in
-h | --help)
  sed -n '2,11s/^# \{0,1\}//p' "$0"
  exit 0
  ;;
esac
for word in "$@"; do
  case $word in
  --) break ;;
  --config | --config=*) printf '%s: name the configuration with FIRN_CONFIG: the services are added to it\n' "$(basename "$0")" >&2; exit 64 ;;
  esac
done
services=${SERVICES:-a2d2-worker a2d2-web}
RAILS_ENV=${RAILS_ENV:-production}
export RAILS_ENV

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
# As YAML has it between single quotes.
quoted() { printf "'%s'" "$(printf %s "$1" | sed "s/'/''/g")"; }
cat >>"$configuration" <<TEXT
maintenance:
  stop: $(quoted "${STOP:-${sudo}systemctl stop $services}")
  start: $(quoted "${START:-${sudo}systemctl start $services}")
  health: $(quoted "${HEALTH_URL:-http://localhost:3000/health}")
  health-retries: ${HEALTH_RETRIES:-10}
TEXT

cd "${APP:-/var/www/a2d2/current}"
# The first -- ends the options.
options=0
for word in "$@"; do
  [ "$word" != -- ] || break
  options=$((options + 1))
done
[ $options -lt $# ] || set -- "$@" -- bundle exec rails db:migrate
# Whether the configuration says this of migrations.
says() { awk -v key="$1" '/^[^ #]/ { inside = /^migrate:/ } inside && $0 ~ ("[ {,]" key ":") { found = 1 } END { exit !found }' "$configuration"; }
# A rollback that the configuration names is used; else Rails' own. Before what is said here, so that this comes after it and holds.
says rollback || set -- --rollback 'bundle exec rails db:rollback' "$@"
if ! says on-failure; then
  case " $* " in *' --on-failure '* | *' --on-failure='* | *' --restore-on-failure '* | *' --restore-on-failure='*) ;; *) set -- --on-failure rollback "$@" ;; esac
fi
case " $* " in *' --expect-environment '* | *' --expect-environment='*) ;; *) set -- --expect-environment "$RAILS_ENV" "$@" ;; esac

# Not exec: the configuration is removed afterwards.
"${FIRN_MIGRATE:-firn-migrate}" run --config "$configuration" "$@"
