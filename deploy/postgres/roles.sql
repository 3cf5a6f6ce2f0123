-- Run once by the server's image on an empty volume. Two roles, so that whoever breaks into MLflow has not got the studies.
SET log_min_error_statement = panic;
\set tuner_password `cat /run/secrets/tuner`
\set mlflow_password `cat /run/secrets/mlflow`
CREATE ROLE tuner LOGIN PASSWORD :'tuner_password';
CREATE ROLE mlflow LOGIN PASSWORD :'mlflow_password';
REVOKE ALL ON DATABASE tuner FROM PUBLIC;
ALTER DATABASE tuner OWNER TO tuner;
GRANT CONNECT ON DATABASE tuner TO mlflow;
CREATE SCHEMA mlflow AUTHORIZATION mlflow;
