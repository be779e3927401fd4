"""System identification: the hidden dynamics of an arm from recorded episodes, real or simulated."""

from .fit import Identified, identify
from .recordings import Recorded, Segments, cut
from .uncertainty import Estimate

__all__ = ["Estimate", "Identified", "Recorded", "Segments", "cut", "identify"]
