"""Every word of the report, in each language, in one place.

In: a key and the values of its gaps. Out: a phrase. Both languages stand side by side, so that neither can be forgotten.
"""

from __future__ import annotations

from penchant.core.errors import ConfigError, nearest
from penchant.core.schema import BEHAVIOUR, MODALITIES
from penchant.reporting.chinese import in_chinese

LANGUAGES = {"en": "en", "zh": "zh-CN"}
"""Setting to the page's `lang`."""

SIZES = (
    "users",
    "items",
    "interactions",
    "train",
    "validation",
    "test",
    "test_users",
    "samples",
    "train_samples",
    "validation_samples",
    "test_samples",
)
"""Counts of the data that have a word of their own."""

METRICS = {"ndcg": "NDCG", "mrr": "MRR", "map": "MAP", "recall": "Recall", "precision": "Precision"}
"""Metrics of ranked lists, which Chinese calls by their English names too."""

WORDS: dict[str, tuple[str, str]] = {
    # headings
    "report": ("Report", "评测报告"),
    "in_short": ("In short", "结论"),
    "league": ("Who is ahead", "谁更好"),
    "ablation": ("Does each modality pay?", "每种模态值得吗？"),
    "group_gains": ("What each modality is worth, by kind of user", "各类用户的模态增益"),
    "slices": ("Where the gain comes from", "提升来自哪里"),
    "classified": ("Is this user interested in this item?", "用户对该物品感兴趣吗？"),
    "variety": ("Beyond being right", "准确之外"),
    "weights": ("What the stack listens to", "融合权重"),
    "bands": ("By length of the history (events)", "按历史长度（事件数）"),
    "examples": ("What people would see", "推荐示例"),
    "data": ("The data", "数据"),
    "coverage": ("How much of the catalog has each modality", "各模态覆盖率"),
    "findings": ("What was found in the data", "数据检查结果"),
    "stages": ("Time and memory", "时间与内存"),
    "protocol": ("How it was measured", "评测方法"),
    "environment": ("Machine and versions", "运行环境"),
    "contents": ("Contents", "目录"),
    "labelled": ("Telling the classes apart", "分类效果"),
    "classes": ("Class by class", "各类别"),
    "confusion": ("What was taken for what", "混淆矩阵"),
    # roles and columns
    "alone": ("alone", "单模态"),
    "fused": ("fused", "融合"),
    "class": ("Class", "类别"),
    "support": ("samples", "样本"),
    "samples": ("samples", "样本"),
    "train_samples": ("training samples", "训练样本"),
    "validation_samples": ("validation samples", "验证样本"),
    "test_samples": ("test samples", "测试样本"),
    "row": ("Classifier", "分类器"),
    "ours_minus": ("ours minus it", "本方法减去它"),
    "cost_curve": ("Cost by threshold", "各阈值的代价"),
    "cost_of": ("a miss costs {miss}, a false alarm {false_alarm}", "漏报代价 {miss}，误报代价 {false_alarm}"),
    "relative_cost": ("Cost, share of being always wrong", "代价（占全错代价的比例）"),
    "true_class": ("True class", "真实类别"),
    "ours": ("ours", "本方法"),
    "baseline": ("baseline", "基线"),
    "member": ("member", "成员"),
    "ablated": ("ablation", "消融"),
    "best_baseline": ("best baseline", "最强基线"),
    "recommender": ("Recommender", "推荐模型"),
    "mean_interval": ("mean [95 % interval]", "均值 [95% 置信区间]"),
    "against": ("against {name}", "与 {name} 相比"),
    "to_all": ("against everything", "与全部模态相比"),
    "to_behaviour": ("against behaviour only", "与仅行为相比"),
    "verdict": ("Verdict", "判定"),
    "cost": ("Cost", "代价"),
    "once": ("once", "一次性"),
    "per_user": ("per user", "每用户"),
    "all_metrics": ("All metrics", "全部指标"),
    "arm": ("Uses", "使用"),
    "group": ("Group", "分组"),
    "users": ("users", "用户"),
    "items": ("items", "物品"),
    "interactions": ("interactions", "交互"),
    "train": ("training events", "训练事件"),
    "validation": ("validation events", "验证事件"),
    "test": ("test events", "测试事件"),
    "test_users": ("test users", "测试用户"),
    "true_items": ("true items", "真实物品"),
    "gain": ("Gain", "增益"),
    "channel": ("Modality", "模态"),
    "present": ("present", "有内容"),
    "imputed": ("filled in", "由邻居补全"),
    "missing": ("missing", "缺失"),
    "share": ("Share", "占比"),
    "weight": ("Weight", "权重"),
    "stage": ("Stage", "阶段"),
    "time": ("Time", "时间"),
    "total": ("total {time}", "共 {time}"),
    "memory": ("Peak memory", "峰值内存"),
    "cached": ("cached", "缓存"),
    "check": ("Check", "检查项"),
    "count": ("Count", "数量"),
    "action": ("Done", "处理"),
    "kept": ("kept", "保留"),
    "repaired": ("repaired", "修复"),
    "dropped": ("dropped", "删除"),
    "masked": ("masked", "屏蔽"),
    "first_examples": ("first examples", "前几个例子"),
    "nothing_found": ("Nothing to report.", "没有发现问题。"),
    "history": ("Recently", "最近看过"),
    "suggested": ("Suggested", "推荐"),
    "chosen": ("chosen later", "之后选择了"),
    "seed": ("seed", "随机种子"),
    "no_title": ("untitled", "无标题"),
    "play": ("Sound of {title}", "{title} 的声音"),
    "picture": ("Picture of {title}", "{title} 的图片"),
    # modalities
    "behaviour": ("behaviour", "行为"),
    "text": ("text", "文本"),
    "image": ("image", "图像"),
    "audio": ("audio", "音频"),
    "video": ("video", "视频"),
    "mesh": ("mesh", "三维"),
    "signal": ("signal", "信号"),
    "attribute": ("attributes", "属性"),
    "arm_all": ("everything", "全部"),
    "arm_behaviour": ("behaviour only", "仅行为"),
    "arm_only": ("{channel} only", "仅{channel}"),
    "arm_without": ("all but {channel}", "除{channel}外全部"),
    "arm_some": ("{uses}", "{uses}"),
    # scores
    "accuracy": ("Accuracy", "准确率"),
    "precision": ("Precision", "精确率"),
    "recall": ("Recall", "召回率"),
    "f1": ("F1", "F1"),
    "auc": ("AUC", "AUC"),
    "average_precision": ("Average precision", "平均精度"),
    "calibration_error": ("Calibration error", "校准误差"),
    "threshold": ("Threshold", "阈值"),
    "roc": ("ROC curve", "ROC 曲线"),
    "pr_curve": ("Precision and recall", "精确率—召回率曲线"),
    "calibration": ("Calibration", "校准曲线"),
    "false_positive": ("False positive rate", "假阳性率"),
    "true_positive": ("True positive rate", "真阳性率"),
    "promised": ("Promised probability", "预测概率"),
    "came_true": ("Came true", "实际比例"),
    "catalog_coverage": ("Catalog shown", "目录覆盖率"),
    "novelty": ("Novelty (bits)", "新颖度（比特）"),
    "diversity": ("Diversity", "多样性"),
    "gini": ("Inequality (Gini)", "不均衡度（基尼系数）"),
    "macro_f1": ("Macro F1", "宏平均 F1"),
    "weighted_f1": ("Weighted F1", "加权 F1"),
    "macro_precision": ("Macro precision", "宏平均精确率"),
    "macro_recall": ("Macro recall", "宏平均召回率"),
    "hit_rate": ("Hit rate", "命中率"),
    "between_sentences": (" ", ""),
    "comma": (", ", "，"),
    "colon": (": ", "："),
    "stop": (". ", "。"),
    "semicolon": ("; ", "；"),
    "percent": ("\u00a0%", "%"),
    # steps of a run
    "stage_read": ("read", "读取"),
    "stage_clean": ("clean", "清洗"),
    "stage_split": ("split", "划分"),
    "stage_encode": ("encode", "编码"),
    "stage_fuse": ("fuse", "融合"),
    "stage_fit": ("fit", "训练"),
    "stage_evaluate": ("evaluate", "评测"),
    "stage_explain": ("explain", "解释"),
    # verdicts
    "better": ("better", "更好"),
    "worse": ("worse", "更差"),
    "not distinguishable": ("not distinguishable", "无显著差异"),
    "pays": ("pays", "值得"),
    "does not pay": ("does not pay", "不值得"),
    # sentences
    "headline_recall": (
        "{name} finds {ours} of what people chose next within {k} suggestions; {baseline} finds {theirs}: {verdict}, {difference} points.",
        "在前 {k} 个推荐中，{name} 找到用户之后所选物品的 {ours}，{baseline} 为 {theirs}：{verdict}，相差 {difference} 个百分点。",
    ),
    "headline_metric": (
        "{metric}: {name} {ours}, {baseline} {theirs}: {verdict}, {difference}.",
        "{metric}：{name} {ours}，{baseline} {theirs}：{verdict}，相差 {difference}。",
    ),
    "headline_auc": (
        "Asked whether a user likes an item, {name} puts a liked item above a disliked one {auc} of the time{interval}.",
        "判断用户是否喜欢某物品时，{name} 有 {auc} 的概率把喜欢的排在不喜欢的之前{interval}。",
    ),
    "sentence_pays": (
        "{channel} pays: without it, {metric} is lower by {gain}.",
        "“{channel}”值得：没有它，{metric} 降低 {gain}。",
    ),
    "sentence_does not pay": (
        "{channel} does not pay: without it, {metric} is higher by {gain}.",
        "“{channel}”不值得：没有它，{metric} 反而提高 {gain}。",
    ),
    "sentence_not distinguishable": (
        "{channel} is not distinguishable from noise: having it changes {metric} by {gain}.",
        "“{channel}”的作用不显著，与噪声无法区分：{metric} 变化 {gain}。",
    ),
    "sentence_cost": (
        "It costs {seconds} once and {milliseconds} per user.",
        "代价：一次性 {seconds}，每用户 {milliseconds}。",
    ),
    "sentence_no_cost": ("It has no measurable cost.", "未测得代价。"),
    "nothing_measurable": ("nothing measurable", "低于可测范围"),
    "no_cost": ("none measurable", "未测得"),
    "chosen_on_validation": (
        "The best baseline ({name}) was chosen on validation, not on the test shown here.",
        "最强基线（{name}）在验证集上选出，而非此处的测试集。",
    ),
    "chosen_on_test": (
        "No validation scores were given, so the best baseline ({name}) was chosen on this very test, which favours it.",
        "未提供验证集分数，最强基线（{name}）直接在本测试上选出，这对基线有利。",
    ),
    "league_note": (
        "Ordered by {metric} over {users} users. Lines over the bars are 95 % intervals; verdicts allow for {count} comparisons.",
        "按 {metric} 排序，共 {users} 个用户。条上的线为 95% 置信区间；判定已对 {count} 次比较做多重检验校正。",
    ),
    "ablation_note": (
        "Each arm was fitted anew with only what its name says. Dots are {metric}, lines are 95 % intervals.",
        "每一行都只用其名称所列内容重新训练。点为 {metric}，线为 95% 置信区间。",
    ),
    "payoff_note": (
        "Everything minus everything but this modality. Right of the line at 0, having it helps.",
        "“全部”减去“除该模态外全部”。在 0 线右侧表示该模态有帮助。",
    ),
    "group_note": (
        "How much {metric} gains from each modality for each group of users; a filled cell is a gain that chance does not explain.",
        "每种模态给各组用户带来的 {metric} 增益；有底色的格子是偶然性无法解释的增益。",
    ),
    "slices_note": (
        "The coloured dot is {name}, the grey one {baseline}, on the same users.",
        "彩色点为 {name}，灰色点为 {baseline}，用户相同。",
    ),
    "variety_note": (
        "Over the first {k} suggestions of every test user. Novelty is higher for lesser-known items; a Gini of 0 shows every item equally often.",
        "取每个测试用户的前 {k} 个推荐。新颖度越高，物品越冷门；基尼系数为 0 表示各物品展示次数相同。",
    ),
    "classified_note": (
        "{pairs} pairs of {users} users, {share} of them yes. Threshold and calibration were fitted on validation pairs.",
        "{users} 个用户的 {pairs} 个样本，其中 {share} 为“是”。阈值与校准均在验证集上确定。",
    ),
    "labelled_headline": (
        "Of {samples} test samples, accuracy is {accuracy}, macro F1 {f1}, AUC {auc}.",
        "在 {samples} 个测试样本上，准确率 {accuracy}，宏平均 F1 {f1}，AUC {auc}。",
    ),
    "labelled_asked": (
        "Asking a person about {share} of them makes the other answers right {accuracy} of the time, instead of {all}.",
        "将其中 {share} 交由人工判断后，其余回答的正确率为 {accuracy}，否则为 {all}。",
    ),
    "labelled_note": (
        "{samples} samples of {units} independent units, {repeats} repeat(s). Ordered by {metric}; verdicts allow for the number of rows.",
        "{samples} 个样本，来自 {units} 个独立单元，重复 {repeats} 次。按“{metric}”排序；判定已按行数做多重检验校正。",
    ),
    "fusion_better": ("Fusion helps: it is better than every modality alone.", "融合有益：优于任何单一模态。"),
    "fusion_worse": (
        "Fusion hurts: one modality alone is better. Use that one.",
        "融合有害：单一模态更好，应只用该模态。",
    ),
    "fusion_not distinguishable": (
        "Fusion does not help measurably: it is not distinguishable from at least one modality alone.",
        "融合没有可测的帮助：与至少一种单一模态无显著差异。",
    ),
    "fusion_against": ("Ours minus each alone, {metric}: {gaps}.", "本方法减去各单模态，{metric}：{gaps}。"),
    "confusion_note": ("Rows are the truth, columns the answer.", "行为真实类别，列为回答。"),
    "class_note": (
        "Each class against the rest, at the thresholds chosen on validation.",
        "每个类别与其余类别相比，阈值在验证集上选定。",
    ),
    "out_of": ("{count} of {total}", "{count} / {total}"),
    "footer": (
        "This page is one file: it asks nothing of the network and runs no script.",
        "本页是单个文件：不访问网络，不运行脚本。",
    ),
}


