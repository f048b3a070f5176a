"""Every word of the studio, in each language, in one place.

In: a key and the values of its gaps. Out: a phrase. Both languages stand side by side, so that neither can be forgotten.
"""

from __future__ import annotations

LANGUAGES = {"en": "en", "zh": "zh-CN"}
"""Setting to the page's `lang`."""

WORDS: dict[str, tuple[str, str]] = {
    # frame
    "studio": ("Studio", "工作台"),
    "skip": ("Skip to the content", "跳到正文"),
    "views": ("Views", "视图"),
    "people": ("People", "用户"),
    "search": ("Search", "搜索"),
    "model": ("Model", "模型"),
    "operations": ("Operations", "运行"),
    "search_items": ("Search items by words", "按文字搜索物品"),
    "leave": ("Forget key", "清除密钥"),
    "theme_auto": ("Theme of the system", "跟随系统主题"),
    "theme_light": ("Light theme", "浅色主题"),
    "theme_dark": ("Dark theme", "深色主题"),
    "switch_to": ("Switch to: {theme}", "切换为：{theme}"),
    "footer": ("Nothing on this page leaves this service.", "本页内容不会离开本服务。"),
    # home
    "bundle": ("Bundle", "模型包"),
    "home_title": ("What does each person care about?", "每个人在意什么？"),
    "home_lead": (
        "Learned from {events} events of {users} people with {items} items. Open a person, click something, and see the list follow.",
        "从 {users} 个用户与 {items} 件物品的 {events} 次交互中学得。打开一个用户，点一点，看推荐随之变化。",
    ),
    "find_person": ("Find a person by id", "按编号查找用户"),
    "person_hint": ("an id, or part of one", "编号或其中一部分"),
    "open": ("Open", "打开"),
    "somebody_new": ("Start as somebody new", "以新用户开始"),
    "needs_personal": (
        "This key may not see people. It needs the scope personal.",
        "此密钥无权查看用户，需要 personal 权限。",
    ),
    "some_people": ("Some people", "部分用户"),
    "num_events": ("{count} events", "{count} 次交互"),
    "popular": ("What everybody likes", "大家都喜欢"),
    "nobody_yet": (
        "Nobody of the name {text} yet: open them, and they start anew.",
        "还没有名为 {text} 的用户：打开即从零开始。",
    ),
    # a person
    "person": ("Person", "用户"),
    "basis_history": ("ranked by their own history", "依据自身历史排序"),
    "basis_context": ("ranked by what is in view", "依据当前浏览排序"),
    "basis_popularity": ("nobody has met them: what is popular", "尚无记录：展示热门"),
    "rests_on": ("What the list rests on", "推荐的依据"),
    "recommended": ("Recommended", "推荐"),
    "click_something": (
        "Click a picture: the event is stored, and the list follows.",
        "点击图片：事件即被保存，推荐随之更新。",
    ),
    "needs_write": (
        "This key may not store events. It needs the scope write.",
        "此密钥无权保存事件，需要 write 权限。",
    ),
    "list_changed": ("{count} of the list are new or moved.", "列表中有 {count} 项是新的或移动了位置。"),
    "click_item": ("Click {title}", "点击{title}"),
    "like_item": ("Like {title}", "喜欢{title}"),
    "dislike_item": ("Not for me: {title}", "不感兴趣：{title}"),
    "why_item": ("Why? {title}", "为什么？{title}"),
    "pin_item": ("Keep {title} first", "置顶{title}"),
    "like": ("Like", "喜欢"),
    "dislike": ("Not for me", "不感兴趣"),
    "why": ("Why?", "为什么？"),
    "pinned": ("pinned", "置顶"),
    "new": ("new", "新"),
    "because_of": ("Because of", "因为"),
    "and": ("and", "和"),
    "liked_by_many": ("Liked by many", "许多人喜欢"),
    "closest": ("The closest there is to your taste so far", "目前最接近你的口味"),
    "no_items": ("Nothing is left to recommend.", "没有可推荐的物品了。"),
    "interests": ("Interests", "兴趣"),
    "sliders_note": ("Move a slider: the list follows at once.", "拖动滑块：列表立即更新。"),
    "higher": ("higher ({own}, others {others})", "较高（{own}，他人 {others}）"),
    "lower": ("lower ({own}, others {others})", "较低（{own}，他人 {others}）"),
    "seen_in": ("as in", "见于"),
    "no_interests": ("Nothing stands out yet.", "尚无明显偏好。"),
    "ask_for_more": ("Ask for more of", "想要更多"),
    "they_said": ("Said by the person", "用户自述"),
    "take_back": ("Take back", "撤回"),
    "take_back_what": ("Take back: {title}", "撤回：{title}"),
    "apply": ("Apply", "应用"),
    "never": ("never", "从不"),
    "less": ("less", "更少"),
    "reset": ("as learned", "按所学"),
    "more": ("more", "更多"),
    "pin": ("always", "总是"),
    "interest_map": ("Interest map", "兴趣地图"),
    "map_label": (
        "Map of the catalog: items alike in content lie near each other; warm ones suit {user}",
        "物品地图：内容相近的物品彼此靠近，暖色表示适合 {user}",
    ),
    "key_warm": ("suits them", "适合"),
    "key_seen": ("their events", "历史"),
    "key_suggested": ("recommended", "推荐"),
    "timeline": ("Timeline", "时间线"),
    "no_events": ("Nothing yet.", "暂无。"),
    # items
    "item": ("Item", "物品"),
    "picture": ("Picture of {title}", "{title} 的图片"),
    "play": ("Play the sound of {title}", "播放 {title} 的声音"),
    "similarity": ("Similarity", "相似度"),
    "withdrawn": ("Withdrawn: it is in no answer any more.", "已下架：不再出现在任何结果中。"),
    "who_likes": ("Who likes it", "谁喜欢它"),
    "num_people": ("{count} people whose events the model has", "模型所知的 {count} 个用户"),
    "too_few": ("Too few to say without naming them.", "人数太少，为保护隐私不显示。"),
    "by_topic": ("By the topic each of them likes best.", "按各人最喜欢的主题划分。"),
    "neighbours": ("Items alike", "相似物品"),
    "none_alike": ("None is alike in this.", "在此方面没有相似物品。"),
    "likeness": ("Alike in what?", "在哪方面相似？"),
    "likeness_note": (
        "Cosine of the centred vectors of each modality; 0 is no more alike than any two items.",
        "各模态去均值向量的余弦；0 表示与任意两件物品相当。",
    ),
    # why
    "why_title": ("Why {title}?", "为何推荐《{title}》？"),
    "why_lead": ("The score {score} is the sum of {count} parts.", "得分 {score} 是 {count} 个部分之和。"),
    "why_nobody": (
        "Nobody has met them yet: they see what is popular, and no event of theirs adds to a score.",
        "尚无任何记录：展示的是热门物品，没有交互为得分作出贡献。",
    ),
    "waterfall": ("From part to part", "逐项累加"),
    "waterfall_label": ("Waterfall of what adds up to the score of {title}", "{title} 得分构成的瀑布图"),
    "for_anyone": ("What anyone would get", "任何人都会得到的"),
    "other_events": ("{count} other events", "其余 {count} 次交互"),
    "score": ("Score", "得分"),
    "adds": ("adds", "贡献"),
    "by_channel": ("By modality", "按模态"),
    "by_member": ("By member of the model", "按模型成员"),
    "exact": ("Exact contributions", "精确贡献"),
    "exact_note": (
        "No approximation: the model is additive, and these sum to the score up to rounding.",
        "并非近似：模型是可加的，各项之和即为得分（仅有舍入误差）。",
    ),
    # search
    "search_title": ("Find items by words, a picture or a sound", "用文字、图片或声音寻找物品"),
    "by_words": ("By words", "按文字"),
    "words_hint": ("what it is about", "想找什么"),
    "drop": ("Drop a picture or a sound here", "把图片或声音拖到这里"),
    "drop_note": ("or choose a file; it is looked at and forgotten", "或选择文件；用后即弃"),
    "nearest_words": ("Nearest to “{text}”", "与“{text}”最接近"),
    "nearest_image": ("Nearest to your picture", "与你的图片最接近"),
    "nearest_audio": ("Nearest to your sound", "与你的声音最接近"),
    "compared_by": ("Compared by {channel}.", "比较依据：{channel}。"),
    "nothing_found": ("Nothing was found.", "没有找到。"),
    # model
    "made": ("measured {at} UTC", "评测于 {at} UTC"),
    "no_report": ("This bundle was written without a report.", "此模型包没有评测报告。"),
    "full_report": ("the whole report", "完整报告"),
    "league": ("Who is ahead", "谁更好"),
    "ablation": ("What each modality is worth", "每种模态值多少"),
    "ablation_note": (
        "{metric} of everything minus everything but this modality. Right of the line, having it helps.",
        "“全部”与“去掉该模态”的 {metric} 之差。在线右侧表示该模态有帮助。",
    ),
    "interval_note": ("{metric} on the test, with 95 % intervals.", "测试集上的 {metric} 与 95% 区间。"),
    "weights": ("What the stack listens to", "融合权重"),
    "slices": ("Where the gain comes from", "提升来自哪里"),
    "numbers": ("Numbers", "数值"),
    "name": ("Name", "名称"),
    "mean": ("Mean", "均值"),
    "interval": ("95 % interval", "95% 区间"),
    "group": ("Group", "分组"),
    "ours": ("ours", "本方法"),
    "baseline": ("baseline", "基线"),
    "recommender": ("recommender", "推荐器"),
    "verdict": ("Verdict", "判定"),
    "users": ("people", "用户"),
    "items": ("items", "物品"),
    "interactions": ("events", "交互"),
    "report": ("Report", "评测报告"),
    # operations
    "right_now": ("Right now", "当前"),
    "live_label": ("Requests and events per second over the last minutes", "最近几分钟每秒的请求与事件"),
    "requests": ("requests", "请求"),
    "events": ("events", "事件"),
    "per_second": ("per second", "每秒"),
    "events_stored": ("events stored", "已存事件"),
    "duplicates": ("sent again", "重复发送"),
    "failed": ("failed requests", "失败请求"),
    "hot_people": ("people in memory", "内存中的用户"),
    "erasures": ("people forgotten", "已遗忘的用户"),
    "times": ("Time to answer", "响应时间"),
    "route": ("Route", "路由"),
    "half_within": ("half within", "半数不超过"),
    "p99_within": ("99 % within", "99% 不超过"),
    "no_requests": ("No request yet.", "尚无请求。"),
    "drift": ("Is the world still the one it learned from?", "世界还是它所学的那个吗？"),
    "drift_steady": ("Yes: people choose as before.", "是的：人们的选择如前。"),
    "drift_moving": ("It begins to move: think of a new run.", "开始变化：可考虑重新训练。"),
    "drift_moved": ("It has moved: train again.", "已经改变：请重新训练。"),
    "drift_note": (
        "Population stability index {stability} over topics; chance alone gives about {chance}. Read from {events} latest events of {people} people.",
        "主题的群体稳定性指数为 {stability}，仅偶然性约为 {chance}。取自 {people} 个用户最近的 {events} 次事件。",
    ),
    "no_drift": ("Too few events since to tell.", "新事件太少，无法判断。"),
    "learned_from": ("learned from", "训练时"),
    "since": ("since", "此后"),
    "share": ("share", "占比"),
    "topic": ("topic", "主题"),
    "versions": ("Versions", "版本"),
    "store": ("Store", "存储"),
    # door and problems
    "door": ("A key, please", "请输入密钥"),
    "door_lead": (
        "This service answers those who have an API key. What you see depends on its scopes.",
        "本服务只响应持有 API 密钥的人，可见内容取决于其权限。",
    ),
    "door_note": (
        "`penchant keys add` makes one. It is kept in a cookie that no script can read, until the browser is closed.",
        "用 `penchant keys add` 生成。密钥保存在脚本无法读取的 Cookie 中，关闭浏览器即失效。",
    ),
    "wrong_key": ("The key that was kept is no key of this service.", "所保存的密钥不属于本服务。"),
    "key": ("API key", "API 密钥"),
    "enter": ("Enter", "进入"),
    "problem": ("That did not work", "没有成功"),
    "problem_403": ("Your key does not reach that far", "密钥权限不足"),
    "problem_404": ("There is no such thing here", "这里没有该内容"),
    "problem_429": ("Too fast", "请求过快"),
    "problem_503": ("The store is away", "存储暂不可用"),
    "what": ("what", "问题"),
    "where": ("where", "位置"),
    "fix": ("mend", "办法"),
    "check_address": ("check the address", "请检查地址"),
    "store_away": ("The store does not answer; nothing was changed.", "存储没有响应；没有任何改动。"),
    "try_again": ("try again in a moment", "请稍后再试"),
    "back": ("Back to the start", "回到首页"),
}

