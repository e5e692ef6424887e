"""OrganTemplate files: the same field comes back, damage and foreign content are refused, nothing is run."""

from __future__ import annotations

import json
import pickle
import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ReShapeITLib.core.errors import BadInputError
from ReShapeITLib.field.deform_template import FIELD_PRESETS, DeformTemplateField
from ReShapeITLib.templates.template import OrganTemplate, read_info
from Testing.oracles import MM_PER_UNIT, RADII, ellipsoid_surface, tiny_template


@pytest.fixture(scope="module")
def template():
    return tiny_template()


@pytest.fixture(scope="module")
def template_bytes(template, tmp_path_factory):
    path = tmp_path_factory.mktemp("template") / "organ.safetensors"
    template.save(path)
    return path.read_bytes()


def file_of(folder, content):
    path = folder / "organ.safetensors"
    path.write_bytes(content)
    return path


def compact_template(template):
    """The tiny template's description with an untrained model of the preset that templates are shipped in."""
    options = FIELD_PRESETS["compact"]
    codes = 0.3 * torch.randn(2, 100, options.code_size, generator=torch.Generator().manual_seed(0))
    points, normals = ellipsoid_surface(RADII[1], 4000, np.random.default_rng(0))
    return replace(
        template, model=DeformTemplateField(options), alpha=codes[0], beta=codes[1], points_unit=points, normals=normals
    )


def distances_mm(template, shape):
    points, _ = ellipsoid_surface(RADII[shape % len(RADII)], 1000, np.random.default_rng(1))
    points = torch.as_tensor(points * np.linspace(0.5, 1.4, 1000)[:, None], dtype=torch.float32)[None]
    with torch.no_grad():
        deform = template.model.deform_layers(template.alpha[shape : shape + 1], template.beta[shape : shape + 1])
        return template.model.values(deform, points)[0].numpy() * MM_PER_UNIT


# --------------------------------------------------------------------------------------------------- round trip


def test_the_description_comes_back_unchanged(tmp_path, template, template_bytes):
    loaded = OrganTemplate.load(file_of(tmp_path, template_bytes))
    assert loaded.info == template.info
    assert loaded.model.options == template.model.options


def test_codes_and_template_points_come_back_unchanged(tmp_path, template, template_bytes):
    loaded = OrganTemplate.load(file_of(tmp_path, template_bytes))
    assert torch.equal(loaded.alpha, template.alpha) and torch.equal(loaded.beta, template.beta)
    assert loaded.points_unit == pytest.approx(template.points_unit, abs=1e-7)
    assert loaded.normals == pytest.approx(template.normals, abs=1e-6)


@pytest.mark.parametrize("shape", range(3))
def test_the_loaded_field_has_the_same_distances(tmp_path, template, template_bytes, shape):
    loaded = OrganTemplate.load(file_of(tmp_path, template_bytes))
    assert np.abs(distances_mm(loaded, shape) - distances_mm(template, shape)).max() < 1e-4


def test_a_compact_template_keeps_its_distances_to_a_twentieth_mm(tmp_path, template):
    compact = compact_template(template)
    compact.save(tmp_path / "organ.safetensors")
    loaded = OrganTemplate.load(tmp_path / "organ.safetensors")
    for shape in range(3):
        assert np.abs(distances_mm(loaded, shape) - distances_mm(compact, shape)).max() < 0.05


def test_a_compact_template_takes_less_than_four_megabytes(tmp_path, template):
    compact_template(template).save(tmp_path / "organ.safetensors")
    assert (tmp_path / "organ.safetensors").stat().st_size < 4e6


