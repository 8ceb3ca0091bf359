"""Patches, crops, gathering and nearest-neighbour resizing: linear operations, each with its adjoint."""

from __future__ import annotations

from ca_numpy.engine.autograd import Op, defvjp

unfold = Op("unfold")
fold = Op("fold")
defvjp(unfold, lambda g, y, x, ksize, geometry: fold(g, size=x.shape[1:3], geometry=geometry))
defvjp(fold, lambda h, y, g, size, geometry: unfold(h, ksize=g.shape[3:5], geometry=geometry))

crop = Op("crop")
uncrop = Op("uncrop")
defvjp(crop, lambda g, y, x, corners, size: uncrop(g, corners=corners, size=x.shape[1:3]))
defvjp(uncrop, lambda h, y, g, corners, size: crop(h, corners=corners, size=g.shape[1:3]))

gather = Op("gather")
scatter_add = Op("scatter_add")
defvjp(gather, lambda g, y, x, index, axis: scatter_add(g, index=index, axis=axis, length=x.shape[axis]))
defvjp(scatter_add, lambda h, y, g, index, axis, length: gather(h, index=index, axis=axis))

resize_nearest = Op("resize_nearest")
resize_nearest_adjoint = Op("resize_nearest_adjoint")
defvjp(
    resize_nearest,
    lambda g, y, x, size, align_corners: resize_nearest_adjoint(g, size=x.shape[1:3], align_corners=align_corners),
)
defvjp(
    resize_nearest_adjoint,
    lambda h, y, g, size, align_corners: resize_nearest(h, size=g.shape[1:3], align_corners=align_corners),
)
