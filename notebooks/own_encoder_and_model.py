# %% [markdown]
# # Own encoder and own model · 自己的编码器与模型
#
# A class of your own becomes a channel of the items, another one a member of the ensemble. Both are compared with what is built in, on the
# same events, before they are used.
#
# 自己写的类可以成为商品的一个通道，也可以成为集成中的一个成员；使用之前先在同样的数据上与内置方法比较。

# %%
from pathlib import Path

import numpy as np
import pandas as pd

import penchant
from penchant.core.config import Settings
from penchant.core.schema import Content
from penchant.encoders import ENCODERS
from penchant.encoders.encoder import Encoder
from penchant.models import EASE, MODELS, ContentKNN, Popularity
from penchant.models.member import Member
from penchant.world import WorldConfig, make_world

folder = Path("world")
if not folder.exists():
    make_world(folder, WorldConfig(size="small"))
events, items = pd.read_csv(folder / "interactions.csv"), pd.read_csv(folder / "items.csv")

# %% [markdown]
# ## An encoder · 编码器
#
# In: the text of one item. Out: one vector. This one counts pairs of neighbouring letters, which suits misspelt titles. `weights` names what the vectors depend
# on beside the settings; raise `version` when the code changes, because vectors are cached.
#
# 输入一件商品的文字，输出一个向量。修改代码后请提高 `version`，因为向量会被缓存。


# %%
class LetterPairs(Encoder[Settings]):
    """How often each pair of letters occurs, hashed to 256 numbers."""

    config_class = Settings
    modality = "text"
    licence = "none needed"
    cost = "light"
    version = 1

    def weights(self):
        return None

    def prepare(self, raw):
        return str(raw).lower()

    def encode(self, prepared):
        vectors = np.zeros((len(prepared), 256), np.float32)
        for row, text in enumerate(prepared):
            for first, second in zip(text, text[1:]):
                vectors[row, (31 * ord(first) + ord(second)) % 256] += 1
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1)


ENCODERS.add("letter_pairs", LetterPairs)

# %% [markdown]
# ## A model · 模型
#
# In: histories. Out: a score for every item. A model never sees a user id, so it answers for anybody. `contributions` splits one user's
# scores into a prior and a part of each past event; they sum to the score, and reasons come from them.
#
# 输入历史，输出每件商品的分数。模型看不到用户 ID，因此能回答任何人。`contributions` 把分数拆成先验与每个事件的部分。


# %%
class NextTo(Member[Settings]):
    """Items that directly followed the items of the history, counted in both directions."""

    config_class = Settings

    def fit(self, train, content=Content.NONE):
        owner, item = train.user_index(), train.item_index
        follows = (owner[1:] == owner[:-1]) & (train.weight[1:] > 0) & (train.weight[:-1] > 0)
        counts = np.zeros((train.num_items, train.num_items), np.float32)
        np.add.at(counts, (item[:-1][follows], item[1:][follows]), 1)
        counts += counts.T
        self.matrix = counts / np.sqrt(np.outer(counts.sum(1) + 1, counts.sum(0) + 1))
        return self

    def score(self, histories):
        return np.asarray(histories.matrix() @ self.matrix, np.float32)

    def contributions(self, history):
        return np.zeros(history.num_items, np.float32), self.matrix[history.item_index] * history.weight[:, None]

    def arrays(self):
        return {"matrix": self.matrix}

    def restore(self, arrays):
        self.matrix = arrays["matrix"]
        return self


MODELS.add("next_to", NextTo)

# %% [markdown]
# ## Compared fairly · 公平比较
#
# `prepare` reads, cleans, divides and encodes once. `compare` fits each model and gives 95 % intervals; the differences from the first
# model are paired by user and corrected for the number of models. This is validation: choose here, and look at the test once, at the end.
#
# `prepare` 只读取、清洗、划分和编码一次。`compare` 给出 95 % 区间；与第一个模型之差按用户配对并校正。请在验证集上选择。

# %%
content = {
    "pairs": {"encoder": "letter_pairs", "columns": ["title", "description"]},
    "words": {"encoder": "tfidf", "columns": ["title", "description"]},
}
data = penchant.prepare(interactions=events, items=items, media_root=folder, content=content, split={"kind": "last_out"})
models = {
    "popularity": Popularity(),
    "own pairs of letters": ContentKNN(channel="pairs"),
    "TF-IDF": ContentKNN(channel="words"),
    "own next to": NextTo(),
    "EASE": EASE(regularisation=50),
}
penchant.compare(data, models, k=10).to_pandas().round(4)

# %% [markdown]
# By hand, where you want to look inside. 也可以手动逐步进行。

# %%
part = data.validation
model = NextTo().fit(part.train)
lists = model.recommend(part.histories, k=10).table(data.dataset.catalog.item_ids)
chosen = data.parts.validation.table.select("user_id", "item_id")
penchant.measure(lists, chosen, ks=[10], metrics=["ndcg", "recall"]).mean()

# %% [markdown]
# ## In a run · 用于运行
#
# The names stand in the settings like any other. The ensemble weighs the members on validation, and the report has them as rows.
#
# 名字像内置名字一样写进设置；集成在验证集上确定权重。

# %%
shop = penchant.run(
    interactions=events,
    items=items,
    media_root=folder,
    name="own-parts",
    content=content,
    members={
        "next_to": {"model": "next_to"},
        "pairs": {"model": "content_knn", "channel": "pairs"},
        "ease": {"model": "ease", "regularisation": [20, 50, 200]},
    },
    split={"kind": "last_out"},
)
pd.DataFrame(
    [
        {"recommender": row["name"], "role": row["role"], "NDCG@10": row["scores"]["ndcg@10"]["mean"]}
        for row in shop.report.read()["leaderboard"]["rows"]
    ]
)

# %%
shop.recommend(shop.histories.user_ids[0], k=3)

# %% [markdown]
# A process that loads this bundle adds the classes first. A package does so by itself, through an entry point: see "Add a name from another
# package" in CONTRIBUTING.md.
#
# 加载这个模型包的进程需要先登记这些类；作为软件包发布时用入口点（entry point）即可。
