"""The only door to SQL: studies, trials, leases, epochs, and how far each view has come.

The tables are the only truth. Rows of `trial` exist from the launch on: they *are* the budget. Each verb is one transaction.
Every verb of a worker is guarded by the fence of its claim, so that an owner whose lease was taken over changes nothing: it gets
`LostLease`. Times are seconds since 1970 in UTC by the database's own clock; tests pass `now` instead.

SQLite (one host) runs in WAL mode with one writer at a time; a commit survives the death of any process, not a power cut.
PostgreSQL (many hosts) keeps the tables in the schema `tuner`, beside MLflow's in `mlflow`. Its answer to a commit can be lost;
so whoever gets `DatabaseAway` may repeat what it asked for, and what had happened already is found done.
"""

from tuner.store.alone import Alone
from tuner.store.database import Database, address, mlflow_address
from tuner.store.insistent import Insistent
from tuner.store.leases import Leases
from tuner.store.reading import Reading
from tuner.store.stages import Stages
from tuner.store.studies import ANEW, Studies
from tuner.store.tables import (
    HEAD,
    PARENT,
    VERSION_TABLE,
    Behind,
    Claim,
    Lifetime,
    Plan,
    Progress,
    Row,
    Sample,
    Sighting,
    Stage,
    Study,
    Worker,
    metadata,
)
from tuner.store.views import Views
from tuner.store.workers import Workers

__all__ = [
    "ANEW",
    "HEAD",
    "PARENT",
    "VERSION_TABLE",
    "Alone",
    "Behind",
    "Claim",
    "Insistent",
    "Lifetime",
    "Plan",
    "Progress",
    "Row",
    "Sample",
    "Sighting",
    "Stage",
    "Store",
    "Study",
    "Worker",
    "address",
    "metadata",
    "mlflow_address",
]


class Store(Studies, Stages, Leases, Reading, Workers, Views, Database):
    """The tables of one database."""
