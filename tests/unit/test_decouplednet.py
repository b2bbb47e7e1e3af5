"""DecoupledNet: samples, bridging layers, unpooling, statistics for inference, and what is never predicted."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from wsss import interface
from wsss.backbones import mobilenet_v2, resnet38, tiny, vgg16
from wsss.data.images import write_mask
from wsss.data.manifest import Sample
from wsss.data.transforms import MEAN, STD, Augmentation
from wsss.errors import UserError
from wsss.methods import decouplednet, image_classifier
from wsss.methods.decouplednet import Example
from wsss.methods.decouplednet_layers import back_propagated, unpool
from wsss.ops.scatter import scatter

torch.set_num_threads(1)

CLASSES = 3
SMALL = {"num_classes": CLASSES, "kernel": 3, "width": 12}
PROGRESS = SimpleNamespace(step=0, epoch=0, total=10, seed=0)


def random(*shape, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3), dtype=dtype)


def network(backbone=None, **options):
    torch.manual_seed(0)
    return decouplednet.build(
        backbone=backbone or tiny.build(output_stride=16), **(SMALL | {"seg_width": 16, "size": 96} | options)
    )


def classifier(backbone=None, **options):
    torch.manual_seed(1)
    return image_classifier.build(backbone=backbone or tiny.build(output_stride=16), **(SMALL | options))


def batch(images=4, size=96):
    label = torch.zeros(images, size, size, dtype=torch.int64)
    label[:, 20:60, 30:70] = 1
    label[:, :5] = 255
    return {"image": random(images, 3, size, size), "label": label, "class": torch.arange(images) % CLASSES + 1}


# --- samples -----------------------------------------------------------------------------------------------------


def sample(name, shape=(40, 50)):
    return Sample(name, f"{name}.png", shape[1], shape[0], (1, 2))


def label_map(shape=(40, 50), **boxes):
    """A label map with boxes such as c1=(top, left, bottom, right)."""
    label_HW = np.zeros(shape, np.uint8)
    for name, (top, left, bottom, right) in boxes.items():
        label_HW[top:bottom, left:right] = int(name[1:])
    return label_HW


def test_one_example_per_image_and_class():
    labels = {
        "a": label_map(c2=(10, 5, 20, 45), c1=(12, 30, 16, 40)),
        "b": label_map(),
        "c": label_map(c255=(0, 0, 9, 9)),
    }
    found = decouplednet.examples([sample(name) for name in "abc"], lambda s: labels[s.id], margin=0, context=0)
    still = (0, 0, 0, 0)
    assert found == [
        Example("a", "a.png", 1, (12, 30, 16, 40), still),
        Example("a", "a.png", 2, (10, 5, 20, 45), still),
    ]


def test_margin_stays_in_the_image_and_the_reach_ends_at_its_border():
    labels = label_map(c1=(10, 5, 20, 45))
    (found,) = decouplednet.examples([sample("a")], lambda s: labels, margin=0.25, context=0.5)
    assert found.window == (8, 0, 22, 50)  # 2 rows (2.5 to even) and 10 columns more, cut at both sides
    assert found.reach == (4, 0, 9, 0)
    (found,) = decouplednet.examples([sample("a")], lambda s: labels, margin=0, context=1)
    assert found.window == (10, 5, 20, 45)
    assert found.reach == (10, 5, 20, 5)


def split_masks():
    """Class 1: one piece, three equal pieces, two equal pieces, a larger single piece; class 2 in the second only."""
    one = label_map(c1=(0, 0, 8, 8))
    three = label_map(c1=(0, 0, 5, 5)) + label_map(c1=(0, 10, 5, 15)) + label_map(c1=(0, 20, 5, 25), c2=(30, 0, 40, 50))
    two = label_map(c1=(0, 0, 5, 5)) + label_map(c1=(20, 20, 25, 25))
    return dict(zip("abcd", (one, three, two, label_map(c1=(0, 0, 20, 20))), strict=True))


@pytest.mark.parametrize(("count", "kept"), [(1, "d"), (2, "ad"), (3, "acd"), (9, "abcd")])
def test_selection_keeps_the_least_scattered_images_of_each_class(count, kept):
    labels = split_masks()
    assert [scatter(labels[name] == 1) for name in "abcd"] == pytest.approx([1, 3, 2, 1])
    found = decouplednet.examples([sample(name) for name in "abcd"], lambda s: labels[s.id], per_class=count)
    assert [example.id for example in found if example.label == 1] == list(kept)
    assert [example.id for example in found if example.label == 2] == ["b"]


@pytest.mark.parametrize("options", [{"per_class": 0}, {"margin": -0.1}, {"context": 1.5}])
def test_options_of_samples_out_of_range_are_refused(options):
    with pytest.raises(UserError, match="per_class must be"):
        decouplednet.examples([], lambda s: None, **options)


def test_masks_without_any_class_are_refused():
    with pytest.raises(UserError, match="no label map holds a class"):
        decouplednet.examples([sample("a")], lambda s: label_map(c255=(0, 0, 9, 9)))


@pytest.fixture
def coloured(tmp_path):
    """An image whose grey value is 20 times its label, and its label map: class 2 beside class 1 and ignored pixels."""
    label_HW = label_map(c2=(10, 5, 20, 40), c1=(12, 30, 16, 40), c255=(18, 8, 20, 12))
    Image.fromarray(np.where(label_HW == 255, 200, label_HW * 20).astype(np.uint8)).save(tmp_path / "image.png")
    write_mask(tmp_path / "a.png", label_HW)
    found = replace(sample("a"), image=tmp_path / "image.png")
    return decouplednet.examples([found], lambda s: label_HW, margin=0.2, context=1), {"a": tmp_path / "a.png"}


@pytest.mark.parametrize("flip", [0.0, 1.0])
@pytest.mark.parametrize("crop", [12, 64])
@pytest.mark.parametrize("number", [0, 1])
def test_targets_follow_the_image_through_window_crop_and_mirror(coloured, flip, crop, number):
    found, files = coloured
    augment = Augmentation(crop=crop, flip=flip)
    for seed in range(5):
        drawn = decouplednet.arrays(files, augment, found[number], np.random.default_rng(seed))
        assert drawn["class"] == number + 1
        assert drawn["label"].shape == (crop, crop)
        grey = ((drawn["image"] * np.array(STD)[:, None, None] + np.array(MEAN)[:, None, None]) * 255)[0]
        padded = np.abs(drawn["image"]).max(0) == 0
        expected = np.where(padded | (grey > 190), 255, np.abs(grey - 20 * (number + 1)) < 1)
        assert np.array_equal(drawn["label"], expected)
        assert padded.any() == (crop == 64)


def test_windows_hold_the_object_and_differ(coloured):
    found, files = coloured
    augment = Augmentation(crop=64, flip=0)
    drawn = [decouplednet.arrays(files, augment, found[1], np.random.default_rng(seed)) for seed in range(20)]
    assert {int((each["label"] == 1).sum()) for each in drawn} == {35 * 10 - 40 - 8}  # class 1 and ignored pixels
    valid = {int((np.abs(each["image"]).max(0) > 0).sum()) for each in drawn}
    assert len(valid) > 10
    assert min(valid) >= 14 * 45
    assert max(valid) <= 40 * 50
    assert (
        drawn[0]["label"].tobytes()
        != decouplednet.arrays(files, augment, found[0], np.random.default_rng(0))["label"].tobytes()
    )


def test_draws_depend_on_the_generator_alone(coloured):
    found, files = coloured
    augment = Augmentation(crop=32, resize="long_side", values=(30, 40))
    first, second = (decouplednet.arrays(files, augment, found[0], np.random.default_rng(5)) for _ in range(2))
    assert all(first[key].tobytes() == second[key].tobytes() for key in first)


# --- classification branch ---------------------------------------------------------------------------------------


def test_image_score_is_the_maximum_and_its_gradient_has_one_place():
    score = torch.tensor([[[[1.0, 3.0], [3.0, -1.0]]]], requires_grad=True)
    found = image_classifier.image_scores(score)
    assert found.tolist() == [[3.0]]
    (gradient,) = torch.autograd.grad(found.sum(), score)
    assert sorted(gradient.flatten().tolist()) == [0, 0, 0, 1]


def test_classifier_on_vgg16_has_the_published_sizes():
    with torch.device("meta"):
        model = image_classifier.build(backbone=vgg16.build(), num_classes=20)
        maps = model.class_maps(torch.empty(1, 3, 320, 320))
    assert maps.shape == (1, 20, 4, 4)
    assert model.head.fc6.weight.shape == (4096, 512, 7, 7)
    assert sum(p.numel() for p in model.head.parameters()) == 25088 * 4096 + 4096 + 4096 * 4096 + 4096 + 4096 * 20 + 20


def test_classifier_learns_which_images_are_bright():
    model = classifier(num_classes=1, dropout=0.0)
    image = random(8, 3, 96, 96) * 0.1
    labels = torch.tensor([[1.0], [0.0]] * 4)
    image[::2, :, 30:60, 30:60] += 2
    sgd = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    values = []
    for _ in range(12):
        loss = model.losses({"image": image, "labels": labels}, PROGRESS)["classification"]
        sgd.zero_grad()
        loss.backward()
        sgd.step()
        values.append(loss.item())
    assert values[0] == pytest.approx(np.log(2), abs=0.15)
    assert values[-1] < 0.3


def test_dropout_only_in_training():
    model, image = classifier(), random(1, 3, 96, 96)
    assert not torch.equal(model.class_maps(image), model.class_maps(image))
    model.eval()
    assert torch.equal(model.class_maps(image), model.class_maps(image))


def test_a_kernel_larger_than_the_features_is_refused():
    with pytest.raises(UserError, match=r"kernel: 7 is more than the 6 x 6 features"):
        classifier(kernel=7).class_maps(random(1, 3, 96, 96))


# --- bridging layers ---------------------------------------------------------------------------------------------


def layer_by_layer(head, tap, labels):
    """The published network's layers: score, unpooled to its maximum, through transposed layers and ReLU masks."""
    six = F.relu(head.fc6(tap))
    seven = F.relu(head.fc7(six))
    flat = head.score(seven).flatten(2)
    value, place = flat.max(2, keepdim=True)
    start = torch.zeros_like(flat).scatter(2, place, value.sigmoid() * labels[:, :, None])
    start = start.unflatten(2, seven.shape[2:])
    back_seven = F.conv_transpose2d(start, head.score.weight) * (seven > 0)
    back_six = F.conv_transpose2d(back_seven, head.fc7.weight) * (six > 0)
    return F.conv_transpose2d(back_six, head.fc6.weight)


