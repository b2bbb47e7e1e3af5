"""Chains: which stages may follow each other, what a job reads, what a number rests on."""

import pytest

from wsss import chains, slices, targets
from wsss.config import resolve
from wsss.contract import contract, evaluate_config
from wsss.errors import UserError

DEEPLAB = ["gap_r50", "ms_irn", "crf_irn", "hard", "deeplabv2_r101", "plain_crf"]


@pytest.fixture(scope="module")
def settings():
    return resolve({})


def test_every_table_of_the_papers_is_sound(settings):
    assert targets.faults(settings) == []


@pytest.mark.parametrize(
    ("chain", "message"),
    [
        (["gap_r50", "hard"], "'hard' (pseudo) cannot follow classify in gap_r50/hard"),
        (["ms_irn"], "'ms_irn' (cam) cannot follow the images"),
        (["gap_r51"], "there is no variant 'gap_r51'"),
        ([*DEEPLAB, "crf_irn"], "'crf_irn' (refine) cannot follow predict"),
        (["gap_r50", "ms_irn", "irn_r50", "crf_irn"], "'crf_irn' cannot follow 'irn_r50'"),
        (["gap_r50", "ms_irn", "irn_r50", "psa_walk"], "'psa_walk' cannot follow 'irn_r50'"),
        (["gap_r50", "ms_irn", "irn_walk"], "'irn_walk' cannot follow 'ms_irn'"),
        (["gap_r50", "ms_irn", "irn_r50", "hard"], "'hard' (pseudo) cannot follow affinity"),
        (
            ["gap_r50", "ms_irn", "crf_irn", "irn_r50", "irn_walk"],
            "'irn_r50' needs score maps, but 'crf_irn' before it",
        ),
        (["gap_r50", "ms_irn", "crf_irn", "crf_psa"], "'crf_psa' needs score maps"),
        (["gap_r38", "ms_psa", "psa_r38", "psa_walk", "crf_psa"], "'crf_psa' needs score maps, but 'psa_walk'"),
        (["gap_r50", "sp_cam"], "cam.sp_cam does not suit 'gap_r50', which needs scales below 16"),
        (["spn_vgg16", "ms_irn"], "cam.ms_irn does not suit 'spn_vgg16', which needs sides of at least 16 pixels"),
        (
            [*DEEPLAB[:4], "decoupled_vgg16", "msf"],
            "predict.msf does not suit 'decoupled_vgg16', which needs scales: [1.0]",
        ),
        (["gap_r50", "ms_irn", "supervised"], "'supervised' (pseudo) cannot follow cam"),
        (["hard", "deeplabv2_r101", "plain"], "'hard' (pseudo) cannot follow the images"),
    ],
)
def test_impossible_chains_name_the_row(settings, chain, message):
    with pytest.raises(UserError) as caught:
        chains.check_chain(settings, chain, "tables.x, row 'y'")
    assert message in str(caught.value)
    assert str(caught.value).startswith("tables.x, row 'y': ")


def test_a_build_pattern_without_a_table_is_refused():
    with pytest.raises(UserError, match="no table or figure matches 'vew/"):
        targets.built_tables(resolve({"build": ["vew/*"]}))


def test_only_score_maps_need_a_threshold(settings):
    assert chains.needs_evaluation(settings, DEEPLAB[:2], "crf_irn")
    assert not chains.needs_evaluation(settings, DEEPLAB[:3], "hard")
    fixed = resolve({"refine": {"crf_irn": {"background": 0.3}}})
    assert not chains.needs_evaluation(fixed, DEEPLAB[:2], "crf_irn")


