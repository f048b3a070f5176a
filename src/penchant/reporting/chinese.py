"""What the rest of the library says in finished English, in Chinese.

In: a sentence of a finding, a protocol, a note or a reason. Out: the same in Chinese, its numbers and names as they were.
Other parts write English that the terminal and the JSON show too; only the page is in two languages, so it is translated here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

SENTENCES = {
    # the catalog, the events, the users
    "columns took these roles by what they hold; name them in [data] text, media and attributes to be sure": "各列的角色由其内容推断；若要确定，请在 [data] 的 text、media、attributes 中写明",
    "vectors found beside the data: name each in a [content.*] table with encoder = \"precomputed\"": "数据旁有现成的向量：请在 [content.*] 表中逐个写明，并设 encoder = \"precomputed\"",
    "keep one row for each {key}; the first was taken": "每个 {key} 应只有一行；已取第一行",
    "every row needs an id": "每一行都需要 ID",
    "ids that differ only by spaces or Unicode form are one id; {merged} of them became another's": "仅空格或 Unicode 形式不同的 ID 视为同一个；其中 {merged} 个已并入另一个",
    "the file is not UTF-8 and was read as {encoding}; if the example looks wrong, save it as UTF-8": "文件不是 UTF-8 编码，已按 {encoding} 读取；若例子显示有误，请另存为 UTF-8",
    "clicks before the first impression have no times: their order was kept, one second apart": "首次曝光之前的点击没有时间：保留其顺序，每次间隔一秒",
    "numbers of this size are {unit} since 1970": "这样大小的数是自 1970 年起的{unit}数",
    "numbers of this size are {unit} since 1970, but these lie before 1973: if they are places in a sequence, add them to a date": "这样大小的数是自 1970 年起的{unit}数，但都早于 1973 年：若其实是序号，请加到某个日期上",
    "seconds": "秒",
    "milliseconds": "毫秒",
    "microseconds": "微秒",
    "nanoseconds": "纳秒",
    "value below {least} or missing": "数值低于 {least} 或缺失",
    "no event has a time: only random, cold_items and published splits work": "所有事件都没有时间：只能用 random、cold_items 或 published 划分",
    "an event without a time counts as its user's oldest": "没有时间的事件视为该用户最早的事件",
    "their user or item has fewer than {least} events (min_interactions)": "其用户或物品的事件少于 {least} 个（min_interactions）",
    "with one user there is nobody to learn from; map the column that tells users apart": "只有一个用户，无从学习；请映射区分用户的列",
    "all times are equal, so no split by time is possible: choose a random, cold_items or published one": "所有时间都相同，无法按时间划分：请选 random、cold_items 或 published",
    "add these items to the catalog; a row with only its id is enough": "请将这些物品加入目录；只有 ID 的一行即可",
    "their value is now unknown; the event still counts": "其数值现视为未知；事件仍计入",
    "most times are wrong, so the unit is: state whether the column holds seconds or milliseconds": "大部分时间有误，应是单位不对：请说明该列是秒还是毫秒",
    "their time is now unknown; correct it at the source, or set `earliest` if they are that old": "其时间现视为未知；请从源头改正，若确实那么早则设置 `earliest`",
    "the last of each stays": "每组只保留最后一个",
    "they count more than once": "它们被重复计入",
    "without a time they may be repeats or real: give the events times": "没有时间，无法区分重复与真实：请为事件补上时间",
    "set `inhuman_users` = 'keep' if these are people": "若这些是真人，请设 `inhuman_users` = 'keep'",
    "they weigh like thousands of people: set `inhuman_users` = 'drop'": "它们的分量抵得上数千人：请设 `inhuman_users` = 'drop'",
    "they have no attributes; add them to the users table if you know some": "他们没有属性；若有已知属性，请加入用户表",
    "these events weigh what their kind says": "这些事件按其类型计权重",
    "these events count against their items (histories.unhappy), whatever their kind says": "无论何种类型，这些事件都算作对物品的负反馈（histories.unhappy）",
    "not clear: they weigh what their kind says": "态度不明：按其类型计权重",
    "no classifier reads their language: name one in [reviews.sentiment]": "没有能读该语言的分类器：请在 [reviews.sentiment] 中指定",
    # labelled samples
    "rows without a label teach nothing and test nothing": "没有标签的行既不能训练也不能测试",
    "no words and no usable file: there is nothing to learn from": "既无文字，也无可用文件：无从学习",
    "equal content with different labels bounds what any model can reach: check who labelled them": "内容相同而标签不同，限制了任何模型的上限：请核查标注",
    "labels that differ only by upper case are one class": "仅大小写不同的标签视为同一类",
    "a class with fewer than {least} samples cannot be learned, chosen by and tested; add some, or rename it in [data.labels]": "样本少于 {least} 个的类别无法同时用于训练、选择与测试；请补充样本，或在 [data.labels] 中改名",
    "spaces and Unicode forms were evened out": "已统一空格与 Unicode 形式",
    "rare labels that look like a misspelled common one": "疑似常见标签误拼的稀有标签",
    "classes without a sample in {part}: their figures there say nothing; bring more of them": "{part}中没有样本的类别：其结果没有意义；请补充样本",
    "every class is in {part}": "{part}包含所有类别",
    "groups (speakers, patients, authors) that stand in two parts": "同时出现在两个部分中的组（说话人、患者、作者）",
    "samples of test or validation whose content stands in train too, so they were seen": "内容也出现在训练集中的验证或测试样本，即已被见过",
    "validation ranks the classes the other way round; the slope was held at {least}, so the order that training learned stays: bring more samples, or expect that nothing is learned here": "验证集上的类别排序与训练相反；斜率已限制为 {least}，保留训练学到的顺序：请补充样本，否则应认为这里什么也没学到",
    "train": "训练集",
    "validation": "验证集",
    "test": "测试集",
    # content
    "these cells hold no words; the items count as having no text": "这些单元格没有文字；物品视为没有文本",
    "items with equal text cannot be told apart by it: check that they are different items": "文本相同的物品无法凭文本区分：请确认它们确是不同物品",
    "markup was removed and entities were turned into characters": "已去除标记，并将实体转换为字符",
    "the files were once read in a wrong encoding: export them again as UTF-8": "文件曾以错误编码读取：请以 UTF-8 重新导出",
    "invisible characters were removed": "已去除不可见字符",
    "name every file by a path below the media folder; nothing outside it is ever read": "文件路径须在媒体文件夹之内；其外的文件一律不读",
    "add the files, or leave the cells empty": "请补上文件，或将单元格留空",
    "convert the files: pictures to JPEG or PNG, sound to WAV, FLAC, Ogg or MP3, video to MP4, meshes to OBJ or PLY, signals to CSV": "请转换文件：图片转为 JPEG 或 PNG，声音转为 WAV、FLAC、Ogg 或 MP3，视频转为 MP4，网格转为 OBJ 或 PLY，信号转为 CSV",
    "copy the files again from their source": "请从来源重新复制文件",
    "shrink the files; only if you trust their source, raise `max_pixels`, `max_bytes` or `max_audio_bytes`": "请缩小文件；仅在信任来源时才提高 `max_pixels`、`max_bytes` 或 `max_audio_bytes`",
    "find the real pictures: these are a pixel wide, as trackers are": "请找到真正的图片：这些只有一个像素宽，像是跟踪像素",
    "find the real pictures: these show one even colour": "请找到真正的图片：这些只是一片纯色",
    "find the real recordings: nothing can be heard": "请找到真正的录音：这些没有声音",
    "find the real recordings, or lower `min_seconds`": "请找到真正的录音，或降低 `min_seconds`",
    "pictures cannot tell these items apart: check that they are different items": "这些物品无法凭图片区分：请确认它们确是不同物品",
    "pictures cannot tell these items apart: check that they are different items; {rows} rows show one picture, perhaps a placeholder": "这些物品无法凭图片区分：请确认它们确是不同物品；有 {rows} 行是同一张图片，可能是占位图",
    "they were recorded too loud; record with less gain if you can": "录音音量过大；请尽量降低增益重录",
    "only the first {most} s are heard (`max_seconds`)": "只听前 {most} 秒（`max_seconds`）",
    "the video is learned from by its picture alone": "只从该视频的画面学习",
    "the video is learned from by its sound alone": "只从该视频的声音学习",
    "cells that hold no number": "不是数字的单元格",
    "pauses over {times} times the usual step; the encoder's max_gap_seconds says which are filled": "超过通常间隔 {times} 倍的空缺；填补哪些由编码器的 max_gap_seconds 决定",
    "only the first {most} readings are used (`max_readings`)": "只用前 {most} 个读数（`max_readings`）",
    "readings without a time": "没有时间的读数",
    "readings of one instant became their mean": "同一时刻的多个读数已取均值",
    "readings were put in order of time": "读数已按时间排序",
    "the item goes on without this content; mend or remove the file": "该物品暂不使用这部分内容；请修复或移除文件",
    "what stands written in these pictures is read as words": "已识别这些图片中的文字，并作为文本使用",
    "they go on without their words; mend or remove the files": "它们暂无文字；请修复或移除文件",
    "what is said in these sounds was written down and is read as words": "已将这些声音转写为文字，并作为文本使用",
    "nothing was said, or nothing the speech model understands (another language, noise): they have no words": "没有人说话，或语音模型听不懂（其他语言、噪声）：它们没有文字",
    "they go on without a transcript; mend or remove the files": "它们暂无转写；请修复或移除文件",
    "never read as zeros": "缺失内容绝不当作零向量",
    "written by {model}, greedy, from {columns}; it may know of items more than that": "由 {model} 根据 {columns} 以贪心解码生成；它所知的可能不止于此",
    "they have too little text of their own and go without a description": "其自身文本太少，不生成描述",
    "sentences with names or numbers that the item's content does not have were taken out": "已删去含有物品内容中没有的名称或数字的句子",
    "the item goes on without a description": "该物品暂无描述",
    "how the model was chosen": "模型是如何选出的",
    # the split
    "no test event stands in an earlier part too": "没有测试事件同时出现在更早的部分",
    "test events that stand in an earlier part too, so they were seen; remove duplicates": "也出现在更早部分的测试事件，即已被见过；请去重",
    "same user, item and kind as in an earlier part; without times, repeats and copies look the same": "与更早部分的用户、物品、类型均相同；没有时间，重复行为与重复记录无法区分",
    "a repeat of an earlier choice is not recommended again, so it counts as missed": "选过的物品不再推荐，因此重复选择计为未命中",
    "scored from an empty history": "按空历史打分",
    "time runs forward for all {noun}": "所有{noun}的时间顺序均正确",
    "{noun} whose test lies before their training": "测试早于训练的{noun}",
    "users": "用户",
    "cuts": "切分点",
    "users whose cut fell between events of one instant: decided by a seeded random order, never by file order": "切分点落在同一时刻多个事件之间的用户：按固定种子的随机顺序决定，绝不按文件顺序",
    "events without a time count as the oldest: they are learned from unless a user has hardly any others": "没有时间的事件视为最早：除非用户几乎没有其他事件，否则用于训练",
    # first examples
    "item {id}": "物品 {id}",
    "user {id}": "用户 {id}",
    "sample {id}": "样本 {id}",
    "items {ids}": "物品 {ids}",
    "user {user} on item {item}": "用户 {user} 对物品 {item}",
    "user {user}, item {rest}": "用户 {user}，物品 {rest}",
    "user {user}: {count} events": "用户 {user}：{count} 个事件",
    "item {id}, {column}: '{before}' became '{after}'": "物品 {id}，{column}：'{before}' 变为 '{after}'",
    "sample {id}, {column}: '{before}' became '{after}'": "样本 {id}，{column}：'{before}' 变为 '{after}'",
    "'{before}' became '{after}'": "'{before}' 变为 '{after}'",
    "item {id}, {file}: {why}": "物品 {id}，{file}：{why}",
    "sample {id}, {file}: {why}": "样本 {id}，{file}：{why}",
    "user {user} on item {item}, {file}: {why}": "用户 {user} 对物品 {item}，{file}：{why}",
    "samples {ids} are equal but called {labels}": "样本 {ids} 内容相同，标签却为 {labels}",
    "{value} ({count}): if it means {other}, set {setting}": "{value}（{count}）：若即 {other}，请设置 {setting}",
    "{table} row {row}, column {column}": "{table} 第 {row} 行，{column} 列",
    "{channels}: {lacking} of {total} items without; {imputed} imputed from neighbours": "{channels}：{total} 个物品中 {lacking} 个缺失；{imputed} 个由邻居补全",
    "{file}: {rows} rows": "{file}：{rows} 行",
    "text: {columns}": "文本：{columns}",
    "media: {columns}": "媒体：{columns}",
    "attributes: {columns}": "属性：{columns}",
    "not used: {columns}": "未使用：{columns}",
    "The picture is cut short or damaged: {error}.": "图片被截断或已损坏：{error}。",
    "The file is not a picture in a known format ({formats}).": "文件不是已知格式的图片（{formats}）。",
    "The picture has {pixels} pixels, the most is {most}.": "图片有 {pixels} 像素，上限为 {most}。",
    "The picture has only {pixels} pixels.": "图片只有 {pixels} 像素。",
    "The sound lasts {seconds} s, the least is {least} s.": "声音长 {seconds} 秒，至少需要 {least} 秒。",
    "The file is not sound in a known format: {error}.": "文件不是已知格式的声音：{error}。",
    "The file is not a video in a known format: {error}.": "文件不是已知格式的视频：{error}。",
    "The video's frames have {pixels} pixels, the most is {most}.": "视频画面有 {pixels} 像素，上限为 {most}。",
    "The mesh has no faces: a cloud of points, or lines, has no surface to sample.": "网格没有面：点云或线条没有可采样的表面。",
    "The mesh has {faces} faces, the most is {most}.": "网格有 {faces} 个面，上限为 {most}。",
    "The mesh cannot be read: {error}.": "网格无法读取：{error}。",
    "The signal cannot be read: {error}.": "信号无法读取：{error}。",
    "fit {number}": "第 {number} 次拟合",
    # how a model was chosen
    "{users} users, {items} items, {events} events, {each} a user; {kinds} kinds of content; {cores} cores; {minutes} minutes, {memory} GB": "{users} 个用户，{items} 个物品，{events} 个事件，每用户 {each} 个；{kinds} 种内容；{cores} 核；{minutes} 分钟，{memory} GB",
    "left out {name}: it would take {memory} GB": "未采用 {name}：需要 {memory} GB",
    "left out {name}: {total} s in all, {left} s were left for its kind": "未采用 {name}：共需 {total} 秒，而这类模型只剩 {left} 秒",
    "{count} members in closed form, about {seconds} s": "{count} 个闭式解成员，约 {seconds} 秒",
    "no network: the events have no order, and a graph network wants {minutes} minutes of budget": "不用神经网络：事件没有先后顺序，而图网络需要 {minutes} 分钟",
    "a graph network, since the events have no order; validation NDCG: {told}": "事件没有先后顺序，采用图网络；验证集 NDCG：{told}",
    "no network: {events} events, {each} a user are too few": "不用神经网络：{events} 个事件、每用户 {each} 个，太少",
    "no network: {epochs} epochs of the lightest want {minutes} minutes of budget": "不用神经网络：最轻的网络训练 {epochs} 轮也需要 {minutes} 分钟",
    "no network: {why}": "不用神经网络：{why}",
    "a light GRU untried: comparing networks would not leave time to train one": "直接采用轻量 GRU：比较多个网络后将没有时间训练",
    "a GRU: no comparison was finished in time": "采用 GRU：限时内没有完成任何比较",
    "network: {epochs} epochs of about {seconds} s": "神经网络：{epochs} 轮，每轮约 {seconds} 秒",
    "{count} networks compared after {epochs} epochs, {pruned} stopped early; validation NDCG: {scores}": "比较了 {count} 个网络（各 {epochs} 轮），{pruned} 个提前停止；验证集 NDCG：{scores}",
    # groups, rows and reasons
    "history length": "历史长度",
    "popularity of the true item": "真实物品的热度",
    "{channels} of the true item": "真实物品的{channels}",
    "present": "有内容",
    "filled in": "由邻居补全",
    "missing": "缺失",
    "Penchant without networks": "Penchant（不含神经网络）",
    "Penchant, the same weights for everyone": "Penchant（所有用户同一权重）",
    "the person's own rate of likes": "仅用户自身的喜欢率",
    "the person's attributes alone": "仅用户属性",
    "the commonest class": "最常见的类别",
    "{channels} alone": "仅{channels}",
    "because of “{first}” and “{second}”": "因为“{first}”和“{second}”",
    "because of “{title}”": "因为“{title}”",
    "liked by many": "许多人喜欢",
    "the closest there is to your taste so far": "目前最接近您口味的物品",
    # how it was measured
    "Split: {kind}. Lists rank {pool} without what the user already touched; no sampled candidates.": "数据划分：{kind}。对{pool}排序，不含用户已接触过的物品；不做候选采样。",
    "the whole catalog": "整个目录",
    "the {count} held-out items": "留出的 {count} 个物品",
    "Settings, members' weights, the best baseline and thresholds were chosen on validation; the test was ranked once.": "设置、成员权重、最强基线与阈值均在验证集上选定；测试集只排序一次。",
    "Baselines were tuned on the same validation users. Intervals are 95 % paired bootstraps over users; {k} items decide.": "基线在同一批验证用户上调参。区间为按用户配对自助法（bootstrap）得到的 95% 置信区间；以前 {k} 个物品为准。",
    "An ablation arm is fitted without the modalities it lacks.": "消融的每一组都在去掉相应模态后重新训练。",
    "{folds} folds, drawn {times} time(s); in each, everything is chosen and fitted anew and every sample is judged by what has not seen it. Scores are means over repeats, intervals are over samples or groups. Rankings (AUC, curves) are compared within one fold only, weighted by pairs, since each fold has a scale of its own.": "{folds} 折交叉验证，重复 {times} 次；每一折都重新选择与训练，每个样本都由没有见过它的模型判断。得分为各次重复的均值，区间按样本或组计算。排序类指标（AUC、曲线）只在同一折内比较，并按样本对数加权，因为各折的分数尺度不同。",
    "A {kind} split; test is judged once.": "数据划分：{kind}；测试集只评测一次。",
    "Strengths, epochs, the way of fusion (by {metric}), weights, calibration, thresholds (for {aim}) and the border of doubt are chosen on validation; nothing is chosen on test.": "正则强度、训练轮数、融合方式（按 {metric}）、权重、校准、阈值（针对 {aim}）以及转人工的边界均在验证集上选定；测试集不参与任何选择。",
    "Validation liked {name} best: {scores}.": "验证集上 {name} 最好：{scores}。",
    "Learned and measured within one {column} only. Pooled over every {column}, skill could not be told from recognising the {column}: whoever knows it and nothing else already reaches AUC {auc}.": "只在同一个 {column} 内训练与评测。若将各 {column} 混在一起，就无法区分真正的能力与对 {column} 的识别：只知道 {column} 就已达到 AUC {auc}。",
    "This is not a diagnosis: it says how alike this is to recordings of others, and a physician must judge.": "本结果不是诊断：它只说明与他人记录的相似程度，须由医生判断。",
    "{machine}, {count} cores, Python {version}": "{machine}，{count} 核，Python {version}",
}  # fmt: skip
"""English, with gaps for numbers and names, to Chinese with the same gaps."""

OWN = {"unit", "part", "noun", "why", "pool"}
"""Gaps that hold words of the library, not of the reader: they are translated too."""

NAMES = {"channels"}
"""Gaps that hold names of modalities."""


def in_chinese(text: str, name: Callable[[str], str] = str) -> str:
    """Return a sentence of the library in Chinese; one that is not here stays as it is.

    Args:
        text: The finished sentence.
        name: Returns what to call a modality.
    """
    if text in SENTENCES:
        return SENTENCES[text]
    for pattern, said in _patterns():
        if found := pattern.fullmatch(text):
            return said.format(**{gap: _filled(gap, value, name) for gap, value in found.groupdict().items()})
    return text


def _filled(gap: str, value: str, name: Callable[[str], str]) -> str:
    if gap in NAMES:
        return "、".join(name(part) for part in value.split(", "))
    return in_chinese(value, name) if gap in OWN else value


@cache
def _patterns() -> list[tuple[re.Pattern[str], str]]:
    """Return what a sentence with gaps looks like once they are filled, those with most words of their own first."""
    templates = sorted((text for text in SENTENCES if "{" in text), key=lambda text: -len(re.sub(r"{\w+}", "", text)))
    return [(re.compile(_pattern(text), re.DOTALL), SENTENCES[text]) for text in templates]


def _pattern(template: str) -> str:
    parts, seen = [], set[str]()
    for number, part in enumerate(re.split(r"{(\w+)}", template)):
        if number % 2 == 0:
            parts.append(re.escape(part))
        else:
            parts.append(f"(?P={part})" if part in seen else f"(?P<{part}>.+?)")
            seen.add(part)
    return "".join(parts)
