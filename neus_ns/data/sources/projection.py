"""A 3x4 projection matrix taken apart into lens, axes and position of the camera that has it."""

import numpy as np
from jaxtyping import Float
from numpy import ndarray


def split_projection(
    projection: Float[ndarray, "3 4"],
) -> tuple[Float[ndarray, "3 3"], Float[ndarray, "3 3"], Float[ndarray, "3"]]:
    """Intrinsics K (upper triangular, K[2, 2] = 1), world-to-camera rotation R and centre c with P ~ K R [I | -c].

    For matrices whose left part has a positive determinant: then R is a rotation, and points ahead have positive depth.
    """
    left = projection[:, :3]
    # RQ by QR of the matrix with rows reversed and transposed.
    orthogonal, upper = np.linalg.qr(left[::-1].T)
    intrinsics = upper.T[::-1, ::-1]
    rotation = orthogonal.T[::-1]
    # The decomposition leaves the signs of the axes open; a lens has positive focal lengths.
    signs = np.where(np.diag(intrinsics) < 0, -1.0, 1.0)
    intrinsics, rotation = intrinsics * signs, rotation * signs[:, None]
    centre = -np.linalg.solve(left, projection[:, 3])
    return intrinsics / intrinsics[2, 2], rotation, centre
