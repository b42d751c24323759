"""Prices of a run: quotes, ceilings that hold in every lane, and what caching saved."""

from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_api import make_image

from pipeline.costs.estimate import REPAIR_TOKENS, estimate_prefix_tokens
from pipeline.costs.image_tokens import TooManyPatches, seen_size
from pipeline.costs.models import ModelSpec, load_models
from pipeline.costs.pricing import FreeOfCharge, RunPricing
from pipeline.costs.text_tokens import REQUEST_TOKENS
from pipeline.domain.images import PreparedImage
from pipeline.domain.usage import NanoDollars, Quote, TokenUsage
from pipeline.domain.vision import Detail, FieldQuestion, PromptCaching, Question, ServiceTier

TABLE = load_models(on=date(2026, 11, 20))
PRICED = [name for name in TABLE.names if TABLE.find(name).prices]  # type: ignore[union-attr]
QUESTION = Question(
    name="general",
    instructions="Tag this picture.",
    schema=b'{"type":"object"}',
    fields=(FieldQuestion(name="title", type="text", measure=None),),
    model="gpt-5.6-sol",
    detail=Detail.HIGH,
    max_output_tokens=300,
    fingerprint="f" * 64,
)
WORDS = REQUEST_TOKENS + 17 + 17
PICTURE = 308


def image_of(width: int = 512, height: int = 512) -> PreparedImage:
    image: PreparedImage = replace(make_image(), width=width, height=height)
    return image


def pricing_of(tier: ServiceTier = ServiceTier.DEFAULT, **question: Any) -> RunPricing:
    return RunPricing(TABLE, replace(QUESTION, **question), tier)


def quote_cost(pricing: RunPricing, image: PreparedImage | None = None) -> NanoDollars | None:
    return pricing.quote(image or image_of(), original_bytes=0).cost


def spec_of(model: str) -> ModelSpec:
    spec = TABLE.find(model)
    assert spec is not None
    return spec


# nano-dollars a token of gpt-5.6-sol: input 4000, cached 400, written 5000, output 20000


@pytest.mark.parametrize("caching", [PromptCaching.NONE, PromptCaching.KEYED])
def test_unmarked_request_may_be_written_whole(caching: PromptCaching) -> None:
    worst = pricing_of(caching=caching).worst_cost(image_of())
    assert worst == (WORDS + PICTURE) * 5000 + 300 * 20_000


@pytest.mark.parametrize("caching", [PromptCaching.MARKED, PromptCaching.OFF])
def test_marked_request_writes_no_picture(caching: PromptCaching) -> None:
    worst = pricing_of(caching=caching).worst_cost(image_of())
    assert worst == WORDS * 5000 + PICTURE * 4000 + 300 * 20_000


@pytest.mark.parametrize(
    ("tier", "factor"),
    [(ServiceTier.AUTO, 2), (ServiceTier.PRIORITY, 2), (ServiceTier.FLEX, 1)],
)
def test_ceiling_is_that_of_the_dearest_lane_that_may_answer(
    tier: ServiceTier, factor: int
) -> None:
    worst = pricing_of(tier).worst_cost(image_of())
    standard = pricing_of(ServiceTier.DEFAULT).worst_cost(image_of())
    assert worst is not None
    assert standard is not None
    assert worst == factor * standard


def test_model_without_a_priority_lane_is_bounded_by_the_standard_one() -> None:
    auto = pricing_of(ServiceTier.AUTO, model="gpt-5.4-nano").worst_cost(image_of())
    assert auto == pricing_of(model="gpt-5.4-nano").worst_cost(image_of())
    assert auto is not None


def test_lane_that_is_not_sold_and_unknown_model_have_no_ceiling() -> None:
    assert pricing_of(ServiceTier.FLEX, model="gpt-4o").worst_cost(image_of()) is None
    for pricing in (pricing_of(model="llava"), pricing_of(ServiceTier.AUTO, model="llava")):
        assert pricing.worst_cost(image_of()) is None
        assert pricing.worst_repair_cost("{}") is None
        assert quote_cost(pricing) is None
        assert pricing.quote_repair("{}").cost is None
        assert pricing.saving(TokenUsage(input=9, cached=9), model="llava", tier=None) == 0


def test_more_room_costs_its_output() -> None:
    pricing = pricing_of()
    plain, roomy = pricing.worst_cost(image_of()), pricing.worst_cost(image_of(), output_factor=4)
    assert plain is not None
    assert roomy == plain + 3 * 300 * 20_000


def test_lowest_output_limit_is_what_the_api_makes_of_it() -> None:
    assert pricing_of(max_output_tokens=1).worst_cost(image_of()) == pricing_of(
        max_output_tokens=16
    ).worst_cost(image_of())


def test_repair_is_bounded_without_the_picture() -> None:
    answer = 'a"b'  # with its quotes and the escaped one: six bytes
    worst = pricing_of(caching=PromptCaching.MARKED).worst_repair_cost(answer)
    assert worst == WORDS * 5000 + (REPAIR_TOKENS + 6) * 4000 + 300 * 20_000
    roomy = pricing_of(caching=PromptCaching.MARKED).worst_repair_cost(answer, output_factor=2)
    assert roomy == worst + 300 * 20_000


