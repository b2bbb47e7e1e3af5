"""What is known of PASCAL VOC 2012 before a file is read: class names, split sizes, digests of the lists."""

CLASSES = (
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
"""Foreground classes; class id = position + 1, 0 = background."""

SPLITS = {
    "train_aug": (10582, "d1326bd532648d73bc4b1bd275434eba81930982dc7401a65a8cecb26c028e24"),
    "train": (1464, "aa623bd2c8ce4443a8aaae51c524c0eb165e8e44caf6aa9e3ad33d7b75a3ef20"),
    "val": (1449, "cdc1326d12f69ce5153aa5da04a4d8783e146868d42d19f82f44e74b97ac907d"),
    "test": (1456, "5e8fe0c14b2e6633fb2e3a0f5db65fb6b8f5217b574478bb21127a48fd33010f"),
}
"""Number of images, and SHA-256 of the sorted ids, each followed by a newline.

train_aug: the list that irn, psa, SEAM and vwe share (jiwoon-ahn/irn, voc12/train_aug.txt); the others as in
VOC's ImageSets/Segmentation.
"""
