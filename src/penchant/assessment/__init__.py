"""What was trained meets the test, once.

In: a trained recommender or classifier, and a test it has not seen. Out: everything a report shows.
"""

from __future__ import annotations

from penchant.assessment.machine import peak_bytes
from penchant.assessment.recommender import Config, assess

__all__ = ["Config", "assess", "peak_bytes"]