def test_the_contract_of_maps_and_of_predictions(settings):
    maps = contract(settings, DEEPLAB[:2])
    assert maps["labels_at_inference"] is True
    assert maps["crf"] == "none"
    assert maps["scales"] == "1 0.5 1.5 2"
    assert "pseudo_threshold" not in maps
    predictions = contract(settings, DEEPLAB)
    assert predictions["labels_at_inference"] is False
    assert predictions["crf"] == "kazuto"
    assert predictions["scales"] == "1"
    assert predictions["pseudo_threshold"] == "best"
    assert predictions["weights"] == "resnet50: ImageNet, resnet101: ImageNet"
    assert contract(settings, DEEPLAB[:3])["crf"] == "irn_labels"


def test_the_contract_names_what_the_labels_rest_on(settings):
    walk = contract(settings, ["gap_r50", "ms_irn", "irn_r50", "irn_walk"])
    assert walk["crf"] == "none"
    assert walk["weights"] == "resnet50: ImageNet, resnet50: ImageNet"
    assert walk["supervision"] == "image-level labels"
    masks = contract(settings, ["supervised", "deeplabv2_r101", "plain_crf"])
    assert masks["supervision"] == "masks"
    assert "pseudo_threshold" not in masks


def test_the_contract_tells_where_ground_truth_chose_a_threshold():
    fixed, best = resolve({}), resolve({"affinity": {"irn_r50": {"background": "best"}}})
    chain = ["gap_r50", "ms_irn", "irn_r50", "irn_walk", "irn_hard", "deeplabv2_r101", "plain"]
    assert contract(fixed, chain)["affinity_threshold"] == "0.15"
    assert contract(best, chain)["affinity_threshold"] == "best"
    assert contract(best, chain)["label_crf"] == "irn_labels"
    affinity = contract(fixed, ["gap_r38", "ms_psa", "psa_r38", "psa_walk", "hard", "largefov_r38", "msf"])
    assert affinity["affinity_threshold"] == "none"
    assert affinity["pseudo_threshold"] == "alpha 16.0"
    masks = contract(fixed, ["spn_vgg16", "sp_cam", "sp_half", "decoupled_vgg16", "dn_masks"])
    assert masks["labels_in_prediction"] is True
    assert masks["labels_at_inference"] is True


def test_affinitynet_needs_no_threshold_of_the_maps():
    settings = resolve({"affinity": {"psa_r38": {"background": "best"}}})
    assert not chains.needs_evaluation(settings, ["gap_r38", "ms_psa"], "psa_r38")


def test_a_network_holds_no_maps_and_its_walk_needs_no_threshold(settings):
    chain = ["gap_r50", "ms_irn", "irn_r50"]
    assert chains.maps_before(settings, chain) == chain[:2]
    assert not chains.needs_evaluation(settings, chain, "irn_walk")
    assert chains.keeps_scores(settings, "irn_walk")
    assert not chains.keeps_scores(settings, "psa_walk")
    assert evaluate_config(settings, [*chain, "irn_walk"], "val")["fixed"] == 0.25


def test_a_table_may_have_seeds_of_its_own():
    settings = resolve({"seeds": [0], "tables": {"vwe/table1": {"seeds": [4, 5]}}})
    seeds = {seed for _, seed, _ in targets.evaluations(settings, settings.tables["vwe/table1"])}
    assert seeds == {4, 5}


def test_a_changed_walk_leaves_the_network_alone():
    before, after = resolve({}), resolve({"refine": {"irn_walk": {"options": {"beta": 8}}}})
    for slice_of in (slices.affinity_labels_config, lambda s, n: slices.train_config(s, "affinity", n)):
        assert slice_of(before, "irn_r50") == slice_of(after, "irn_r50")
    assert slices.walk_config(before, "irn_r50", "irn_walk") != slices.walk_config(after, "irn_r50", "irn_walk")


