#!/bin/bash
# POSTGRES_DB, POSTGRES_PASSWORD_FILE, PGDATA and *.sql in /docker-entrypoint-initdb.d, under any user.
set -euo pipefail

echo "postgres:x:$(id -u):$(id -g):PostgreSQL:/var/lib/postgresql:/bin/false" > /tmp/passwd
echo "postgres:x:$(id -g):" > /tmp/group
export LD_PRELOAD=/usr/local/lib/nss_wrapper.so NSS_WRAPPER_PASSWD=/tmp/passwd NSS_WRAPPER_GROUP=/tmp/group

if [ ! -s "$PGDATA/PG_VERSION" ]; then
    initdb --username=postgres --encoding=UTF8 --locale=C.UTF-8 --pwfile="$POSTGRES_PASSWORD_FILE" --auth-local=trust --auth-host=trust
    echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
    pg_ctl --wait --options="-c listen_addresses=" start
    psql --username=postgres --quiet --command="CREATE DATABASE $POSTGRES_DB"
    for file in /docker-entrypoint-initdb.d/*.sql; do
        psql --username=postgres --dbname="$POSTGRES_DB" --quiet --set=ON_ERROR_STOP=1 --file="$file"
    done
    pg_ctl --wait --mode=fast stop
fi
exec "$@" -c listen_addresses='*'
