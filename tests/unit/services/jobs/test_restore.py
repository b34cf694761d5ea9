"""What a restored Redis and the log say to each other, without either."""

from services.jobs.restore import Found, InputGap, LaneGap, LearnGap, MessagesGap, losses, sentences

DAY_MS = 86_400_000


def lane(**given: int) -> LaneGap:
    return LaneGap(1, seq=40, epoch=7, inputs=[InputGap("purchases", 1, 100, 0, 160, applied=130)], **given)


def test_what_was_applied_before_and_what_waits() -> None:
    (gap,) = lane().inputs
    assert (gap.waiting, gap.again, gap.lost, gap.beyond, gap.inside) == (60, 30, 0, 0, 100)
    never = InputGap("purchases", 1, -1, 0, 5)
    assert (never.waiting, never.again, never.inside, never.lost) == (5, 0, 0, 0)


def test_a_log_that_begins_behind_the_fence_or_ends_before_it() -> None:
    late = InputGap("purchases", 1, 100, 110, 160, applied=130)
    assert (late.lost, late.inside, late.again, late.waiting) == (10, 110, 20, 50)
    short = InputGap("purchases", 1, 100, 0, 90, applied=130)
    assert (short.beyond, short.inside, short.again, short.waiting) == (10, 90, 0, 0)
    found = Found([LaneGap(1, 40, 7, inputs=[late, short])], [MessagesGap("messages", 1, 5, 9, 20)])
    found.models = [LearnGap("training", 0, 5, 6, 9, "churn", 3)]
    said = losses(found)
    assert "purchases-1: Redis stands at 100, but the log begins at 110. 10 records are gone" in said[0]
    assert "the log ends at 90" in said[1]
    assert "4 messages are gone" in said[2]
    assert "1 examples are gone" in said[3]


def test_batches_of_a_later_epoch_are_forgotten_ones_also_with_a_smaller_number() -> None:
    gap = lane()
    assert [gap.knows(*place) for place in ((7, 40), (6, 99), (7, 41), (8, 3))] == [True, True, False, False]


def test_the_sentences_say_how_old_the_backup_is_and_what_becomes_of_messages() -> None:
    found = Found([lane(forgotten=12, since_ms=DAY_MS, until_ms=2 * DAY_MS + 1, outbox=2)])
    found.messages = [MessagesGap("messages", 1, 5, 0, 20, told={"delivered": 7, "failed": 1}, doubtful=2)]
    said = "\n".join(sentences(found))
    assert "ends at 02 Jan 1970" in said
    assert "forgot 12 batches" in said
    assert "more than a day" in said
    assert "60 records wait in the log; 30 of them were applied before" in said
    assert "of 10 messages that may have been handed over" in said
    assert "2 become `unknown`" in said
    assert "it has not gone back in time" in "\n".join(sentences(Found([lane()])))
