"""Tinyworld: an invented encyclopedia with questions, a word tokenizer, a tiny base model and a teacher.

    world -> questions -> lines -> tokenizer -> base_model <- pretrain
                      \\-> teacher -> trajectories -> pairs -> stage_config -> stage_data
    stage_data, base_model -> world_files -> measures -> held_out -> demo_methods, demo, cli

Small enough for two CPU cores, and built so that searching pays: *popular* entities are memorised by the base model in
pre-training, *tail* entities can only be found by searching, and the held-out ones never occur in any training text.
Importing this package needs the standard library only.
"""

from __future__ import annotations

from .questions import Hop, Question, train_questions, validation_questions
from .world import WORLD_SEED, Entity, World, generate

__all__ = [
    "WORLD_SEED",
    "Entity",
    "Hop",
    "Question",
    "World",
    "generate",
    "train_questions",
    "validation_questions",
]
