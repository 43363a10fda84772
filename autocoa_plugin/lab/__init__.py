"""Tools around an agent: prepare data, evaluate, compare, synthesize, report, explore, chat; the core imports none."""
