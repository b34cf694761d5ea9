"""Shares of a bandit: whatever was counted, they are probabilities above their floor, and always the same ones."""

from hypothesis import given
from hypothesis import strategies as st

from config.experiment import Experiment
from models.experiments.allocation import by_batches, next_shares
from models.experiments.bandit import allocate
from models.experiments.fields import DAY_MS
from models.experiments.reading import counted
from models.experiments.sums import Mean

arms = st.lists(
    st.tuples(st.integers(0, 10**6), st.integers(-(10**9), 10**9), st.integers(0, 10**12)).map(
        # Squares at least those of equal values, as sums of users have them.
        lambda it: Mean(it[0], it[1] if it[0] else 0, (it[1] ** 2 // it[0] + 1 + it[2]) if it[0] else 0)
    ),
    min_size=2,
    max_size=10,
)


@given(arms, st.sampled_from([0.01, 0.05, 0.1]), st.booleans())
def test_they_are_probabilities_above_the_floor(held: list[Mean], floor: float, upwards: bool) -> None:
    found = allocate(held, floor, higher_is_better=upwards)
    assert len(found) == len(held)
    assert abs(sum(found) - 1.0) < 1e-9
    assert min(found) >= floor - 1e-9
    assert found == allocate(held, floor, higher_is_better=upwards)


cells = st.lists(
    st.tuples(st.integers(0, 12), st.integers(0, 3), st.integers(0, 400), st.integers(0, 400), st.floats(0, 1)),
    max_size=12,
)
BANDIT = Experiment.model_validate(
    {
        "id": "bandit",
        "variants": [{"id": "a", "weight": 0.5}, {"id": "b", "weight": 0.5}],
        "allocation": "bandit",
        "expose_on": "message",
        "metrics": [{"id": "clicked", "event": "Email Link Clicked", "within": "2d"}],
    }
)


@given(cells, st.integers(0, 20))
def test_the_same_counters_give_the_same_shares(held: list[tuple[int, int, int, int, float]], days: int) -> None:
    """In whatever order the lanes gave them; and users whose window is open have no say."""
    counts: dict[str, int] = {f"w|0.5,0.5|step={step}": 1 for step in range(4)}
    open_ones: set[str] = set()
    for day, step, a, b, share in held:
        for variant, users in (("a", a), ("b", b)):
            for part in ("", f"step={step}"):
                names = [f"{day}|{part}|{variant}|{what}" for what in ("n", "clicked|a", "clicked|aa")]
                for name, value in zip(names, (users, int(users * share), int(users * share)), strict=True):
                    counts[name] = counts.get(name, 0) + value
                if day + 4 > days:  # the day, two of the window and one of lateness
                    open_ones.update(names)

    def shares(found: dict[str, int]) -> object:
        watermark = days * DAY_MS
        now = by_batches(counted(found, BANDIT, watermark), found, BANDIT, watermark)
        return next_shares(BANDIT, now, watermark, None)

    first = shares(counts)
    assert shares(dict(reversed(counts.items()))) == first
    assert shares({name: value for name, value in counts.items() if name not in open_ones}) == first
