"""PASCAL VOC 2012 with SBD, from the mirrors of config/downloads.yaml, from tar files, or from a VOCdevkit.

OUTPUTS
    resources/downloads/<archive>, resources/{archive}/ (unpacked), resources/sbd_masks/<id>.png
    <results>/data/{manifest,ground_truth,splits}.csv, classes.txt
"""


rule data_fetch:
    """Bring {wildcards.file} from a mirror, or from the folder that holds the archives."""
    output:
        archive="resources/downloads/{file}",
    log:
        "<logs>/data/fetch/{file}.log",
    benchmark:
        "<benchmarks>/data/fetch/{file}.tsv"
    localrule: True
    conda:
        "../envs/wsss.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime="12h",
    params:
        config=archive_of,
        source=source("workflow_scripts/data_fetch.py"),
    script:
        "../workflow_scripts/data_fetch.py"


rule data_unpack:
    """Unpack what the project needs of {wildcards.archive}."""
    input:
        archive=file_of_archive,
    output:
        folder=directory("resources/{archive}"),
    log:
        "<logs>/data/unpack/{archive}.log",
    benchmark:
        "<benchmarks>/data/unpack/{archive}.tsv"
    wildcard_constraints:
        archive="voc_trainval|voc_test|sbd",
    conda:
        "../envs/wsss.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime="2h",
    params:
        config=unpacked_parts,
        source=source("workflow_scripts/data_unpack.py"),
    script:
        "../workflow_scripts/data_unpack.py"


rule data_sbd_masks:
    """Turn the masks of SBD into palette PNGs."""
    input:
        sbd="resources/sbd",
    output:
        masks=directory("resources/sbd_masks"),
    log:
        "<logs>/data/sbd_masks.log",
    benchmark:
        "<benchmarks>/data/sbd_masks.tsv"
    conda:
        "../envs/wsss.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime="2h",
    params:
        config={},
        source=source("workflow_scripts/data_sbd_masks.py"),
    script:
        "../workflow_scripts/data_sbd_masks.py"


rule data:
    """Manifest, splits, classes and ground truth of VOC 2012."""
    input:
        unpack(voc_folders),
    output:
        DATA,
        truth="<results>/data/ground_truth.csv",
    log:
        "<logs>/data/voc.log",
    benchmark:
        "<benchmarks>/data/voc.tsv"
    conda:
        "../envs/wsss.yaml"
    threads: 8
    resources:
        mem_mb=4000,
        runtime="1h",
    params:
        config={"verify_counts": SETTINGS.data.verify_counts},
        source=source("workflow_scripts/data_voc.py"),
    script:
        "../workflow_scripts/data_voc.py"