CHANNELS: dict[str, tuple[str, str]] = {
    "behaviour": ("behaviour", "行为"),
    "fused": ("everything", "综合"),
    "words": ("shared words", "共有词语"),
    "mixed content": ("mixed content", "混合内容"),
    "text": ("text", "文本"),
    "image": ("pictures", "图像"),
    "audio": ("sound", "声音"),
    "video": ("video", "视频"),
    "attributes": ("attributes", "属性"),
    "attribute": ("attributes", "属性"),
    "topic": ("topic", "主题"),
    "category": ("category", "类别"),
    "genres": ("genres", "类型"),
    "price": ("price", "价格"),
    "language": ("language", "语言"),
}
"""Names that the bundle gives; one that is not here stays as it is."""

KINDS: dict[str, tuple[str, str]] = {
    "click": ("clicked", "点击"),
    "view": ("viewed", "浏览"),
    "play": ("played", "播放"),
    "like": ("liked", "喜欢"),
    "purchase": ("bought", "购买"),
    "cart": ("in the cart", "加入购物车"),
    "rating": ("rated", "评分"),
    "review": ("reviewed", "评论"),
    "skip": ("skipped", "跳过"),
    "dislike": ("disliked", "不喜欢"),
}
LEVELS = ("never", "less", "reset", "more", "pin")
"""Places of a slider, from -2 to 2."""


class Words:
    """The phrases of one language.

    Args:
        language: A key of `LANGUAGES`.
    """

    def __init__(self, language: str) -> None:
        self.language = language
        self.lang = LANGUAGES[language]
        self._column = list(LANGUAGES).index(language)
        self.levels = [self(key) for key in LEVELS]

    def __call__(self, key: str, **values: object) -> str:
        """Return a phrase with its gaps filled."""
        return WORDS[key][self._column].format(**values)

    def channel(self, name: str) -> str:
        """Return the word for a modality or a column; a name of the reader's own stays as it is."""
        return CHANNELS[name][self._column] if name in CHANNELS else name

    name = channel

    def kind(self, kind: str) -> str:
        """Return the word for a kind of event."""
        return KINDS[kind][self._column] if kind in KINDS else kind

    def level(self, place: int) -> str:
        """Return the word for a place of a slider, -2 to 2."""
        return self.levels[place + 2]