def test_only_the_last_weights_of_the_hyper_network_are_stored_in_eight_bits(tmp_path, template):
    from safetensors import safe_open

    compact_template(template).save(tmp_path / "organ.safetensors")
    with safe_open(tmp_path / "organ.safetensors", framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    small = {name for name, tensor in tensors.items() if tensor.dtype == torch.int8}
    # Five layers; the last one of Deform has few weights, which stay in single precision.
    assert small == {f"model.hyper.mlps.{layer}.4.weight" for layer in range(4)}
    assert {tensor.dtype for name, tensor in tensors.items() if name not in small} == {torch.float32}


def test_eight_bits_move_no_weight_by_more_than_half_a_step_of_its_row(tmp_path, template):
    compact = compact_template(template)
    compact.save(tmp_path / "organ.safetensors")
    loaded = OrganTemplate.load(tmp_path / "organ.safetensors")
    before, after = compact.model.hyper.mlps[0][-1].weight, loaded.model.hyper.mlps[0][-1].weight
    step = before.abs().amax(dim=1, keepdim=True) / 127
    assert (after - before).abs().max() > 0
    assert ((after - before).abs() <= 0.501 * step).all()


def test_a_template_that_is_loaded_and_saved_again_has_the_same_checksum(tmp_path, template):
    digest = compact_template(template).save(tmp_path / "organ.safetensors")
    assert OrganTemplate.load(tmp_path / "organ.safetensors").save(tmp_path / "again.safetensors") == digest


def test_a_loaded_model_is_frozen(tmp_path, template_bytes):
    loaded = OrganTemplate.load(file_of(tmp_path, template_bytes))
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())


def test_saving_twice_gives_the_same_checksum_and_it_is_the_one_in_the_file(tmp_path, template, template_bytes):
    digest = template.save(tmp_path / "again.safetensors")
    assert read_info(tmp_path / "again.safetensors")[2] == digest
    assert read_info(file_of(tmp_path, template_bytes))[2] == digest


def test_a_template_file_has_the_permissions_of_any_new_file(tmp_path, template):
    template.save(tmp_path / "organ.safetensors")
    (tmp_path / "new").touch()
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("organ.safetensors", "new")]
    assert modes[0] == modes[1]


def test_a_failed_save_keeps_the_file_that_was_there(tmp_path, template, template_bytes):
    path = file_of(tmp_path, template_bytes)
    broken = replace(template, info=replace(template.info, training={"not json": object()}))
    with pytest.raises(TypeError):
        broken.save(path)
    assert path.read_bytes() == template_bytes
    assert [p.name for p in tmp_path.iterdir()] == ["organ.safetensors"]


def test_saving_into_a_folder_that_is_not_there_is_told(tmp_path, template):
    with pytest.raises(BadInputError, match="nowhere"):
        template.save(tmp_path / "nowhere" / "organ.safetensors")


# --------------------------------------------------------------------------------------------------- information


def test_information_is_read_without_the_tensors(tmp_path, template, template_bytes):
    size = 8 + int.from_bytes(template_bytes[:8], "little")
    nulled = template_bytes[:size] + bytes(len(template_bytes) - size)
    info, options, digest = read_info(file_of(tmp_path, nulled))
    assert info == template.info
    assert options == template.model.options
    assert len(digest) == 64
    with pytest.raises(BadInputError, match="checksum"):
        OrganTemplate.load(file_of(tmp_path, nulled))


@pytest.mark.parametrize(
    ("licence", "expected"),
    [("CC-BY-NC-4.0", True), ("CC-BY-NC-SA-4.0", True), ("CC BY-NC 4.0", True), ("CC-BY-4.0", False), ("CC0", False)],
)
def test_non_commercial_licences_are_known(template, licence, expected):
    assert replace(template.info, licence=licence).non_commercial is expected


# --------------------------------------------------------------------------------------------- damage and strangers


def flipped(content, position):
    changed = bytearray(content)
    changed[position] ^= 1
    return bytes(changed)


@pytest.mark.parametrize("place", [0.1, 0.5, 0.999])
def test_a_flipped_bit_in_the_data_is_noticed(tmp_path, template_bytes, place):
    start = 8 + int.from_bytes(template_bytes[:8], "little")
    position = start + int(place * (len(template_bytes) - start))
    with pytest.raises(BadInputError, match="organ.safetensors does not match its checksum"):
        OrganTemplate.load(file_of(tmp_path, flipped(template_bytes, position)))


@pytest.mark.parametrize("text", [b"CC0-1.0", b"generated", b"volumes_ml", b"first_omega", b"case3", b"as generated"])
def test_a_flipped_bit_in_the_description_is_noticed(tmp_path, template_bytes, text):
    position = template_bytes.index(text) + len(text) - 1
    with pytest.raises(BadInputError, match="organ.safetensors"):
        OrganTemplate.load(file_of(tmp_path, flipped(template_bytes, position)))


def test_a_flipped_bit_anywhere_in_the_header_is_noticed(tmp_path, template_bytes):
    size = 8 + int.from_bytes(template_bytes[:8], "little")
    for position in np.random.default_rng(0).choice(size, 60, replace=False):
        with pytest.raises(BadInputError):
            OrganTemplate.load(file_of(tmp_path, flipped(template_bytes, int(position))))


