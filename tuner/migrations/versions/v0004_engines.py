"""What the training process of a worker is."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the column."""
    op.add_column("worker", sa.Column("engine", sa.Text, nullable=False, server_default=""))
