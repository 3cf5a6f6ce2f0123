"""How busy the workers of a study were.

Old workers go on beside it: they do not know of it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "sample",
        sa.Column("study_id", sa.Integer, sa.ForeignKey("study.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("at", sa.Float, primary_key=True),
        sa.Column("worker", sa.String(64), primary_key=True),
        sa.Column("usage", sa.Text, nullable=False),
        sa.Index("sample_by_time", "at"),
    )
