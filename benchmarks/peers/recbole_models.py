"""RecBole: LightGCN and SASRec.

In: a split. Out: lists. Models, samplers and loaders are RecBole's; the loop over batches is its trainer's, written out so that
the clock can stop it within an epoch. Learns on the training part, stops early on validation.
"""

from __future__ import annotations

import contextlib
import copy
import io
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from choosing import AT, answered, by_scores, ndcg
from exchange import Clock, Events, Outcome, Recommender, Requests, Settings, Split, Stage, serve
from recbole.config import Config
from recbole.data import create_dataset, create_samplers
from recbole.data.interaction import Interaction
from recbole.data.utils import get_dataloader
from recbole.model.general_recommender import LightGCN
from recbole.model.sequential_recommender import SASRec
from recbole.utils import init_seed
from scipy import sparse

warnings.filterwarnings("ignore")
# RecBole 1.2.1 was written for NumPy 1 and SciPy 1.10: names it reads, and a method it calls
for name, kind in {"float_": np.float64, "complex_": np.complex128, "unicode_": np.str_}.items():
    if not hasattr(np, name):
        setattr(np, name, kind)
if not hasattr(sparse.dok_matrix, "_update"):
    sparse.dok_matrix._update = lambda self, cells: self._dict.update(cells)

MAX_EPOCHS = 300
PATIENCE = 10
LIGHTGCN: Settings = {
    "embedding_size": 64,
    "n_layers": 3,
    "reg_weight": 1e-4,
    "learning_rate": 0.002,
    "train_batch_size": 2048,
    "train_neg_sample_args": {"distribution": "uniform", "sample_num": 1},
}
SASREC: Settings = {
    "hidden_size": 64,
    "inner_size": 256,
    "n_layers": 2,
    "n_heads": 2,
    "loss_type": "CE",
    "MAX_ITEM_LIST_LENGTH": 50,
    "learning_rate": 0.001,
    "train_batch_size": 2048,
    "train_neg_sample_args": None,
}


def lightgcn(split: Split, clock: Clock) -> Outcome:
    return _trained(split, clock, LightGCN, LIGHTGCN, _by_user)


def sasrec(split: Split, clock: Clock) -> Outcome:
    return _trained(split, clock, SASRec, SASREC, _by_history)


class ClockIsUpError(Exception):
    """Ends an epoch."""


def _trained(
    split: Split, clock: Clock, kind: Any, settings: Settings, recommender: Callable[..., Recommender]
) -> Outcome:
    with tempfile.TemporaryDirectory() as folder:
        config, dataset, loader = _loaded(split, kind.__name__, settings, Path(folder))
    model = kind(config, loader.dataset).to(config["device"])
    optimizer = torch.optim.Adam(model.parameters(), lr=config["learning_rate"])
    stage, best, best_epoch, epochs, state = split.validation, -1.0, 0.0, 0.0, {}
    assert stage.truth is not None
    stopped = "epochs"
    for epoch in range(1, MAX_EPOCHS + 1):
        model.train()
        try:
            for number, batch in enumerate(loader, 1):
                optimizer.zero_grad()
                loss = model.calculate_loss(batch.to(config["device"]))
                (sum(loss) if isinstance(loss, tuple) else loss).backward()
                optimizer.step()
                epochs = epoch - 1 + number / len(loader)
                if clock.is_up():
                    raise ClockIsUpError
        except ClockIsUpError:
            stopped = "clock"
        value = ndcg(recommender(model, dataset, stage)(stage.requests, AT, stage.candidates), stage.truth, AT)
        print(f"  epoch {epochs:.2f}: validation NDCG@{AT} {value:.4f}, {clock.seconds:.0f} s", flush=True)
        if value > best:
            best, best_epoch, state = value, epochs, copy.deepcopy(model.state_dict())
        if stopped == "clock":
            break
        if epoch - best_epoch >= PATIENCE:
            stopped = "validation"
            break
    model.load_state_dict(state)
    fit_seconds = clock.seconds
    lists, _, recommend_seconds = answered(split, lambda test: recommender(model, dataset, test))
    notes = [
        f"best was epoch {best_epoch:.3g}",
        "learned from what precedes validation, recommends from all that is known",
    ]
    return Outcome(lists, settings, best, fit_seconds, recommend_seconds, 0.0, round(epochs, 3), stopped, notes)


