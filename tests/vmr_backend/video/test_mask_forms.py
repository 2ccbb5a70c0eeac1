"""Masks in the forms that people have them: each is read as what it is, one line says how, or it is refused."""

import cv2
import numpy as np
import pytest
from PIL import Image
from tiny_clips import HEIGHT, WIDTH, film, pose, texture, write_images, write_video

from vmr_backend.job import BadInput
from vmr_backend.video.clip import open_clip
from vmr_backend.video.footage import load_footage
from vmr_backend.video.masks import load_masks
from vmr_backend.video.subjects import Choice

COUNT = 6
CUT_OUTS = "masks: read as cut-outs: everything that is not {} is the subject"
ONE_LABEL = "masks: read as labels: the one there is, {}, is the subject"
ALPHA = "masks: read by their alpha: what is not transparent is the subject"
COLOURS = "found several subjects, with the labels 1: red ({0}, 0, 0), 2: green (0, {0}, 0); needs the one to take"
RED, GREEN, WHITE, BLACK = (200, 0, 0), (0, 200, 0), (255, 255, 255), (0, 0, 0)
ONE = film([pose(50 + 2 * t, 48, 5 * t) for t in range(COUNT)])
SUBJECT = [mask > 0 for mask in ONE.masks]
BEHIND = [mask & (np.arange(WIDTH) < 50 + 2 * t) for t, mask in enumerate(SUBJECT)]
FRONT = [mask & ~behind for mask, behind in zip(SUBJECT, BEHIND, strict=True)]
SOFT = [cv2.GaussianBlur(mask, (0, 0), 1.5) for mask in ONE.masks]
RING = [cv2.dilate(m, np.ones((7, 7))) - cv2.erode(m, np.ones((3, 3))) > 0 for m in ONE.masks]


def painted(colour, background=BLACK, where=SUBJECT):
    """RGB images of a colour, or of a picture in each, on a background."""
    colours = colour if isinstance(colour, list) else [colour] * COUNT
    return [np.where(mask[..., None], inside, background).astype(np.uint8)
            for mask, inside in zip(where, colours, strict=True)]


def greys(first, second=0, kind=np.uint8):
    return [(front * first + behind * second).astype(kind) for front, behind in zip(FRONT, BEHIND, strict=True)]


def two_colours(background=BLACK):
    return [np.where(b[..., None], GREEN, image).astype(np.uint8)
            for b, image in zip(BEHIND, painted(RED, background, FRONT), strict=True)]


def with_alpha(images, alphas):
    return [np.dstack([image, alpha.astype(np.uint8)]) for image, alpha in zip(images, alphas, strict=True)]


def blurred(images, sigma=0.8):
    return [cv2.GaussianBlur(image, (0, 0), sigma) for image in images]


def pillow_images(folder, images, **options):
    folder.mkdir()
    for number, image in enumerate(images):
        image.save(folder / f"{number:05d}.png", **options)
    return folder


def palette_images(folder, labels, *colours, **options):
    """PNG files of indices; `colours` of the first labels."""
    images = []
    for label in labels:
        image = Image.frombytes("P", (WIDTH, HEIGHT), label.tobytes())
        image.putpalette(np.ravel(colours).tolist())
        images.append(image)
    return pillow_images(folder, images, **options)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return open_clip(write_images(tmp_path_factory.mktemp("clip"), ONE.frames))


@pytest.fixture
def read(clip):
    """What is said of masks, and the least share in which a frame's mask agrees with the true one."""
    def read_them(path, subject=SUBJECT, choice=None):
        masks = load_masks(path, clip, clip.numbers, choice)
        found = [facts.mask() > 0 for facts in masks.facts.values()]
        shares = [(mask & true).sum() / (mask | true).sum() for mask, true in zip(found, subject, strict=True)]
        return masks.notes, min(shares)
    return read_them


@pytest.fixture
def refused(read):
    def refuse(path, choice=None):
        with pytest.raises(BadInput) as caught:
            read(path, choice=choice)
        assert "\n" not in str(caught.value)
        return str(caught.value)
    return refuse


