"""Why a job is to be asked; indexes over the few images that are gone or moved.

Revision: 0002, after 0001.
"""

import sqlalchemy as sa
from alembic import op

revision = '0002'
down_revision = '0001'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('jobs', sa.Column('reason', sa.Text(), server_default='new', nullable=False))
    # what had an answer and is to be asked again was changed or stale: which, nobody wrote down
    op.execute(
        "UPDATE jobs SET reason = 'stale' "
        "WHERE state IN ('pending', 'leased') AND result_id IS NOT NULL"
    )
    _remake_ready('version_id', 'library_id', 'not_before', 'id', 'reason')
    _create_partial('ix_images_gone_at', 'images', ['gone_at'], 'gone_at IS NOT NULL')
    _create_partial('ix_images_moved_from', 'images', ['moved_from'], 'moved_from IS NOT NULL')
    op.create_index('ix_results_model', 'results', ['model'], unique=False)


def downgrade() -> None:
    op.drop_index('ix_results_model', table_name='results')
    op.drop_index('ix_images_moved_from', table_name='images')
    op.drop_index('ix_images_gone_at', table_name='images')
    _remake_ready('version_id', 'library_id', 'not_before', 'id')
    op.drop_column('jobs', 'reason')


def _remake_ready(*columns: str) -> None:
    op.drop_index('ix_jobs_ready', table_name='jobs')
    _create_partial('ix_jobs_ready', 'jobs', list(columns), "state = 'pending'")


def _create_partial(name: str, table: str, columns: list[str], where: str) -> None:
    op.create_index(
        name, table, columns, unique=False,
        sqlite_where=sa.text(where), postgresql_where=sa.text(where),
    )
