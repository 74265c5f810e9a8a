-- The login that the server has. It may do nothing until `indelible store grant` says so. Run once, when the database is made.
\set ON_ERROR_STOP on
\set password `cat /run/secrets/writer`
create role indelible login password :'password';
\unset password
