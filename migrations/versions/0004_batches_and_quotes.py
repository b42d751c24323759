"""Batches, and what was expected of each request.

Revision: 0004, after 0003.
"""

import sqlalchemy as sa
from alembic import op

revision = '0004'
down_revision = '0003'
branch_labels = None
depends_on = None

_QUOTES = (
    'picture_tokens', 'quoted_input', 'quoted_cached', 'quoted_output',
    'sent_bytes', 'original_bytes', 'original_tokens',
)
_SUMS = (
    'quoted_nanos', 'sent_bytes', 'original_bytes', 'original_tokens', 'pictures',
    'picture_tokens', 'picture_squares', 'picture_inputs', 'picture_products',
)


def upgrade() -> None:
    op.add_column('jobs', sa.Column('next_step', sa.Text(), nullable=True))
    _create_batches()
    op.add_column('attempts', sa.Column('batch_id', _id_type(), nullable=True))
    op.add_column('attempts', sa.Column('quoted_nanos', sa.BigInteger(), nullable=True))
    for name in _QUOTES:
        op.add_column('attempts', _count(name))
    _create_partial('ix_attempts_open_batch', 'attempts', 'batch_id', "state = 'open'")
    for name in _SUMS:
        op.add_column('spends', _count(name))


def downgrade() -> None:
    for name in _SUMS:
        op.drop_column('spends', name)
    op.drop_index('ix_attempts_open_batch', table_name='attempts')
    for name in (*_QUOTES, 'quoted_nanos', 'batch_id'):
        op.drop_column('attempts', name)
    op.drop_table('batches')
    op.drop_column('jobs', 'next_step')


def _id_type() -> sa.types.TypeEngine:
    return sa.BigInteger().with_variant(sa.Integer(), 'sqlite')


def _count(name: str) -> sa.Column:
    return sa.Column(name, sa.BigInteger(), server_default='0', nullable=False)


def _create_partial(name: str, table: str, column: str, where: str) -> None:
    op.create_index(
        name, table, [column], unique=False,
        sqlite_where=sa.text(where), postgresql_where=sa.text(where),
    )


def _create_batches() -> None:
    op.create_table(
        'batches',
        sa.Column('id', _id_type(), nullable=False),
        sa.Column('token', sa.Text(), nullable=False),
        sa.Column('run_id', _id_type(), nullable=False),
        sa.Column('version_id', _id_type(), nullable=False),
        *(
            sa.Column(name, sa.Text(), nullable=False)
            for name in ('account', 'endpoint', 'path', 'model', 'state', 'file')
        ),
        sa.Column('sha256', sa.LargeBinary(), nullable=True),
        *(_count(name) for name in ('lines', 'bytes', 'tokens')),
        *(
            sa.Column(name, sa.Text(), nullable=True)
            for name in ('input_file', 'remote_id', 'remote_state')
        ),
        *(_count(name) for name in ('completed', 'failed', 'not_before')),
        sa.Column('opened_at', sa.BigInteger(), nullable=False),
        sa.Column('submitted_at', sa.BigInteger(), nullable=True),
        sa.Column('ended_at', sa.BigInteger(), nullable=True),
        sa.Column('message', sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(['run_id'], ['runs.id'], name=op.f('fk_batches_run_id')),
        sa.ForeignKeyConstraint(
            ['version_id'], ['profile_versions.id'], name=op.f('fk_batches_version_id')
        ),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_batches')),
        sa.UniqueConstraint('token', name=op.f('uq_batches_token')),
    )
    _create_partial('ix_batches_live', 'batches', 'account', 'ended_at IS NULL')