@pytest.mark.parametrize("kernel", [1, 3])
def test_bridge_is_layer_by_layer_back_propagation(kernel):
    torch.manual_seed(0)
    head = image_classifier.Head(5, CLASSES, kernel, 8).double()
    tap = random(4, 5, 6, 7, dtype=torch.float64)
    labels = torch.tensor([[1.0, 0, 0], [0, 0, 1], [1, 1, 0], [0, 0, 0]]).double()
    expected = layer_by_layer(head, tap, labels)
    found = back_propagated(head, tap, labels)
    assert torch.allclose(found, expected, atol=1e-14, rtol=0)
    assert found[:3].abs().amax((1, 2, 3)).min() > 1e-3
    assert not found[3].any()


def test_bridge_is_the_gradient_of_the_masked_scores():
    torch.manual_seed(0)
    head = image_classifier.Head(5, CLASSES, 3, 8).double()
    tap = random(2, 5, 6, 7, dtype=torch.float64).requires_grad_()
    labels = torch.tensor([[1.0, 0, 1], [0, 1, 0]]).double()
    score = image_classifier.image_scores(head(tap))
    (expected,) = torch.autograd.grad((score.sigmoid().detach() * labels * score).sum(), tap)
    assert torch.allclose(back_propagated(head, tap, labels), expected, atol=1e-15, rtol=0)


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_bridge_works_in_every_mode(mode):
    head = image_classifier.Head(5, CLASSES, 3, 8).requires_grad_(False)
    tap, labels = random(2, 5, 6, 7), torch.eye(CLASSES)[:2]
    expected = back_propagated(head, tap, labels)
    with mode():
        found = back_propagated(head, tap * 1, labels * 1)
        assert torch.equal(found + 0, expected)
    assert not found.requires_grad


