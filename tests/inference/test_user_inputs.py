"""Images of a user: paths, PIL images and arrays become the inputs that training had, or are refused in one line."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from build import composed, make_source
from PIL import ExifTags, Image

from metabench.errors import DataError, UserError
from metabench.inference.inputs import prepare_inputs
from metabench.inference.targets import Classes, prepare_targets


@pytest.fixture(scope="module")
def glyphs():
    return make_source(composed("data=glyphs", "data.characters=40", "data.size=16"))


@pytest.mark.parametrize(("invert", "crop"), [(True, "null"), (False, "null"), (True, 2)])
def test_files_of_omniglot_become_the_inputs_of_training(invert, crop, small_omniglot, root, cache, monkeypatch):
    """From the raw drawing of a class, prepared as a user's picture, to the very numbers of the episodes."""
    monkeypatch.setenv("METABENCH_CACHE", str(cache))
    from metabench.data.images import raw
    from metabench.data.images.ingest import load_omniglot

    config = composed("data=omniglot", f"data.root={root}", f"data.invert={invert}", f"data.crop={crop}")
    monkeypatch.setattr("metabench.data.omniglot.read_split", lambda name: {"train": [], "validation": [], "test": []})
    monkeypatch.setattr("metabench.data.few_shot.FewShotImages._check", lambda self, split: None)
    source = make_source(config)
    bank = load_omniglot(
        str(root), size=28, resize="nearest", invert=invert, download=False, crop=crop if crop != "null" else 0
    )
    part, path = raw.located(root)[0]
    name, drawings = next(raw.read_part(part, path))
    found = prepare_inputs([Image.fromarray(drawing) for drawing in drawings], source)
    expected = bank.images[bank.names.index(name)].float().div(255).unsqueeze(1)
    assert torch.equal(found, expected)


def test_one_picture_in_every_form_is_one_input(glyphs, tmp_path):
    pixels = np.zeros((40, 30), dtype=np.uint8)
    pixels[5:20, 4:9] = 255
    picture = Image.fromarray(pixels)
    picture.save(tmp_path / "a.png")
    clear = Image.merge("LA", (picture, Image.new("L", picture.size, 255)))
    forms = [
        *(picture, picture.convert("RGB"), picture.convert("1"), clear, tmp_path / "a.png", str(tmp_path / "a.png")),
        *(pixels, torch.from_numpy(pixels), pixels.astype(np.int64), pixels > 0, pixels[..., None], pixels[None]),
        np.stack([pixels] * 3, axis=-1),
    ]
    found = prepare_inputs(forms, glyphs)
    assert found.shape == (len(forms), 1, 16, 16)
    assert found.dtype == torch.float32
    assert 0 <= found.min() < found.max() <= 1
    torch.testing.assert_close(found, found[:1].expand_as(found))
    assert torch.equal(prepare_inputs(np.stack([pixels] * 2), glyphs), found[:2])


def test_an_open_picture_is_upright_as_its_file_is(glyphs, tmp_path):
    pixels = np.zeros((40, 30), dtype=np.uint8)
    pixels[:9, :9] = 255
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6  # the camera was held sideways
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=turned)
    with Image.open(tmp_path / "a.png") as picture:
        found = prepare_inputs([tmp_path / "a.png", picture, Image.fromarray(pixels)], glyphs)
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_transparent_is_white(glyphs):
    assert prepare_inputs([Image.new("RGBA", (20, 20), (0, 0, 0, 0))], glyphs).eq(1).all()


def test_floats_are_inputs_already(glyphs):
    x = torch.rand(3, 1, 16, 16)
    assert torch.equal(prepare_inputs(x, glyphs), x)
    assert torch.equal(prepare_inputs(x[:, 0].numpy(), glyphs), x)
    assert torch.equal(prepare_inputs(list(x.double()), glyphs), x)