def test_rounds_are_longer_chains():
    rounds = {"each": ["deeplabv2_r101", "plain"], "last": ["deeplabv2_r101", "plain_crf"]}
    rows = [
        {"row": "Round {round}", "chain": DEEPLAB[:4], "rounds": rounds | {"every": True}},
        {"row": "Last", "chain": DEEPLAB[:4], "rounds": rounds},
    ]
    overlay = {"tables": {"a/b": {"title": "t", "rows": rows}}, "build": ["a/b"]}
    three, four = (targets.built_tables(resolve(overlay | {"rounds": n}))["a/b"].rows for n in (3, 4))
    assert [row.row for row in three] == ["Round 1", "Round 2", "Round 3", "Last"]
    assert three[0].chain == DEEPLAB
    assert three[1].chain == [*DEEPLAB[:4], "deeplabv2_r101", "plain", "deeplabv2_r101", "plain_crf"]
    assert three[2].chain == three[3].chain
    assert [row.chain for row in four[:3]] == [row.chain for row in three[:3]]
    assert len(four[-1].chain) == 4 + 8


def test_a_figure_has_a_column_per_round():
    rounds = {"each": ["deeplabv2_r101", "plain"], "last": ["deeplabv2_r101", "plain_crf"], "every": True}
    column = {"caption": "Round {round}", "chain": DEEPLAB[:4], "rounds": rounds}
    figure = {"kind": "labels", "title": "T", "columns": [column]}
    overlay = {"rounds": 2, "build": ["a/b"], "figures": {"a/b": figure}}
    first, second = targets.built_figures(resolve(overlay))["a/b"].columns
    assert (first.caption, second.caption) == ("Round 1", "Round 2")
    assert second.chain == [*DEEPLAB[:4], "deeplabv2_r101", "plain", "deeplabv2_r101", "plain_crf"]


def test_slices_are_plain_and_hold_the_defaults(settings):
    import json

    config = slices.train_config(settings, "classify", "gap_r50")
    assert json.loads(json.dumps(config)) == config
    assert config["backbone_options"] == {"network": "resnet50", "dilate": False, "train_norm": True}
    assert config["options"] == {"pooling": "gap", "dropout": 0.0, "head_lr": 10.0, "init": "default"}
    assert config["recipe"]["momentum"] == "weight_decay"


def test_the_fixed_threshold_is_the_papers(settings):
    assert evaluate_config(settings, ["gap_r50", "ms_irn"], "val")["fixed"] == 0.15
    assert evaluate_config(settings, ["gap_r50", "ms_vwe"], "val")["fixed"] == 0.14
    assert evaluate_config(settings, DEEPLAB, "val")["fixed"] is None


def test_all_seeds_and_scored_splits_of_a_row_are_asked_for():
    settings = resolve({"seeds": [0, 3]})
    cells = targets.evaluations(settings, settings.tables["vwe/table1"])
    rows = [("gap_r50", "ms_irn"), ("vwe_r50", "ms_vwe"), ("hspp_r50", "ms_vwe"), ("vwe_hspp_r50", "ms_vwe")]
    assert cells == [(row, seed, split) for row in rows for split in ("train", "val") for seed in (0, 3)]