# --- unpooling and decoding --------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(4, 6), (5, 7)])
def test_unpooling_puts_values_where_the_switches_say(size):
    x = random(2, 3, *size)
    pooled, index = F.max_pool2d(x, 2, return_indices=True)
    found = unpool(pooled * 10, index, size)
    kept = torch.zeros_like(x, dtype=torch.bool).flatten(2).scatter(2, index.flatten(2), True).view_as(x)
    assert torch.equal(found, torch.where(kept, 10 * x, 0))
    assert torch.equal(
        found[:, :, : size[0] // 2 * 2, : size[1] // 2 * 2],
        F.max_unpool2d(pooled * 10, index, 2, output_size=size)[:, :, : size[0] // 2 * 2, : size[1] // 2 * 2],
    )


def test_unpooling_by_hand():
    index = torch.tensor([[[[1, 6], [9, 15]]]])
    found = unpool(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]), index, (4, 4))
    assert found[0, 0].tolist() == [[0, 1, 0, 0], [0, 0, 2, 0], [0, 3, 0, 0], [0, 0, 0, 4]]


def test_unpooling_has_the_right_gradient_also_where_poolings_overlap():
    x = random(1, 2, 5, 5, dtype=torch.float64)
    pooled, index = F.max_pool2d(x, 3, 1, 1, return_indices=True)
    assert len(index[0, 0].unique()) < 25
    assert torch.autograd.gradcheck(lambda value: unpool(value, index, (5, 5)), (pooled.requires_grad_(),))


