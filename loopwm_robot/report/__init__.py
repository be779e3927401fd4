"""What a run leaves for people: figures, a film of the arm, and one self-contained page."""

from .bridge import bridge_plot
from .control import distance_plot, timing_plot
from .curves import learning_curve
from .html import Section
from .page import build_report, sections, write_report
from .predictions import depth_plot, horizon_plot, prediction_plot
from .video import ReachVideo, VideoError, record_reaches

__all__ = [
    "ReachVideo",
    "Section",
    "VideoError",
    "bridge_plot",
    "build_report",
    "depth_plot",
    "distance_plot",
    "horizon_plot",
    "learning_curve",
    "prediction_plot",
    "record_reaches",
    "sections",
    "timing_plot",
    "write_report",
]