@pytest.mark.parametrize(
    ("images", "said"),
    [
        ([], "no images"),
        ("a.png", "a.png: is one image; give a list of images"),
        (["nowhere.png"], "nowhere.png: No such file or directory"),
        (
            torch.rand(2, 1, 28, 28),
            r"image 0 of shape \[1, 28, 28\]: floats are prepared inputs and should be \[1, 16, 16\]",
        ),
        (torch.full((1, 1, 16, 16), 255.0), "image 0: floats are 0 to 1"),
        (np.full((1, 9, 9), 300), "image 0: should have values of 0 to 255"),
        (np.zeros((1, 9, 9, 9), dtype=np.uint8), r"image 0 of shape \[9, 9, 9\]: should be \[H, W\]"),
        ([Image.new("I;16", (9, 9))], "image 0: a picture of mode I;16: should have 8 bits"),
        ([Image.new("I", (9, 9), 200)], "image 0: its pixels are 32-bit integers of unknown range"),
        (np.zeros((20, 20, 3), dtype=np.uint8), r"an array of shape \[20, 20, 3\]: is one image; give a list"),
        (torch.zeros((20, 20, 4), dtype=torch.uint8), r"an array of shape \[20, 20, 4\]: is one image; give a list"),
    ],
)
def test_what_is_no_picture_is_one_line(images, said, glyphs):
    with pytest.raises(UserError, match=said) as fault:
        prepare_inputs(images, glyphs)
    assert "\n" not in str(fault.value)


def test_a_damaged_picture_is_named(glyphs, tmp_path):
    picture = tmp_path / "half.png"
    Image.effect_noise((60, 60), 50).save(picture)
    picture.write_bytes(picture.read_bytes()[:900])
    with pytest.raises(DataError, match=r"half\.png: "):
        prepare_inputs([picture], glyphs)


def test_points_are_numbers():
    source = make_source(composed("data=sinusoid"))
    assert prepare_inputs([1, 2.5], source).tolist() == [[1], [2.5]]
    for points in (["a"], np.zeros((2, 2)), [], [np.inf]):
        with pytest.raises(UserError, match="inputs"):
            prepare_inputs(points, source)


PIXELS = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "form",
    {
        "mirrored": lambda a: a[:, ::-1].copy()[:, ::-1],
        "colours the other way": lambda a: np.ascontiguousarray(a[..., ::-1])[..., ::-1],
        "Fortran's order": np.asfortranarray,
        "another machine's bytes": lambda a: a.astype(">u2"),
        "not to be written": lambda a: np.asarray(Image.fromarray(a)),
    }.items(),
    ids=lambda form: form[0],
)
@pytest.mark.filterwarnings("error")
def test_an_array_may_lie_in_memory_as_it_likes(form, glyphs):
    assert torch.equal(prepare_inputs([form[1](PIXELS)], glyphs), prepare_inputs([PIXELS], glyphs))


@pytest.mark.filterwarnings("error")
def test_points_may_lie_in_memory_as_they_like():
    source = make_source(composed("data=sinusoid"))
    expected = torch.tensor([[0.5], [1.0], [-2.0]])
    x = np.array([-2.0, 1.0, 0.5], dtype=np.float32)[::-1]
    learned = torch.tensor(x.copy(), requires_grad=True)
    for form in (x, x.astype(">f4"), learned, learned.bfloat16(), [*learned], (0.5, 1, -2)):
        assert torch.equal(prepare_inputs(form, source), expected)
        assert torch.equal(prepare_targets(form, 1), expected)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (None, "image 0: should be real numbers, not NoneType"),
        ({}, "image 0: should be real numbers, not dict"),
        (b"abc", "image 0: should be real numbers, not bytes"),
        ([[1, 2], [3]], "image 0: should be numbers in rows of one length, not list"),
        (PIXELS[..., 0] * 1j, "image 0: should be real numbers, not complex128"),
        (Image.new("RGB", (0, 8)), "image 0: has no pixels"),
    ],
)
def test_what_holds_no_numbers_is_one_line(image, said, glyphs):
    with pytest.raises(UserError) as caught:
        prepare_inputs([image], glyphs)
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


def test_a_set_has_no_order(glyphs):
    with pytest.raises(UserError, match="images: should be a list of images, not set"):
        prepare_inputs({1, 2}, glyphs)
    with pytest.raises(UserError, match="labels: should be one value per image, not set"):
        Classes({"a", "b"})
