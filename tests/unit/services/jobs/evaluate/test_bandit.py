"""`kairos evaluate bandit`, and the estimators against their closed forms."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from models.errors import ConfigurationError
from models.offers.off_policy import dr, ips, snips
from services.cli.main import app
from services.jobs.evaluate.bandit import Log, evaluate_bandit, read_log


def log(rows: int, means: list[float], *, gain: float = 0.0, seed: int = 0, skew: bool = False) -> Log:
    """Rewards 0/1 with these means; with `gain`, whether an arm pays depends on the context."""
    rng = np.random.default_rng(seed)
    arms = len(means)
    shares = np.arange(1, arms + 1) / sum(range(1, arms + 1)) if skew else np.full(arms, 1 / arms)
    actions = rng.choice(arms, rows, p=shares)
    x = np.column_stack([np.ones(rows), rng.choice([-1.0, 1.0], rows)])
    chance = np.array(means)[actions] + gain * x[:, 1] * np.where(actions % 2, 1.0, -1.0)
    rewards = (rng.random(rows) < chance).astype(np.float64)
    return Log([f"a{i}" for i in range(arms)], actions, rewards, shares[actions], x, ["x"])


def test_estimators_equal_their_closed_forms() -> None:
    rng = np.random.default_rng(5)
    n = 40
    reward, p, pi = rng.random(n), rng.uniform(0.1, 1, n), rng.random(n)
    q, v = rng.random(n), rng.random(n)
    by_hand = [pi[i] / p[i] for i in range(n)]
    assert ips(reward, p, pi).value == pytest.approx(sum(w * r for w, r in zip(by_hand, reward, strict=True)) / n)
    assert snips(reward, p, pi).value == pytest.approx(
        sum(w * r for w, r in zip(by_hand, reward, strict=True)) / sum(by_hand)
    )
    assert dr(reward, p, pi, q, v).value == pytest.approx(
        sum(v[i] + by_hand[i] * (reward[i] - q[i]) for i in range(n)) / n
    )


def test_estimators_are_right_about_a_policy_that_was_never_played() -> None:
    """A log of unequal propensities; the judged policy takes arm 2 in three of four cases."""
    found = log(20_000, [0.2, 0.35, 0.5], skew=True, seed=2)
    pi = np.array([0.25, 0.0, 0.75])[found.actions]
    right = 0.25 * 0.2 + 0.75 * 0.5
    wrong_model, nothing = np.full(20_000, 0.1), np.full(20_000, 0.1)
    for value in (
        ips(found.rewards, found.propensities, pi),
        snips(found.rewards, found.propensities, pi),
        dr(found.rewards, found.propensities, pi, wrong_model, nothing),
    ):
        assert value.value == pytest.approx(right, abs=4 * value.error)
        assert value.error < 0.01


def test_the_best_arm_is_found_without_context() -> None:
    found = evaluate_bandit(log(4_000, [0.1, 0.1, 0.4]), seeds=2)
    assert found["metrics"]["replay_mean"] > 0.35
    assert found["protocol"]["best_fixed_action"] == "a2"
    assert found["baselines"]["random"]["snips"] == pytest.approx(0.2, abs=0.03)
    assert set(found["metrics"]) == {"replay_mean", "replay_last_half", "ips", "snips", "dr"}
    for name in ("ips", "snips", "dr"):
        assert found["metrics"][name] > 0.3


def test_context_is_used_where_it_pays_and_not_where_it_does_not() -> None:
    """Two equal arms, each right for half of the users: without context no policy gets more than .3, with it .5."""
    found = evaluate_bandit(log(6_000, [0.3, 0.3], gain=0.2), seeds=2)
    assert found["runs_with_context"] == 2
    assert found["metrics"]["replay_last_half"] > 0.39
    assert found["baselines"]["thompson_without_context"]["replay_mean"] < 0.34
    plain = evaluate_bandit(log(6_000, [0.3, 0.4], gain=0.0, seed=1), seeds=2)
    best = plain["baselines"]["best_fixed_action"]["snips"]
    assert plain["metrics"]["replay_last_half"] > 0.95 * best


def test_a_log_with_unequal_propensities_is_thinned() -> None:
    found = evaluate_bandit(log(6_000, [0.5, 0.3, 0.3], skew=True), seeds=2)
    assert 600 < found["scored_rows"] < 2_000
    assert found["metrics"]["replay_last_half"] == pytest.approx(0.5, abs=0.08)


def test_columns_are_read_as_action_reward_propensity_and_context(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("arm,reward,propensity,age,town,same\nb,1,0.5,20,Bonn,1\na,0,0.5,40,Ulm,1\nb,0,0.5,,Bonn,1\n")
    found = read_log(path, "action=arm")
    assert (found.names, found.actions.tolist(), found.rewards.tolist()) == (["a", "b"], [1, 0, 1], [1.0, 0.0, 0.0])
    assert found.columns == ["age", "town"], "a constant column says nothing"
    assert found.contexts.tolist() == [[1, -1, 1, 0], [1, 1, 0, 1], [1, 0, 1, 0]]
    assert read_log(path, "action=arm", ["age"]).contexts.shape == (3, 2)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("action,reward\na,1\nb,2\n", "no column 'propensity'"),
        ("action,reward,propensity\na,1,0.5\nb,1,0\n", "row 2: propensity 0"),
        ("action,reward,propensity\na,1,0.5\n,1,0.5\n", "row 2 has no action"),
        ("action,reward,propensity\na,1,0.5\na,1,0.5\n", "one action only"),
        ("action,reward,propensity\na,1,0.5\n", "1 rows are no log"),
        ("action,reward,propensity\na,x,0.5\nb,1,0.5\n", "'reward', row 1: 'x' is not a number"),
        ("action,reward,propensity\na,,0.5\nb,1,0.5\n", "row 1: column 'reward'"),
    ],
)
def test_bad_logs_are_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "log.csv"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=said):
        read_log(path)


@pytest.mark.parametrize("words", [[], ["--data", "a.csv", "--experiment", "subject"], ["--from-log", "--data", "a"]])
def test_a_file_or_an_experiment(words: list[str]) -> None:
    done = CliRunner().invoke(app, ["evaluate", "bandit", *words])
    assert done.exit_code == 2
    assert "one of --data, --experiment" in done.output


def sets_file(path: Path, rows: int = 3_000) -> Path:
    """A log in which who may get the voucher is somebody who seldom orders: in sight of all, the voucher looks bad."""
    rng = np.random.default_rng(8)
    rates = {"plain travel": (0.5, 0.3), "plain voucher": (0.02, 0.2)}
    lines = ["action,reward,propensity,among"]
    for _ in range(rows):
        among = str(rng.choice(list(rates)))
        taken = int(rng.random() < 0.5)
        reward = int(rng.random() < rates[among][taken])
        lines.append(f"{among.split()[taken]},{reward},0.5,{among}")
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_log_in_which_not_everybody_could_get_everything(tmp_path: Path) -> None:
    found = evaluate_bandit(read_log(sets_file(tmp_path / "log.csv"), among="among"), 2, prefer=["voucher"])
    assert found["protocol"]["best_fixed_action"] == {"plain travel": "plain", "plain voucher": "voucher"}
    assert found["baselines"]["best_fixed_action"]["snips"] == pytest.approx(0.35, abs=0.06)
    assert found["baselines"]["proposed"]["snips"] == pytest.approx(0.35, abs=0.06)
    assert found["baselines"]["logged"]["ips"] == pytest.approx(0.255, abs=0.06)
    assert found["metrics"]["replay_last_half"] > found["baselines"]["logged"]["ips"] + 0.03


def test_an_action_that_was_not_among_those_there_were_is_told_with_its_row(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("action,reward,propensity,among\na,1,0.5,a b\nc,0,0.5,a b\n")
    with pytest.raises(ConfigurationError, match="row 2: 'c' is not among 'a b'"):
        read_log(tmp_path / "log.csv", among="among")
    told = CliRunner().invoke(app, ["evaluate", "bandit"])
    assert told.exit_code == 2
    with pytest.raises(ConfigurationError, match="no action 'z'"):
        evaluate_bandit(read_log(sets_file(tmp_path / "sets.csv", 50), among="among"), 1, prefer=["z"])
