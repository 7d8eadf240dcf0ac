"""Figure of one subject's brain: r of each stage on slices and on the cortical surface.

Slices are on the MNI template or, for images in a space of their own, on the images; surfaces are
those of fsaverage5. nilearn contains both, so nothing is downloaded.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from neuromusic.core.figures import (
    FONT_SIZE,
    MM_PER_INCH,
    PAGE_MM,
    FigureStyle,
    save,
    styled,
    wrapped,
)
from neuromusic.encoding.atlas import standard_space
from neuromusic.fmri.voxel_space import VoxelSpace, read_image

COLOURS = "inferno"  # from black to yellow on the grey brain
TOP = 0.9  # of COLOURS: its end is hardly distinct from white
SIDES = ("left", "right")
# fsaverage has the vertices of fsaverage6 first, and that those of fsaverage5, in the same order.
FSAVERAGE_VERTICES = (10_242, 40_962, 163_842)
FSAVERAGE5 = FSAVERAGE_VERTICES[0]
DEPTHS = 10  # between the white and the pial surface at which voxels are read
ROW_MM, HEAD_MM, FOOT_MM, NAME_MM = 30.0, 8.0, 14.0, 15.0
ZOOM = 1.25  # of the surfaces

Floats = NDArray[np.floating]
Surfaces = Mapping[str, Floats]  # side -> (vertices,)


@dataclass(frozen=True)
class BrainMaps:
    """Maps of one subject in one space.

    Parameters
    ----------
    space : VoxelSpace
        The voxels or vertices.
    voxels : array (n,)
        Indices of those that have values.
    values : mapping of arrays (n,)
        Title of a row -> values; NaN is not drawn.
    """

    space: VoxelSpace
    voxels: NDArray[np.int64]
    values: Mapping[str, Floats]

    def whole(self, title: str) -> Floats:
        """Return the values of all voxels of the space; NaN where there are none."""
        values = np.full(self.space.n_voxels, np.nan)
        values[self.voxels] = self.values[title]
        return values


def why_not_drawn(maps: BrainMaps) -> str:
    """Return why no figure can be drawn; empty if one can."""
    if not any(np.isfinite(values).any() for values in maps.values.values()):
        return "no voxel is significant"
    if maps.space.kind == "array":
        return "the images are arrays without places"
    if maps.space.kind == "cifti":
        return "the images are grayordinates; open the maps in Connectome Workbench"
    if maps.space.kind == "surface" and (
        len(maps.space.shape) != 2 or not set(maps.space.shape) <= set(FSAVERAGE_VERTICES)
    ):
        return "the surfaces are not fsaverage, fsaverage6 or fsaverage5 with both hemispheres"
    return ""


def save_brain(
    maps: BrainMaps, title: str, label: str, stem: Path, style: FigureStyle
) -> list[Path]:
    """Draw a figure that can be drawn and write it; return the files. See `brain`."""
    return save(brain(maps, title, label, style), stem, style)


@styled
def brain(maps: BrainMaps, title: str, label: str, style: FigureStyle) -> Figure:
    """Draw one row per map: three orthogonal slices and both hemispheres, as far as they exist.

    Parameters
    ----------
    maps : BrainMaps
        The maps; colours go from 0 to the largest value of all.
    title : str
        Title of the figure.
    label : str
        Label of the colours, with the unit.
    style : FigureStyle
        Width of the figure.
    """
    width = style.width(PAGE_MM)
    is_volume = maps.space.kind == "volume"
    background, is_mni = _background(maps.space) if is_volume else (None, False)
    cut = _peak(maps) if is_volume else None
    if cut is not None:
        place_mm = ", ".join(f"{x:.0f}".replace("-", "\N{MINUS SIGN}") for x in cut)
        on = "the MNI template" if is_mni else "the images, which are in a space of their own"
        title += f"\nslices at x, y, z = {place_mm} mm on {on}"
    title = wrapped(title, width)
    row_mm = ROW_MM * min(1.0, width / PAGE_MM) if is_mni else ROW_MM
    head_mm = HEAD_MM + 4 * title.count("\n")
    height = head_mm + row_mm * len(maps.values) + FOOT_MM
    # nilearn arranges its axes itself, so there is no layout engine.
    figure = Figure(figsize=(width / MM_PER_INCH, height / MM_PER_INCH))
    figure.suptitle(title, y=1 - 2 / height, va="top")
    high = max(float(np.nanmax(v)) for v in maps.values.values() if np.isfinite(v).any())
    norm = Normalize(0, high)
    for row, name in enumerate(maps.values):
        bottom = (height - head_mm - row_mm * (row + 1)) / height
        place = _Place(figure, bottom, 0.96 * row_mm / height, NAME_MM / width)
        figure.text(1 / width, bottom + 0.48 * row_mm / height, name, va="center")
        if is_volume:
            right = 0.6 if is_mni else 1.0
            _draw_slices(place, right, maps, name, background, cut, high)
        if is_mni or not is_volume:
            sides = _surfaces(maps, name)
            _draw_surfaces(place, 0.6 if is_volume else NAME_MM / width, sides, high)
    axis = figure.add_axes((0.3, 9 / height, 0.4, 2.5 / height))
    bar = figure.colorbar(ScalarMappable(norm, _colours()), cax=axis, orientation="horizontal")
    bar.set_label(label)
    return figure


@dataclass(frozen=True)
class _Place:
    """A row of the figure, in shares of its size."""

    figure: Figure
    bottom: float
    height: float
    left: float


def _colours() -> Any:
    import matplotlib
    from matplotlib.colors import ListedColormap

    return ListedColormap(matplotlib.colormaps[COLOURS](np.linspace(0.15, TOP, 256)), "stages")


# --- Slices ---------------------------------------------------------------------------------------


def _background(space: VoxelSpace) -> tuple[Any, bool]:
    """Return the image below the slices, and whether it is the MNI template."""
    from nilearn import datasets, image

    example = read_image(space.files[0])
    if standard_space(space.files[0].name, example):
        return datasets.load_mni152_template(resolution=2), True
    return (image.mean_img(example, copy_header=True) if example.ndim == 4 else example), False


def _peak(maps: BrainMaps) -> tuple[float, ...]:
    """Return the place (x, y, z) in mm of the largest value of all maps."""
    every = np.array([np.nan_to_num(values, nan=-np.inf) for values in maps.values.values()])
    voxel = int(maps.voxels[every.max(0).argmax()])
    ijk = np.unravel_index(voxel, maps.space.shape)
    assert maps.space.affine is not None  # a volume
    return tuple(float(x) for x in (maps.space.affine @ [*ijk, 1])[:3])


def _image(maps: BrainMaps, name: str) -> Any:
    import nibabel

    values = maps.whole(name).reshape(maps.space.shape).astype(np.float32)
    return nibabel.Nifti1Image(values, maps.space.affine)


def _draw_slices(
    place: _Place, right: float, maps: BrainMaps, name: str, background: Any, cut: Any, high: float
) -> None:
    from nilearn import plotting

    axis = place.figure.add_axes((place.left, place.bottom, right - place.left, place.height))
    with np.errstate(all="ignore"):
        drawn = plotting.plot_stat_map(
            _without_nan(_image(maps, name)), bg_img=background, axes=axis, cut_coords=cut,
            display_mode="ortho", threshold=1e-6, vmin=0, vmax=high, cmap=_colours(),
            colorbar=False, annotate=False, draw_cross=False, black_bg=False,
            symmetric_cbar=False, resampling_interpolation="nearest",
        )  # fmt: skip
    drawn.annotate(size=FONT_SIZE - 1, left_right=True, positions=False)


def _without_nan(image: Any) -> Any:
    import nibabel

    return nibabel.Nifti1Image(np.nan_to_num(image.get_fdata(dtype=np.float32)), image.affine)


# --- Surfaces -------------------------------------------------------------------------------------


def _surfaces(maps: BrainMaps, name: str) -> Surfaces:
    """Return a map on the vertices of fsaverage5, by side; NaN where there is no value."""
    if maps.space.kind == "surface":
        parts = np.split(maps.whole(name), np.cumsum(maps.space.shape)[:-1])
        return {side: part[:FSAVERAGE5] for side, part in zip(SIDES, parts, strict=True)}
    image = _image(maps, name)
    values = image.get_fdata(dtype=np.float32)
    meshes = _fsaverage5()
    return {
        side: _at_vertices(values, image.affine, meshes[f"pial_{side}"], meshes[f"white_{side}"])
        for side in SIDES
    }


def _at_vertices(
    values: NDArray[np.float32], affine: NDArray[np.float64], pial: Any, white: Any
) -> NDArray[np.float64]:
    """Return the mean of the voxels between the two surfaces at each vertex; NaN without a value.

    nilearn's `vol_to_surf` extrapolates at the edge of a mask (linear), or fails at vertices
    outside it (nearest).
    """
    from nibabel.affines import apply_affine
    from nilearn.surface import load_surf_mesh

    outer, inner = (np.asarray(load_surf_mesh(mesh).coordinates) for mesh in (pial, white))
    depths = np.linspace(0, 1, DEPTHS)[:, None, None]
    places = np.rint(apply_affine(np.linalg.inv(affine), inner + depths * (outer - inner)))
    inside = ((places >= 0) & (places < values.shape)).all(2)
    i, j, k = np.where(inside[..., None], places, 0).astype(int).transpose(2, 0, 1)
    sampled = np.where(inside, values[i, j, k], np.nan)
    n_values = np.isfinite(sampled).sum(0)
    return np.where(n_values > 0, np.nansum(sampled, axis=0) / np.maximum(n_values, 1), np.nan)


def _fsaverage5() -> Any:
    from nilearn import datasets

    return datasets.fetch_surf_fsaverage("fsaverage5")  # part of nilearn


def _draw_surfaces(place: _Place, left: float, sides: Surfaces, high: float) -> None:
    """Draw both hemispheres, inflated, side by side from ``left`` to the right end."""
    from nilearn import plotting

    meshes = _fsaverage5()
    width = (1 - left) / len(SIDES)
    for number, side in enumerate(SIDES):
        box = (left + number * width, place.bottom, width, place.height)
        axis: Any = place.figure.add_axes(box, projection="3d")
        values = np.nan_to_num(sides[side], nan=0.0)
        plotting.plot_surf_stat_map(
            meshes[f"infl_{side}"], values, hemi=side, view="lateral", axes=axis,
            bg_map=meshes[f"sulc_{side}"], threshold=1e-6, vmin=0, vmax=high, cmap=_colours(),
            colorbar=False, symmetric_cbar=False, engine="matplotlib",
        )  # fmt: skip
        for collection in axis.collections:
            collection.set_rasterized(True)  # thousands of triangles
        axis.set_box_aspect(None, zoom=ZOOM)
        axis.set_title(f"{side} hemisphere", fontsize=FONT_SIZE - 1, y=0.93)