def test_unpooling_without_switches_repeats():
    found = unpool(torch.arange(4.0).view(1, 1, 2, 2), None, (4, 3))
    assert found[0, 0].tolist() == [[0, 0, 1], [0, 0, 1], [2, 2, 3], [2, 2, 3]]


@pytest.mark.parametrize(
    ("backbone", "size"),
    [
        (lambda: tiny.build(output_stride=16), 96),
        (lambda: tiny.build(output_stride=8), 50),
        (lambda: mobilenet_v2.build(output_stride=32), 100),
        (lambda: vgg16.build(), 100),
        (lambda: vgg16.build(output_stride=16), 64),
    ],
    ids=["tiny", "tiny-8", "mobilenet_v2", "vgg16", "vgg16-16"],
)
def test_logits_have_the_size_of_the_image(backbone, size):
    model = network(backbone(), seg_width=8).eval()
    assert model.logits(random(1, 3, size, size), torch.eye(CLASSES)[:1]).shape == (1, 2, size, size)


def test_segmentation_branch_on_vgg16_has_the_published_layers():
    with torch.device("meta"):
        model = decouplednet.build(backbone=vgg16.build(), num_classes=20)
    shapes = [tuple(p.shape) for name, p in model.segmentation.convolution_parameters() if name == "weight"]
    assert shapes[:3] == [(2048, 1024, 7, 7), (2048, 2048, 1, 1), (2048, 512, 7, 7)]
    assert shapes[3:5] == [(64, 64, 3, 3), (64, 64, 3, 3)]
    widths = [[shape[1] for shape in shapes[start:end]] for start, end in ((3, 5), (5, 7), (7, 10), (10, 13), (13, 16))]
    assert widths == [[64, 64], [128, 64], [256, 256, 128], [512, 512, 256], [512, 512, 512]]
    assert shapes[-1] == (2, 64, 1, 1)
    norms = [m for m in model.segmentation.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) == 2 + 3 + 13
    assert {norm.eps for norm in norms} == {1e-9}


