"""A protocol of somebody else's: AutoCoA's tags, under the name of the one tool that there is.

autocoa.protocol=examples/harbour/protocol.py:HARBOUR
"""

from dataclasses import replace

from autocoa_plugin.protocol import AUTOCOA, TagPair, Tool

# the tags that the model was taught; a model of your own is taught yours
TIDE = Tool("tide", TagPair("<begin_search>", "</end_search>"), TagPair("<search_result>", "</search_result>"))
HARBOUR = replace(AUTOCOA, name="harbour", tools=(TIDE,), observation_before=" ", observation_after=" ")
