"""What a fleet needs: priorities, pauses, devices, a second checkpoint, logs of failures, and an index for claims.

Old workers go on beside it: every new column has a default.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the columns, and order the index by attempts."""
    op.add_column("study", sa.Column("priority", sa.Integer, nullable=False, server_default="0"))
    op.add_column("study", sa.Column("paused", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("trial", sa.Column("previous", sa.Text))
    op.add_column("trial", sa.Column("previous_epoch", sa.Integer, nullable=False, server_default="0"))
    op.add_column("trial", sa.Column("previous_sha256", sa.String(64)))
    op.add_column("trial", sa.Column("log", sa.Text, nullable=False, server_default=""))
    op.add_column("worker", sa.Column("device", sa.String(64), nullable=False, server_default=""))
    op.add_column("worker", sa.Column("message", sa.Text, nullable=False, server_default=""))
    op.drop_index("trial_by_state", "trial")
    op.create_index("trial_by_state", "trial", ["state", "study_id", "attempts", "number"])
