"""Candidate models: what they say in the shadow of the live one."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    op.create_table(
        "shadow_scores",
        sa.Column("detection_id", sa.String(length=64), nullable=False),
        sa.Column("model_sha256", sa.String(length=64), nullable=False),
        sa.Column("live_sha256", sa.String(length=64), nullable=False),
        sa.Column("llr_synthetic", sa.Double(), nullable=True),
        sa.Column("p_synthetic", sa.Double(), nullable=True),
        sa.Column("verdict", sa.String(length=32), nullable=False),
        sa.Column("action", sa.String(length=16), nullable=False),
        sa.ForeignKeyConstraint(["detection_id"], ["detections.id"]),
        sa.PrimaryKeyConstraint("detection_id", "model_sha256"),
    )
    op.create_table(
        "service_state",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("value", sa.JSON(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )


def downgrade() -> None:
    """Go back."""
    op.drop_table("service_state")
    op.drop_table("shadow_scores")
