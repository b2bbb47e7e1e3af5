"""Configuration files with typing errors, wrong types and impossible combinations, met by `wsss check`."""

from typing import Any

from tests.bad_input.case import Case, command, settings

RECIPE = ("recipes", "irn_cam")
GAP = ["gap_r50", "ms_irn"]
ROUNDS = {"each": ["decoupled_vgg16", "dn_masks"], "last": ["decoupled_vgg16", "dn_final"]}


def under(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """A nested mapping with one value."""
    for key in reversed(path):
        value = {key: value}
    return value


def key(name: str, path: str, value: Any, *says: str) -> Case:
    """The value under this path of keys, on top of config.yaml."""
    return Case(name, settings(under(tuple(path.split(".")), value)), says)


def recipe(name: str, change: dict[str, Any], *says: str) -> Case:
    """A change of one recipe."""
    return Case(name, settings(under(RECIPE, change)), says)


def row(name: str, *says: str, table: dict[str, Any] | None = None, **given: Any) -> Case:
    """A table with one row, which alone is made."""
    tables = {"a/b": {"title": "t", "rows": [{"row": "r"} | given]} | (table or {})}
    return Case(name, settings({"build": ["a/b"], "figures": {}, "tables": tables}), says)


def text(name: str, content: str | bytes, *says: str) -> Case:
    """A file with this content."""
    return Case(name, settings(content), says)


MAPPING = "must hold keys and values"
CASES = [
    text("YAML that is none", "seeds: [0", "overlay.yaml: is not valid YAML", "line 1"),
    text("YAML with a tabulator", "data:\n\ttrain: x\n", "overlay.yaml: is not valid YAML", "line 2"),
    text("key that stands twice", "seeds: [0]\nrounds: 2\nseeds: [1]\n", "key 'seeds' stands twice", "line 3"),
    text("key that stands twice, deep", "data:\n  train: a\n  train: b\n", "key 'train' stands twice", "line 3"),
    text(
        "YAML that would make an object", "seeds: !!python/object/apply:os.getcwd []\n", "is not valid YAML: could not"
    ),
    text("YAML that holds itself", "data: &a\n  evaluate: *a\n", "an anchor holds itself"),
    text("YAML nested too deep", "seeds: " + "[" * 5000, "overlay.yaml: is not valid YAML"),
    text("impossible date", "dataset: 2024-13-77\n", "overlay.yaml: is not valid YAML", "correct it"),
    text("empty file", "", "overlay.yaml: must hold keys and values, not NoneType"),
    text("list instead of keys", "- seeds\n", "overlay.yaml: must hold keys and values, not list"),
    text("photograph instead of YAML", b"\xff\xd8\xff\xe0", "overlay.yaml: is not valid YAML"),
    Case(
        "command that is not there", lambda root: command("warm", "nosuch"), ("error: nosuch: cannot be run", "active?")
    ),
    Case(
        "configuration that is not there", lambda root: command("check", "-c", "no.yaml"), ("no.yaml: cannot be read",)
    ),
    Case(
        "folder as configuration", lambda root: command("check", "-c", "own"), ("own: cannot be read (Is a directory)",)
    ),
    key("misspelt key", "seed", [1], "unknown key 'seed'; did you mean 'seeds'?"),
    key(
        "misspelt key of a recipe", "recipes.irn_cam.weight_dacay", 0.1, "recipes.irn_cam: ", "did you mean 'weight_dec"
    ),
    key("key that is a number", "evaluate.1", 2, "evaluate: unknown key '1'; valid: convention, holdout"),
    key("word for a number", "recipes.irn_cam.lr", "fast", "recipes.irn_cam.lr: ", "valid number", "not 'fast'"),
    key("comma in a number", "recipes.irn_cam.lr", "0,1", "recipes.irn_cam.lr: ", "not '0,1'"),
    key("truth value for a number", "recipes.irn_cam.lr", True, "recipes.irn_cam.lr: a number is needed, not a truth"),
    key("truth value for a seed", "seeds", [True], "seeds.0: a number is needed, not a truth value"),
    key("learning rate below zero", "recipes.irn_cam.lr", -1, "recipes.irn_cam.lr: ", "greater than 0, not -1"),
    key("learning rate without end", "recipes.irn_cam.lr", float("inf"), "recipes.irn_cam.lr: ", "finite number"),
    key("learning rate that is no number", "recipes.irn_cam.lr", float("nan"), "recipes.irn_cam.lr: ", "finite number"),
    key("half an epoch", "recipes.irn_cam.epochs", 5.5, "recipes.irn_cam.epochs: ", "valid integer", "5.5"),
    key("momentum of another name", "recipes.irn_cam.momentum", "x", "recipes.irn_cam.momentum: ", "'weight_decay'"),
    recipe("epochs and steps", {"steps": 5}, "recipes.irn_cam: give exactly one of 'epochs' and 'steps'"),
    recipe("passes that do not divide the batch", {"accumulate": 3}, "accumulate 3 does not divide batch 16"),
    recipe("resize with one value", {"augment": {"resize": {"values": [1.0]}}}, "resize long_side needs two values"),
    recipe("resize upside down", {"augment": {"resize": {"values": [640, 320]}}}, "[640.0, 320.0] must ascend; swap"),
    recipe("jitter of three numbers", {"augment": {"jitter": [1, 1, 1]}}, "augment.jitter.3: is missing; add it"),
    recipe("hue beyond the circle", {"augment": {"jitter": [1, 1, 1, 1]}}, "augment.jitter.3: ", "or equal to 0.5"),
    key(
        "recipe without its parts",
        "recipes.mine",
        {"epochs": 1, "batch": 2, "lr": 1, "weight_decay": 0},
        "recipes.mine.augment: is missing; add it",
    ),
    key("one value for a list", "seeds", 3, "seeds: must be a list; write [a, b], not 3"),
    key("list for keys", "data", [1], f"data: {MAPPING}"),
    key("nothing for keys", "classify.gap_r50", None, f"classify.gap_r50: {MAPPING}"),
    key("number for a name", "dataset", 2012, "dataset: must be text; quote it, not 2012"),
    key("name that leads elsewhere", "dataset", "../etc", "dataset: ", "not '../etc'"),
    key("name longer than a file's", "dataset", "x" * 300, "dataset: String should have at most 100 characters"),
    key("seed that stands twice", "seeds", [1, 1], "seeds: a seed stands twice"),
    key("no seed", "seeds", [], "seeds: "),
    key("seed below zero", "seeds", [-1], "seeds.0: ", "not -1"),
    key("seed beyond 32 bits", "seeds", [2**70], "seeds.0: Input should be less than 4294967296"),
    key("no rounds", "rounds", 0, "rounds: Input should be greater than or equal to 1, not 0"),
    key("unknown preset", "preset", "huge", "preset: there is no 'huge'; known: paper, small, tiny"),
    key("list of presets", "preset", ["tiny"], "preset: there is no '['tiny']'; known"),
    key("unknown source of data", "data.source", "imagenet", "data: ", "imagenet"),
    key("own data without its folder", "data", {"source": "own"}, "data.root: is missing; add it"),
    key(
        "class that is a number",
        "data",
        {"source": "own", "root": "x", "classes": [1]},
        "data.classes.0: must be text; quote it, not 1",
    ),
    key("key of another source", "data.root", "x", "data: unknown key 'root'; valid: train, evaluate"),
    key(
        "holder of maps that is no holder",
        "data.evaluate",
        {"val": "test"},
        "data.evaluate.val: 'test' must be 'val' it",
    ),
    key("split with a slash", "data.evaluate", {"a/b": "a/b"}, "data.evaluate.a/b: ", "not 'a/b'"),
    key("train_aug without SBD", "data.sbd", False, "data: sbd: false leaves no split train_aug; set train: train"),
    key("server's scores that are not there", "data.test_scores", "no.csv", "no.csv: cannot be read"),
    key("kernel of another library", "recipes.irn_cam.augment.interpolation", "bicubic", "not 'bicubic'"),
    key("way to merge that does not exist", "predict.msf.merge", "median", "predict.msf.merge: ", "not 'median'"),
    key("no shard", "data.shards", {"val": 0}, "data.shards.val: ", "greater than or equal to 1, not 0"),
    key("sides upside down", "data", {"source": "shapes", "size": [112, 64]}, "size: [112, 64]; give the shortest"),
    key("held-out images below zero", "evaluate.holdout", -1, "evaluate.holdout: ", "not -1"),
    key("backbone that does not exist", "classify.gap_r50.backbone", "r51", "'r51'; did you mean 'r50'?"),
    key("stride of seven", "classify.gap_r50.output_stride", 7, "classify.gap_r50.output_stride: Input should be 4, 8"),
    key(
        "two variants of one name", "cam.hard", {}, "variant 'hard' stands under both cam and pseudo; names must differ"
    ),
    key("variant with a slash", "cam.a/b", {}, "cam: 'a/b' cannot name a variant; use letters, digits and _"),
    key("variant that looks like a seed", "cam.seed_1", {}, "cam: 'seed_1' cannot name a variant"),
    key("background beyond one", "refine.crf_irn.background", 2.0, "refine.crf_irn.background: ", "not 2.0"),
    key("misspelt preset of the CRF", "predict.plain_crf.crf", "kazutoo", "predict.plain_crf.crf: ", "not 'kazutoo'"),
    key("no scale", "cam.ms_irn.scales", [], "cam.ms_irn.scales: "),
    key("scale of nothing", "cam.ms_irn.scales", [0], "cam.ms_irn.scales.0: ", "not 0"),
    key(
        "off that YAML reads as false",
        "cam.ms_irn.flip",
        False,
        "cam.ms_irn.flip: ",
        "'none', 'sum' or 'max', not False",
    ),
    key("build that matches nothing", "build", ["vwe/table99"], "build: no table or figure matches 'vwe/table99'"),
    key("nothing to build", "build", [], "build: "),
    key("table whose name leads elsewhere", "tables", {"../x": {"title": "t", "rows": []}}, "tables.../x: ", "'../x'"),
    key(
        "unknown option of a method",
        "classify.gap_r50.options.poolin",
        "gap",
        "classify.gap_r50.options.poolin: unknown",
    ),
    key(
        "option of a wrong type", "classify.gap_r50.options.pooling", "max", "options.pooling: Input should be 'gap' or"
    ),
    key(
        "truth value for an option", "classify.vwe_r50.options.words", True, "classify.vwe_r50.options.words: a number"
    ),
    key(
        "samples of a method that has none", "classify.gap_r50.data", {"x": 1}, "classify.gap_r50.data: cam has no opt"
    ),
    key(
        "method that does not exist", "refine.mine", {"method": "crff"}, "refine.mine.method: there is no method 'crff'"
    ),
    key("method of another stage", "refine.mine", {"method": "cam"}, "refine.mine.method: 'cam' cannot serve refine"),
    key(
        "start that does not exist",
        "segment.decoupled_vgg16.start",
        "cls",
        "segment.decoupled_vgg16.start: there is no",
    ),
    key(
        "weights of an unknown kind",
        "backbones.vgg16.weights",
        "w.h5",
        "backbones.vgg16.weights: 'w.h5' is neither none",
    ),
    row("row without a run", "row 'r' needs exactly one of chain, mean_of, quoted, pending"),
    row("row of nothing", "tables.a/b.rows.0.chain: ", chain=[]),
    row(
        "chain of an unknown variant", "tables.a/b, row 'r': there is no variant 'gap_r51'", chain=["gap_r51", "ms_irn"]
    ),
    row("chain in the wrong order", "'gap_r50' (classify) cannot follow cam", chain=[*GAP, "gap_r50"]),
    row("chain that has no score", "ends in gap_r50 (classify), which has no score", chain=["gap_r50"]),
    row(
        "refinement of labels",
        "'crf_psa' needs score maps, but 'crf_irn' before it makes labels",
        chain=[*GAP, "crf_irn", "crf_psa"],
    ),
    row(
        "pseudo labels that are the ground truth",
        "supervised is the ground truth itself; add a network",
        chain=["supervised"],
    ),
    row("ground truth behind maps", "'supervised' (pseudo) cannot follow cam", chain=[*GAP, "supervised"]),
    row("sides for a network of scales", "cam.sp_cam does not suit 'gap_r50'", chain=["gap_r50", "sp_cam"]),
    row("walk without its network", "'irn_walk' cannot follow 'ms_irn'", chain=[*GAP, "irn_walk"]),
    row(
        "rounds without a beginning",
        "row 'r': rounds need a chain to start from",
        quoted={"method": "x", "stage": "y"},
        rounds=ROUNDS,
    ),
    row("rounds without their number", "its name must hold {round}", chain=GAP, rounds=ROUNDS | {"every": True}),
    row(
        "number that no paper has",
        "tables.a/b, row 'r', published: ",
        "nearest: ",
        chain=GAP,
        published={"method": "x", "stage": "y"},
    ),
    row("number without its stage", "give the keys method and stage", chain=GAP, published={"method": "x"}),
    row(
        "misspelt split of a table",
        "tables.a/b.splits: there is no scored split 'trian'; did you mean 'train'?",
        chain=GAP,
        table={"splits": ["trian"]},
    ),
    row(
        "misspelt split of a row",
        "row 'r', splits: there is no scored split 'vall'; did you mean 'val'?",
        chain=GAP,
        splits=["vall"],
    ),
    row("unknown rule of thresholds", "tables.a/b.threshold: ", "not 'bestt'", chain=GAP, table={"threshold": "bestt"}),
    row("unknown measure", "rows.0.metric: ", "not 'iou'", chain=GAP, metric="iou"),
    row("row that stands twice", "tables.a/b: row 'r' stands twice", table={"rows": [{"row": "r", "chain": GAP}] * 2}),
]
