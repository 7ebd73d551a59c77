"""Traces: under which request the later work on something is to be shown."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TABLES = ("detections", "deliveries")


def upgrade() -> None:
    """Go forward."""
    for table in TABLES:
        op.add_column(table, sa.Column("traceparent", sa.String(length=64), nullable=True))


def downgrade() -> None:
    """Go back."""
    for table in reversed(TABLES):
        op.drop_column(table, "traceparent")
