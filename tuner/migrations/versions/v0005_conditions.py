"""Under what conditions the trials of each worker were trained."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "conditions",
        sa.Column("study_id", sa.Integer, sa.ForeignKey("study.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("worker", sa.String(64), primary_key=True),
        sa.Column("said", sa.Text, nullable=False),
    )