PLAIN = {
    "white": (ONE.masks, ".png"),
    "light grey": (greys(200, 200), ".png"),
    "soft": (SOFT, ".png"),
    "very soft": (blurred(ONE.masks, 3), ".png"),
    "soft, of 16 bit": ([mask.astype(np.uint16) * 257 for mask in SOFT], ".png"),
    "JPEG": (ONE.masks, ".jpg"),
    "soft JPEG": (SOFT, ".jpg"),
    "RGB": (painted(WHITE), ".png"),
    "WebP": (painted(WHITE), ".webp"),
    "TIFF": (ONE.masks, ".tif"),
    "opaque RGBA": (with_alpha(painted(WHITE), [np.full(m.shape, 255) for m in SUBJECT]), ".png"),
    "RGBA of alpha 0 throughout": (with_alpha(painted(WHITE), [0 * m for m in SUBJECT]), ".png"),
    "noisy": ([np.clip(m + np.random.default_rng(0).normal(0, 6, m.shape), 0, 255).astype(np.uint8)
               for m in ONE.masks], ".png"),
    "dirty": ([m | (np.random.default_rng(0).random(m.shape) < 0.002) for m in ONE.masks], ".png"),
}


@pytest.mark.parametrize("form", PLAIN)
def test_white_on_black_needs_no_word(tmp_path, read, form):
    images, suffix = PLAIN[form]
    notes, share = read(write_images(tmp_path, images, "{:05d}" + suffix))
    assert notes == [] and share > (0.93 if "soft" in form else 0.98)


def test_masks_of_1_bit_need_no_word(tmp_path, read):
    assert read(pillow_images(tmp_path / "m", [Image.fromarray(m) for m in SUBJECT])) == ([], 1)


@pytest.mark.parametrize("codec", ["mp4v", "MJPG", "FFV1"])
@pytest.mark.parametrize("images", [ONE.masks, SOFT])
def test_compressed_movies_of_white_on_black_need_no_word(tmp_path, read, codec, images):
    notes, share = read(write_video(tmp_path / "m.avi", images, codec=codec))
    assert notes == [] and share > 0.95


