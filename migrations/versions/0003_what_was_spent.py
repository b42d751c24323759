"""What requests may cost, what was spent by day and model, and who shares a key's rate.

Revision: 0003, after 0002.
"""

import sqlalchemy as sa
from alembic import op

revision = '0003'
down_revision = '0002'
branch_labels = None
depends_on = None

_COUNTED = (
    'input_tokens', 'cached_tokens', 'cache_write_tokens', 'output_tokens', 'reasoning_tokens',
)


def upgrade() -> None:
    op.add_column('jobs', sa.Column('tried_since', sa.BigInteger(), nullable=True))
    op.add_column('attempts', sa.Column('endpoint', sa.Text(), nullable=True))
    op.add_column('attempts', sa.Column('tier_asked', sa.Text(), nullable=True))
    op.add_column(
        'attempts', sa.Column('step', sa.Text(), server_default='ask', nullable=False)
    )
    for name in ('reserved_nanos', 'saved_nanos'):
        op.add_column(
            'attempts', sa.Column(name, sa.BigInteger(), server_default='0', nullable=False)
        )
    _create_partial('ix_attempts_unsettled', ['opened_at'], "state != 'settled'")
    _create_partial('ix_attempts_follow_up', ['run_id', 'step'], "step != 'ask'")
    _create_spends()
    _fill_spends()
    _create_pacers()


def downgrade() -> None:
    op.drop_table('pacers')
    op.drop_table('spends')
    op.drop_index('ix_attempts_follow_up', table_name='attempts')
    op.drop_index('ix_attempts_unsettled', table_name='attempts')
    for name in ('saved_nanos', 'reserved_nanos', 'step', 'tier_asked', 'endpoint'):
        op.drop_column('attempts', name)
    op.drop_column('jobs', 'tried_since')


def _create_partial(name: str, columns: list[str], where: str) -> None:
    op.create_index(
        name, 'attempts', columns, unique=False,
        sqlite_where=sa.text(where), postgresql_where=sa.text(where),
    )


def _create_spends() -> None:
    id_type = sa.BigInteger().with_variant(sa.Integer(), 'sqlite')
    amounts = ('requests', 'answers', 'unpriced', *_COUNTED, 'cost_nanos', 'saved_nanos', 'assumed_nanos')
    words = ('endpoint', 'model_asked', 'tier_asked', 'model_answered', 'tier_answered')
    op.create_table(
        'spends',
        sa.Column('day', sa.Integer(), autoincrement=False, nullable=False),
        sa.Column('run_id', id_type, autoincrement=False, nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in words),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in amounts),
        sa.ForeignKeyConstraint(['run_id'], ['runs.id'], name=op.f('fk_spends_run_id')),
        sa.PrimaryKeyConstraint('day', 'run_id', *words, name=op.f('pk_spends')),
    )


def _fill_spends() -> None:
    sums = ', '.join(f'sum({name})' for name in _COUNTED)
    op.execute(
        'INSERT INTO spends (day, run_id, endpoint, model_asked, tier_asked, model_answered, '
        f'tier_answered, requests, answers, unpriced, {", ".join(_COUNTED)}, cost_nanos, '
        'saved_nanos, assumed_nanos) '
        "SELECT opened_at / 86400000, run_id, '', model_asked, '', coalesce(model_answered, ''), "
        "coalesce(service_tier, ''), count(*), count(model_answered), "
        f'count(model_answered) - count(CASE WHEN model_answered IS NOT NULL THEN cost_nanos END), '
        f'{sums}, coalesce(sum(cost_nanos), 0), 0, 0 '
        "FROM attempts WHERE state = 'settled' "
        "GROUP BY opened_at / 86400000, run_id, model_asked, coalesce(model_answered, ''), "
        "coalesce(service_tier, '')"
    )


def _create_pacers() -> None:
    op.create_table(
        'pacers',
        sa.Column(
            'run_id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'),
            autoincrement=False, nullable=False,
        ),
        sa.Column('account', sa.Text(), nullable=False),
        sa.Column('use_per_second', sa.Float(), nullable=False),
        sa.Column('is_hungry', sa.Boolean(), nullable=False),
        sa.Column('seen_at', sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint('run_id', 'account', name=op.f('pk_pacers')),
    )
