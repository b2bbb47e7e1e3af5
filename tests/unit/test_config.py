"""Settings: what is refused, with which words, and how overlays merge."""

import pytest

from wsss.config import ROOT, merge, presets, resolve, schema
from wsss.errors import UserError
from wsss.targets import faults

ROUNDS = {"each": ["decoupled_vgg16", "dn_masks"], "last": ["decoupled_vgg16", "dn_final"]}
OWN = {"dataset": "mine", "data": {"source": "own", "root": "photos"}}


def test_the_papers_settings_resolve():
    settings = resolve({})
    assert settings.dataset == "voc2012"
    assert settings.recipes["irn_cam"].momentum == "weight_decay"
    assert {name.split("/")[0] for name in settings.tables} == {"spn", "vwe", "rcm_mam", "baseline"}


@pytest.mark.parametrize(("preset", "networks"), [("tiny", {"tiny"}), ("small", {"mobilenet_v2"})])
def test_a_preset_puts_one_network_in_every_role(preset, networks):
    settings = resolve(OWN | {"preset": preset})
    assert {role.network for role in settings.backbones.values()} == networks


@pytest.mark.parametrize("preset", presets())
def test_every_preset_is_sound_with_all_tables(preset):
    assert faults(resolve(OWN | {"preset": preset})) == []


@pytest.mark.parametrize(
    ("overlay", "message"),
    [
        ({"seed": [1]}, "unknown key 'seed'; did you mean 'seeds'?"),
        ({"recipes": {"irn_cam": {"weight_dacay": 0.1}}}, "did you mean 'weight_decay'?"),
        ({"recipes": {"irn_cam": {"lr": "fast"}}}, "recipes.irn_cam.lr"),
        ({"recipes": {"irn_cam": {"lr": -1}}}, "recipes.irn_cam.lr"),
        ({"recipes": {"irn_cam": {"steps": 5}}}, "exactly one of 'epochs' and 'steps'"),
        ({"recipes": {"irn_cam": {"accumulate": 3}}}, "accumulate 3 does not divide batch 16"),
        ({"classify": {"gap_r50": {"backbone": "r51"}}}, "there is no 'r51'; did you mean 'r50'?"),
        ({"cam": {"hard": {}}}, "variant 'hard' stands under both cam and pseudo"),
        ({"cam": {"a/b": {}}}, "'a/b' cannot name a variant"),
        ({"dataset": "../etc"}, "dataset"),
        ({"seeds": [1, 1]}, "a seed stands twice"),
        ({"seeds": []}, "seeds"),
        ({"preset": "huge"}, "there is no 'huge'; known:"),
        ({"data": {"source": "imagenet"}}, "data"),
        ({"data": {"evaluate": {"val": "test"}}}, "'test' must be 'val' itself"),
        ({"refine": {"crf_irn": {"background": 2.0}}}, "refine.crf_irn.background"),
        ({"predict": {"plain_crf": {"crf": "kazutoo"}}}, "predict.plain_crf.crf"),
        ({"cam": {"ms_irn": {"scales": []}}}, "cam.ms_irn.scales"),
        ({"recipes": {"irn_cam": {"augment": {"resize": {"values": [1.0]}}}}}, "resize long_side needs two values"),
        ({"seeds": [-1]}, "seeds.0"),
        (
            {
                "tables": {
                    "a/b": {
                        "title": "t",
                        "rows": [{"row": "r", "quoted": {"method": "x", "stage": "y"}, "rounds": ROUNDS}],
                    }
                }
            },
            "rounds need a chain to start from",
        ),
        (
            {
                "tables": {
                    "a/b": {
                        "title": "t",
                        "rows": [{"row": "r", "chain": ["gap_r50"], "rounds": ROUNDS | {"every": True}}],
                    }
                }
            },
            "with rounds.every its name must hold {round}",
        ),
        ({"tables": {"a/b": {"title": "t", "threshold": "bestt", "rows": []}}}, "tables.a/b.threshold"),
        ({"tables": {"a/b": {"title": "t", "rows": [{"row": "r"}]}}}, "row 'r' needs exactly one of chain"),
    ],
)
def test_faults_are_named_in_one_line(overlay, message):
    with pytest.raises(UserError, match=None) as caught:
        resolve(overlay)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_number_written_as_text_is_a_number():
    assert resolve({"recipes": {"irn_cam": {"lr": "1e-3"}}}).recipes["irn_cam"].lr == 0.001


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