SAID = {
    "0 and 1": (greys(1, 1), ONE_LABEL.format(1)),
    "0 and 8": (greys(8, 8), ONE_LABEL.format(8)),
    "0 and 1 of 16 bit": (greys(1, 1, np.uint16), ONE_LABEL.format(1)),
    "alpha": (with_alpha(ONE.frames, ONE.masks), ALPHA),
    "white on nothing": (with_alpha(painted(WHITE, WHITE), ONE.masks), ALPHA),
    "black on nothing": (with_alpha(painted(BLACK), ONE.masks), ALPHA),
    "premultiplied": (with_alpha([(f * (s[..., None] / 255)).astype(np.uint8)
                                  for f, s in zip(ONE.frames, SOFT, strict=True)], SOFT), ALPHA),
    "cut-outs": (painted(ONE.frames), CUT_OUTS.format("black")),
    "dark cut-outs": (painted([f // 4 for f in ONE.frames]), CUT_OUTS.format("black")),
    "cut-outs with soft edges": (blurred(painted(ONE.frames)), CUT_OUTS.format("black")),
    "cut-outs in grey": ([cv2.cvtColor(f, cv2.COLOR_RGB2GRAY) * m for f, m in zip(ONE.frames, SUBJECT, strict=True)],
                         CUT_OUTS.format("black")),
    "cut-outs on white": (painted(ONE.frames, WHITE), CUT_OUTS.format("white")),
    "cut-outs on green": (painted(ONE.frames, (0, 255, 0)), CUT_OUTS.format("green (0, 255, 0)")),
    "one colour": (painted(RED), "masks: read as red (200, 0, 0) on black: what is brighter than half of that is the "
                                 "subject"),
    "dark grey": (greys(100, 100), "masks: read as grey (100, 100, 100) on black: what is brighter than half of that "
                                   "is the subject"),
    "black on white": (painted(BLACK, WHITE), "masks: read as black on white: everything that is not white is the "
                                              "subject"),
}


@pytest.mark.parametrize("form", SAID)
def test_a_line_says_how_other_masks_are_read(tmp_path, read, form):
    images, line = SAID[form]
    notes, share = read(write_images(tmp_path, images))
    assert notes == [line] and share > (0.85 if "soft" in form else 0.93 if form == "premultiplied" else 0.99)


@pytest.mark.parametrize("images", ["cut-outs", "cut-outs on white", "one colour", "dark grey", "black on white"])
def test_they_are_read_alike_where_they_were_compressed(tmp_path, read, images):
    images, line = SAID[images]
    for path in (write_images(tmp_path / "jpeg", images, "{}.jpg"),
                 write_video(tmp_path / "m.avi", images, codec="MJPG")):
        (note,), share = read(path)
        assert note.split("(")[0] == line.split("(")[0] and share > 0.93


def test_a_movie_of_labels_0_and_1_is_read_by_them(tmp_path, read):
    assert read(write_video(tmp_path / "m.avi", greys(1, 1), codec="FFV1")) == ([ONE_LABEL.format(1)], 1)


def test_a_palette_with_one_label_is_read_by_it(tmp_path, read):
    colours = [BLACK] * 8 + [(64, 0, 0)]
    assert read(palette_images(tmp_path / "m", greys(8, 8), *colours)) == ([ONE_LABEL.format(8)], 1)
    # All colours of the palette are alike: the index is all there is.
    assert read(palette_images(tmp_path / "black", greys(8, 8), *[BLACK] * 9)) == ([ONE_LABEL.format(8)], 1)


def test_a_palette_of_greys_is_white_on_black(tmp_path, read):
    assert read(palette_images(tmp_path / "m", greys(1, 1), BLACK, WHITE)) == ([], 1)
    assert read(palette_images(tmp_path / "flipped", [1 - m for m in greys(1, 1)], WHITE, BLACK)) == ([], 1)


def test_grey_with_alpha_is_read_by_its_alpha(tmp_path, read):
    pairs = [Image.merge("LA", (Image.fromarray(m), Image.fromarray(m))) for m in ONE.masks]
    assert read(pillow_images(tmp_path / "m", pairs)) == ([ALPHA], 1)


@pytest.mark.parametrize("kind", ["grey", "palette"])
def test_void_counts_neither_as_subject_nor_as_background(tmp_path, clip, kind):
    labels = [np.where(ring, 255, mask).astype(np.uint8) for ring, mask in zip(RING, greys(1, 1), strict=True)]
    masks = write_images(tmp_path / "m", labels) if kind == "grey" else palette_images(
        tmp_path / "m", labels, *[BLACK, (128, 0, 0), *[BLACK] * 253, (224, 224, 192)])
    found = load_masks(masks, clip, clip.numbers)
    assert found.notes == [ONE_LABEL.format(1) + "; 255 counts neither as subject nor as background"]
    for facts, ring, subject in zip(found.facts.values(), RING, SUBJECT, strict=True):
        np.testing.assert_array_equal(facts.others.mask() > 0, ring)
        np.testing.assert_array_equal(facts.mask() > 0, subject & ~ring)


TWO = {
    "colours": (two_colours(), 200, ".png"),
    "soft colours": (blurred(two_colours()), 200, ".png"),
    "colours on nothing": (with_alpha(two_colours(WHITE), ONE.masks), 200, ".png"),
    "colours on white": (two_colours(WHITE), 200, ".png"),
    "JPEG": (two_colours(), 200, ".jpg"),
}


@pytest.mark.parametrize("form", TWO)
def test_colours_are_labels_and_one_is_asked_for(tmp_path, read, refused, form):
    images, level, suffix = TWO[form]
    masks = write_images(tmp_path, images, "{:05d}" + suffix)
    assert form == "JPEG" or COLOURS.format(level) in refused(masks)
    assert "with the labels 1: red (" in refused(masks) and ", 2: green (" in refused(masks)
    for label, subject in ((1, FRONT), (2, BEHIND)):
        notes, share = read(masks, subject, Choice(label))
        assert notes == [] and share > 0.95
    assert "found no subject 3; the labels are 1: red (" in refused(masks, Choice(3))


def test_colours_are_numbered_alike_whichever_frames_are_read(tmp_path, read, refused):
    images = two_colours()
    masks = write_images(tmp_path, [*images, *[painted(GREEN)[0]] * 60])
    assert "1: red (200, 0, 0), 2: green (0, 200, 0)" in refused(masks)
    third = np.where(RING[0][..., None], (200, 200, 0), painted(GREEN)[0]).astype(np.uint8)
    write_images(tmp_path, [third], numbers=[51])
    assert "1: red (200, 0, 0), 2: yellow (200, 200, 0), 3: green (0, 200, 0)" in refused(masks)


def test_palettes_that_differ_from_image_to_image_are_read_as_their_colours(tmp_path, read, refused):
    """As optimisers of PNG files write them."""
    masks = palette_images(tmp_path / "m", greys(1, 2), BLACK, RED, GREEN)
    other = palette_images(tmp_path / "other", greys(2, 1), BLACK, GREEN, RED)
    (other / "00002.png").replace(masks / "00002.png")
    assert COLOURS.format(200) in refused(masks)
    assert read(masks, FRONT, Choice(1)) == ([], 1)


def test_a_transparent_background_of_a_palette_leaves_its_labels(tmp_path, refused):
    masks = palette_images(tmp_path / "m", greys(1, 2), BLACK, RED, GREEN, transparency=0)
    assert "found several subjects, with the labels 1, 2; needs" in refused(masks)


@pytest.mark.parametrize(("first", "second", "kind"), [
    (100, 200, np.uint8), (40, 41, np.uint8), (1, 2, np.uint16), (26001, 26002, np.uint16)])
def test_grey_labels_are_listed_by_their_value(tmp_path, read, refused, first, second, kind):
    masks = write_images(tmp_path, greys(first, second, kind))
    assert f"found several subjects, with the labels {first}, {second}; needs" in refused(masks)
    assert read(masks, BEHIND, Choice(second)) == ([], 1)


def test_grey_labels_that_were_compressed_are_told_apart_too(tmp_path, read, refused):
    masks = write_images(tmp_path, greys(100, 200), "{}.jpg")
    assert "found several subjects, with the labels 100, 200; needs" in refused(masks)
    assert read(masks, BEHIND, Choice(200))[1] > 0.95


CHECKS = (np.indices((HEIGHT, WIDTH)) // 8).sum(0) % 2 * 51 + 204
NO_MASKS = {
    "the clip's own frames": ONE.frames,
    "frames between black bars": [f * (abs(np.arange(HEIGHT) - 48) < 36)[:, None, None] for f in ONE.frames],
    "a coloured subject in its frame": painted([f // 2 + np.uint8([0, 0, 100]) for f in ONE.frames],
                                               texture(2)[:HEIGHT, :WIDTH]),
    "cut-outs on a painted checkerboard": painted(ONE.frames, CHECKS[..., None]),
}


@pytest.mark.parametrize("what", NO_MASKS)
def test_pictures_in_which_nothing_tells_the_subject_are_refused(tmp_path, refused, what):
    line = refused(write_images(tmp_path, NO_MASKS[what]))
    assert f"{tmp_path}: found pictures in which nothing tells the subject from the rest; needs masks" in line


def test_floating_point_masks_are_refused(tmp_path, refused):
    for number, mask in enumerate(ONE.masks):
        Image.fromarray(mask.astype(np.float32) / 255).save(tmp_path / f"{number}.tif")
    assert "0.tif: found pixels of type float32; needs 8 or 16 bit integers" in refused(tmp_path)


def test_white_along_most_of_the_border_is_told(tmp_path, read):
    masks = [np.where(np.arange(HEIGHT)[:, None] > 20, 255, 0).repeat(WIDTH, 1).astype(np.uint8)] * COUNT
    (note,), _ = read(write_images(tmp_path, masks))
    assert "white on black, although the border is mostly white: invert them if the subject is black" in note


def test_footage_says_how_masks_were_read(tmp_path, clip):
    footage = load_footage(clip.path, write_images(tmp_path, greys(1, 1), numbers=range(1, 7)), crop_size=32)
    assert footage.notes == [
        "masks: numbered otherwise than the frames: 00001.png is taken for frame 0, and so on in order",
        ONE_LABEL.format(1)]
    assert load_footage(clip.path, write_images(tmp_path, ONE.masks, numbers=range(1, 7)), crop_size=32).notes[1:] == []
