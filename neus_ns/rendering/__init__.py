"""From signed distances to pixels. The vocabulary of the whole package:

t_start, t_end  where a section begins and ends along its ray
sdf             signed distance at the section's midpoint, positive outside
inv_s           sharpness s of NeuS's logistic density (one over its standard deviation)
slope           change of the sdf per unit length along the ray (direction . gradient), at most 0 towards a surface
alpha           how much of the light behind it a section stops, in [0, 1]
weights         transmittance times alpha: what the section contributes to its pixel; they sum to at most one
"""
