"""Names that columns often have, in English and Chinese.

In: the columns of a table. Out: those that hold what a standard column does, by their names alone.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

import polars as pl

from penchant.core.errors import DataError
from penchant.data.read.tables import RawTable
from penchant.data.read.times import AMBIGUOUS, read_times

KNOWN_NAMES = {
    "user_id": """userid user uid customerid customer custid clientid client memberid member visitorid visitor accountid account buyerid buyer
        shopperid personid person reviewerid reviewer username profileid playerid 用户 用户id 用户编号 用户号 会员 会员id 会员编号 会员号 客户 客户id 客户编号
        客户号 顾客 顾客id 顾客编号 买家 买家id 账号 用户名 读者 读者id""",
    "item_id": """itemid item productid product sku skuid articleid article asin isbn movieid filmid bookid songid trackid videoid contentid newsid gameid
        appid goodsid goods stockcode productcode itemcode 商品 商品id 商品编号 商品号 商品编码 商品代码 物品 物品id 物品编号 产品 产品id 产品编号 产品编码 货号
        款号 电影id 影片id 书籍id 图书编号 文章id 视频id 内容id 歌曲id""",
    "at": """at time timestamp date datetime ts eventtime eventdate createdat created createtime orderdate ordertime purchasedate purchasetime invoicedate
        transactiondate reviewdate reviewtime unixreviewtime tdat visitdate 时间 日期 时间戳 下单时间 下单日期 购买时间 购买日期 点击时间 浏览时间 行为时间
        交易时间 交易日期 支付时间 创建时间 发生时间 评论时间 事件时间 观看时间 播放时间""",
    "kind": "kind event eventtype type action actiontype behavior behaviour behaviortype interaction activity 类型 行为 行为类型 事件 事件类型 动作 操作",
    "value": "value rating ratings score stars overall 评分 分数 打分 星级",
    "text": "text review reviewtext comment comments feedback 评论 评价 评论内容 评价内容 评语 留言",
    "label": """label labels class target sentiment emotion category mood polarity diagnosis 标签 类别 分类 情感 情绪 倾向 极性 诊断""",
    "sample_id": "sampleid id rowid textid messageid 样本 样本id 样本编号 编号 序号",
    "group": "group groupid speaker speakerid patient patientid subjectid author authorid 说话人 病人 患者 患者编号 受试者 作者 分组",
    "part": "part split subset set fold 划分 部分",
    "title": "title name itemname productname itemtitle 标题 名称 名字 商品名称 商品名 产品名称 产品名 物品名称 片名 书名 品名",
}
"""Standard column to names that such columns have elsewhere, without spaces, hyphens and underscores; the most usual first."""
LOOKED_AT = 1000
"""Values of a column that are read to see whether they are times."""


def plain_name(name: str) -> str:
    """Return a name in lower case without spaces, hyphens, points and underscores."""
    return re.sub(r"[\s\-_.]", "", name).lower()


def named_like(standard: str, columns: Iterable[str]) -> list[str]:
    """Return the columns whose name is known for a standard column, the most usual name first."""
    names = KNOWN_NAMES[standard].split()
    plain = {column: plain_name(column) for column in columns}
    return sorted((c for c, name in plain.items() if name in names), key=lambda c: names.index(plain[c]))


def find_times(raw: RawTable, but: Collection[str] = ()) -> str | None:
    """Return the column with a name of times whose first values are ones; None where there is none."""
    for column in named_like("at", (c for c in raw.table.columns if c not in but)):
        if are_times(raw, column):
            return column
    return None


def are_times(raw: RawTable, column: str) -> bool:
    """Return whether the first values of a column are times: texts or dates, or numbers that are ordinary times since 1970."""
    values = raw.table.select(column).filter(pl.col(column).is_not_null()).head(LOOKED_AT)
    if not values.height:
        return False
    try:
        _, findings = read_times(raw.having(values), column)
    except DataError as error:
        return AMBIGUOUS in error.message  # times, of an order that the user must say
    return not any(finding.severity == "warning" and finding.check == "events.time_unit" for finding in findings)
