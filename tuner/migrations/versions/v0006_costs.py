"""What a trial's network costs where it is used, for studies that ask for it.

Old workers go on beside it: the column has a default, and they do not know of it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the column."""
    op.add_column("trial", sa.Column("costs", sa.JSON, nullable=False, server_default="{}"))