@pytest.mark.parametrize("kept", [0, 7, 300, -1])
def test_a_file_that_was_cut_short_is_refused(tmp_path, template_bytes, kept):
    with pytest.raises(BadInputError, match="organ.safetensors"):
        OrganTemplate.load(file_of(tmp_path, template_bytes[:kept]))


def test_a_template_on_another_device_leaves_the_one_that_is_kept_where_it_was(tmp_path, template_bytes):
    kept = OrganTemplate.load(file_of(tmp_path, template_bytes))
    moved = kept.to("meta")
    assert {weights.device.type for weights in moved.model.parameters()} == {"meta"}
    assert {weights.device.type for weights in kept.model.parameters()} == {"cpu"}
    assert kept.to("cpu").model is kept.model


def test_an_absent_file_is_named(tmp_path):
    for read in (OrganTemplate.load, read_info):
        with pytest.raises(BadInputError, match="no template file .*liver.safetensors"):
            read(tmp_path / "liver.safetensors")


def rewritten(template_bytes, change):
    """A file with a valid checksum whose tensors and description (a dict) went through ``change`` first."""
    from safetensors.torch import load, save

    from ReShapeITLib.io.weights_file import tensor_digest

    size = int.from_bytes(template_bytes[:8], "little")
    header = json.loads(json.loads(template_bytes[8 : 8 + size])["__metadata__"]["template"])
    tensors = load(template_bytes)
    change(tensors, header)
    text = json.dumps(header, sort_keys=True)
    return save(tensors, metadata={"template": text, "sha256": tensor_digest(tensors, text)})


def test_a_rewritten_file_without_a_change_is_read(tmp_path, template_bytes):
    OrganTemplate.load(file_of(tmp_path, rewritten(template_bytes, lambda tensors, header: None)))


@pytest.mark.parametrize("name", ["alpha", "beta", "points_unit", "normals", "model.temp.weights.1"])
def test_a_missing_tensor_is_named(tmp_path, template_bytes, name):
    path = file_of(tmp_path, rewritten(template_bytes, lambda tensors, header: tensors.pop(name)))
    with pytest.raises(BadInputError, match=f"organ.safetensors lacks parts.*{name.removeprefix('model.')}"):
        OrganTemplate.load(path)


@pytest.mark.parametrize("name", ["organ", "licence", "cases", "field"])
def test_a_missing_entry_of_the_description_is_refused(tmp_path, template_bytes, name):
    path = file_of(tmp_path, rewritten(template_bytes, lambda tensors, header: header.pop(name)))
    for read in (OrganTemplate.load, read_info):
        with pytest.raises(BadInputError, match="organ.safetensors"):
            read(path)


def test_a_tensor_of_the_wrong_size_is_refused(tmp_path, template_bytes):
    def change(tensors, header):
        tensors["model.temp.weights.1"] = torch.zeros(5, 5)

    with pytest.raises(BadInputError, match="temp.weights.1"):
        OrganTemplate.load(file_of(tmp_path, rewritten(template_bytes, change)))


def test_a_template_of_another_format_is_told_from_a_damaged_one(tmp_path, template_bytes):
    def change(tensors, header):
        header["format"] = "reshapeit-template-99"

    path = file_of(tmp_path, rewritten(template_bytes, change))
    for read in (OrganTemplate.load, read_info):
        with pytest.raises(BadInputError, match="reshapeit-template-1"):
            read(path)


def test_tensors_of_another_program_are_refused(tmp_path):
    from safetensors.torch import save

    with pytest.raises(BadInputError, match="not a template file"):
        OrganTemplate.load(file_of(tmp_path, save({"weights": torch.zeros(3)})))


class MakesFolder:
    """Makes a folder when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.mkdir, (self.path,)


@pytest.mark.parametrize("how", ["pickle", "torch.save"])
def test_a_pickle_is_refused_and_never_run(tmp_path, how):
    marker, path = tmp_path / "ran", tmp_path / "organ.safetensors"
    if how == "pickle":
        path.write_bytes(pickle.dumps(MakesFolder(marker)))
    else:
        torch.save({"model": MakesFolder(marker)}, path)
    for read in (OrganTemplate.load, read_info):
        with pytest.raises(BadInputError, match="not a template file or is damaged"):
            read(path)
    assert not marker.exists()
