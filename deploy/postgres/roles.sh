#!/bin/sh
# Every service gets a role and a schema of its own, and can reach nothing else. The image of PostgreSQL runs this once,
# on an empty data directory; for a PostgreSQL of yours run it by hand: it may be run again.
#
#   POSTGRES_USER=postgres POSTGRES_DB=okr OKR_DATABASE_PASSWORD=... PGHOST=... PGPASSWORD=... sh roles.sh
set -eu

: "${POSTGRES_USER:?who makes the roles}" "${POSTGRES_DB:?in which database}" "${OKR_DATABASE_PASSWORD:?of the roles}"

for service in directory goals checkins alignment notifications insights; do
    psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" \
        --set role="okr_$service" --set schema="$service" --set password="$OKR_DATABASE_PASSWORD" \
        --set database="$POSTGRES_DB" <<'SQL'
SELECT format('CREATE ROLE %I LOGIN', :'role') WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'role') \gexec
ALTER ROLE :"role" PASSWORD :'password';
CREATE SCHEMA IF NOT EXISTS :"schema" AUTHORIZATION :"role";
REVOKE ALL ON DATABASE :"database" FROM PUBLIC;
GRANT CONNECT, TEMPORARY ON DATABASE :"database" TO :"role";
REVOKE ALL ON SCHEMA public FROM PUBLIC;
SQL
done
