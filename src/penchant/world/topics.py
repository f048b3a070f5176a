"""Topics of the sample world, in English and Chinese.

In: nothing. Out: for each topic and language, noun phrases and verbs for every sentence of `words`.

No phrase names a colour or a sound, so that a topic is visible in text alone.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PhraseBank:
    """Phrases of one topic in one language.

    Attributes:
        places: "the old harbour"; follows "at", "to" and "through".
        people: "a retired captain"; starts a sentence once capitalised.
        things: Plural: "tide tables".
        acts: After "to": "mend a fishing net".
    """

    places: tuple[str, ...]
    people: tuple[str, ...]
    things: tuple[str, ...]
    acts: tuple[str, ...]


def _bank(places: str, people: str, things: str, acts: str) -> PhraseBank:
    """Split phrases at the slashes."""
    return PhraseBank(*(tuple(part.strip() for part in parts.split("/")) for parts in (places, people, things, acts)))


TOPICS: dict[str, dict[str, PhraseBank]] = {
    "sea": {
        "en": _bank(
            "the old harbour / the fishing village / the lighthouse / the boatyard / the ferry landing",
            "a retired captain / a lighthouse keeper / a boat builder / a young fisherwoman",
            "tide tables / fishing nets / sea charts / sails and ropes / storm warnings / wooden boats",
            "mend a fishing net / read the tides / caulk a hull / steer through fog / tie a bowline",
        ),
        "zh": _bank(
            "老港口 / 渔村 / 灯塔 / 造船厂 / 渡口",
            "退休的老船长 / 灯塔守护人 / 造船匠 / 年轻的渔家姑娘",
            "潮汐 / 渔网 / 海图 / 船帆和缆绳 / 风暴预警 / 木船",
            "补一张渔网 / 看懂潮汐 / 修补船底 / 在大雾里掌舵 / 打水手结",
        ),
    },
    "mountains": {
        "en": _bank(
            "the high pass / the summit hut / the north face / the glacier / the valley trail",
            "a mountain guide / a first-time climber / a shepherd / a rescue volunteer",
            "ice axes / hiking maps / mountain huts / steep ridges / avalanche reports / climbing boots",
            "cross a glacier / read a hiking map / pack for the summit / pitch a tent in snow / climb a rock face",
        ),
        "zh": _bank(
            "垭口 / 山顶的小屋 / 北坡 / 冰川 / 山谷步道",
            "登山向导 / 第一次登山的人 / 牧羊人 / 山地救援队员",
            "冰镐 / 登山地图 / 山间小屋 / 陡峭的山脊 / 雪崩预报 / 登山靴",
            "穿越冰川 / 看懂等高线 / 为登顶收拾背包 / 在雪地里扎营 / 攀上一面岩壁",
        ),
    },
    "kitchen": {
        "en": _bank(
            "the corner bakery / the noodle stall / grandmother's kitchen / the farmers' market / the cooking school",
            "a pastry chef / a noodle maker / a home cook / a market trader",
            "dumplings / sourdough loaves / family recipes / spices and herbs / soups and stews / kitchen knives",
            "knead dough / fold dumplings / season a soup / sharpen a kitchen knife / bake bread overnight",
        ),
        "zh": _bank(
            "街角的面包房 / 面摊 / 外婆的厨房 / 菜市场 / 烹饪学校",
            "糕点师傅 / 拉面师傅 / 爱下厨的妈妈 / 卖菜的摊主",
            "饺子 / 老面馒头 / 家传菜谱 / 香料 / 炖菜和高汤 / 菜刀",
            "揉好一个面团 / 包饺子 / 给一锅汤调味 / 磨一把菜刀 / 用一整夜烤面包",
        ),
    },
    "space": {
        "en": _bank(
            "the observatory / the launch site / the space station / the planetarium / mission control",
            "an astronomer / a retired astronaut / a rocket engineer / an amateur stargazer",
            "distant galaxies / telescopes / meteor showers / rocket engines / moons of Saturn / satellites",
            "grind a telescope mirror / find a comet / dock with a space station / land a probe on Mars / name a star",
        ),
        "zh": _bank(
            "天文台 / 火箭发射场 / 空间站 / 天文馆 / 航天指挥中心",
            "天文学家 / 退役航天员 / 火箭工程师 / 业余观星人",
            "遥远的星系 / 望远镜 / 流星雨 / 火箭发动机 / 土星的卫星 / 人造卫星",
            "磨一面望远镜镜片 / 寻找彗星 / 与空间站对接 / 把探测器送上火星 / 辨认星座",
        ),
    },
    "railways": {
        "en": _bank(
            "the night train / the country station / the engine shed / the mountain railway / the dining car",
            "a train driver / a station master / a conductor / a passenger with no ticket",
            "sleeper carriages / timetables / steam engines / railway bridges / branch lines / ticket stamps",
            "drive a steam engine / catch the last train / couple two carriages / read a timetable / change trains at dawn",
        ),
        "zh": _bank(
            "夜行列车 / 乡间小站 / 机车库 / 山区铁路 / 餐车",
            "火车司机 / 站长 / 列车员 / 没买到票的旅客",
            "卧铺车厢 / 列车时刻表 / 蒸汽机车 / 铁路桥 / 支线铁路 / 旧车票",
            "驾驶蒸汽机车 / 赶上末班火车 / 连接两节车厢 / 查列车时刻表 / 在凌晨换乘",
        ),
    },
    "garden": {
        "en": _bank(
            "the walled garden / the greenhouse nursery / the orchard / the allotment / the botanical garden",
            "a head gardener / a beekeeper / a seed collector / a neighbour with muddy boots",
            "tomato plants / beehives / fruit trees / compost heaps / flower beds / wild seeds",
            "prune an apple tree / turn a compost heap / sow carrots / graft a pear / keep bees",
        ),
        "zh": _bank(
            "带围墙的花园 / 育苗温室 / 果园 / 社区菜园 / 植物园",
            "园丁 / 养蜂人 / 收集种子的人 / 满脚泥巴的邻居",
            "番茄苗 / 蜂箱 / 果树 / 堆肥 / 花坛 / 野花种子",
            "给苹果树剪枝 / 翻堆肥 / 播种胡萝卜 / 嫁接梨树 / 照料蜜蜂",
        ),
    },
    "football": {
        "en": _bank(
            "the training ground / the home stadium / the dressing room / the muddy village pitch / the youth academy",
            "a goalkeeper / a club captain / a youth coach / a lifelong supporter",
            "penalty kicks / cup finals / free kicks / transfer rumours / offside traps / away matches",
            "save a penalty / bend a free kick / coach a youth team / defend a corner / win the derby",
        ),
        "zh": _bank(
            "训练场 / 主场球场 / 球员更衣室 / 村口的泥巴球场 / 足球青训营",
            "守门员 / 球队队长 / 少年队教练 / 老球迷",
            "点球 / 杯赛决赛 / 任意球 / 转会传闻 / 越位战术 / 客场比赛",
            "扑出一个点球 / 踢出弧线任意球 / 带一支少年足球队 / 防守角球 / 赢下德比",
        ),
    },
    "castles": {
        "en": _bank(
            "the ruined castle / the royal archive / the cathedral vault / the walled town / the burial mound",
            "an archaeologist / a museum curator / a knight's descendant / a stonemason",
            "suits of armour / medieval letters / royal marriages / sieges and battles / Roman coins / coats of arms",
            "date a Roman coin / read medieval handwriting / lay siege to a castle / restore a fresco / forge a sword",
        ),
        "zh": _bank(
            "古城堡遗址 / 皇家档案馆 / 地下墓室 / 古城墙 / 博物馆库房",
            "考古学家 / 博物馆馆员 / 骑士的后人 / 老石匠",
            "盔甲 / 古代书信 / 王朝联姻 / 攻城战 / 古钱币 / 家族纹章",
            "鉴定一枚古钱币 / 辨认古人的笔迹 / 还原一场攻城战 / 修复壁画 / 锻造一把古剑",
        ),
    },
    "detective": {
        "en": _bank(
            "the locked study / the police archive / the crime scene / the courthouse / the forger's workshop",
            "a private detective / a forensic expert / a suspect with an alibi / a tired inspector",
            "fingerprints / missing persons / forged documents / unsolved murders / false alibis / stolen paintings",
            "dust for fingerprints / follow a suspect / break an alibi / spot a forgery / reopen a cold case",
        ),
        "zh": _bank(
            "反锁的书房 / 警局档案室 / 案发现场 / 法庭 / 伪造者的作坊",
            "私家侦探 / 法医 / 有不在场证明的嫌疑人 / 疲惫的老探长",
            "指纹 / 失踪案 / 伪造的文件 / 悬案 / 不在场证明 / 失窃的名画",
            "提取指纹 / 跟踪嫌疑人 / 推翻不在场证明 / 识破一份伪造的文件 / 重启一桩旧案",
        ),
    },
    "wildlife": {
        "en": _bank(
            "the wetland reserve / the elephant sanctuary / the wolf valley / the field station / the bird hide",
            "a wildlife ranger / a field biologist / a bird watcher / a wolf tracker",
            "migrating cranes / elephant herds / wolf packs / otters and beavers / animal tracks / rare beetles",
            "track a wolf / count migrating cranes / tag a sea turtle / raise an orphaned elephant / film a snow leopard",
        ),
        "zh": _bank(
            "湿地保护区 / 大象保护营 / 狼群出没的山谷 / 野外考察站 / 观鸟屋",
            "保护区巡护员 / 动物学家 / 观鸟爱好者 / 追踪狼群的人",
            "迁徙的鹤群 / 象群 / 狼群 / 水獭和河狸 / 动物脚印 / 罕见的甲虫",
            "追踪狼的足迹 / 清点迁徙的鹤群 / 给海龟戴上标记 / 照顾失去母亲的小象 / 拍摄雪豹",
        ),
    },
}
