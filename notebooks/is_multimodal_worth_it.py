# %% [markdown]
# # Is multimodal worth it? · 多模态值得吗？
#
# Text, pictures and sound cost encoding time. Whether they pay depends on your data and on whom you ask about: often little for items that
# everybody knows, much for new ones. Here is how to find out.
#
# 文字、图片和声音需要编码时间。是否值得，取决于数据与对象：对人人熟悉的商品往往帮助不大，对新商品则很大。这里说明如何判断。

# %%
from pathlib import Path

import pandas as pd

import penchant
from penchant.world import WorldConfig, make_world

folder = Path("world")
if not folder.exists():
    make_world(folder, WorldConfig(size="small"))
events, items = pd.read_csv(folder / "interactions.csv"), pd.read_csv(folder / "items.csv")
tables = {"interactions": events, "items": items, "media_root": folder}

# %% [markdown]
# ## Everybody, known items · 所有人，已有商品
#
# Each arm of the ablation is fitted without the modalities it leaves out. "without" shows what is lost when one is taken away.
#
# 消融实验的每一组都在缺少相应模态的情况下重新训练。“without” 表示去掉某一模态之后的结果。

# %%
known = penchant.run(**tables, name="known-items", progress=True)


def arms(recommender):
    """Return the arms of a run's ablation, each with its difference from the full ensemble."""
    found = recommender.report.read()["ablation"]
    return pd.DataFrame(
        [
            {
                "arm": f"{row['kind']} {row['channel']}".strip(),
                found["metric"]: row["score"]["mean"],
                "minus all": row["to_all"] and row["to_all"]["mean"],
                "low": row["to_all"] and row["to_all"]["low"],
                "high": row["to_all"] and row["to_all"]["high"],
                "outcome": row["to_all"]["outcome"] if row["to_all"] else "",
            }
            for row in found["rows"]
        ]
    )


arms(known)

# %% [markdown]
# Read the intervals, not the means: "not distinguishable" means that this many users cannot tell. 请看区间而不是均值。

# %% [markdown]
# ## New items · 新商品
#
# All events of some items are the test, so behaviour knows nothing about them. Only content can rank them.
#
# 把一部分商品的全部行为作为测试集：行为模型对它们一无所知，只能依靠内容。

# %%
new = penchant.run(**tables, name="new-items", split={"kind": "cold_items", "min_item_events": 2}, progress=True)
arms(new)

# %% [markdown]
# ## What it costs · 代价
#
# Seconds of each step of the run; encodings are kept, so a second run takes them from the cache.
#
# 每一步的秒数；编码结果会被缓存。

# %%
pd.DataFrame(known.report.read()["stages"])

# %% [markdown]
# ## The decision · 结论
#
# A modality is worth its cost if the arm without it is *worse*, for known items or for new ones, whichever you have more of. What does not pay
# is left out by naming the others in `[content]`. For the same question about your own models: `penchant.compare`, in the notebook about them.
#
# 如果去掉某一模态后结果“更差”，它就值得；否则在 `[content]` 中只写其余的。

# %%
for title, recommender in (("known items · 已有商品", known), ("new items · 新商品", new)):
    table = arms(recommender)
    worse = table[table["arm"].str.startswith("without") & (table["outcome"] == "worse")]["arm"].tolist()
    print(f"{title}: {', '.join(worse) or 'no modality is shown to pay · 没有证据表明任何模态值得'}")
