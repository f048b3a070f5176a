# %% [markdown]
# # Moderation and sentiment · 内容审核与情感
#
# Labelled texts become a classifier that says what it knows, what made it think so, and when a person should decide. The sentences here are generated
# from a few words, so the figures say nothing about real texts; those on real data are in docs/tasks.md.
#
# 带标签的文字变成分类器：给出答案、依据，并说明何时应由人来决定。这里的句子是生成的，真实数据上的数字见 docs/tasks.md。

# %%
from pathlib import Path

import numpy as np
import pandas as pd

import penchant
from penchant.world import WorldConfig, make_world

rng = np.random.default_rng(0)
openings = ["the room was", "our breakfast was", "the staff were", "the view was", "the bed was", "check-in was"]
endings = ["we stayed two nights", "with the children", "in the old town", "after a long day", "for this price", "again"]
good, bad = ["lovely", "spotless", "kind", "quiet", "delicious"], ["dirty", "rude", "noisy", "broken", "cold"]
plain = ["booked in march", "near the station", "on the third floor", "paid by card", "with a window", "as described"]


def sentence(label):
    """Return one generated review."""
    word = rng.choice(good if label == "happy" else bad)
    return f"{rng.choice(openings)} {word} {rng.choice(plain)} {rng.choice(endings)}"


labels = rng.choice(["happy", "unhappy"], 160, p=[0.7, 0.3])
reviews = pd.DataFrame({"text": [sentence(label) for label in labels], "label": labels})
reviews.head()

# %% [markdown]
# ## Sentiment · 情感
#
# One call again. Simple rows are always beside it, and fusion or networks are taken only where they are clearly better.
#
# 同样只需一次调用；简单方法总在一旁比较。

# %%
mood = penchant.run(samples=reviews, task="classification", name="mood", evaluation={"positive": "happy"})
pd.DataFrame(
    [
        {"classifier": row["name"], "role": row["role"], "macro F1": row["scores"]["macro_f1"]["mean"]}
        for row in mood.report.read()["labelled"]["rows"]
    ]
)

# %%
answer = mood.predict(text="the staff were rude and the bed was cold")
print(answer.label, f"{answer.score:.2f}", "because of · 依据:", answer.evidence)

# %% [markdown]
# What is unlike anything learned is for a person, whatever its probability. 与训练数据完全不同的内容交给人来判断。

# %%
for text in ("🙂🙂🙂", "早餐很好，房间干净", "the view was lovely again"):
    answer = mood.predict(text=text)
    print(f"{text!r}: {answer.label}, {'a person decides · 由人决定' if answer.is_unsure else 'sure · 确定'}")

# %% [markdown]
# ## Moderation · 审核
#
# The same, with costs: here letting an insult pass is five times as bad as holding back a harmless text. The threshold is chosen for
# the least cost on left-out samples, never on the test.
#
# 审核也是如此，只是加上代价：放过一句辱骂比误拦一句无害的话严重五倍；阈值在留出样本上按最小代价选择。

# %%
insults = ["you idiot", "what a moron", "shut up, fool", "you are trash"]
thanks = ["thank you", "well done", "see you tomorrow", "what a day"]
kinds = rng.choice(["safe", "insult"], 160, p=[0.8, 0.2])
posts = pd.DataFrame(
    {
        "text": [f"{rng.choice(insults if kind == 'insult' else thanks)} {rng.choice(plain)} {rng.choice(endings)}" for kind in kinds],
        "label": kinds,
    }
)
guard = penchant.run(
    samples=posts,
    task="classification",
    name="guard",
    evaluation={"positive": "insult"},
    fit={"tune": {"aim": "cost", "costs": {"insult": 5.0, "safe": 1.0}}},
)
answer = guard.predict(text="shut up, fool, paid by card")
print(answer.label, f"{answer.score:.2f}, threshold · 阈值 {answer.threshold:.2f}")

# %% [markdown]
# Many at once. 批量预测。

# %%
import polars as pl

found = guard.predict_table(pl.DataFrame({"text": posts["text"].head(5)}), root=Path.cwd())
[(one.label, round(one.score, 2), one.is_unsure) for one in found]

# %% [markdown]
# ## Unhappy reviews count · 差评也算数
#
# In a shop some people regret what they bought, and only their review shows it. With `reviews`, an unhappy event counts against the item
# instead of for it. `built_in` needs no classifier; name your own with `sentiment = {"en": "runs/mood"}`.
#
# 有人后悔买下的东西，只有评论能看出来。读取评论后，不满意的行为会反过来计算。

# %%
folder = Path("world-with-reviews")
if not folder.exists():
    make_world(folder, WorldConfig(size="tiny", regret_share=0.25, review_share=0.6, media=False))
events, items = pd.read_csv(folder / "interactions.csv"), pd.read_csv(folder / "items.csv")
data = penchant.prepare(interactions=events, items=items, content={}, reviews={"built_in": True})
data.dataset.interactions.table["mood"].value_counts(sort=True)

# %%
negative = int((data.known.weight < 0).sum())
print(f"{negative} of {data.known.num_events} events count against their item · 条行为反向计算")
