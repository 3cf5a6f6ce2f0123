"""Stages: a race and a final score are rows of `study` that follow another one.

Studies that are there already count as followed: nothing is trained after them unless they are extended.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the columns."""
    op.add_column("study", sa.Column("origin", sa.Integer))
    op.add_column("study", sa.Column("stage", sa.String(8), nullable=False, server_default="search"))
    op.add_column("study", sa.Column("followed", sa.Boolean, nullable=False, server_default=sa.true()))