def test_switches_of_the_image_itself_reach_the_decoder():
    model = network(vgg16.build(), seg_width=8).eval()
    encoded = model.encode(random(1, 3, 96, 96))
    assert encoded.sizes == [(96, 96), (48, 48), (24, 24), (12, 12), (6, 6)]
    _, switches = model.backbone.forward_with_switches(random(1, 3, 96, 96))
    assert all(torch.equal(a, b.index_BDhw) for a, b in zip(encoded.switches, switches, strict=True))
    seen = []
    model.segmentation.stages[4].register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    model.decode(encoded, torch.eye(CLASSES)[:1])
    off = torch.ones_like(seen[0], dtype=torch.bool).flatten(2).scatter(2, switches[4].index_BDhw.flatten(2), False)
    assert not seen[0].flatten(2)[off].any()
    assert seen[0].any()


# --- training ----------------------------------------------------------------------------------------------------


def test_only_the_segmentation_branch_learns():
    model = network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    groups = model.parameter_groups()
    listed = [id(p) for group in groups for p in group["params"]]
    assert sorted(listed) == sorted(id(p) for p in model.segmentation.parameters())
    assert [(g["lr_factor"], g["weight_decay_factor"]) for g in groups] == [(1, 1), (2, 0)]
    assert {p.ndim for p in groups[1]["params"]} == {1}
    sgd = torch.optim.SGD(model.segmentation.parameters(), lr=0.1)
    model.train()
    model.losses(batch(), PROGRESS)["segmentation"].backward()
    sgd.step()
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert all(name.startswith("segmentation.") for name in changed)
    assert "segmentation.classifier.weight" in changed
    assert "segmentation.norms.1.weight" in changed
    assert all(p.grad is None for part in (model.backbone, model.head) for p in part.parameters())


def test_biases_are_those_of_the_convolutions():
    model = network()
    names = {id(p): name for name, p in model.named_parameters()}
    biases = {names[id(p)] for p in model.parameter_groups()[1]["params"]}
    norms = {f"{name}.bias" for name, m in model.named_modules() if isinstance(m, nn.BatchNorm2d)}
    assert biases
    assert all(name.endswith(".bias") for name in biases)
    assert not biases & norms


def test_frozen_parts_stay_in_inference_mode():
    model = network().train()
    assert model.segmentation.training
    assert not model.backbone.training
    assert not any(module.training for module in model.head.modules())


def test_loss_is_the_mean_over_valid_pixels():
    model, data = network().train(), batch(2)
    found = model.losses(data, PROGRESS)["segmentation"]
    logit = model.logits(data["image"], F.one_hot(data["class"] - 1, CLASSES).float())
    valid = data["label"] != 255
    log = logit.log_softmax(1).gather(1, data["label"].where(valid, 0)[:, None])[:, 0]
    assert found.item() == pytest.approx(-log[valid].mean().item(), rel=1e-5)
    data["label"][:] = 255
    assert model.losses(data, PROGRESS)["segmentation"].item() == 0


def test_the_class_decides_what_is_foreground():
    """One image, two objects: after a few updates each class asks for its own."""
    torch.manual_seed(1)
    options = {"num_classes": 2, "kernel": 3, "width": 64, "seg_width": 32, "size": 64}
    model = decouplednet.build(backbone=tiny.build(output_stride=16, selective=False), **options).train()
    image = torch.zeros(2, 3, 64, 64)
    image[:, 0, 4:32, 4:32], image[:, 2, 32:60, 32:60] = 3, 3
    label = torch.zeros(2, 64, 64, dtype=torch.int64)
    label[0, 4:32, 4:32], label[1, 32:60, 32:60] = 1, 1
    data = {"image": image, "label": label, "class": torch.tensor([1, 2])}
    sgd = torch.optim.SGD(model.segmentation.parameters(), lr=0.05, momentum=0.9)
    for _ in range(50):
        loss = model.losses(data, PROGRESS)["segmentation"]
        sgd.zero_grad()
        loss.backward()
        sgd.step()
    model.calibrate([data])
    model.eval()
    found = model.logits(image, torch.eye(2)).argmax(1)
    for number in range(2):
        assert found[number][label[number] == 1].float().mean() > 0.7
        assert found[number][label[1 - number] == 1].float().mean() < 0.3
        prob = model.image_probabilities(image[number], [number + 1])
        assert (prob.argmax(0) == label[number] * (number + 1)).float().mean() > 0.9


