#!/bin/sh
# Installs the package in a Debian 13 of its own and runs the main jobs on its PostgreSQL 17: `debian13.sh PACKAGE FOLDER`, as root.
# Prints a line for each thing that holds.
set -eu
package=$1
root=$2
export LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive
trap 'umount "$root/proc" 2>/dev/null || true; rm -rf "$root"' EXIT
trap 'exit 143' TERM

quietly() { "$@" >"$root.log" 2>&1 || { tail -n 30 "$root.log"; echo "failed: $*"; exit 1; }; }
inside() { chroot "$root" "$@"; }

quietly debootstrap --variant=minbase trixie "$root"
printf 'Acquire::Check-Valid-Until "false";\nAcquire::Check-Date "false";\n' >"$root/etc/apt/apt.conf.d/99mirror"
mount -t proc proc "$root/proc"
mkdir -p "$root/etc/postgresql-common"
printf 'create_main_cluster = false\n' >"$root/etc/postgresql-common/createcluster.conf"
cp "$package" "$root/tmp/firn.deb"
quietly inside apt-get update
quietly inside apt-get install -y --no-install-recommends postgresql-17 zstd /tmp/firn.deb

cat >"$root/tmp/main-jobs.sh" <<'TEXT'
set -eu
bin=/usr/lib/postgresql/17/bin
data=/var/lib/postgresql/try
export PATH=$bin:/usr/bin:/bin PGHOST=/tmp PGPORT=54017 PGUSER=postgres HOME=/var/lib/postgresql FIRN_STORE=/var/lib/postgresql/store
initdb -D $data -U postgres --auth=trust --locale=C.UTF-8 -E UTF8 --no-sync >/dev/null
postgres -D $data -c listen_addresses= -c unix_socket_directories=/tmp -c port=54017 -c fsync=off >/tmp/server.log 2>&1 &
server=$!
trap 'kill -INT $server; wait $server || true' EXIT
tries=0
until pg_isready -q; do tries=$((tries + 1)); [ $tries -lt 300 ]; sleep 0.1; done
createdb app
psql -Xq -v ON_ERROR_STOP=1 app <<'SQL'
CREATE EXTENSION citext;
CREATE TABLE big (id int PRIMARY KEY, name citext, body text);
INSERT INTO big SELECT g, 'n' || g, repeat(md5(g::text), 20) FROM generate_series(1, 20000) g;
CREATE TABLE refs (id int REFERENCES big, UNIQUE (id));
INSERT INTO refs SELECT g FROM generate_series(1, 20000, 3) g;
CREATE MATERIALIZED VIEW totals AS SELECT count(*) FROM big;
SELECT lo_from_bytea(0, decode(repeat('00ff', 40000), 'hex')) FROM generate_series(1, 30);
SQL
rows() { psql -XqAt "$1" -c "SELECT md5(string_agg(t::text, '|' ORDER BY id)) FROM big t" -c "SELECT count(*), sum(id) FROM refs" \
  -c "SELECT md5(string_agg(md5(lo_get(oid)), ',' ORDER BY oid)) FROM pg_largeobject_metadata" -c "SELECT * FROM totals"; }
before=$(rows app)
firn init 2>/dev/null
firn-snapshot app >/dev/null
echo 'snapshot'
firn-restore app --as app_new --prove 2>&1
[ "$(rows app_new)" = "$before" ] && echo 'restored: the same rows'
pg_dump -Fc -f /tmp/stock.dump app
createdb -T template0 stock
pg_restore --exit-on-error -d stock /tmp/stock.dump
dump() { pg_dump -s "$1" | grep -v '^\\'; }
[ "$(dump app_new)" = "$(dump stock)" ] && echo 'restored: the schema that pg_restore makes'
firn-verify app --drill && echo 'drilled'
psql -Xqc 'TRUNCATE big CASCADE' app
firn-restore app latest --confirm app 2>&1
[ "$(rows app)" = "$before" ] && echo 'replaced'
firn-restore app --undo --confirm app 2>&1
[ "$(psql -XqAt app -c 'SELECT count(*) FROM big')" = 0 ] && echo 'undone'
TEXT
chmod 644 "$root/tmp/main-jobs.sh"
inside setpriv --reuid=postgres --regid=postgres --init-groups sh /tmp/main-jobs.sh
