"""Run by Alembic: migrates over the connection that it is given."""

from alembic import context

from deepfake_audio.server.database import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    transactional_ddl=True,
    render_as_batch=True,
)
context.run_migrations()