def test_calibration_takes_the_average_over_passes():
    model = network()
    model.train()
    model.losses(batch(), PROGRESS)  # statistics that must be forgotten
    norm = model.segmentation.norms[1]
    inputs = []
    norm.register_forward_pre_hook(lambda module, args: inputs.append(args[0].detach()))
    big = {key: value.repeat(5, *[1] * (value.ndim - 1)) for key, value in batch().items()}  # 20 images: 16 and 4
    big["image"] = random(20, 3, 96, 96)
    model.eval().calibrate(iter([big, batch()]))
    assert [len(x) for x in inputs] == [16, 4, 4]
    mean = torch.stack([x.mean((0, 2, 3)) for x in inputs]).mean(0)
    variance = torch.stack([x.var((0, 2, 3)) for x in inputs]).mean(0)
    assert torch.allclose(norm.running_mean, mean, rtol=1e-4, atol=1e-9)
    assert torch.allclose(norm.running_var, variance.where(variance > 0, 1), rtol=1e-4, atol=1e-12)
    assert (variance > 0).any()
    assert model.segmentation.norms[0].num_batches_tracked == 3


def test_what_never_changed_in_calibration_keeps_its_scale():
    model = network()
    image = torch.zeros(4, 3, 96, 96)
    model.calibrate([batch() | {"image": image}])  # equal images: the first layer's inputs still change over pixels
    assert all(
        (norm.running_var > 0).all() for norm in model.segmentation.modules() if isinstance(norm, nn.BatchNorm2d)
    )
    dead = nn.Parameter(torch.zeros_like(model.head.score.weight))
    model.head.score.weight = dead  # no gradient flows back
    model.calibrate([batch()])
    assert (model.segmentation.norms[1].running_var == 1).all()


def test_calibration_needs_no_graph_and_leaves_weights():
    model = network()
    before = [p.clone() for p in model.parameters()]
    with torch.no_grad():
        model.calibrate([batch()])
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert all(p.grad is None for p in model.parameters())
    with pytest.raises(UserError, match="calibration_batches"):
        network(calibration_batches=0)


# --- start and state ---------------------------------------------------------------------------------------------


def test_start_takes_the_classification_branch_over(capsys):
    trained, model = classifier(), network()
    image = random(1, 3, 96, 96)
    model.start({name: value.clone() for name, value in trained.state_dict().items()})
    trained.eval()
    assert torch.equal(model.head(model.encode(image).tap_BDhw), trained.class_maps(image))
    assert "head.fc6.weight" in capsys.readouterr().out


def test_start_refuses_a_state_that_does_not_fit():
    state = classifier().state_dict()
    cases = {
        "head.fc7.weight": {name: value for name, value in state.items() if name != "head.fc7.weight"},
        "head.fc6.weight": classifier(kernel=1).state_dict(),
        "head.score.bias": state | {"head.score.bias": torch.zeros(7)},
        "segmentation.other": state | {"segmentation.other": torch.zeros(1)},
    }
    for key, given in cases.items():
        model = network()
        before = model.head.score.weight.clone()
        with pytest.raises(UserError, match=key.replace(".", r"\.")) as error:
            model.start(given)
        assert "image_classifier" in str(error.value)
        assert torch.equal(model.head.score.weight, before)


def test_state_round_trip():
    model, image = network(), random(3, 70, 90)
    model.calibrate([batch()])
    other = network()
    other.load_state_dict({name: value.clone() for name, value in model.state_dict().items()})
    expected, found = (m.eval().image_probabilities(image, [2]) for m in (model, other))
    assert torch.equal(expected, found)
    pointers = [value.data_ptr() for value in model.state_dict().values() if value.numel()]
    assert len(pointers) == len(set(pointers))  # safetensors stores no tensor twice


