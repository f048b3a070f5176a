"""Writing systems.

In: nothing. Out: which characters are Chinese, for patterns of words and for telling languages apart.
"""

from __future__ import annotations

import re

HAN_CHARACTERS = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
"""Chinese characters, the rare ones of names and places among them, as a range inside the brackets of a pattern."""
HAN = re.compile(f"[{HAN_CHARACTERS}]")
