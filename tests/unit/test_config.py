"""Settings: what is refused, with which words, and how overlays merge."""

import pytest

from wsss.config import ROOT, merge, presets, resolve, schema
from wsss.targets import faults

OWN = {"dataset": "mine", "data": {"source": "own", "root": "photos"}}


def test_the_papers_settings_resolve():
    settings = resolve({})
    assert settings.dataset == "voc2012"
    assert settings.recipes["irn_cam"].momentum == "weight_decay"
    assert {name.split("/")[0] for name in settings.tables} == {"spn", "vwe", "rcm_mam", "baseline", "reference"}


@pytest.mark.parametrize(("preset", "networks"), [("tiny", {"tiny"}), ("small", {"mobilenet_v2"})])
def test_a_preset_puts_one_network_in_every_role(preset, networks):
    settings = resolve(OWN | {"preset": preset})
    assert {role.network for role in settings.backbones.values()} == networks


@pytest.mark.parametrize("preset", presets())
def test_every_preset_is_sound_with_all_tables(preset):
    assert faults(resolve(OWN | {"preset": preset})) == []


def test_merge_is_deep_but_another_network_replaces_the_role():
    roles = {"r50": {"network": "resnet50", "options": {"dilate": False}}}
    base = {"backbones": roles, "recipes": {"a": {"lr": 1, "batch": 2}}}
    merged = merge(base, {"backbones": {"r50": {"network": "tiny"}}, "recipes": {"a": {"lr": 3}}})
    assert merged == {"backbones": {"r50": {"network": "tiny"}}, "recipes": {"a": {"lr": 3, "batch": 2}}}
    same = merge(base, {"backbones": {"r50": {"network": "resnet50", "weights": "none"}}})
    assert same["backbones"]["r50"]["options"] == {"dilate": False}


def test_an_option_named_network_keeps_its_siblings():
    settings = resolve({"classify": {"rcm_r38": {"options": {"network": "support"}}}})
    assert settings.classify["rcm_r38"].options == {"rcm": "contrastive", "mam": "off", "network": "support"}


def test_the_schema_for_editors_is_in_step():
    written = (ROOT / "config" / "schema.json").read_text()
    assert written == schema(), "renew it: python -m wsss.config > config/schema.json"