@given(st.text(st.characters(codec=None)))
def test_any_answer_has_a_bound(answer: str) -> None:
    assert pricing_of().worst_repair_cost(answer) is not None


def test_rate_is_drawn_from_by_picture_words_and_the_whole_output() -> None:
    pricing = pricing_of()
    usage = pricing.estimate_usage(image_of())
    assert pricing.estimate_tokens(image_of()) == usage.input + 300
    assert pricing.estimate_tokens(image_of(), output_factor=4) == usage.input + 1200


def test_repair_draws_its_answer_twice_and_no_picture() -> None:
    pricing = pricing_of()
    words = pricing.estimate_usage(image_of()).input - PICTURE
    assert 600 + words < pricing.estimate_tokens(None) < 600 + words + REPAIR_TOKENS
    assert pricing.estimate_tokens(None, output_factor=2) == pricing.estimate_tokens(None) + 600


def test_quote_counts_the_marked_words_as_cached() -> None:
    long = replace(QUESTION, instructions="word " * 1000)
    plain, marked = (
        quote_cost(RunPricing(TABLE, replace(long, caching=way), ServiceTier.DEFAULT))
        for way in (PromptCaching.KEYED, PromptCaching.MARKED)
    )
    assert plain is not None
    assert marked == plain - estimate_prefix_tokens(long) * (4000 - 400)


def test_quote_is_for_the_lane_that_is_asked() -> None:
    flex = quote_cost(pricing_of(ServiceTier.FLEX))
    default = quote_cost(pricing_of())
    assert flex is not None
    assert default == flex * 2
    assert quote_cost(pricing_of(ServiceTier.AUTO)) == default


def test_quote_names_what_is_sent_and_what_the_file_would_have_taken() -> None:
    image = replace(
        image_of(), data=b"x" * 700, info=replace(image_of().info, width=1024, height=1024)
    )
    pricing = pricing_of()
    quote = pricing.quote(image, original_bytes=9_000)
    usage = pricing.estimate_usage(image)
    assert (quote.picture_tokens, quote.input, quote.output) == (PICTURE, usage.input, usage.output)
    assert (quote.sent_bytes, quote.original_bytes) == (700, 9_000)
    assert (
        quote.original_tokens
        == pricing.quote(image_of(1024, 1024), original_bytes=0).picture_tokens
    )
    assert quote.original_tokens > PICTURE
    assert quote.cost == usage.input * 4000 + usage.output * 20_000


def test_original_that_would_be_refused_counts_as_the_largest_that_is_not() -> None:
    info = replace(image_of().info, width=20_000, height=20_000)
    pricing = pricing_of(detail=Detail.ORIGINAL)
    with pytest.raises(TooManyPatches):
        pricing.quote(image_of(20_000, 20_000), original_bytes=0)
    quote = pricing.quote(replace(image_of(), info=info), original_bytes=0)
    accepted = seen_size(spec_of("gpt-5.6-sol"), Detail.ORIGINAL, 20_000, 20_000)
    largest = pricing.quote(image_of(*accepted), original_bytes=0)
    assert quote.original_tokens == largest.picture_tokens


def test_original_for_an_unknown_model_counts_by_the_usual_rule() -> None:
    info = replace(image_of().info, width=280, height=280)
    quote = pricing_of(model="llava").quote(replace(image_of(), info=info), original_bytes=0)
    assert (quote.original_tokens, quote.cost) == (100, None)


def test_earlier_answers_teach_how_long_one_is_and_the_limit_bounds_it() -> None:
    for taught, expected in ((77, 77), (900, 300)):
        taught_pricing = RunPricing(TABLE, QUESTION, ServiceTier.DEFAULT, expected_output=taught)
        quote = taught_pricing.quote(image_of(), original_bytes=0)
        assert quote.output == taught_pricing.estimate_usage(image_of()).output == expected
        assert quote.cost == quote.input * 4000 + expected * 20_000


def test_repair_is_quoted_without_the_picture() -> None:
    quote = pricing_of().quote_repair("word " * 20)
    assert (quote.picture_tokens, quote.sent_bytes, quote.original_tokens) == (0, 0, 0)
    assert quote.input == REQUEST_TOKENS + estimate_prefix_tokens(QUESTION) + 150 + 25
    assert quote.cost == quote.input * 4000 + quote.output * 20_000
    longer = pricing_of().quote_repair("word " * 40)
    assert longer.input == quote.input + 25


def test_estimated_usage_takes_nothing_for_cached() -> None:
    assert pricing_of(caching=PromptCaching.MARKED).estimate_usage(image_of()).cached == 0


