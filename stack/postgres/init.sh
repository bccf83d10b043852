#!/bin/sh
# Creates the same roles, database and schema as servers/postgres. The image runs this on its first start.
set -eu
psql -v ON_ERROR_STOP=1 -U postgres -v admin="$ADMIN_PASSWORD" -v authenticator="$AUTHENTICATOR_PASSWORD" <<'SQL'
CREATE ROLE mfctl_admin LOGIN CREATEROLE CREATEDB PASSWORD :'admin';
GRANT pg_monitor, pg_signal_backend TO mfctl_admin;
CREATE ROLE media_anon NOLOGIN;
CREATE ROLE authenticator LOGIN NOINHERIT PASSWORD :'authenticator';
GRANT media_anon TO authenticator;
CREATE DATABASE media OWNER mfctl_admin;
\connect media
CREATE SCHEMA media AUTHORIZATION mfctl_admin;
SQL
