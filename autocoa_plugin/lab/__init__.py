"""Tools around an agent: ask, prepare, evaluate, compare, synthesize, scorecard, report, explore, chat.

The core imports none of them.
"""