class Words:
    """The phrases of one language.

    Args:
        language: A key of `LANGUAGES`.

    Raises:
        ConfigError: The language is unknown.
    """

    def __init__(self, language: str) -> None:
        if language not in LANGUAGES:
            raise ConfigError(
                f"There is no report in {language!r}.", where="report: language", fix=nearest(language, LANGUAGES)
            )
        self.lang = LANGUAGES[language]
        self._column = list(LANGUAGES).index(language)

    def __call__(self, key: str, **values: object) -> str:
        """Return a phrase with its gaps filled."""
        return WORDS[key][self._column].format(**values)

    def channel(self, name: str) -> str:
        """Return the word for a modality; a channel's own name stays as it is."""
        return self(name) if name in (*MODALITIES, BEHAVIOUR) else name

    def metric(self, name: str) -> str:
        """Return "NDCG@20" for "ndcg@20", "Macro F1" for "macro_f1"."""
        name, at, k = name.partition("@")
        shown = self(name) if name in WORDS and not (at and name in METRICS) else METRICS.get(name, name)
        return shown + at + k

    def stage(self, name: str) -> str:
        """Return the word for a step of a run; the reader's own name stays as it is."""
        return self(f"stage_{name}") if f"stage_{name}" in WORDS else name

    def said(self, text: str) -> str:
        """Return what another part of the library says, in this language; what is not the library's stays as it is."""
        return in_chinese(text, self.channel) if self.lang == LANGUAGES["zh"] else text

    def size(self, name: str) -> str:
        """Return the word for a count of the data; the reader's own name stays as it is."""
        return self(name) if name in SIZES else name
