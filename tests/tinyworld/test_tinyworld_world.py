"""The generator: deterministic, disjoint groups, links that lead where they may."""

from __future__ import annotations

import json
import subprocess
import sys

from hypothesis import given, settings
from hypothesis import strategies as st

from autocoa_plugin.tinyworld import generate
from autocoa_plugin.tinyworld.world import KINDS, RELATIONS, SIZES, relations_of

seeds = st.integers(0, 10_000)
few = settings(max_examples=10, deadline=None)


def test_every_group_has_the_promised_number_of_each_kind(world):
    for group, sizes in SIZES.items():
        assert tuple(len(world.group(group, kind)) for kind in KINDS) == sizes


def test_the_same_seed_gives_the_same_world_in_another_process(world):
    # another process has another hash salt, which must not matter
    script = (
        "import json; from autocoa_plugin.tinyworld import generate; "
        "print(json.dumps([(e.name, dict(e.facts), e.text) for e in generate().entities.values()]))"
    )
    seen = json.loads(subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout)
    assert seen == [[each.name, dict(each.facts), each.text] for each in world.entities.values()]


@few
@given(seeds)
def test_no_name_occurs_in_two_groups(seed):
    world = generate(seed)
    # a mapping by name would swallow doubles: 232 known + 480 train + 390 held = 1102
    assert len(world.entities) == sum(map(sum, SIZES.values())) == 1102


@few
@given(seeds)
def test_a_link_stays_in_its_group_or_leads_to_a_popular_entity(seed):
    world = generate(seed)
    for entity in world.entities.values():
        for relation in relations_of(entity.kind):
            target = world.entities.get(entity.facts[relation])
            if target is None:
                assert entity.facts[relation] in world.pools.countries
            else:
                assert target.kind == RELATIONS[relation].object
                assert target.group in (entity.group, "known")


def test_a_document_holds_every_fact_of_its_entity(world):
    for entity in world.entities.values():
        assert entity.name in entity.text
        assert all(fact in entity.text for fact in entity.facts.values())


def test_a_third_of_the_popular_entities_are_probes_and_no_tail_entity_is(world):
    probes = [each for each in world.entities.values() if each.is_probe]
    assert {each.group for each in probes} == {"known"}
    # 232 popular entities, each a probe with chance 1/3: 77 expected, standard deviation 7
    assert 77 - 21 < len(probes) < 77 + 21


def test_importing_tinyworld_loads_no_library():
    script = (
        "import sys, autocoa_plugin.tinyworld; "
        "print({'torch', 'transformers', 'tokenizers', 'pyarrow', 'tantivy'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout == b"set()\n"