def _loaded(split: Split, model: str, settings: Settings, folder: Path) -> tuple[Any, Any, Any]:
    """Write the training events as an atomic file, and return settings, dataset and the loader over all of them."""
    _write_events(split.validation.learn, folder / "leaderboard" / "leaderboard.inter")
    fixed = {
        "data_path": str(folder),
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "eval_args": {"split": {"RS": [1.0, 0.0, 0.0]}, "order": "TO", "group_by": None, "mode": "full"},
        "seed": split.seed,
        "reproducibility": True,
        "show_progress": False,
        "state": "ERROR",
        "log_wandb": False,
        "use_gpu": torch.cuda.is_available(),
        "checkpoint_dir": str(folder),
    }
    given, sys.argv = sys.argv, sys.argv[:1]  # it reads the command line as its own
    with contextlib.redirect_stdout(io.StringIO()):
        config = Config(model=model, dataset="leaderboard", config_dict=fixed | settings)
    sys.argv = given
    init_seed(split.seed, reproducibility=True)
    torch.set_num_threads(1)  # it takes every core otherwise
    dataset = create_dataset(config)
    built = dataset.build()
    sampler, _, _ = create_samplers(config, dataset, built)
    return config, dataset, get_dataloader(config, "train")(config, built[0], sampler, shuffle=True)


def _write_events(events: Events, path: Path) -> None:
    path.parent.mkdir(parents=True)
    order = events.sequence_numbers()
    rows = zip(events.user.tolist(), events.item.tolist(), order.tolist(), strict=True)
    lines = ["user_id:token\titem_id:token\ttimestamp:float", *(f"{user}\t{item}\t{at}" for user, item, at in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _by_user(model: Any, dataset: Any, stage: Stage) -> Recommender:
    """Return the recommender that looks users up; one without training events gets the most popular items."""
    rows, columns = (
        _rows_of(dataset, "user_id", stage.learn.num_users),
        _rows_of(dataset, "item_id", stage.learn.num_items),
    )
    model.restore_user_e = model.restore_item_e = None  # kept from before the last weights

    def score(asked: Requests) -> np.ndarray:
        model.eval()
        inside = torch.as_tensor(rows[asked.user], device=model.device)
        with torch.no_grad():
            scores = model.full_sort_predict(Interaction({"user_id": inside})).view(len(asked), -1).cpu().numpy()
        found = _ours(scores, columns)
        found[rows[asked.user] == 0] = -np.inf
        return found

    return by_scores(score, stage)


def _by_history(model: Any, dataset: Any, stage: Stage) -> Recommender:
    """Return the recommender that reads histories."""
    columns = _rows_of(dataset, "item_id", stage.learn.num_items)
    length = SASREC["MAX_ITEM_LIST_LENGTH"]

    def score(asked: Requests) -> np.ndarray:
        model.eval()
        parts = np.array_split(np.arange(len(asked)), max(1, len(asked) // 512))
        return _ours(np.concatenate([_scores(asked.history.take(part)) for part in parts]), columns)

    def _scores(history: Events) -> np.ndarray:
        offsets = history.offsets()
        sequences, lengths = np.zeros((history.num_users, length), np.int64), np.ones(history.num_users, np.int64)
        for place in range(history.num_users):
            items = columns[history.item[offsets[place] : offsets[place + 1]]]
            items = items[items > 0][-length:]
            sequences[place, : len(items)], lengths[place] = items, max(len(items), 1)
        batch = Interaction({"item_id_list": torch.as_tensor(sequences), "item_length": torch.as_tensor(lengths)})
        with torch.no_grad():
            return model.full_sort_predict(batch.to(model.device)).cpu().numpy()

    return by_scores(score, stage)


def _rows_of(dataset: Any, field: str, count: int) -> np.ndarray:
    """Return its row number for each of ours, 0 (its padding) for one it never saw."""
    numbers = dataset.field2token_id[field]
    return np.array([numbers.get(str(row), 0) for row in range(count)], np.int64)


def _ours(scores: np.ndarray, columns: np.ndarray) -> np.ndarray:
    found = scores[:, columns]
    found[:, columns == 0] = -np.inf
    return found


if __name__ == "__main__":
    serve({"lightgcn": lightgcn, "sasrec": sasrec}, ("recbole", "torch", "numpy"))
