"""Launching training programs as processes of their own, watched from outside.

| file | answers |
|---|---|
| `process` | one launched process: log file, interruption, clear failure |
| `progress` | how far it has come |
| `memory` | how much memory all processes take together |
| `metrics` | what verl's file logger wrote, one line per step |
"""
