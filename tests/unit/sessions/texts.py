"""Texts and operations for hypothesis: few characters, among them astral and combining ones, so that ranges meet."""

from __future__ import annotations

from hypothesis import strategies as st

from broker_plane.sessions.text_differences import from_texts

TEXTS = st.text(st.sampled_from("ab c\n🌴é\u0301🎼"), max_size=16)
TWO_EDITS = st.tuples(TEXTS, TEXTS, TEXTS).map(lambda t: (t[0], from_texts(t[0], t[1]), from_texts(t[0], t[2])))
"""A text, and two operations that were made on it."""
