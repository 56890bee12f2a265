"""Toyland: a picture-book world in which every factor of every picture is known.

A picture is `render(spec)`, and the spec is the ground truth.
"""

from dynaip.miniature.toyland.captions import caption, full_caption, view_caption
from dynaip.miniature.toyland.render import Picture, render, segment
from dynaip.miniature.toyland.sampling import is_held_out, sample_concept, sample_spec, vary
from dynaip.miniature.toyland.spec import FACTORS, Actor, Concept, Light, Spec, View

__all__ = [
    "FACTORS",
    "Actor",
    "Concept",
    "Light",
    "Picture",
    "Spec",
    "View",
    "caption",
    "full_caption",
    "is_held_out",
    "render",
    "sample_concept",
    "sample_spec",
    "segment",
    "vary",
    "view_caption",
]
