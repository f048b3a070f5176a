"""Words of good and bad mood, negations and contrasts, in English and Chinese.

In: nothing. Out: tables of `mood`, written by hand for reviews, posts and notes; no data set was read for them.
"""

from __future__ import annotations

GOOD = {
    "en": """
good great excellent amazing awesome fantastic wonderful superb brilliant perfect perfectly lovely love loved loves loving like liked likes
enjoy enjoyed enjoying enjoyable happy happily glad pleased pleasant pleasure delighted delight delightful beautiful beautifully gorgeous pretty
stunning nice nicely cute sweet best better fun funny hilarious exciting excited thrilled thrilling interesting fascinating impressive impressed
recommend recommended worth worthy favourite favorite comfortable comfy cozy cosy clean friendly helpful kind polite warm fresh tasty
delicious yummy easy easily fast quick quickly reliable sturdy solid durable smooth smart useful handy convenient affordable cheap bargain value
generous fair honest genuine quality elegant stylish charming graceful vivid rich crisp sharp bright clear quiet calm relaxing relaxed peaceful
satisfied satisfying satisfaction flawless outstanding remarkable incredible marvelous marvellous magnificent terrific fabulous fine
ideal inspiring inspired moving touching memorable unforgettable thank thanks thankful grateful blessed proud yay wow hooray congratulations
win winner winning won success successful celebrate celebrating smile smiling laugh laughing hope hopeful joy joyful cheerful lucky
adorable cool legendary epic masterpiece gem treat refreshing helpful thoughtful attentive spotless spacious superior positive praise
admire appreciate appreciated adore loveliest finest welcome welcoming safe exceeded superbly heaven heavenly glorious gripping captivating
engaging addictive well-made well-written soft strong healthy romantic sorry-not-sorry sunshine fabulous yes
""",
    "zh": """
好 很好 不错 满意 喜欢 喜爱 爱 热爱 开心 高兴 快乐 愉快 愉悦 舒服 舒适 舒心 漂亮 美 美丽 美观 好看 好吃 好喝 好听 好用 好闻 好玩 好评 完美 优秀 优质 优美 精美 精致 精彩 精致 出色
一流 超值 划算 实惠 便宜 值得 物美价廉 物超所值 性价比高 推荐 赞 点赞 棒 给力 干净 整洁 卫生 新鲜 美味 可口 香 甜 安静 方便 便利 便捷 快捷 迅速 很快 热情 周到 友好 亲切 贴心 耐心 细心 礼貌
专业 认真 负责 温馨 温暖 温柔 宽敞 明亮 豪华 高档 大气 高级 时尚 典雅 优雅 可爱 有趣 有意思 感动 惊喜 惊艳 期待 幸福 幸运 感谢 谢谢 感激 成功 胜利 骄傲 自豪 支持 放心 安全 安心 结实 耐用 牢固
柔软 清晰 清楚 流畅 顺畅 灵敏 实用 合适 合身 正品 厚实 丰富 齐全 到位 经典 独特 难忘 回味 下次还 还会再来 会再来 还会来 再次光临 回头客 五星 满分 强烈推荐 真心 真诚 轻松 健康 顺利 不后悔 无可挑剔 没得说
收获 扎实 引人入胜 爱不释手 抓住 太美 温和 透气 亮丽 鲜艳 可靠 靠谱 良心 细腻 体贴 到货快 发货快 服务好 态度好 质量好 效果好 味道好 位置好 哈哈 嘻嘻 加油 祝福 恭喜 欢喜 痛快 爽 甜美 动听 悦耳 清新 清爽
""",
}
BAD = {
    "en": """
bad badly worse worst terrible terribly horrible horribly awful awfully dreadful poor poorly disappointing disappointed disappointment
disappoints hate hated hates hating dislike disliked boring bored dull tedious ugly dirty filthy stained smelly stinks stink noisy loud
broken broke break breaks cracked faulty defective useless worthless waste wasted wasting rubbish garbage trash crap crappy junk sucks suck
sucked annoying annoyed annoys angry anger furious mad upset sad sadly sadness unhappy miserable depressed depressing cry crying cried
tears regret regretted sorry unfortunately unfortunate fail failed fails failure failing wrong mistake mistakes error errors problem problems issue issues
slow slowly late delayed delay rude unfriendly unhelpful arrogant lazy careless dishonest cheat cheated cheating scam fraud fake lie
lied lies liar overpriced expensive pricey costly cheap-looking flimsy weak fragile uncomfortable painful pain hurt hurts sick ill nausea
nauseous disgusting gross nasty creepy scary scared afraid fear worried worry worrying stress stressed stressful tired exhausted exhausting
confusing confused confuse complicated difficult impossible frustrating frustrated frustration missing lost lose losing loser lacks lack
lacking cold stale bland tasteless greasy soggy burnt burned leak leaks leaking leaked torn ripped scratched worn faded refund return
returned returning complain complained complaint complaints avoid never-again unacceptable ridiculous stupid idiot idiotic dumb pathetic pointless
mediocre inferior cramped stuffy mould mold mouldy moldy cockroach bug bugs crash crashed crashes freezes laggy dead die died dies death kill
killed killing war victim victims tragic tragedy disaster crisis attack attacked shame shameful ashamed guilty shocking shocked damn hell
shit shitty fuck fucking bitch asshole lame meh unreliable unsafe dangerous ruined ruin ruins wtf ugh sigh alone lonely hopeless helpless jealous
negative worthless gave-up cheated boredom incomplete shallow predictable overrated unbearable refused ignored
""",
    "zh": """
差 很差 太差 差劲 差评 坏 糟 糟糕 烂 破 破旧 陈旧 老旧 旧 脏 很脏 肮脏 臭 异味 霉味 发霉 难闻 难吃 难看 难听 难用 难受 难过 丑 失望 后悔 讨厌 恶心 恶劣 生气 气愤 愤怒 气死 郁闷 伤心 悲伤 痛苦 痛 哭 可怜 可惜 可恶
可怕 害怕 恐怖 担心 焦虑 压力 累 疲惫 无聊 没意思 没劲 乏味 枯燥 浪费 骗 骗人 骗子 上当 坑 坑人 坑爹 黑心 假 假货 伪劣 劣质 次品 垃圾 废品 退货 退款 换货 投诉 不满 不爽 不好 不行 不值 不推荐 不建议 不会再 再也不 别买 慎买
千万别 贵 太贵 偏贵 昂贵 吵 很吵 噪音 嘈杂 隔音差 冷淡 冷漠 傲慢 粗鲁 粗糙 粗心 敷衍 推卸 不理 没人理 拒绝 慢 很慢 太慢 迟 拖延 等了 故障 坏了 坏掉 不能用 没法用 用不了 打不开 死机 卡 卡顿 漏水 漏电 漏油 破损 损坏 断 断了 裂 开裂 掉色 褪色
起球 缩水 变形 掉毛 掉漆 刺鼻 过敏 瑕疵 缺陷 毛病 问题 错误 缺少 缺货 少发 发错 漏发 不符 不干净 不卫生 不舒服 不方便 不新鲜 不专业 不耐烦 不负责 简陋 狭小 拥挤 潮湿 阴暗 昏暗 蟑螂 虫子 头发 小得可怜 失败 失误 失落 遗憾 恨 烦 烦人 烦死 麻烦
蠢 笨 白痴 傻 无耻 无语 无奈 悲剧 惨 惨痛 死 病 危险 不安全 受罪 受骗 凑合 一般 勉强 将就 不怎么样 不如 名不副实 言过其实 欺骗 宰客 乱收费 不退 不给 薄 太薄 太小 偏小 太硬 没意义 没用 抱歉 哎 唉 呜呜 吵死 最差 差远了 忽悠 山寨 二手 放弃
""",
}
NEGATIONS = {
    "en": """not no never nothing neither nor cannot cant can't don't dont doesn't doesnt didn't didnt isn't isnt wasn't wasnt aren't
weren't won't wont wouldn't wouldnt couldn't couldnt shouldn't hasn't haven't hadn't ain't without hardly barely nobody none far""",
    "zh": "不 没 没有 无 非 未 别 莫 勿 不太 不怎么 不够 不是 并不 并非 毫不 毫无 从不 不再 没那么 不算 谈不上 称不上 不能 不会 不要",
}
CONTRASTS = {
    "en": ("but", "however", "although", "though", "yet", "except", "unfortunately", "sadly"),
    "zh": ("但是", "但", "不过", "可是", "然而", "只是", "就是", "虽然", "尽管", "可惜"),
}
"""They begin a clause of their own."""
STRONG = {
    "en": "very really so extremely absolutely totally completely incredibly truly super too highly utterly such",
    "zh": "很 非常 特别 十分 极 极其 超 超级 太 真 真的 实在 最 相当 格外 尤其 绝对 完全",
}
