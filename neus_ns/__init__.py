"""Photographs with poses in, a mesh in the photographer's own units out.

The journey, one room a stage:

    data        photographs, poses, masks, SfM points; the scene frame that joins their world to our unit box
    pixels      which pixels are worth shooting a ray through
    rays        where along each ray to look: bounds, occupancy marching, refinement
    fields      what is there: signed distance, colour, background
    kernels     the few hot loops behind rays, fields and rendering, on CPU and CUDA
    rendering   what each sample counts: sdf -> alpha -> weights -> pixels
    losses      what is wrong, and by how much
    models      the wiring of one training step, a file per method family
    training    the clock, the checkpoints, the optimisers; nerfstudio's Trainer with a seat belt
    surface     sdf -> mesh -> colour -> world units -> file
    evaluation  how close the mesh is to the truth; pictures that show it
    cli         the console commands
    methods     the menu that nerfstudio reads
"""