@pytest.mark.parametrize(
    ("overlay", "message"),
    [
        ({"backbones": {"r50": {"network": "resnet18"}}}, "backbones.r50.network: there is no 'resnet18'; known:"),
        ({"backbones": {"r50": {"network": "common"}}}, "backbones.r50.network: there is no 'common'"),
        (
            {"classify": {"gap_r50": {"method": "crf", "options": {}}}},
            "cannot serve classify (it defines no class_maps)",
        ),
        ({"classify": {"gap_r50": {"method": "kam"}}}, "classify.gap_r50.method: there is no method 'kam'; known:"),
        ({"segment": {"deeplabv2_r101": {"options": {"rats": [1]}}}}, "segment.deeplabv2_r101.options.rats"),
        ({"segment": {"decoupled_vgg16": {"start": None}}}, "segment.decoupled_vgg16.start: decouplednet needs one"),
        (
            {"segment": {"largefov_r38": {"start": "cls_vgg16"}}},
            "'cls_vgg16' stands on another backbone; use one on r38",
        ),
        (
            {"segment": {"decoupled_vgg16": {"start": "gap_r50"}}},
            "'gap_r50' stands on another backbone; use one on vgg",
        ),
        (
            {"classify": {"spn_vgg16": {"options": {"segments": 200}}}},
            "segments: 300 must equal classify.spn_vgg16.options",
        ),
        (
            {
                "classify": {"cls_vgg16": {"options": {"kernel": 5}}},
                "segment": {"decoupled_vgg16": {"options": {"kernel": 7}}},
            },
            "segment.decoupled_vgg16.options.kernel: 7 must equal classify.cls_vgg16.options.kernel, 5",
        ),
        (
            {"tables": {"a/b": {"title": "t", "rows": [{"row": "r", "chain": ["supervised"]}]}}},
            "is the ground truth itself",
        ),
        ({"classify": {"spn_vgg16": {"data": {"segment": 5}}}}, "classify.spn_vgg16.data.segment"),
        ({"classify": {"gap_r50": {"data": {"segments": 5}}}}, "cam has no options for its samples"),
        ({"affinity": {"irn_r50": {"labels": {"fg": 0.5}}}}, "affinity.irn_r50.labels.fg"),
        ({"refine": {"irn_walk": {"options": {"betta": 8}}}}, "refine.irn_walk.options.betta"),
        ({"affinity": {"irn_r50": {"method": "cam"}}}, "'cam' cannot serve affinity (it defines no labels)"),
        ({"tables": {"a/b": {"title": "t", "rows": [{"row": "r", "chain": ["gap_r50"]}]}}}, "which has no score"),
    ],
)
def test_faults_of_variants_are_found_before_anything_runs(overlay, message):
    assert any(message in fault for fault in targets.faults(resolve(overlay)))


def test_thresholds_are_chosen_on_the_split_that_networks_learn_from():
    own = {"source": "own", "root": ".", "train": "train_aug"}
    both = resolve({"dataset": "x", "data": own | {"evaluate": {"train_aug": "train_aug", "train": "train_aug"}}})
    alone = resolve({"dataset": "x", "data": own | {"evaluate": {"val": "val", "train_aug": "train_aug"}}})
    assert chains.threshold_split(both) == "train"
    assert chains.threshold_split(alone) == "train_aug"
    assert evaluate_config(alone, ["gap_r50", "ms_irn"], "train_aug")["chooses"]
    assert not evaluate_config(alone, ["gap_r50", "ms_irn"], "val")["chooses"]


def test_the_contract_names_a_crf_behind_a_walk_and_in_earlier_rounds(settings):
    walk = ["gap_r38", "ms_psa", "aeft_r38", "aeft_walk"]
    assert contract(settings, walk)["crf"] == "aeft"
    assert contract(settings, [*walk[:3], "psa_walk"])["crf"] == "none"
    found = contract(settings, [*walk, "hard", "largefov_r38", "msf_crf"])
    assert (found["crf"], found["label_crf"]) == ("seam_seg", "aeft, psa")
    first = ["spn_vgg16", "sp_cam", "sp_half", "decoupled_vgg16", "dn_final_crf"]
    again = contract(settings, [*first, "decoupled_vgg16", "dn_final"])
    assert (again["crf"], again["label_crf"]) == ("none", "deconvnet")


def test_a_walk_without_a_number_takes_that_of_the_maps_not_of_its_networks_labels():
    settings = resolve({"refine": {"irn_walk": {"background": "best"}}, "affinity": {"irn_r50": {"background": 0.3}}})
    assert evaluate_config(settings, ["gap_r50", "ms_vwe", "irn_r50", "irn_walk"], "val")["fixed"] == 0.14


def test_a_start_must_fit_also_where_an_option_is_left_at_its_default(settings):
    faults = targets.faults(resolve({"classify": {"cls_vgg16": {"options": {"kernel": 5}}}}))
    assert any("segment.decoupled_vgg16.options.kernel: 7 must equal classify.cls_vgg16" in fault for fault in faults)