def test_options_are_offered_to_the_settings():
    assert interface.provides("methods", "decouplednet", "logits")
    assert interface.provides("methods", "image_classifier", "class_maps")
    assert interface.hook("decouplednet", "segment") == "examples"
    assert interface.options("methods", "decouplednet", {}, "options")["seg_width"] == 2048
    data = interface.options("methods", "decouplednet", {}, "data", function="examples")
    assert data == {"per_class": None, "measure": "components", "margin": 0.1, "context": 1.0}


# --- inference ---------------------------------------------------------------------------------------------------


@pytest.fixture
def calibrated():
    model = network()
    # Scores N(0, 0.01) would all be near one half; these differ, and the classifier of pixels says something.
    nn.init.normal_(model.head.score.weight, std=0.5)
    nn.init.normal_(model.segmentation.classifier.weight, std=0.5)
    model.calibrate([batch()])
    return model.eval()


@pytest.mark.parametrize("size", [(70, 90), (90, 70), (96, 96), (130, 40)])
@pytest.mark.parametrize("classes", [[2], [1, 3], [3, 1]])
def test_a_class_that_is_absent_is_never_predicted(calibrated, size, classes):
    with torch.inference_mode():
        prob = calibrated.image_probabilities(random(3, *size), classes)
        absent = [c for c in range(1, CLASSES + 1) if c not in classes]
        assert prob.shape == (CLASSES + 1, *size)
        assert not prob[absent].any()
        assert all(prob[c].any() for c in [0, *classes])
        assert torch.allclose(prob.sum(0), torch.ones(size), atol=1e-5)
        assert prob.min() >= 0
        prob[absent] = 0  # what stage predict does


@pytest.mark.parametrize("score", [-4.0, 4.0])
def test_the_network_decides_by_its_scores(calibrated, score):
    nn.init.zeros_(calibrated.head.score.weight)
    with torch.no_grad():
        calibrated.head.score.bias[:] = torch.tensor([-4.0, score, -4.0])
    prob = calibrated.image_probabilities(random(3, 70, 90), [])
    if score < 0:
        assert (prob[0] == 1).all()
        assert not prob[1:].any()
    else:
        assert prob[2].any()
        assert not prob[[1, 3]].any()


def test_probabilities_are_put_together_from_single_passes(calibrated):
    image = random(3, 96, 96)
    with torch.inference_mode():
        found = calibrated.image_probabilities(image, [1, 3])
        together = calibrated.logits(image[None], torch.tensor([[1.0, 0, 1]])).softmax(1)[0, 0]
        alone = [calibrated.logits(image[None], torch.eye(CLASSES)[c : c + 1]).softmax(1)[0, 1] for c in (0, 2)]
    stack = torch.stack([together, *alone])
    assert torch.allclose(found[[0, 1, 3]], stack / stack.sum(0), atol=2e-4)


def test_padding_is_at_the_bottom_and_the_right(calibrated):
    image = random(3, 48, 96)
    square = torch.cat([image, torch.zeros(3, 48, 96)], 1)
    found = calibrated.image_probabilities(image, [1])
    assert torch.equal(found, calibrated.image_probabilities(square, [1])[:, :48])
    image = random(3, 96, 48)
    square = torch.cat([image, torch.zeros(3, 96, 48)], 2)
    found = calibrated.image_probabilities(image, [1])
    assert torch.equal(found, calibrated.image_probabilities(square, [1])[:, :, :48])


def test_underflow_everywhere_leaves_the_candidates_equal(calibrated):
    """Background is 0 in the common pass and each class is 0 in its own: no NaN, and no other class."""
    calibrated.decode = lambda encoded, labels: torch.stack(
        [torch.full((96, 96), v) for v in (-200.0, 200.0, 200.0, -200.0, 200.0, -200.0)]
    ).view(3, 2, 96, 96)
    prob = calibrated.image_probabilities(random(3, 96, 96), [1, 3])
    assert torch.allclose(prob[[0, 1, 3]], torch.full((3, 96, 96), 1 / 3))
    assert not prob[2].any()


def test_dropout_of_a_backbone_is_off_in_training():
    with torch.device("meta"):
        model = decouplednet.build(backbone=resnet38.build(), **SMALL)
    assert not any(module.training for module in model.train().backbone.modules())