@pytest.mark.parametrize(
    ("usage", "tier", "saved"),
    [
        (TokenUsage(input=1000, output=9), None, 0),
        (TokenUsage(input=1000, cached=600, output=9), None, 600 * 3600),
        (TokenUsage(input=1000, cached=600), "flex", 600 * 1800),
        (TokenUsage(input=1000, cached=600), "priority", 600 * 7200),
        (TokenUsage(input=1000, cache_write=600), None, -600 * 1000),
        (TokenUsage(input=1000, cached=500, cache_write=300), None, 500 * 3600 - 300 * 1000),
        (TokenUsage(input=300_000, cached=100), None, 100 * 7200),
        (TokenUsage(input=1000, cached=600), "scale", 0),
    ],
)
def test_saving_is_what_caching_took_off_the_price(
    usage: TokenUsage, tier: str | None, saved: int
) -> None:
    assert pricing_of().saving(usage, model="gpt-5.6-sol", tier=tier) == saved


@given(
    model=st.sampled_from(PRICED),
    counts=st.tuples(*[st.integers(0, 400_000)] * 4),
    tier=st.sampled_from([None, "flex", "batch", "priority"]),
)
def test_price_and_saving_make_up_the_price_without_caching(
    model: str, counts: tuple[int, int, int, int], tier: str | None
) -> None:
    fresh, cached, written, output = counts
    whole = fresh + cached + written
    usage = TokenUsage(input=whole, cached=cached, cache_write=written, output=output)
    pricing = pricing_of()
    paid = pricing.cost(usage, model=model, tier=tier)
    plain = pricing.cost(TokenUsage(input=whole, output=output), model=model, tier=tier)
    saved = pricing.saving(usage, model=model, tier=tier)
    assert (paid is None) == (plain is None)
    assert saved == (0 if paid is None or plain is None else plain - paid)


ANSWERS_IN = {
    ServiceTier.AUTO: (None, "auto", "default", "priority", "fast"),
    ServiceTier.DEFAULT: (None, "default"),
    ServiceTier.FLEX: ("flex",),
    ServiceTier.BATCH: ("batch",),
    ServiceTier.PRIORITY: (None, "default", "priority", "fast"),
}
INSTRUCTIONS = st.sampled_from(["", "Tag.", "Schlagwörter für dieses Bild: " * 40, "词" * 500])


def up_to(most: int) -> st.SearchStrategy[int]:
    """Often the most itself: that is where a ceiling is touched."""
    return st.just(most) | st.integers(0, most)


@given(data=st.data(), model=st.sampled_from(PRICED), asked=st.sampled_from(list(ServiceTier)))
def test_no_answer_within_the_limits_costs_more_than_its_ceiling(
    data: st.DataObject, model: str, asked: ServiceTier
) -> None:
    caching = data.draw(st.sampled_from(list(PromptCaching)))
    instructions = data.draw(INSTRUCTIONS)
    pricing = pricing_of(asked, model=model, caching=caching, instructions=instructions)
    factor = data.draw(st.sampled_from([1, 4]))
    prefix_limit = REQUEST_TOKENS + len(instructions.encode()) + len(QUESTION.schema)
    worst: NanoDollars | None
    if data.draw(st.booleans()):
        answer = data.draw(st.text(max_size=200))
        worst = pricing.worst_repair_cost(answer, output_factor=factor)
        limit = prefix_limit + REPAIR_TOKENS + len(answer.encode())
    else:
        image = image_of(data.draw(st.integers(1, 1500)), data.draw(st.integers(1, 1500)))
        worst = pricing.worst_cost(image, output_factor=factor)
        picture = pricing.estimate_usage(image).input - REQUEST_TOKENS
        picture -= estimate_prefix_tokens(replace(QUESTION, instructions=instructions))
        limit = prefix_limit + picture
    only_words = caching in {PromptCaching.MARKED, PromptCaching.OFF}
    total = data.draw(up_to(limit))
    written = data.draw(up_to(min(total, prefix_limit) if only_words else total))
    usage = TokenUsage(
        input=total,
        cache_write=written,
        cached=data.draw(st.integers(0, total - written)),
        output=data.draw(up_to(factor * 300)),
    )
    for tier in ANSWERS_IN[asked]:
        cost = pricing.cost(usage, model=model, tier=tier)
        if worst is None:
            assert asked in {ServiceTier.FLEX, ServiceTier.BATCH}
        else:
            assert cost is None or cost <= worst


def test_analyser_is_free_whatever_is_asked() -> None:
    free = FreeOfCharge()
    assert free.worst_cost(image_of(), output_factor=4) == 0
    assert free.worst_repair_cost("x") == 0
    quote = free.quote(image_of(), original_bytes=9)
    assert quote == free.quote_repair("x") == Quote(cost=NanoDollars(0))
    assert free.estimate_tokens(None) == free.estimate_tokens(image_of(), output_factor=2) == 0
    assert free.cost(TokenUsage(input=9), model="m", tier=None) == 0
    assert free.saving(TokenUsage(input=9, cached=9), model="m", tier=None) == 0
    assert free.estimate_usage(image_of()) == TokenUsage()
