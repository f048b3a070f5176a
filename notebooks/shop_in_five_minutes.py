# %% [markdown]
# # A shop in five minutes · 五分钟：从表格到推荐
#
# Tables and a folder of pictures and sounds become a recommender that is measured and explained. The data is generated, so its true
# interests are known; put your own tables in its place.
#
# 把表格、图片和声音变成经过评测、可以解释的推荐系统。数据是生成的；请换成自己的表格。

# %%
from pathlib import Path

import pandas as pd

import penchant
from penchant.world import WorldConfig, make_world

folder = Path("world")
if not folder.exists():
    make_world(folder, WorldConfig(size="small"))

events = pd.read_csv(folder / "interactions.csv")
items = pd.read_csv(folder / "items.csv")
users = pd.read_csv(folder / "users.csv")
events.head()

# %%
items.head()

# %% [markdown]
# ## One call · 一次调用
#
# Read, clean, encode, fit, evaluate, explain. The result is also on disk, in `runs/shop`.
#
# 读取、清洗、编码、训练、评测、解释。结果同时写入 `runs/shop`。

# %%
shop = penchant.run(interactions=events, items=items, users=users, media_root=folder, name="shop", progress=True)

# %% [markdown]
# ## Is it good? · 效果如何
#
# The report compares it with the best of the simple methods, on events it has not seen. An interval that holds 0 is no difference.
#
# 报告在未见过的行为上与最好的简单方法比较；区间包含 0 即没有可分辨的差别。

# %%
rows = shop.report.read()["leaderboard"]["rows"]
pd.DataFrame(
    [
        {"recommender": row["name"], "role": row["role"], "NDCG@10": row["scores"]["ndcg@10"]["mean"]}
        for row in rows
        if row["role"] in ("ours", "baseline")
    ]
)

# %%
shop.report

# %% [markdown]
# ## Lists with reasons · 推荐与理由

# %%
somebody = shop.histories.user_ids[0]
shop.recommend(somebody, k=5)

# %% [markdown]
# Filters are keywords. 过滤条件用关键字给出。

# %%
category = items["category"].dropna().iloc[0]
shop.recommend(somebody, k=5, where=[f"category:{category}"], diversity=0.3)

# %% [markdown]
# A new user needs no refit. 新用户无需重新训练。

# %%
shop.recommend(shop.history_of(shop.catalog.item_ids[:2]), k=5)

# %% [markdown]
# ## What somebody cares about · 用户在意什么

# %%
shop.profile(somebody)

# %% [markdown]
# ## Why this one · 为什么推荐它
#
# The parts sum to the score. 各部分之和等于分数。

# %%
best = shop.recommend(somebody, k=1)[0].item_id
shop.explain(somebody, best)

# %% [markdown]
# ## Items that are alike · 相似商品

# %%
shop.similar(best, k=5)

# %% [markdown]
# ## Everybody's lists as one table · 所有人的推荐表

# %%
lists = shop.recommend_table(k=10)
lists.to_pandas().head(10)

# %% [markdown]
# ## Later, elsewhere · 以后再用
#
# `penchant serve runs/shop` answers over HTTP, with a page to look at. 上线：`penchant serve runs/shop`。

# %%
again = penchant.load(shop.folder)
print(again.recommend(somebody, k=1)[0].title)
